//! Runs a driver's executable as `one_market` does, and checks what it writes.

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

/// Runs a command with a dump on its standard input, until it has exited.
///
/// # Panics
/// When it cannot be run.
pub fn run(command: &mut Command, dump: impl AsRef<[u8]>) -> Output {
    let mut child = start(command);
    // An executable that refuses its arguments exits without reading.
    let _ = child.stdin.take().expect("its standard input").write_all(dump.as_ref());
    child.wait_with_output().expect("its output")
}

/// What the command has written to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The message of a failure: the one line on standard error that is no log line.
///
/// # Panics
/// When the exit code is another one, something was printed to standard output, or there is not
/// exactly one such line.
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

/// An attribute of the answer of a success.
///
/// # Panics
/// When the command has failed, or the answer has no such attribute.
pub fn answer(output: &Output, name: &str) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    let template = Template::parse(&output.stdout).expect("an answer that oned can read");
    template.text(name).expect("one value").expect("the attribute").to_owned()
}

/// The path of an executable of this workspace, for tests that need executables of several
/// packages. It is in the target directory of the test itself.
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
