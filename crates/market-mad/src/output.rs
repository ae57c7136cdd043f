//! Writing to `oned`: whole lines on standard output, the answer to INIT first. A thread of its own
//! writes, so that nothing blocks while `oned` does not read. Meanwhile log lines beyond a limit
//! are dropped, and answers wait.

use crate::protocol::{Action, Level};
use market_core::encoding::encode_into;
use market_core::line::one_line;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many log lines may wait to be written; further ones are dropped and counted.
const MAX_LOG_LINES: usize = 2_000;

/// How long the lines that wait for INIT are held back after its answer: `oned` takes what it reads
/// first for the answer, and loses what it reads together with it.
const PAUSE_AFTER_INIT: Duration = Duration::from_millis(100);

/// The answer to INIT when `one_market` cannot work.
pub(crate) const INIT_FAILURE: &str = "INIT FAILURE - -\n";

/// Sends lines to the thread that writes them.
#[derive(Clone)]
pub(crate) struct Output {
    sender: mpsc::UnboundedSender<Entry>,
    logs: Arc<Logs>,
}

#[derive(Default)]
struct Logs {
    waiting: AtomicUsize,
    dropped: AtomicUsize,
}

struct Entry {
    line: Vec<u8>,
    kind: Kind,
}

enum Kind {
    Init,
    Log,
    /// Whoever waits is notified once it was written.
    Answer(Option<oneshot::Sender<()>>),
}

/// The writing thread.
pub(crate) struct WriterThread(std::sync::mpsc::Receiver<()>);

impl WriterThread {
    /// Waits until all lines are written, at most for `limit`.
    pub(crate) fn finish(self, limit: Duration) {
        let _ = self.0.recv_timeout(limit);
    }
}

impl Output {
    /// Starts the thread that writes to standard output.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start() -> io::Result<(Self, WriterThread)> {
        let (sender, entries) = mpsc::unbounded_channel();
        let (done, finished) = std::sync::mpsc::channel();
        let logs = Arc::new(Logs::default());
        let writer = Writer {
            initialised: false,
            held_back: Vec::new(),
            is_closed: false,
            logs: Arc::clone(&logs),
        };
        std::thread::Builder::new().spawn(move || {
            writer.run(entries);
            let _ = done.send(());
        })?;
        Ok((Self { sender, logs }, WriterThread(finished)))
    }

    /// Answers INIT.
    pub(crate) fn init(&self) {
        self.send("INIT SUCCESS - -\n".to_owned(), Kind::Init);
    }

    /// Sends a log line; `id` is the action's.
    pub(crate) fn log(&self, level: Level, id: Option<i64>, text: &str) {
        if self.logs.waiting.load(Ordering::Relaxed) >= MAX_LOG_LINES {
            self.logs.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.logs.waiting.fetch_add(1, Ordering::Relaxed);
        self.send(log_line(level, id, text), Kind::Log);
    }

    /// Sends an answer, a whole line, without waiting until it is written.
    pub(crate) fn send_answer(&self, line: String) {
        self.send(line, Kind::Answer(None));
    }

    /// Sends an answer, a whole line, and waits until it was written or cannot be.
    pub(crate) async fn answer(&self, line: String) {
        let (written, is_written) = oneshot::channel();
        self.send(line, Kind::Answer(Some(written)));
        let _ = is_written.await;
    }

    fn send(&self, line: String, kind: Kind) {
        let _ = self.sender.send(Entry { line: line.into_bytes(), kind });
    }
}

/// The answer line of a success without output.
pub(crate) fn success(action: Action, id: i64) -> String {
    format!("{} SUCCESS {id} -\n", action.word())
}

/// The answer line of a success with what an executable has printed, in base64.
pub(crate) fn success_with(action: Action, id: i64, printed: &[u8]) -> String {
    let mut line = format!("{} SUCCESS {id} ", action.word());
    line.reserve_exact(printed.len().div_ceil(3) * 4 + 1);
    encode_into(&mut line, if printed.is_empty() { b"-" } else { printed });
    line.push('\n');
    line
}

/// The answer line of a failure.
pub(crate) fn failure(action: Action, id: i64, text: &str) -> String {
    let text = one_line(text.trim());
    format!("{} FAILURE {id} {}\n", action.word(), if text.is_empty() { "-" } else { &text })
}

fn log_line(level: Level, id: Option<i64>, text: &str) -> String {
    let text = one_line(text.trim());
    match id {
        Some(id) => format!("LOG {level} {id} {text}\n"),
        None => format!("LOG {level} - {text}\n"),
    }
}

struct Writer {
    initialised: bool,
    /// Lines from before the answer to INIT.
    held_back: Vec<Entry>,
    /// A write has failed: `oned` has closed the pipe.
    is_closed: bool,
    logs: Arc<Logs>,
}

impl Writer {
    fn run(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        while let Some(entry) = entries.blocking_recv() {
            if matches!(entry.kind, Kind::Init) {
                self.initialised = true;
                self.write(entry);
                if !self.held_back.is_empty() {
                    std::thread::sleep(PAUSE_AFTER_INIT);
                }
                for entry in std::mem::take(&mut self.held_back) {
                    self.write(entry);
                }
            } else if self.initialised {
                self.write(entry);
            } else {
                self.held_back.push(entry);
            }
        }
    }

    fn write(&mut self, entry: Entry) {
        self.write_line(&entry.line);
        match entry.kind {
            Kind::Log if self.logs.waiting.fetch_sub(1, Ordering::Relaxed) == 1 => {
                self.log_dropped_lines()
            }
            Kind::Answer(Some(written)) => drop(written.send(())),
            _ => {}
        }
    }

    fn log_dropped_lines(&mut self) {
        let count = self.logs.dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format!("one_market: {count} log lines were left out: oned did not read");
            self.write_line(log_line(Level::Warn, None, &text).as_bytes());
        }
    }

    /// A closed pipe is no error: `oned` closes it when it ends.
    fn write_line(&mut self, line: &[u8]) {
        if !self.is_closed {
            self.is_closed = write_all(line).is_err();
        }
    }
}

/// Writes to standard output, which whoever shares it may have made non-blocking.
fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout, bytes).map_err(io::Error::from) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
