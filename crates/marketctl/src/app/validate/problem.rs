//! What is wrong with entries, as it is collected.

use super::entry::Entry;
use serde::Serialize;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Level {
    /// A marketplace or a client cannot use the entry, or reads otherwise than it looks.
    Error,
    /// It is used, and looks like a mistake.
    Warn,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    pub(super) level: Level,
    pub(super) file: String,
    /// The entry's name, or its place in the file.
    pub(super) entry: String,
    /// The path of the field; empty for an entry as a whole.
    pub(super) field: String,
    pub(super) problem: String,
}

/// The most problems that are kept, and the most characters of each of their texts.
const MAX_PROBLEMS: usize = 5_000;
const MAX_CHARS: usize = 400;

/// The problems of all entries.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) found: Vec<Problem>,
    /// How many there are beyond those.
    pub(super) more: usize,
}

/// The first characters of a text.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

impl Problems {
    pub(super) fn add(
        &mut self,
        level: Level,
        file: &str,
        entry: &str,
        field: &str,
        problem: impl Into<String>,
    ) {
        if self.found.len() == MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let (file, entry, field, problem) =
            (file.to_owned(), cut(entry), cut(field), cut(&problem.into()));
        self.found.push(Problem { level, file, entry, field, problem });
    }

    pub(super) fn error(&mut self, entry: &Entry, field: &str, problem: impl Into<String>) {
        self.add(Level::Error, &entry.file, &entry.label, field, problem);
    }

    pub(super) fn warn(&mut self, entry: &Entry, field: &str, problem: impl Into<String>) {
        self.add(Level::Warn, &entry.file, &entry.label, field, problem);
    }
}
