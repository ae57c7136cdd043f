//! Log lines in the form that `oned` understands: `LEVEL: <script>: <text>` on standard error, such
//! as `WARN: import: the answer could not be delivered`. They get into `oned.log`.
//!
//! Any other line on standard error becomes part of the failure message that a user sees
//! (docs/driver-contract.md section 4), so everything but that one message goes through here. No key
//! or password is ever logged, and a URL only in its
//! [redacted](crate::transfer::redacted) form.

use crate::line::one_line;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// The levels of log lines, as `oned.log` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// An action, or a part of it, failed.
    Error,
    /// Something is not as it should be; the action goes on.
    Warn,
    /// What was done.
    Info,
    /// Details for the analysis of a fault.
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

/// Where log lines go. Clones write to the same place.
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
    /// A log on standard error, under the name of the action (`import`).
    pub fn stderr(script: &str) -> Self {
        Self { script: script.into(), sink: Sink::Stderr }
    }

    /// A log in memory, for tests: [`lines`](Self::lines) returns what was written.
    pub fn memory(script: &str) -> Self {
        Self { script: script.into(), sink: Sink::Memory(Arc::default()) }
    }

    /// The lines of a log in memory; none of a log on standard error.
    pub fn lines(&self) -> Vec<String> {
        match &self.sink {
            Sink::Stderr => Vec::new(),
            Sink::Memory(lines) => lines.lock().map(|lines| lines.clone()).unwrap_or_default(),
        }
    }

    /// Writes one line. Line breaks and control characters in the text are escaped. A log that
    /// cannot be written is no error.
    pub fn line(&self, level: Level, text: impl fmt::Display) {
        let line = format!("{level}: {}: {}", self.script, one_line(&text.to_string()));
        match &self.sink {
            Sink::Stderr => drop(writeln!(std::io::stderr(), "{line}")),
            Sink::Memory(lines) => drop(lines.lock().map(|mut lines| lines.push(line))),
        }
    }

    /// Writes a line of level [`Error`](Level::Error).
    pub fn error(&self, text: impl fmt::Display) {
        self.line(Level::Error, text);
    }

    /// Writes a line of level [`Warn`](Level::Warn).
    pub fn warn(&self, text: impl fmt::Display) {
        self.line(Level::Warn, text);
    }

    /// Writes a line of level [`Info`](Level::Info).
    pub fn info(&self, text: impl fmt::Display) {
        self.line(Level::Info, text);
    }

    /// Writes a line of level [`Debug`](Level::Debug).
    pub fn debug(&self, text: impl fmt::Display) {
        self.line(Level::Debug, text);
    }
}
