//! What a caller hands on to `market-http`: standard streams that take nothing, an open umask,
//! limits on files and processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod market;

use market::{EXECUTABLE, Market};
use market_testkit::driver::{answer, failure, run, start};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::{md5_hex, noise, require};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Imports by way of a shell, which sets something up for the executable.
fn import_under(script: &str, dump: &str) -> Output {
    let script = format!("{script} \"$0\" import -");
    run(Command::new("sh").args(["-c", &script, EXECUTABLE]), dump)
}

#[test]
fn an_import_whose_answer_nobody_can_get_leaves_nothing() {
    for streams in [">&-", "1< /dev/null", "1< /proc/self/status", "> /dev/full"] {
        let market = Market::new();
        let output = import_under(
            &format!("exec {streams};"),
            &market.import_of(&noise(1, 10_000)).import(),
        );
        let line = failure(&output, 1);
        assert!(
            line.starts_with("standard output: ") && line.ends_with("could not be delivered"),
            "{streams}: {line}"
        );
        market.assert_nothing();
    }
}

#[test]
fn an_answer_may_be_thrown_away_on_purpose() {
    for streams in ["> /dev/null", "1<> /dev/null"] {
        let market = Market::new();
        let output = import_under(
            &format!("exec {streams};"),
            &market.import_of(&noise(1, 10_000)).import(),
        );
        assert!(output.status.success(), "{output:?}");
        assert_eq!((market.visible().len(), market.staged().len()), (1, 0));
    }
}

#[test]
fn a_monitor_without_an_output_fails() {
    let market = Market::new();
    let dump = market.dump().monitor();
    let output =
        run(Command::new("sh").args(["-c", "exec \"$0\" monitor - >&-", EXECUTABLE]), dump);
    assert!(failure(&output, 1).starts_with("standard output: is closed"));
}

#[test]
fn modes_do_not_follow_the_umask() {
    for umask in ["umask 0;", "umask 0777;"] {
        let market = Market::new();
        let output = import_under(umask, &market.import_of(&noise(1, 10_000)).import());
        let source = answer(&output, "SOURCE");
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            mode(market.public().join(source.rsplit('/').next().unwrap())),
            0o644,
            "{umask}"
        );
        assert_eq!(mode(market.public().join(".market-staging")), 0o700, "{umask}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_leaves_nothing() {
    let market = Market::new();
    // In blocks of 512 bytes.
    let output = import_under("ulimit -f 1000;", &market.import_of(&noise(1, 3_000_000)).import());
    let line = failure(&output, 8);
    assert!(line.contains("File too large"), "{line}");
    market.assert_nothing();
}

#[test]
fn a_limit_on_threads_is_an_error_and_leaves_nothing() {
    let Some(setpriv) = require::program("setpriv", "util-linux") else { return };
    let Some(prlimit) = require::program("prlimit", "util-linux") else { return };
    if !rustix::process::geteuid().is_root() {
        return require::missing("root, to become a user whose processes can be counted");
    }
    // Nobody else on the machine runs anything under this number.
    const USER: &str = "48713";
    let market = Market::new();
    let dump = market.import_of(&noise(1, 3_000_000)).import();
    let place = market.directory.path();
    let executable = place.join("market-http");
    fs::copy(EXECUTABLE, &executable).unwrap();
    for path in [place, &market.public()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    for threads in 1..8 {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(&prlimit);
        command.arg(format!("--nproc={threads}")).arg(&executable).args(["import", "-"]);
        let output = run(&mut command, &dump);
        if output.status.success() {
            return;
        }
        let line = failure(&output, 1);
        assert!(line.contains("Resource temporarily unavailable"), "{threads}: {line}");
        market.assert_nothing();
    }
    panic!("seven threads do not suffice");
}

#[test]
fn no_core_file_holds_the_keys_of_a_driver() {
    let market = Market::new();
    let cores = "ulimit -c unlimited;";
    let mut control = Command::new("sh");
    control.args(["-c", &format!("{cores} kill -QUIT $$")]).current_dir(market.directory.path());
    if !control.output().unwrap().status.core_dumped() {
        return require::missing("core files, which this system does not write");
    }
    let bytes = noise(2, 3_000_000);
    let server = HttpServer::start(move |_, _| Reply::bytes(bytes.clone()).stall_after(1_000_000));
    let script = format!("{cores} exec \"$0\" import -");
    let mut child = start(
        Command::new("sh").args(["-c", &script, EXECUTABLE]).current_dir(market.directory.path()),
    );
    let dump = market.import_from(&server.url("/image"), &md5_hex(b"")).import();
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    assert!(market.wait_for_staged(&mut child, 0), "it ended");
    kill_process(Pid::from_child(&child), Signal::QUIT).unwrap();
    let status = child.wait_with_output().unwrap().status;
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::QUIT.as_raw()), false));
}
