//! Log lines in the form that `oned` understands: `LEVEL: <script>: <text>` on standard error.
//!
//! Any other line on standard error becomes part of the failure message that a user sees
//! (docs/driver-contract.md section 4), so everything but that one message goes through here.

use crate::line::one_line;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// The levels of `oned.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be, and the action goes on.
    Warn,
    /// What was done.
    Info,
    /// Details.
    Debug,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        })
    }
}

/// Where log lines go.
#[derive(Clone, Debug)]
pub struct Log {
    script: Arc<str>,
    sink: Sink,
}

#[derive(Clone, Debug)]
enum Sink {
    Stderr,
    Memory(Arc<Mutex<Vec<String>>>),
}

impl Log {
    /// To standard error, under the name of the executable (`import`).
    pub fn stderr(script: &str) -> Self {
        Self { script: script.into(), sink: Sink::Stderr }
    }

    /// Into memory, for tests: see [`lines`](Self::lines).
    pub fn memory(script: &str) -> Self {
        Self { script: script.into(), sink: Sink::Memory(Arc::default()) }
    }

    /// What a log in memory has collected.
    pub fn lines(&self) -> Vec<String> {
        match &self.sink {
            Sink::Stderr => Vec::new(),
            Sink::Memory(lines) => lines.lock().map(|lines| lines.clone()).unwrap_or_default(),
        }
    }

    /// Writes one line; line breaks and control characters inside the text are escaped.
    pub fn line(&self, level: Level, text: impl fmt::Display) {
        let line = format!("{level}: {}: {}", self.script, one_line(&text.to_string()));
        match &self.sink {
            // A log that nobody reads must not stop the work.
            Sink::Stderr => drop(writeln!(std::io::stderr(), "{line}")),
            Sink::Memory(lines) => drop(lines.lock().map(|mut lines| lines.push(line))),
        }
    }

    /// A line of level ERROR.
    pub fn error(&self, text: impl fmt::Display) {
        self.line(Level::Error, text);
    }

    /// A line of level WARN.
    pub fn warn(&self, text: impl fmt::Display) {
        self.line(Level::Warn, text);
    }

    /// A line of level INFO.
    pub fn info(&self, text: impl fmt::Display) {
        self.line(Level::Info, text);
    }

    /// A line of level DEBUG.
    pub fn debug(&self, text: impl fmt::Display) {
        self.line(Level::Debug, text);
    }
}
