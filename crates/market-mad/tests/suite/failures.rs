//! What `oned` is told about an executable that fails, and its log lines.

use crate::support::{count_logs, foreign, installation, start};
use market_testkit::dump::Dump;
use std::fs;

#[test]
fn a_failure_is_the_plain_lines_and_every_log_line_comes_once() {
    let location = installation(
        "exec >&2; echo 'WARN: monitor: slow'; echo 'cannot reach'; echo 'INFO: 12 tries'\n\
         printf '\\033[31mthe\\377 store\\n'; exit 3",
    );
    let mut oned = start(&location, "");
    assert_eq!(
        oned.failure("MONITOR", 107, &foreign(30).monitor()),
        "cannot reach \\u{1b}[31mthe\u{fffd} store"
    );
    assert_eq!(
        (count_logs(&oned, "slow"), count_logs(&oned, "LOG I 107 12 tries")),
        (1, 1),
        "{:?}",
        oned.lines()
    );
    assert_eq!(count_logs(&oned, "cannot reach"), 0);
    assert_eq!(count_logs(&oned, "market/foreign/monitor failed (exit code: 3)"), 1);

    location
        .script("market/foreign/delete", "echo 'plain words' >&2; echo 'WARN: delete: gone' >&2");
    assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
    let (lines, _) = oned.end();
    assert!(
        lines.contains(&"LOG D 30 plain words".to_owned())
            && lines.contains(&"LOG W 30 delete: gone".to_owned())
    );
}

#[test]
fn a_driver_that_says_nothing_or_is_killed_by_a_signal_is_named() {
    let location = installation("exit 7");
    let mut oned = start(&location, "");
    let dump = foreign(30).monitor();
    let mut market = 0;
    let mut said_by = |script: &str| {
        location.script("market/foreign/monitor", script);
        market += 1;
        oned.failure("MONITOR", market, &dump)
    };
    assert_eq!(
        said_by("exit 7"),
        "market/foreign/monitor failed with exit code 7 and said nothing"
    );
    for (signal, name) in [
        (6, "SIGABRT"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (15, "SIGTERM"),
        (25, "SIGXFSZ"),
        (34, "signal 34"),
    ] {
        let failure = said_by(&format!("ulimit -c 0; kill -{signal} $$"));
        assert!(
            failure.starts_with(&format!("market/foreign/monitor was killed by {name}")),
            "{failure}"
        );
    }
    let failure = said_by("echo 'reading the image' >&2; kill -9 $$");
    assert!(
        failure.contains("was killed by SIGKILL")
            && failure.ends_with("Its last words: reading the image"),
        "{failure}"
    );
    assert!(failure.contains("memory"), "{failure}");
    let failure = said_by("sh -c 'kill -9 $$'; exit $?");
    assert!(failure.contains("exit code 137") && failure.contains("SIGKILL"), "{failure}");
    assert_eq!(count_logs(&oned, "market/foreign/monitor failed (SIGSEGV)"), 1);

    // As the stock http driver deletes what is gone.
    location.script("market/foreign/delete", "echo 'ERROR: delete: no such app' >&2; exit 1");
    assert_eq!(oned.failure("DELETE", 31, &foreign(31).delete()), "delete: no such app");
    fs::remove_file(location.remotes().join("market/foreign/delete")).unwrap();
    let failure = oned.failure("DELETE", 30, &foreign(30).delete());
    assert!(
        failure.contains("market/foreign/delete cannot be run") && failure.contains("No such file"),
        "{failure}"
    );
}

#[test]
fn a_line_that_a_monitor_writes_in_every_cycle_is_info_once() {
    let location =
        installation("echo 'INFO: is reported as x' >&2; echo 'WARN: late' >&2; cat news >&2");
    let news = location.path().join("var/news");
    fs::write(&news, "").unwrap();
    let mut oned = start(&location, "");
    let dump = foreign(30).monitor();
    for round in 1..=3 {
        oned.ask("MONITOR", 107, &dump);
        oned.wait("the answer", |lines| {
            (lines.iter().filter(|line| line.starts_with("MONITOR SUCCESS 107")).count() == round)
                .then_some(())
        });
        assert_eq!(count_logs(&oned, "LOG I 107 is reported as x"), 1);
        assert_eq!(count_logs(&oned, "LOG D 107 is reported as x"), round - 1);
        assert_eq!(count_logs(&oned, "LOG W 107 late"), round, "a warning stays one");
        fs::write(&news, format!("INFO: news {round}\n")).unwrap();
    }
    assert_eq!(count_logs(&oned, "LOG I 107 news"), 2);
    oned.printed("MONITOR", 108, &Dump { market_id: 108, ..foreign(30) }.monitor());
    assert_eq!(count_logs(&oned, "LOG I 108 is reported as x"), 1, "of another marketplace");
}
