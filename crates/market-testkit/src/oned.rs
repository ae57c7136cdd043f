//! The other end of `one_market`: an installation of OpenNebula in a temporary directory, and an
//! `oned` that writes messages to its standard input and reads its answers.

use market_core::encoding::decode;
use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory for `ONE_LOCATION`, with drivers that the test installs. It is removed when this is
/// dropped.
#[derive(Debug)]
pub struct OneLocation(TempDir);

impl Default for OneLocation {
    fn default() -> Self {
        Self::new()
    }
}

impl OneLocation {
    /// An installation without drivers.
    ///
    /// # Panics
    /// When the directory cannot be created.
    pub fn new() -> Self {
        let location = Self(TempDir::new().expect("a directory"));
        for directory in ["var/remotes/market", "var/remotes/datastore", "etc"] {
            fs::create_dir_all(location.path().join(directory)).expect("a directory");
        }
        location
    }

    /// The value of `ONE_LOCATION`.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `<remotes>`, the directory of all drivers.
    pub fn remotes(&self) -> PathBuf {
        self.path().join("var/remotes")
    }

    /// Installs a shell script as an executable of a driver, such as `market/foreign/monitor`. The
    /// first line, `#!/bin/sh`, is added.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn script(&self, executable: &str, text: &str) {
        let path = self.executable(executable);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
    }

    /// Installs one executable as several actions of a driver, such as `market/http`.
    ///
    /// # Panics
    /// When it cannot be linked.
    pub fn install(&self, driver: &str, actions: &[&str], executable: &Path) {
        for action in actions {
            symlink(executable, self.executable(&format!("{driver}/{action}"))).expect("a link");
        }
    }

    fn executable(&self, executable: &str) -> PathBuf {
        let path = self.remotes().join(executable);
        fs::create_dir_all(path.parent().expect("a driver's directory")).expect("a directory");
        path
    }
}

/// How long anything may take before a test has failed.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A running `one_market`, and the `oned` that has started it.
#[derive(Debug)]
pub struct Oned {
    child: Child,
    stdin: Option<ChildStdin>,
    received: Arc<Received>,
}

/// What `oned` has read.
#[derive(Debug, Default)]
struct Received {
    lines: Mutex<Lines>,
    changed: Condvar,
    /// The reading end is to be closed.
    close: AtomicBool,
}

#[derive(Debug, Default)]
struct Lines {
    whole: Vec<String>,
    ended: bool,
}

impl Received {
    /// Reads lines until the end, or until the pipe is to be closed.
    fn listen(&self, mut stdout: ChildStdout) {
        let mut line = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        while !self.close.load(Ordering::Relaxed) {
            if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&moment)) == Ok(0) {
                continue;
            }
            let Ok(count @ 1..) = stdout.read(&mut buffer) else { break };
            for piece in buffer[..count].split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(piece);
                if line.pop_if(|last| *last == b'\n').is_some() {
                    let whole = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                    self.lines.lock().expect("lines").whole.push(whole);
                }
            }
            self.changed.notify_all();
        }
        drop(stdout);
        self.lines.lock().expect("lines").ended = true;
        self.changed.notify_all();
    }
}

impl Oned {
    /// Starts `one_market` as `oned` does, with its arguments as one word, and reads what it
    /// writes. INIT is not sent yet.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(one_market: &Path, location: &OneLocation, arguments: &str) -> Self {
        let mut oned = Self::start_without_reading(one_market, location, arguments);
        oned.listen();
        oned
    }

    /// As [`start`](Self::start), but nothing is read before [`listen`](Self::listen).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_without_reading(
        one_market: &Path,
        location: &OneLocation,
        arguments: &str,
    ) -> Self {
        let mut command = Command::new(one_market);
        command.arg(arguments).env("ONE_LOCATION", location.path());
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // oned blocks all signals, and what it starts inherits that.
        let before = SigSet::thread_get_mask().expect("the signal mask");
        SigSet::all().thread_set_mask().expect("a signal mask");
        let child = command.spawn();
        before.thread_set_mask().expect("the signal mask");
        let mut child = child.expect("one_market");
        let stdin = child.stdin.take();
        Self { child, stdin, received: Arc::default() }
    }

    /// Begins to read what `one_market` writes.
    ///
    /// # Panics
    /// When reading has begun before.
    pub fn listen(&mut self) {
        let stdout = self.child.stdout.take().expect("standard output, once");
        let received = Arc::clone(&self.received);
        std::thread::spawn(move || received.listen(stdout));
    }

    /// Closes the pipe that `one_market` writes to, before anything was read.
    ///
    /// # Panics
    /// When reading has begun.
    pub fn close_stdout(&mut self) {
        drop(self.child.stdout.take().expect("standard output, once"));
        self.received.lines.lock().expect("lines").ended = true;
    }

    /// The process id of `one_market`.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The standard input of `one_market`.
    ///
    /// # Panics
    /// After it was closed.
    pub fn stdin(&mut self) -> &mut ChildStdin {
        self.stdin.as_mut().expect("an open pipe")
    }

    /// Writes a line.
    ///
    /// # Panics
    /// When `one_market` has closed its standard input.
    pub fn say(&mut self, line: &str) {
        // In one write, so that a test that is killed leaves no half of a line.
        self.stdin().write_all(format!("{line}\n").as_bytes()).expect("a reader");
    }

    /// Sends INIT and waits for the answer.
    ///
    /// # Panics
    /// When the first line is not `INIT SUCCESS - -`.
    pub fn init(&mut self) {
        self.say("INIT");
        self.wait("the answer to INIT", |lines| (!lines.is_empty()).then_some(()));
        assert_eq!(self.lines()[0], "INIT SUCCESS - -");
    }

    /// Sends an action. The two blanks are those around the empty status field.
    pub fn ask(&mut self, action: &str, id: i64, dump: &str) {
        self.say(&format!("{action}  {id} {dump}"));
    }

    /// Waits for the answer to an action: `SUCCESS` or `FAILURE`, and the words behind the id.
    pub fn answer(&self, action: &str, id: i64) -> String {
        let begin = [format!("{action} SUCCESS {id} "), format!("{action} FAILURE {id} ")];
        self.wait(&format!("an answer to {action} {id}"), |lines| {
            let line = lines
                .iter()
                .find(|line| begin.iter().any(|begin| line.starts_with(begin.as_str())))?;
            let mut words = line.splitn(4, ' ').skip(1);
            Some(format!("{} {}", words.next()?, words.nth(1)?))
        })
    }

    /// Sends an action and waits for its answer.
    pub fn call(&mut self, action: &str, id: i64, dump: &str) -> String {
        self.ask(action, id, dump);
        self.answer(action, id)
    }

    /// Sends an action and waits for its success: what the executable has printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn printed(&mut self, action: &str, id: i64, dump: &str) -> String {
        self.ask(action, id, dump);
        self.printed_by(action, id)
    }

    /// Waits for the success of an action that was sent before: what the executable has printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn printed_by(&self, action: &str, id: i64) -> String {
        let answer = self.answer(action, id);
        let word =
            answer.strip_prefix("SUCCESS ").unwrap_or_else(|| panic!("{action} {id}: {answer}"));
        String::from_utf8(decode(word.as_bytes()).expect("base64")).expect("text")
    }

    /// Sends an action and waits for its failure: the text of the answer.
    ///
    /// # Panics
    /// When it succeeded.
    pub fn failure(&mut self, action: &str, id: i64, dump: &str) -> String {
        let answer = self.call(action, id, dump);
        answer
            .strip_prefix("FAILURE ")
            .unwrap_or_else(|| panic!("{action} {id}: {answer}"))
            .to_owned()
    }

    /// All lines that were read so far.
    ///
    /// # Panics
    /// When the reading thread has panicked.
    pub fn lines(&self) -> Vec<String> {
        self.received.lines.lock().expect("lines").whole.clone()
    }

    /// Waits until `found` finds something in the lines that were read so far. `sought` says what,
    /// for the message of a failure.
    ///
    /// # Panics
    /// After two minutes, or when `one_market` has closed its output before.
    pub fn wait<T>(&self, sought: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = self.received.lines.lock().expect("lines");
        loop {
            if let Some(found) = found(&lines.whole) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let all = &lines.whole;
            assert!(
                !lines.ended && !left.is_zero(),
                "{sought} did not come; {} lines: {:.2000}",
                all.len(),
                format!("{all:?}")
            );
            lines = self.received.changed.wait_timeout(lines, left).expect("lines").0;
        }
    }

    /// Closes the standard input of `one_market` and waits until it has exited: all lines, and its
    /// exit status.
    ///
    /// # Panics
    /// When it does not exit within two minutes.
    pub fn end(mut self) -> (Vec<String>, ExitStatus) {
        self.stdin = None;
        let status = self.ended();
        let lines = self.received.lines.lock().expect("lines");
        let (lines, waited) = self
            .received
            .changed
            .wait_timeout_while(lines, TIMEOUT, |lines| !lines.ended)
            .expect("lines");
        assert!(!waited.timed_out(), "its output does not end");
        (lines.whole.clone(), status)
    }

    /// Sends FINALIZE as `oned` does, which closes both pipes right after it, and waits for the
    /// exit status.
    ///
    /// # Panics
    /// When `one_market` does not exit within two minutes.
    pub fn finalize(mut self) -> ExitStatus {
        self.say("FINALIZE");
        self.stdin = None;
        self.received.close.store(true, Ordering::Relaxed);
        self.ended()
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Oned {
    /// Leaves nothing running when a test has failed: at the end of its input `one_market` stops
    /// its executables, within 10 seconds.
    fn drop(&mut self) {
        self.stdin = None;
        let deadline = Instant::now() + Duration::from_secs(11);
        while Instant::now() < deadline
            && self.child.try_wait().is_ok_and(|status| status.is_none())
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
