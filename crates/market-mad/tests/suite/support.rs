//! An installation whose drivers are shell scripts.

use market_testkit::dump::Dump;
use market_testkit::oned::{OneLocation, Oned};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The executable.
pub(crate) const ONE_MARKET: &str = env!("CARGO_BIN_EXE_one_market");

/// Starts it, and exchanges INIT.
pub(crate) fn start(location: &OneLocation, arguments: &str) -> Oned {
    let mut oned = Oned::start(Path::new(ONE_MARKET), location, arguments);
    oned.init();
    oned
}

/// A message about an app in the marketplace of the foreign driver.
pub(crate) fn foreign(app: i64) -> Dump {
    Dump { app, market_mad: "foreign".into(), ds_mad: "foreign".into(), ..Dump::default() }
}

/// A foreign driver whose executables all run this script.
pub(crate) fn installation(script: &str) -> OneLocation {
    let location = OneLocation::new();
    for executable in ["monitor", "import", "delete"] {
        location.script(&format!("market/foreign/{executable}"), script);
    }
    location.script("datastore/foreign/export", EXPORT);
    location
}

/// An `export` that names no temporary. The quote at the end is the stock one's.
pub(crate) const EXPORT: &str = "echo '<IMPORT_INFO><IMPORT_SOURCE>/image</IMPORT_SOURCE>\
     <MD5>m</MD5><SIZE>7</SIZE><FORMAT>raw</FORMAT><DISPOSE>NO</DISPOSE><DISPOSE_CMD/>\
     </IMPORT_INFO>\"'";

/// A script that logs "at work", and exits when [`let_them_finish`] has made a file.
pub(crate) const WAITS: &str =
    "echo INFO: at work >&2; while [ ! -e go ]; do sleep 0.02; done; echo 'SOURCE=\"there\"'";

/// Waits until the script of an action has logged "at work".
pub(crate) fn wait_until_at_work(oned: &Oned, id: i64) {
    let line = format!("LOG I {id} at work");
    oned.wait(&line, |lines| lines.contains(&line).then_some(()));
}

/// Lets all scripts exit that are [`WAITS`].
pub(crate) fn let_them_finish(location: &OneLocation) {
    fs::write(location.path().join("var/go"), "").unwrap();
}

/// How many log lines so far hold a text.
pub(crate) fn count_logs(oned: &Oned, text: &str) -> usize {
    oned.lines().iter().filter(|line| line.starts_with("LOG ") && line.contains(text)).count()
}

/// Starts `one_market` by a shell that runs `setup` before it, sends messages and closes its
/// standard input: all that it writes.
pub(crate) fn run_in_shell(location: &OneLocation, setup: &str, messages: &str) -> String {
    let mut child = Command::new("/bin/sh");
    child
        .args(["-c", &format!("{setup}; exec \"$0\" \"$@\""), ONE_MARKET, ""])
        .env("ONE_LOCATION", location.path());
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(messages.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
