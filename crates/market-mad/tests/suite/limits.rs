//! Floods, endless output, time limits, and want of resources.

use crate::support::{count_logs, foreign, installation, run_in_shell, start};
use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

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
fn without_file_descriptors_an_action_fails_and_one_market_goes_on() {
    let location = installation("true");
    let messages = format!(
        "INIT\nMONITOR  107 {}\nDELETE  30 {}\n",
        foreign(30).monitor(),
        foreign(30).delete()
    );
    let output = run_in_shell(&location, "ulimit -n 12", &messages);
    assert!(output.starts_with("INIT SUCCESS - -\n"), "{output}");
    for failure in [
        "MONITOR FAILURE 107 market/foreign/monitor cannot be run",
        "DELETE FAILURE 30 market/foreign/delete cannot be run",
    ] {
        assert!(output.contains(failure), "{output}");
    }
}

#[test]
fn an_executable_over_its_time_limit_is_ended_with_all_that_it_has_started() {
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
fn a_flood_of_output_does_not_delay_the_time_limit() {
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
fn floods_on_standard_error_are_cut_short() {
    let location = installation(
        "i=0; while [ $i -lt 3000 ]; do echo \"INFO: line $i\"; i=$((i+1)); done >&2\n\
         head -c 20000000 /dev/zero | tr '\\0' x >&2; \
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
fn an_executable_that_prints_without_end_is_ended() {
    let location = installation("yes > /dev/null & yes");
    let mut oned = start(&location, "");
    let failure = oned.failure("MONITOR", 107, &foreign(30).monitor());
    assert_eq!(failure, "market/foreign/monitor wrote more than can be taken and was ended");
}

#[test]
fn a_child_that_is_left_behind_delays_nothing() {
    let location = installation(
        "sleep 1000 & setsid sh -c 'echo $$ > pid; exec sleep 60' &\n\
         while [ ! -s pid ]; do sleep 0.02; done; \
         echo done; printf 'the end' >&2",
    );
    let mut oned = start(&location, "");
    let before = Instant::now();
    assert_eq!(oned.printed("MONITOR", 107, &foreign(30).monitor()), "done\n");
    assert!(
        before.elapsed() < Duration::from_secs(40),
        "it waited for a process that is none of its own"
    );
    assert_eq!(count_logs(&oned, "LOG D 107 the end"), 1, "the last words, without a line end");
    assert_eq!(count_logs(&oned, "holds its output open"), 1);
    let pid = fs::read_to_string(location.path().join("var/pid")).unwrap();
    assert!(
        Command::new("kill").arg(pid.trim()).status().unwrap().success(),
        "a session of its own stays"
    );
}
