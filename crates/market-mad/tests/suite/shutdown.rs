//! FINALIZE, the end of standard input, signals, and an `oned` that does not read.

use crate::support::{ONE_MARKET, foreign, installation, start, wait_until_at_work};
use market_testkit::dump::Dump;
use market_testkit::oned::Oned;
use market_testkit::wait_until;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn answers_wait_for_an_oned_that_does_not_read() {
    let location = installation("touch ran-$2; head -c 400000 /dev/zero");
    let mut oned = Oned::start_without_reading(Path::new(ONE_MARKET), &location, "-t 4");
    oned.say("INIT");
    for app in 1..=40 {
        oned.ask("MONITOR", app, &Dump { market_id: app, ..foreign(app) }.monitor());
    }
    // Messages are still read, while four actions wait until their answers are.
    oned.ask("DELETE", 41, &Dump { market_id: 41, ..foreign(41) }.delete());
    let ran = || {
        let names = fs::read_dir(location.path().join("var")).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with("ran-")).count()
    };
    wait_until("four actions that run", || ran() >= 4);
    assert_eq!(ran(), 4, "no further action starts before an answer is read");
    oned.listen();
    assert_eq!(oned.answer("DELETE", 41), "SUCCESS -");
    for app in 1..=40 {
        assert_eq!(
            oned.answer("MONITOR", app).len(),
            "SUCCESS ".len() + 400_000_usize.div_ceil(3) * 4
        );
    }
}

#[test]
fn a_shutdown_lets_actions_finish_then_ends_them_with_their_children() {
    let ends = ["FINALIZE", "EOF", "TERM"].map(|end| {
        std::thread::spawn(move || {
            let location = installation(
                "trap 'echo cleaned >> cleaned; exit 1' TERM; echo $$ >> pids\n\
                 echo INFO: at work >&2; sleep 1000 & wait",
            );
            let delete = "echo INFO: at work >&2; sleep 1; echo ended >> ended";
            location.script("market/foreign/delete", delete);
            let mut oned = start(&location, "-t 3");
            oned.ask("MONITOR", 107, &foreign(30).monitor());
            oned.ask("DELETE", 30, &Dump { market_id: 108, ..foreign(30) }.delete());
            wait_until_at_work(&oned, 107);
            wait_until_at_work(&oned, 30);
            let before = Instant::now();
            let status = match end {
                "FINALIZE" => oned.finalize(),
                "EOF" => {
                    let (lines, status) = oned.end();
                    assert!(lines.contains(&"DELETE SUCCESS 30 -".to_owned()), "{lines:?}");
                    let cancelled = "MONITOR FAILURE 107 cancelled: one_market ends";
                    assert!(lines.contains(&cancelled.to_owned()), "{lines:?}");
                    status
                }
                _ => {
                    // In the middle of a line.
                    oned.stdin().write_all(b"DELETE  31 PE1B").unwrap();
                    let kill = Command::new("kill").arg(oned.id().to_string()).status();
                    assert!(kill.unwrap().success());
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
fn a_closed_standard_output_does_not_end_one_market() {
    let location = installation("touch ran-$2");
    let mut oned = Oned::start_without_reading(Path::new(ONE_MARKET), &location, "");
    oned.say("INIT");
    oned.close_stdout();
    oned.ask("MONITOR", 107, &foreign(30).monitor());
    let (_, status) = oned.end();
    assert!(status.success());
    assert!(location.path().join("var/ran-107").exists());
}
