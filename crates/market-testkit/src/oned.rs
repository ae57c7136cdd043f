//! The other end of `one_market`: an installation of OpenNebula in a directory of its own, and what
//! `oned` says and hears over the two pipes.

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

/// An `ONE_LOCATION` with drivers of the test's choice.
pub struct OneLocation(TempDir);

impl Default for OneLocation {
    fn default() -> Self {
        Self::new()
    }
}

impl OneLocation {
    /// One without a driver.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        let location = Self(TempDir::new().expect("a directory"));
        for directory in ["var/remotes/market", "var/remotes/datastore", "etc"] {
            fs::create_dir_all(location.path().join(directory)).expect("a directory");
        }
        location
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `<remotes>`.
    pub fn remotes(&self) -> PathBuf {
        self.path().join("var/remotes")
    }

    /// Installs a shell script as an executable of a driver (`market/foreign/monitor`).
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn script(&self, executable: &str, text: &str) {
        let path = self.executable(executable);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
    }

    /// Installs one of our executables as several of a driver.
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

/// How long anything may take before a test has failed. Nothing waits for so long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `one_market`, seen from `oned`.
pub struct Oned {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    lines: Mutex<Lines>,
    news: Condvar,
    /// Its standard output is to be closed.
    close: AtomicBool,
}

#[derive(Default)]
struct Lines {
    whole: Vec<String>,
    ended: bool,
}

impl Heard {
    /// Reads lines to the end, or until nobody wants them any more.
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
            self.news.notify_all();
        }
        drop(stdout);
        self.lines.lock().expect("lines").ended = true;
        self.news.notify_all();
    }
}

impl Oned {
    /// Starts `one_market` as `oned` does: its arguments are one word. INIT is not said yet.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(one_market: &Path, location: &OneLocation, arguments: &str) -> Self {
        let mut oned = Self::start_unheard(one_market, location, arguments);
        oned.listen();
        oned
    }

    /// As [`start`](Self::start), but nothing is read from it before [`listen`](Self::listen).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_unheard(one_market: &Path, location: &OneLocation, arguments: &str) -> Self {
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
        Self { child, stdin, heard: Arc::default() }
    }

    /// Begins to read.
    ///
    /// # Panics
    /// When it has begun before.
    pub fn listen(&mut self) {
        let stdout = self.child.stdout.take().expect("standard output, once");
        let heard = Arc::clone(&self.heard);
        std::thread::spawn(move || heard.listen(stdout));
    }

    /// Closes the pipe that it writes to, without having read from it.
    ///
    /// # Panics
    /// When [`listen`](Self::listen) has begun.
    pub fn close_stdout(&mut self) {
        drop(self.child.stdout.take().expect("standard output, once"));
        self.heard.lines.lock().expect("lines").ended = true;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input.
    ///
    /// # Panics
    /// After it was closed.
    pub fn stdin(&mut self) -> &mut ChildStdin {
        self.stdin.as_mut().expect("an open pipe")
    }

    /// Says a line.
    ///
    /// # Panics
    /// When nobody takes it.
    pub fn say(&mut self, line: &str) {
        // In one piece: what says it may be killed at any time.
        self.stdin().write_all(format!("{line}\n").as_bytes()).expect("a reader");
    }

    /// Says INIT and hears the answer.
    ///
    /// # Panics
    /// When it is another one, or not the first line.
    pub fn init(&mut self) {
        self.say("INIT");
        self.wait("the answer to INIT", |lines| (!lines.is_empty()).then_some(()));
        assert_eq!(self.lines()[0], "INIT SUCCESS - -");
    }

    /// Asks for an action: two blanks, as the empty status field makes them.
    pub fn ask(&mut self, action: &str, id: i64, dump: &str) {
        self.say(&format!("{action}  {id} {dump}"));
    }

    /// The answer to an action: its words behind the id, with SUCCESS or FAILURE before them.
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

    /// Asks and hears the answer.
    pub fn call(&mut self, action: &str, id: i64, dump: &str) -> String {
        self.ask(action, id, dump);
        self.answer(action, id)
    }

    /// What a successful action has printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn printed(&mut self, action: &str, id: i64, dump: &str) -> String {
        self.ask(action, id, dump);
        self.printed_by(action, id)
    }

    /// What an action that was asked for before has printed.
    ///
    /// # Panics
    /// When it failed.
    pub fn printed_by(&self, action: &str, id: i64) -> String {
        let answer = self.answer(action, id);
        let word =
            answer.strip_prefix("SUCCESS ").unwrap_or_else(|| panic!("{action} {id}: {answer}"));
        String::from_utf8(decode(word.as_bytes()).expect("base64")).expect("text")
    }

    /// Why an action failed.
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

    /// All lines so far.
    ///
    /// # Panics
    /// Never.
    pub fn lines(&self) -> Vec<String> {
        self.heard.lines.lock().expect("lines").whole.clone()
    }

    /// Waits until the lines so far have what is sought.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait<T>(&self, sought: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.heard.lines.lock().expect("lines");
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
            lines = self.heard.news.wait_timeout(lines, left).expect("lines").0;
        }
    }

    /// Closes its standard input and waits for its end; all lines, and how it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(mut self) -> (Vec<String>, ExitStatus) {
        self.stdin = None;
        let status = self.ended();
        let lines = self.heard.lines.lock().expect("lines");
        let (lines, waited) = self
            .heard
            .news
            .wait_timeout_while(lines, PATIENCE, |lines| !lines.ended)
            .expect("lines");
        assert!(!waited.timed_out(), "its output does not end");
        (lines.whole.clone(), status)
    }

    /// FINALIZE as `oned` says it: both pipes are closed right behind it. How it ended.
    ///
    /// # Panics
    /// When nobody takes it, or it does not end.
    pub fn finalize(mut self) -> ExitStatus {
        self.say("FINALIZE");
        self.stdin = None;
        self.heard.close.store(true, Ordering::Relaxed);
        self.ended()
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
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
    /// A test that has failed leaves nothing running: at the end of its input it ends what it has
    /// started.
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
