//! Running a driver's executable as `oned` has it run, and reading what it says.

use market_core::template::Template;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Starts a command with all three standard streams connected.
///
/// # Panics
/// When it cannot be started.
pub fn start(command: &mut Command) -> Child {
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    streams.spawn().expect("the executable")
}

/// Runs a command with a dump on its standard input.
///
/// # Panics
/// When it cannot be run.
pub fn run(command: &mut Command, dump: impl AsRef<[u8]>) -> Output {
    let mut child = start(command);
    // One that refuses its arguments does not read on.
    let _ = child.stdin.take().expect("its standard input").write_all(dump.as_ref());
    child.wait_with_output().expect("its output")
}

/// All that was written to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one plain line of a failure, after the log lines.
///
/// # Panics
/// When it has succeeded, or ended with another code, or printed an answer, or anything but one
/// plain line.
pub fn failure(output: &Output, code: i32) -> String {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "a failure prints no answer");
    let is_log = |line: &&str| {
        ["ERROR: ", "WARN: ", "INFO: ", "DEBUG: "].iter().any(|level| line.starts_with(level))
    };
    let plain: Vec<_> = stderr.lines().filter(|line| !is_log(line)).collect();
    assert_eq!(plain.len(), 1, "{stderr}");
    plain[0].to_owned()
}

/// An attribute of a good answer.
///
/// # Panics
/// When it has failed, or the answer has no such attribute.
pub fn answer(output: &Output, name: &str) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    let template = Template::parse(&output.stdout).expect("an answer that oned can read");
    template.text(name).expect("one value").expect("the attribute").to_owned()
}

/// An executable of this workspace, for tests that need those of several packages: they stand where
/// the test itself was built.
///
/// # Panics
/// When it was not built: `cargo test --workspace` builds all of them.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let path = test.parent().and_then(Path::parent).expect("a target directory").join(name);
    assert!(
        path.is_file(),
        "{} is missing; build it with: cargo build --workspace --bins",
        path.display()
    );
    path
}
