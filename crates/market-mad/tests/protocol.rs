//! What `oned` says and hears, row by row, with drivers of shell scripts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

use market_core::encoding::encode;
use market_testkit::dump::Dump;
use market_testkit::oned::{OneLocation, Oned};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ONE_MARKET: &str = env!("CARGO_BIN_EXE_one_market");

fn start(location: &OneLocation, arguments: &str) -> Oned {
    let mut oned = Oned::start(Path::new(ONE_MARKET), location, arguments);
    oned.init();
    oned
}

/// A message about an app in the marketplace of the foreign driver.
fn foreign(app: i64) -> Dump {
    Dump { app, market_mad: "foreign".into(), ds_mad: "foreign".into(), ..Dump::default() }
}

/// A foreign driver whose executables all run this script.
fn installation(script: &str) -> OneLocation {
    let location = OneLocation::new();
    for executable in ["monitor", "import", "delete"] {
        location.script(&format!("market/foreign/{executable}"), script);
    }
    location.script("datastore/foreign/export", EXPORT);
    location
}

const EXPORT: &str = "echo '<IMPORT_INFO><IMPORT_SOURCE>/image</IMPORT_SOURCE><MD5>m</MD5><SIZE>7</SIZE><FORMAT>raw</FORMAT>\
                      <DISPOSE>NO</DISPOSE><DISPOSE_CMD/></IMPORT_INFO>\"'";

/// Says that it is at work, and waits for a file that a test makes.
const WAITS: &str =
    "echo INFO: at work >&2; while [ ! -e go ]; do sleep 0.02; done; echo 'SOURCE=\"there\"'";

fn at_work(oned: &Oned, id: i64) {
    let line = format!("LOG I {id} at work");
    oned.wait(&line, |lines| lines.contains(&line).then_some(()));
}

fn go(location: &OneLocation) {
    fs::write(location.path().join("var/go"), "").unwrap();
}

fn logs(oned: &Oned, text: &str) -> usize {
    oned.lines().iter().filter(|line| line.starts_with("LOG ") && line.contains(text)).count()
}

#[test]
fn a_foreign_driver_gets_dump_and_id_as_arguments_and_its_output_comes_back() {
    let location = installation("echo \"$1 $2 $#\"; cat; pwd; nice");
    let mut oned = start(&location, "-t 3 -m foreign");
    let dump = foreign(30).monitor();
    let printed = oned.printed("MONITOR", 107, &dump);
    let var = location.path().join("var").canonicalize().unwrap();
    assert_eq!(printed, format!("{dump} 107 2\n{}\n19\n", var.display()));
    let (lines, status) = oned.end();
    assert!(status.success());
    assert_eq!(lines.len(), 2, "{lines:?}");
}

/// The words by which an executable says that it takes dumps on standard input.
const DECLARED: &str = "# market-driver.dump-on-stdin";

#[test]
fn a_driver_that_says_so_gets_the_dump_on_standard_input() {
    let location = installation(&format!("{DECLARED}\necho \"$1 $2\"; cat"));
    let mut oned = start(&location, "");
    let dump = foreign(30).monitor();
    assert_eq!(oned.printed("MONITOR", 107, &dump), format!("- 107\n{dump}"));
}

#[test]
fn a_marker_speaks_for_all_but_scripts_that_do_not_read_standard_input() {
    let location = installation("echo \"$1 $2\"; cat");
    let marker = location.remotes().join("market/foreign/.dump-on-stdin");
    fs::write(&marker, "").unwrap();
    let mut oned = start(&location, "");
    let dump = foreign(30).monitor();
    assert_eq!(oned.printed("MONITOR", 107, &dump), format!("- 107\n{dump}"));

    // Whoever installs or copies it changes its times.
    let monitor = location.remotes().join("market/foreign/monitor");
    fs::rename(&monitor, monitor.with_extension("new")).unwrap();
    fs::rename(monitor.with_extension("new"), &monitor).unwrap();
    assert_eq!(oned.printed("MONITOR", 108, &dump), format!("- 108\n{dump}"));

    // What is compiled is not looked into: with `cat` as the driver, `-` is standard input.
    let cat =
        ["/bin/cat", "/usr/bin/cat"].into_iter().find(|cat| Path::new(cat).is_file()).unwrap();
    fs::remove_file(&monitor).unwrap();
    fs::copy(cat, &monitor).unwrap();
    let failure = oned.failure("MONITOR", 109, &dump);
    assert!(failure.contains("109"), "of its two arguments the second is no file: {failure}");
    assert_eq!(logs(&oned, "although there is a .dump-on-stdin beside it"), 0);

    location.script("market/foreign/monitor", "echo \"$1 $2\"");
    assert_eq!(oned.printed("MONITOR", 110, &dump), format!("{dump} 110\n"));
    assert_eq!(logs(&oned, "although there is a .dump-on-stdin beside it"), 1);
    oned.printed("MONITOR", 111, &dump);
    assert_eq!(logs(&oned, "although there is a .dump-on-stdin beside it"), 1, "said once");
}

#[test]
fn a_foreign_driver_behind_a_leftover_marker_gets_its_dump_as_an_argument() {
    // As the stock ones are made: what cannot be decoded leaves empty values, and figures of
    // another disk.
    let shell = "DUMP=$1\nID=$2\ndecode() { printf %s \"$DUMP\" | base64 -d; }\nSCRIPT=$(cat <<EOF\ndf -P | tail -n 1\nEOF\n)\n\
                 while IFS= read -r line; do DIR=$line; done < /dev/null\n[ \"$1\" = - ] && touch got-a-dash\n\
                 decode | grep -q MARKETPLACE || exit 9\necho FREE_MB=8";
    for (script, marker_first) in [
        (shell, true),
        (shell, false),
        ("[ \"$1\" = - ] && touch got-a-dash; echo FREE_MB=8", false),
    ] {
        let location = installation(if marker_first { "true" } else { script });
        fs::write(location.remotes().join("market/foreign/.dump-on-stdin"), "").unwrap();
        location.script("market/foreign/monitor", script);
        let mut oned = start(&location, "");
        assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "FREE_MB=8\n");
        assert!(!location.path().join("var/got-a-dash").exists());
    }
}

#[test]
fn a_success_without_a_look_at_the_dump_is_none() {
    let location = installation(&format!("{DECLARED}\necho FREE_MB=8"));
    let mut oned = start(&location, "");
    let failure = oned.failure("MONITOR", 107, &foreign(30).monitor());
    assert!(
        failure.contains("market/foreign/monitor has read nothing of its message"),
        "{failure}"
    );
}

#[test]
fn a_dump_that_is_no_argument_is_refused_unless_the_driver_reads_standard_input() {
    let location = installation("printf %s \"$1\"; wc -c");
    let mut oned = start(&location, "");
    let mut dump = foreign(30);
    dump.market_apps = (0..8_000).collect();
    let large = dump.monitor();
    let failure = oned.failure("MONITOR", 107, &large);
    assert!(
        failure.contains("market-driver.dump-on-stdin") && failure.contains("131071"),
        "{failure}"
    );
    location.script("market/foreign/monitor", &format!("{DECLARED}\nprintf %s \"$1\"; wc -c"));
    dump.market_id = 108;
    assert_eq!(
        oned.printed("MONITOR", 108, &dump.monitor()),
        format!("-{}\n", dump.monitor().len())
    );
}

#[test]
fn import_asks_the_datastore_first_and_adds_what_it_tells() {
    let location = installation("printf %s \"$1\" | base64 -d | tail -c 290");
    location.script(
        "datastore/foreign/export",
        &format!("base64 -d > export.xml; echo \"$*\" > export.id; {EXPORT}"),
    );
    let mut oned = start(&location, "");
    let dump = Dump { image_source: "/images/1".into(), ..foreign(30) };
    let printed = oned.printed("IMPORT", 30, &dump.import_request());
    assert!(
        printed.ends_with(
            "</DATASTORE><IMPORT_SOURCE><![CDATA[/image]]></IMPORT_SOURCE><MD5><![CDATA[m]]></MD5><SIZE><![CDATA[7]]></SIZE>\
             <FORMAT><![CDATA[raw]]></FORMAT><DISPOSE><![CDATA[NO]]></DISPOSE><DISPOSE_CMD><![CDATA[]]></DISPOSE_CMD>\
             </MARKET_DRIVER_ACTION_DATA>"
        ),
        "{printed}"
    );
    let var = location.path().join("var");
    let export = fs::read_to_string(var.join("export.xml")).unwrap();
    assert!(
        export.starts_with("<DS_DRIVER_ACTION_DATA><IMAGE>")
            && export.ends_with("</DATASTORE></DS_DRIVER_ACTION_DATA>")
    );
    assert_eq!(fs::read_to_string(var.join("export.id")).unwrap(), "30\n");
}

#[test]
fn apps_without_an_image_get_no_answer_to_import_and_a_good_one_to_delete() {
    let location = installation("touch ran");
    let mut oned = start(&location, "");
    for (app, app_type) in [(31, 2), (32, 3)] {
        let dump = Dump { app_type, ..foreign(app) };
        oned.ask("IMPORT", app, &dump.import_request());
        assert_eq!(oned.call("DELETE", app, &dump.delete()), "SUCCESS -");
    }
    // Even when nothing else can be read of it.
    let bare = "<MARKET_DRIVER_ACTION_DATA><MARKETPLACEAPP><TYPE>2</TYPE></MARKETPLACEAPP></MARKET_DRIVER_ACTION_DATA>";
    oned.ask("IMPORT", 34, &encode(bare.as_bytes()));
    assert_eq!(oned.call("DELETE", 34, &encode(bare.as_bytes())), "SUCCESS -");
    let failure = oned.failure("IMPORT", 33, &Dump { app_type: 0, ..foreign(33) }.import_request());
    assert_eq!(failure, "Type 0 not supported");
    let (lines, _) = oned.end();
    assert!(
        !lines.iter().any(|line| line.starts_with("IMPORT") && !line.contains(" 33 ")),
        "{lines:?}"
    );
    assert!(!location.path().join("var/ran").exists());
}

#[test]
fn answers_are_one_line_each_whatever_is_printed() {
    let location = installation("printf 'two\\nlines\\n'");
    let mut oned = start(&location, "");
    assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "two\nlines\n");
    location.script("market/foreign/monitor", "true");
    let dump = Dump { market_id: 108, ..foreign(30) };
    assert_eq!(oned.printed("MONITOR", 108, &dump.monitor()), "-", "nothing printed");
}

#[test]
fn a_failure_is_the_plain_lines_and_every_log_line_comes_once() {
    let location = installation(
        "echo 'WARN: monitor: slow' >&2; echo 'cannot reach' >&2; echo 'INFO: 12 tries' >&2; printf '\\033[31mthe\\377 store\\n' >&2; exit 3",
    );
    let mut oned = start(&location, "");
    assert_eq!(
        oned.failure("MONITOR", 107, &foreign(30).monitor()),
        "cannot reach \\u{1b}[31mthe\u{fffd} store"
    );
    assert_eq!(
        (logs(&oned, "slow"), logs(&oned, "LOG I 107 12 tries")),
        (1, 1),
        "{:?}",
        oned.lines()
    );
    assert_eq!(logs(&oned, "cannot reach"), 0);
    assert_eq!(logs(&oned, "market/foreign/monitor failed (exit code: 3)"), 1);

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
fn a_driver_that_says_nothing_or_dies_by_a_signal_is_named() {
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
    assert_eq!(logs(&oned, "market/foreign/monitor failed (SIGSEGV)"), 1);

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
fn an_import_whose_export_or_driver_is_killed_says_which() {
    let location = installation("kill -9 $$");
    let mut oned = start(&location, "");
    let failure = oned.failure("IMPORT", 30, &foreign(30).import_request());
    assert!(failure.starts_with("market/foreign/import was killed by SIGKILL"), "{failure}");
    location.script("datastore/foreign/export", "kill -11 $$");
    let failure = oned.failure("IMPORT", 31, &foreign(31).import_request());
    assert!(
        failure.starts_with(
            "Error exporting image to file: datastore/foreign/export was killed by SIGSEGV"
        ),
        "{failure}"
    );
}

#[test]
fn what_a_monitor_says_in_every_cycle_is_news_once() {
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
        assert_eq!(logs(&oned, "LOG I 107 is reported as x"), 1);
        assert_eq!(logs(&oned, "LOG D 107 is reported as x"), round - 1);
        assert_eq!(logs(&oned, "LOG W 107 late"), round, "a warning stays one");
        fs::write(&news, format!("INFO: news {round}\n")).unwrap();
    }
    assert_eq!(logs(&oned, "LOG I 107 news"), 2);
    oned.printed("MONITOR", 108, &Dump { market_id: 108, ..foreign(30) }.monitor());
    assert_eq!(logs(&oned, "LOG I 108 is reported as x"), 1, "of another marketplace");
}

#[test]
fn a_driver_that_is_not_allowed_or_not_there_is_refused_once_and_before_any_work() {
    let location = installation("true");
    location.script("datastore/foreign/export", "touch ran");
    location.script("market/other/monitor", "true");
    let mut oned = start(&location, "-m other,missing");
    for (id, mad) in [(30, "foreign"), (31, "missing"), (32, "../market/other"), (33, "")] {
        let dump = Dump { market_mad: mad.into(), ..foreign(id) };
        let expected = match mad {
            "" => "Wrong driver message format".to_owned(),
            mad => format!("Marketplace driver '{mad}' not available"),
        };
        assert_eq!(oned.failure("IMPORT", id, &dump.import_request()), expected);
    }
    let (lines, _) = oned.end();
    assert_eq!(lines.iter().filter(|line| line.starts_with("IMPORT ")).count(), 4, "{lines:?}");
    assert!(!location.path().join("var/ran").exists());
}

#[test]
fn what_cannot_be_decoded_fails_under_its_own_action() {
    let location = installation("true");
    let mut oned = start(&location, "");
    for (id, action) in [(1, "MONITOR"), (2, "IMPORT"), (3, "DELETE")] {
        assert_eq!(oned.failure(action, id, "!!"), "Cannot decode driver message");
        let empty = encode(b"<MARKET_DRIVER_ACTION_DATA/>");
        assert_eq!(oned.failure(action, id + 10, &empty), "Wrong driver message format");
    }
    let no_image = Dump { ds_mad: String::new(), ..foreign(9) };
    assert_eq!(
        oned.failure("IMPORT", 9, &no_image.import_request()),
        "Wrong driver message format"
    );
}

#[test]
fn an_export_that_fails_or_prints_something_else_fails_the_import() {
    let location = installation("touch ran");
    let mut oned = start(&location, "");
    for (app, script, expected) in [
        (1, "echo 'no such image' >&2; exit 1", "no such image"),
        (2, "echo nothing", "datastore/foreign/export printed no IMPORT_INFO"),
        (3, "echo '<IMPORT_INFO><MD5/>'", "datastore/foreign/export printed no IMPORT_INFO"),
        (4, "head -c 3000000 /dev/zero", "wrote more than can be taken"),
    ] {
        location.script("datastore/foreign/export", script);
        let failure = oned.failure("IMPORT", app, &foreign(app).import_request());
        assert!(
            failure.starts_with("Error exporting image to file: ") && failure.contains(expected),
            "{failure}"
        );
    }
    let failure =
        oned.failure("IMPORT", 5, &Dump { ds_mad: "none".into(), ..foreign(5) }.import_request());
    assert_eq!(failure, "Error exporting image to file: Datastore driver 'none' not available");
    assert!(!location.path().join("var/ran").exists());
}

#[test]
fn garbage_is_ignored_and_words_may_have_any_case_and_any_blanks() {
    let location = installation("true");
    let mut oned = start(&location, "");
    oned.stdin()
        .write_all(
            b"\n  \nRESTART 1 x\nMONITOR\nMONITOR 1\nMONITOR x y\nMONITOR 1 a b\n\0\xff\x01\n",
        )
        .unwrap();
    let dump = foreign(30).monitor();
    oned.stdin().write_all(format!("\t mOnItOr \t 107   {dump} \r\n").as_bytes()).unwrap();
    assert_eq!(oned.answer("MONITOR", 107), "SUCCESS LQ==");
    let (lines, _) = oned.end();
    let others: Vec<_> = lines
        .iter()
        .filter(|line| !line.starts_with("LOG W - one_market: a message was ignored"))
        .collect();
    assert_eq!(others.len(), 2, "{lines:?}");
}

#[test]
fn messages_may_come_byte_by_byte() {
    let location = installation("true");
    let mut oned = start(&location, "");
    for byte in format!("MONITOR  107 {}\n", foreign(30).monitor()).bytes() {
        oned.stdin().write_all(&[byte]).unwrap();
    }
    assert_eq!(oned.answer("MONITOR", 107), "SUCCESS LQ==");
}

#[test]
fn a_line_of_100_mb_costs_one_failure_and_bounded_memory() {
    let location = installation("true");
    let mut oned = start(&location, "");
    oned.stdin().write_all(b"MONITOR  107 ").unwrap();
    let piece = vec![b'A'; 1 << 20];
    for _ in 0..100 {
        oned.stdin().write_all(&piece).unwrap();
    }
    oned.say("");
    assert_eq!(oned.answer("MONITOR", 107), "FAILURE Cannot decode driver message");
    assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -", "it goes on");
    let peak = fs::read_to_string(format!("/proc/{}/status", oned.id())).unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 160 << 10, "{kib} KiB");
}

#[test]
fn init_is_answered_first_whatever_came_before() {
    let location = installation("echo INFO: early >&2");
    let mut oned = Oned::start(Path::new(ONE_MARKET), &location, "");
    oned.ask("DELETE", 30, &foreign(30).delete());
    oned.say("garbage");
    oned.init();
    assert_eq!(oned.answer("DELETE", 30), "SUCCESS -");
}

#[test]
fn a_closed_standard_error_is_no_matter_and_debugging_has_a_log_file() {
    let location = installation("echo x >&2; exit 1");
    fs::write(location.path().join("etc/defaultrc"), "ONE_MAD_DEBUG=1\nGREETING='hello there'\n")
        .unwrap();
    location.script(
        "market/foreign/delete",
        "[ \"$GREETING\" = 'hello there' ] && [ \"$https_proxy\" = http://proxy:1 ]",
    );
    let mut child = Command::new("/bin/sh");
    child.args(["-c", "exec 2>&-; exec \"$0\" \"$@\"", ONE_MARKET, "-t 3 -p http://proxy:1"]);
    child.env("ONE_LOCATION", location.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let text = format!(
        "INIT\nMONITOR  107 {}\nDELETE  30 {}\n",
        foreign(30).monitor(),
        foreign(30).delete()
    );
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.starts_with("INIT SUCCESS - -\n"), "{output}");
    assert!(
        output.contains("MONITOR FAILURE 107 x\n") && output.contains("DELETE SUCCESS 30 -\n"),
        "{output}"
    );
    assert!(location.path().join("var/one_market.log").exists());
}

/// What is written to an `oned` that started it by a shell which runs this first.
fn output_behind(location: &OneLocation, shell: &str, messages: &str) -> String {
    let mut child = Command::new("/bin/sh");
    child
        .args(["-c", &format!("{shell}; exec \"$0\" \"$@\""), ONE_MARKET, ""])
        .env("ONE_LOCATION", location.path());
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(messages.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_system_that_has_no_more_descriptors_makes_an_action_fail_and_nothing_end() {
    let location = installation("true");
    let messages = format!(
        "INIT\nMONITOR  107 {}\nDELETE  30 {}\n",
        foreign(30).monitor(),
        foreign(30).delete()
    );
    let output = output_behind(&location, "ulimit -n 12", &messages);
    assert!(output.starts_with("INIT SUCCESS - -\n"), "{output}");
    for failure in [
        "MONITOR FAILURE 107 market/foreign/monitor cannot be run",
        "DELETE FAILURE 30 market/foreign/delete cannot be run",
    ] {
        assert!(output.contains(failure), "{output}");
    }
}

#[test]
fn what_executables_make_is_not_for_others_to_write_whatever_the_mask_was() {
    let location = installation("touch made");
    let defaultrc = location.path().join("etc/defaultrc");
    fs::write(defaultrc, "ONE_MAD_DEBUG=1\n").unwrap();
    output_behind(&location, "umask 0", &format!("INIT\nMONITOR  107 {}\n", foreign(30).monitor()));
    for file in ["made", "one_market.log"] {
        let mode = location.path().join("var").join(file).metadata().unwrap().mode();
        assert_eq!(mode & 0o022, 0, "{file}: {mode:o}");
    }
}

#[test]
fn wrong_arguments_are_left_out_and_told_of() {
    let location = installation("true");
    let mut oned = start(&location, "-t many --what -m foreign");
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "-");
    assert!(oned.end().1.success());
    let mut oned = start(&location, "-t many --what -m other");
    assert!(oned.failure("MONITOR", 107, &foreign(30).monitor()).contains("not available"));
    let (lines, _) = oned.end();
    for told in ["-t needs a whole number, not \"many\"", "'--what'"] {
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("LOG E - one_market: ") && line.contains(told)),
            "{lines:?}"
        );
        let log = fs::read_to_string(location.path().join("var/one_market.log")).unwrap();
        assert!(log.contains(told), "{log}");
    }
}

#[test]
fn people_are_told_what_it_is() {
    for (word, expected) in [("--help", "Usage: one_market"), ("-V", "one_market 0.")] {
        let output = Command::new(ONE_MARKET).arg(word).stdin(Stdio::null()).output().unwrap();
        assert!(
            output.status.success() && String::from_utf8(output.stdout).unwrap().contains(expected)
        );
    }
    let output = Command::new(ONE_MARKET)
        .arg("-x")
        .env("ONE_LOCATION", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("invalid option '-x'"));
}

#[test]
fn as_many_actions_run_at_once_as_the_arguments_say_and_a_marketplace_leaves_room() {
    let location = installation(WAITS);
    let mut oned = start(&location, "-t 4");
    let of_market = |market_id, app| Dump { market_id, ..foreign(app) };
    for app in 1..=6 {
        oned.ask("DELETE", app, &of_market(1, app).delete());
    }
    for app in 1..=3 {
        at_work(&oned, app);
    }
    // The fourth place is kept for other marketplaces.
    oned.ask("DELETE", 20, &of_market(2, 20).delete());
    at_work(&oned, 20);
    assert_eq!(logs(&oned, "at work"), 4);
    go(&location);
    for app in [1, 2, 3, 4, 5, 6, 20] {
        assert_eq!(oned.answer("DELETE", app), "SUCCESS -");
    }
}

#[test]
fn two_actions_on_one_app_never_run_at_once() {
    let location = installation(
        "mkdir lock || exit 9; echo INFO: at work >&2; while [ ! -e go ]; do sleep 0.02; done; rmdir lock",
    );
    let mut oned = start(&location, "-t 8");
    for _ in 0..4 {
        oned.ask("DELETE", 30, &foreign(30).delete());
    }
    at_work(&oned, 30);
    go(&location);
    oned.wait("four answers", |lines| {
        (lines.iter().filter(|line| *line == "DELETE SUCCESS 30 -").count() == 4).then_some(())
    });
}

#[test]
fn an_executable_that_takes_too_long_is_ended_with_all_it_has_started() {
    let location = installation(
        "sleep 1000 & echo $! > child; trap 'echo cleaned > cleaned; exit 1' TERM; wait",
    );
    let mut oned = start(&location, "-w 1");
    let failure = oned.failure("MONITOR", 107, &foreign(30).monitor());
    assert_eq!(failure, "market/foreign/monitor took longer than 1 s and was ended");
    let var = location.path().join("var");
    assert!(var.join("cleaned").exists());
    let child = fs::read_to_string(var.join("child")).unwrap();
    // A child that has just been killed may still be waited for by whoever inherits it.
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(" Z "), "{state}");
}

#[test]
fn a_flood_does_not_put_off_the_end() {
    for flood in
        ["yes >&2", "yes 'INFO: more' >&2", "yes 'ERROR: more' >&2", "while :; do echo x >&2; done"]
    {
        let location = installation(flood);
        let mut oned = start(&location, "-w 1");
        let failure = oned.failure("DELETE", 30, &foreign(30).delete());
        assert!(failure.contains("took longer than 1 s"), "{failure}");
    }
}

#[test]
fn a_later_monitor_takes_the_place_of_one_that_waits() {
    let location = installation(WAITS);
    let mut oned = start(&location, "");
    for _ in 0..3 {
        oned.ask("MONITOR", 107, &foreign(30).monitor());
        at_work(&oned, 107);
    }
    oned.wait("the one that gives way", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with("MONITOR FAILURE 107 a later monitor"))
            .then_some(())
    });
    go(&location);
    oned.wait("three answers", |lines| {
        (lines.iter().filter(|line| line.starts_with("MONITOR SUCCESS 107 ")).count() == 2)
            .then_some(())
    });
    let (lines, _) = oned.end();
    let failures =
        lines.iter().filter(|line| line.starts_with("MONITOR FAILURE 107 a later monitor"));
    assert_eq!(failures.count(), 1, "{lines:?}");
}

#[test]
fn an_import_that_is_cancelled_in_its_first_step_says_so_and_leaves_no_temporary() {
    for export in [
        "echo INFO: at work >&2; exec sleep 1000",
        "trap 'touch temporary; echo \"$INFO\"; exit 0' TERM; echo INFO: at work >&2; sleep 1000 & wait",
    ] {
        let location = installation("touch imported");
        let info = "INFO='<IMPORT_INFO><IMPORT_SOURCE>/i</IMPORT_SOURCE><DISPOSE>YES</DISPOSE><DISPOSE_CMD>rm temporary</DISPOSE_CMD></IMPORT_INFO>'";
        location.script("datastore/foreign/export", &format!("{info}; {export}"));
        let mut oned = start(&location, "");
        oned.ask("IMPORT", 30, &foreign(30).import_request());
        at_work(&oned, 30);
        assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
        assert_eq!(oned.answer("IMPORT", 30), "FAILURE cancelled");
        let var = location.path().join("var");
        assert!(!var.join("temporary").exists());
        assert_eq!(
            logs(&oned, "the temporary of the export was removed"),
            usize::from(export.starts_with("trap"))
        );
    }
}

#[test]
fn driver_cancel_ends_what_runs_and_what_waits() {
    let location = installation("echo INFO: at work >&2; exec sleep 1000");
    let mut oned = start(&location, "");
    oned.ask("DELETE", 30, &foreign(30).delete());
    at_work(&oned, 30);
    oned.ask("DELETE", 30, &foreign(30).delete());
    oned.say("DRIVER_CANCEL 30");
    oned.wait("two answers", |lines| {
        (lines.iter().filter(|line| *line == "DELETE FAILURE 30 cancelled").count() == 2)
            .then_some(())
    });
    assert_eq!(logs(&oned, "Driver command for 30 cancelled"), 1);
}

#[test]
fn a_delete_ends_the_import_of_its_app_and_waits_for_its_cleaning() {
    let location = installation(
        "trap 'echo discarded >> order; exit 12' TERM; echo INFO: at work >&2; sleep 1000 & wait",
    );
    location.script("market/foreign/delete", "echo deleted >> order; echo 'no SOURCE' >&2; exit 1");
    let mut oned = start(&location, "");
    oned.ask("IMPORT", 30, &foreign(30).import_request());
    at_work(&oned, 30);
    assert_eq!(
        oned.call("DELETE", 30, &foreign(30).delete()),
        "SUCCESS -",
        "nothing was published"
    );
    assert_eq!(oned.answer("IMPORT", 30), "FAILURE cancelled");
    assert_eq!(
        fs::read_to_string(location.path().join("var/order")).unwrap(),
        "discarded\ndeleted\n"
    );
}

#[test]
fn an_import_that_waits_is_taken_back_by_the_delete_of_its_app() {
    let location = installation(WAITS);
    location.script("market/foreign/import", "touch imported");
    let mut oned = start(&location, "-t 1");
    oned.ask("DELETE", 1, &foreign(1).delete());
    at_work(&oned, 1);
    oned.ask("IMPORT", 30, &foreign(30).import_request());
    oned.ask("DELETE", 30, &foreign(30).delete());
    assert_eq!(oned.answer("IMPORT", 30), "FAILURE cancelled: the app is deleted");
    go(&location);
    assert_eq!(oned.answer("DELETE", 30), "SUCCESS -");
    assert!(!location.path().join("var/imported").exists());
}

#[test]
fn deletes_and_monitors_do_not_wait_for_imports() {
    // They wait for a FIFO that nobody writes to before the end.
    let location = installation("true");
    let import = "trap 'echo \"$2\" >> discarded; exit 12' TERM; echo INFO: at work >&2; read -r line < hold & wait";
    location.script("market/foreign/import", import);
    location.script("market/foreign/delete", "echo \"$2\" >> deleted");
    let var = location.path().join("var");
    assert!(Command::new("mkfifo").arg(var.join("hold")).status().unwrap().success());
    let mut oned = start(&location, "-t 5");
    for app in 1..=9 {
        oned.ask("IMPORT", app, &foreign(app).import_request());
    }
    for app in 1..=3 {
        at_work(&oned, app);
    }
    // Two that run and two that wait; and one that is there already.
    for app in [1, 2, 8, 9] {
        oned.ask("DELETE", app, &foreign(app).delete());
    }
    for app in [1, 2, 8, 9] {
        assert_eq!(oned.answer("DELETE", app), "SUCCESS -");
        assert!(oned.answer("IMPORT", app).starts_with("FAILURE cancelled"));
    }
    at_work(&oned, 5);
    let there = Dump { app_source: "there".into(), ..foreign(30) };
    assert_eq!(oned.call("DELETE", 30, &there.delete()), "SUCCESS -");
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "-");
    let other = Dump { market_id: 108, ..foreign(40) };
    oned.ask("IMPORT", 40, &other.import_request());
    at_work(&oned, 40);
    assert_eq!(logs(&oned, "at work"), 6, "never more imports than before");
    let mut deleted: Vec<_> =
        fs::read_to_string(var.join("deleted")).unwrap().lines().map(str::to_owned).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, ["1", "2", "30"], "of what was never begun there is nothing to delete");
    assert_eq!(fs::read_to_string(var.join("discarded")).unwrap().lines().count(), 2);
    // All others go on to their end.
    for app in [3, 4, 5, 6, 7, 40] {
        oned.say(&format!("DRIVER_CANCEL {app}"));
        assert_eq!(oned.answer("IMPORT", app), "FAILURE cancelled");
    }
}

#[test]
fn a_delete_finds_what_an_import_has_published_meanwhile() {
    let location = installation(
        "trap 'echo SOURCE=\\\"there\\\"; exit 0' TERM; echo INFO: at work >&2; sleep 1000 & wait",
    );
    location.script("market/foreign/delete", "printf %s \"$1\" | base64 -d > deleted.xml");
    let mut oned = start(&location, "");
    oned.ask("IMPORT", 30, &foreign(30).import_request());
    at_work(&oned, 30);
    assert_eq!(oned.call("DELETE", 30, &foreign(30).delete()), "SUCCESS -");
    assert!(oned.answer("IMPORT", 30).starts_with("SUCCESS "), "it could not be ended any more");
    let deleted = fs::read_to_string(location.path().join("var/deleted.xml")).unwrap();
    assert!(deleted.contains("<SOURCE><![CDATA[there]]></SOURCE>"), "{deleted}");

    // The answer and the delete have crossed on their way.
    location.script("market/foreign/import", "echo 'SOURCE=\"here\"'");
    assert!(oned.call("IMPORT", 31, &foreign(31).import_request()).starts_with("SUCCESS "));
    assert_eq!(oned.call("DELETE", 31, &foreign(31).delete()), "SUCCESS -");
    let deleted = fs::read_to_string(location.path().join("var/deleted.xml")).unwrap();
    assert!(deleted.contains("<SOURCE><![CDATA[here]]></SOURCE>"), "{deleted}");
}

#[test]
fn the_temporary_of_an_export_goes_when_no_driver_can_remove_it() {
    let export = "touch temporary; echo '<IMPORT_INFO><IMPORT_SOURCE>/image</IMPORT_SOURCE><DISPOSE>YES</DISPOSE>\
                  <DISPOSE_CMD>rm temporary</DISPOSE_CMD></IMPORT_INFO>'";
    for import in ["kill -9 $$", "#"] {
        let location = installation(import);
        location.script("datastore/foreign/export", export);
        if import == "#" {
            fs::remove_file(location.remotes().join("market/foreign/import")).unwrap();
        }
        let mut oned = start(&location, "");
        oned.failure("IMPORT", 30, &foreign(30).import_request());
        assert!(!location.path().join("var/temporary").exists());
        assert_eq!(logs(&oned, "the temporary of the export was removed"), 1);
    }
}

#[test]
fn keys_and_dumps_are_in_no_line() {
    let location = installation(
        "set -x; : \"$1\"; echo \"INFO: key is hunter2+secret\" >&2; printf %s \"$1\" | base64 -d >&2; echo \"$1\" >&2; exit 1",
    );
    location.script(
        "datastore/foreign/export",
        &format!("dump=$(cat); set -x; : \"$dump\"; set +x; {EXPORT}"),
    );
    let mut oned = start(&location, "");
    let dump = Dump {
        market: vec![("SECRET_ACCESS_KEY".into(), "hunter2+secret".into())],
        image: vec![("PASSWORD".into(), "swordfish".into())],
        ..foreign(30)
    };
    oned.failure("MONITOR", 107, &dump.monitor());
    oned.failure("IMPORT", 30, &dump.import_request());
    let (lines, _) = oned.end();
    let (monitor, import) = (dump.monitor(), dump.import_request());
    for secret in [
        "hunter2",
        "swordfish",
        &monitor[..60],
        &monitor[100..160],
        &import[..60],
        &import[200..260],
    ] {
        assert!(!lines.iter().any(|line| line.contains(secret)), "{secret}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.contains("key is <hidden>")), "{lines:#?}");
}

#[test]
fn values_of_templates_are_in_no_line_however_they_are_written() {
    let location = installation(
        "base64() { command base64 \"$@\" | sed \"s/^/$prefix/\"; }\n\
         xml() { printf %s \"$1\" | command base64 -d; }\n\
         for prefix in 'INFO: ' ''; do\n\
         xml \"$1\" | base64 -w 64 >&2; xml \"$1\" | base64 -w 13 >&2; xml \"$1\" | sed 's/.*<ADMIN_PASS>//' | base64 >&2\n\
         xml \"$1\" | sed 's/.*<ADMIN_PASS>//' | fold -w 9 | sed \"s/^/$prefix/\" >&2\n\
         printf '%scurl -u me:%s\\n' \"$prefix\" 'a &lt;b&gt; key of ours' >&2\n\
         printf '%sGET http://first:x1y2z3@host/ then https://second:q9w8e7@host/?sig=r5t6u7\\n' \"$prefix\" >&2\n\
         done; exit 1",
    );
    let mut oned = start(&location, "");
    let mut market = vec![
        ("ADMIN_PASS".into(), "a <b> key of ours".into()),
        ("TOKEN2".into(), "r0t4t3d".into()),
    ];
    market.extend(
        (0..2_000).map(|number| (format!("PASSWORD{number}"), format!("value-{number:05}"))),
    );
    market.push(("ZULU".into(), "the last of them".into()));
    let dump = Dump { market, ..foreign(30) };
    oned.failure("MONITOR", 107, &dump.monitor());
    let (lines, _) = oned.end();
    let all = lines.join("\n");
    let parts = [
        "key of",
        "y of ours",
        "r0t4t3d",
        "value-01",
        "the last",
        "x1y2z3",
        "q9w8e7",
        "r5t6u7",
        "&lt;b",
    ];
    for part in parts {
        assert!(!all.contains(part), "{part}: {all:.4000}");
    }
    let monitor = dump.monitor();
    assert!(
        !monitor
            .as_bytes()
            .chunks(13)
            .skip(400)
            .step_by(50)
            .any(|part| all.contains(std::str::from_utf8(part).unwrap()))
    );
}

#[test]
fn a_key_that_comes_piece_by_piece_is_known_by_its_second_piece() {
    let key = "wJalrXUtnFEMI7MDENGbPxRfiCYEXAMPLEKEYabc";
    let location = installation(&format!(
        "printf %s {key} | fold -w 9 | while read -r line || [ -n \"$line\" ]; do echo \"INFO: $line\" >&2; done; echo 'INFO: the end' >&2"
    ));
    let mut oned = start(&location, "");
    let dump = Dump { market: vec![("ADMIN_KEY".into(), key.into())], ..foreign(30) };
    oned.printed("MONITOR", 107, &dump.monitor());
    let (lines, _) = oned.end();
    for part in key.as_bytes().chunks(9).skip(1) {
        let part = std::str::from_utf8(part).unwrap();
        assert!(!lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
    }
    assert!(lines.contains(&"LOG I 107 the end".to_owned()), "{lines:?}");
}

#[test]
fn thousands_of_nested_elements_cost_no_time() {
    let location = installation("echo secret-text >&2; exit 1");
    let mut oned = start(&location, "");
    let nested =
        format!("{}secret-text{}", "<PASSWORD>".repeat(20_000), "</PASSWORD>".repeat(20_000));
    let dump = format!(
        "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>107</ID><MARKET_MAD>foreign</MARKET_MAD><TEMPLATE>{nested}</TEMPLATE>\
         </MARKETPLACE></MARKET_DRIVER_ACTION_DATA>"
    );
    let before = Instant::now();
    oned.ask("MONITOR", 107, &encode(dump.as_bytes()));
    assert_eq!(
        oned.call("DELETE", 30, &foreign(30).delete()),
        "FAILURE secret-text",
        "no secret of this one"
    );
    assert!(oned.answer("MONITOR", 107).starts_with("FAILURE the message has"));
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}

#[test]
fn floods_on_standard_error_are_cut_short() {
    let location = installation(
        "i=0; while [ $i -lt 3000 ]; do echo \"INFO: line $i\"; i=$((i+1)); done >&2; head -c 20000000 /dev/zero | tr '\\0' x >&2; \
         echo >&2; yes 'a plain line' | head -n 2000000 >&2; echo the end >&2; exit 1",
    );
    let mut oned = start(&location, "");
    let failure = oned.failure("MONITOR", 107, &foreign(30).monitor());
    assert!(failure.ends_with("... the end") && failure.len() < 2_100, "{failure}");
    let (lines, _) = oned.end();
    assert!(lines.len() < 600, "{}", lines.len());
    assert!(lines.iter().any(|line| line.contains("2500 further log lines of it were left out")));
}

#[test]
fn a_report_without_end_is_ended() {
    let location = installation("yes > /dev/null & yes");
    let mut oned = start(&location, "");
    let failure = oned.failure("MONITOR", 107, &foreign(30).monitor());
    assert_eq!(failure, "market/foreign/monitor wrote more than can be taken and was ended");
}

#[test]
fn a_child_that_is_left_behind_holds_nothing_up() {
    let location = installation(
        "sleep 1000 & setsid sh -c 'echo $$ > pid; exec sleep 60' & while [ ! -s pid ]; do sleep 0.02; done; \
         echo done; printf 'the end' >&2",
    );
    let mut oned = start(&location, "");
    let before = Instant::now();
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "done\n");
    assert!(
        before.elapsed() < Duration::from_secs(40),
        "it waited for a process that is none of its own"
    );
    assert_eq!(logs(&oned, "LOG D 107 the end"), 1, "the last words, without a line end");
    assert_eq!(logs(&oned, "holds its output open"), 1);
    let pid = fs::read_to_string(location.path().join("var/pid")).unwrap();
    assert!(
        Command::new("kill").arg(pid.trim()).status().unwrap().success(),
        "a session of its own stays"
    );
}

#[test]
fn answers_wait_for_an_oned_that_does_not_read() {
    let location = installation("head -c 400000 /dev/zero");
    let mut oned = Oned::start_unheard(Path::new(ONE_MARKET), &location, "-t 4");
    oned.say("INIT");
    for app in 1..=40 {
        oned.ask("MONITOR", app, &Dump { market_id: app, ..foreign(app) }.monitor());
    }
    // One reads on while the others wait for somebody who takes their answers.
    oned.ask("DELETE", 41, &Dump { market_id: 41, ..foreign(41) }.delete());
    oned.listen();
    for app in 1..=40 {
        assert_eq!(
            oned.answer("MONITOR", app).len(),
            "SUCCESS ".len() + 400_000_usize.div_ceil(3) * 4
        );
    }
}

#[test]
fn the_end_lets_actions_finish_then_ends_them_with_their_children() {
    let ends = ["FINALIZE", "EOF", "TERM"].map(|end| {
        std::thread::spawn(move || {
            let location = installation(
                "trap 'echo cleaned >> cleaned; exit 1' TERM; echo $$ >> pids; echo INFO: at work >&2; sleep 1000 & wait",
            );
            location.script("market/foreign/delete", "echo INFO: at work >&2; sleep 1; echo ended >> ended");
            let mut oned = start(&location, "-t 3");
            oned.ask("MONITOR", 107, &foreign(30).monitor());
            oned.ask("DELETE", 30, &Dump { market_id: 108, ..foreign(30) }.delete());
            at_work(&oned, 107);
            at_work(&oned, 30);
            let before = Instant::now();
            let status = match end {
                "FINALIZE" => oned.finalize(),
                "EOF" => {
                    let (lines, status) = oned.end();
                    assert!(lines.contains(&"DELETE SUCCESS 30 -".to_owned()), "{lines:?}");
                    assert!(lines.contains(&"MONITOR FAILURE 107 cancelled: one_market ends".to_owned()), "{lines:?}");
                    status
                }
                _ => {
                    // In the middle of a line.
                    oned.stdin().write_all(b"DELETE  31 PE1B").unwrap();
                    Command::new("kill").arg(oned.id().to_string()).status().unwrap();
                    oned.end().1
                }
            };
            assert!(status.success(), "{end}");
            assert!(before.elapsed() < Duration::from_secs(10), "{end}: {:?}", before.elapsed());
            let var = location.path().join("var");
            assert!(var.join("cleaned").exists() && var.join("ended").exists(), "{end}");
            let pid = fs::read_to_string(var.join("pids")).unwrap();
            assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "{end}");
        })
    });
    for end in ends {
        end.join().unwrap();
    }
}

#[test]
fn a_standard_output_that_nobody_reads_is_no_reason_to_die() {
    let location = installation("touch ran-$2");
    let mut oned = Oned::start_unheard(Path::new(ONE_MARKET), &location, "");
    oned.say("INIT");
    oned.close_stdout();
    oned.ask("MONITOR", 107, &foreign(30).monitor());
    let (_, status) = oned.end();
    assert!(status.success());
    assert!(location.path().join("var/ran-107").exists());
}
