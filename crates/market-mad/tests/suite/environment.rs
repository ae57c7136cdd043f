//! The command line, standard error, `defaultrc` and the umask.

use crate::support::{ONE_MARKET, foreign, installation, run_in_shell, start};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

#[test]
fn a_closed_standard_error_does_no_harm_and_debugging_has_a_log_file() {
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

#[test]
fn the_umask_of_executables_is_at_least_022() {
    let location = installation("touch made");
    let defaultrc = location.path().join("etc/defaultrc");
    fs::write(defaultrc, "ONE_MAD_DEBUG=1\n").unwrap();
    run_in_shell(&location, "umask 0", &format!("INIT\nMONITOR  107 {}\n", foreign(30).monitor()));
    for file in ["made", "one_market.log"] {
        let mode = location.path().join("var").join(file).metadata().unwrap().mode();
        assert_eq!(mode & 0o022, 0, "{file}: {mode:o}");
    }
}

#[test]
fn wrong_arguments_are_left_out_and_reported() {
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
fn help_version_and_wrong_options_are_shown_at_a_terminal() {
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
