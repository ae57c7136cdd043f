//! What goes to `oned`: whole lines, the answer to INIT first. A thread writes, so that nothing
//! stands still while `oned` does not read; then log lines are left out, and answers wait.

use crate::protocol::{Action, Level};
use market_core::encoding::encode_into;
use market_core::line::one_line;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many log lines may wait; further ones are only counted.
const MAX_LOG_LINES: usize = 2_000;

/// How long lines that came before INIT wait behind its answer.
const AFTER_INIT: Duration = Duration::from_millis(100);

/// The answer to INIT of one that cannot do anything.
pub(crate) const NOT_READY: &str = "INIT FAILURE - -\n";

/// The sending side.
#[derive(Clone)]
pub(crate) struct Output {
    sender: mpsc::UnboundedSender<Entry>,
    logs: Arc<Logs>,
}

#[derive(Default)]
struct Logs {
    waiting: AtomicUsize,
    left_out: AtomicUsize,
}

struct Entry {
    line: Vec<u8>,
    kind: Kind,
}

enum Kind {
    Init,
    Log,
    /// Told once it was written.
    Answer(Option<oneshot::Sender<()>>),
}

/// The writing thread.
pub(crate) struct WriterThread(std::sync::mpsc::Receiver<()>);

impl WriterThread {
    /// Waits until all is written, but not for ever.
    pub(crate) fn finish(self, patience: Duration) {
        let _ = self.0.recv_timeout(patience);
    }
}

impl Output {
    /// Starts the thread that writes to standard output.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start() -> io::Result<(Self, WriterThread)> {
        let (sender, entries) = mpsc::unbounded_channel();
        let (done, finished) = std::sync::mpsc::channel();
        let logs = Arc::new(Logs::default());
        let writer =
            Writer { initialised: false, held: Vec::new(), broken: false, logs: Arc::clone(&logs) };
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

    /// A log line.
    pub(crate) fn log(&self, level: Level, id: Option<i64>, text: &str) {
        if self.logs.waiting.load(Ordering::Relaxed) >= MAX_LOG_LINES {
            self.logs.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.logs.waiting.fetch_add(1, Ordering::Relaxed);
        self.send(log_line(level, id, text), Kind::Log);
    }

    /// An answer that cost nothing, as a whole line.
    pub(crate) fn send_answer(&self, line: String) {
        self.send(line, Kind::Answer(None));
    }

    /// An answer, as a whole line; returns once it was written, or cannot be.
    pub(crate) async fn answer(&self, line: String) {
        let (written, told) = oneshot::channel();
        self.send(line, Kind::Answer(Some(written)));
        let _ = told.await;
    }

    fn send(&self, line: String, kind: Kind) {
        let _ = self.sender.send(Entry { line: line.into_bytes(), kind });
    }
}

/// The line of a success that has nothing to tell.
pub(crate) fn success(action: Action, id: i64) -> String {
    format!("{} SUCCESS {id} -\n", action.word())
}

/// The line of a success with what an executable has printed.
pub(crate) fn success_with(action: Action, id: i64, printed: &[u8]) -> String {
    let mut line = format!("{} SUCCESS {id} ", action.word());
    line.reserve_exact(printed.len().div_ceil(3) * 4 + 1);
    encode_into(&mut line, if printed.is_empty() { b"-" } else { printed });
    line.push('\n');
    line
}

/// The line of a failure.
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
    /// What came before INIT was answered: `oned` takes the first thing that it reads for that
    /// answer.
    held: Vec<Entry>,
    /// Nobody reads any more.
    broken: bool,
    logs: Arc<Logs>,
}

impl Writer {
    fn run(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        while let Some(entry) = entries.blocking_recv() {
            if matches!(entry.kind, Kind::Init) {
                self.initialised = true;
                self.write(entry);
                if !self.held.is_empty() {
                    // oned takes what it reads first for the answer, and loses what comes with it.
                    std::thread::sleep(AFTER_INIT);
                }
                for held in std::mem::take(&mut self.held) {
                    self.write(held);
                }
            } else if self.initialised {
                self.write(entry);
            } else {
                self.held.push(entry);
            }
        }
    }

    fn write(&mut self, entry: Entry) {
        self.put(&entry.line);
        match entry.kind {
            Kind::Log if self.logs.waiting.fetch_sub(1, Ordering::Relaxed) == 1 => {
                self.say_what_was_left_out()
            }
            Kind::Answer(Some(written)) => drop(written.send(())),
            _ => {}
        }
    }

    fn say_what_was_left_out(&mut self) {
        let count = self.logs.left_out.swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format!("one_market: {count} log lines were left out: oned did not read");
            self.put(log_line(Level::Warn, None, &text).as_bytes());
        }
    }

    /// A broken pipe is no error: `oned` closes it when it ends.
    fn put(&mut self, line: &[u8]) {
        if !self.broken {
            self.broken = write_all(line).is_err();
        }
    }
}

/// Writes to standard output, which may have been left non-blocking by whoever shares it.
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
