//! The words of the protocol between `oned` and its drivers.

use std::fmt;

/// An action that `oned` asks for and that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Monitor,
    Import,
    Delete,
}

impl Action {
    /// The action of a word, in any letter case.
    pub(crate) fn parse(word: &[u8]) -> Option<Self> {
        [Self::Monitor, Self::Import, Self::Delete]
            .into_iter()
            .find(|action| word.eq_ignore_ascii_case(action.word().as_bytes()))
    }

    /// Its word in messages and answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Monitor => "MONITOR",
            Self::Import => "IMPORT",
            Self::Delete => "DELETE",
        }
    }

    /// The name of its executable in the directory of a market driver.
    pub(crate) fn executable(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Import => "import",
            Self::Delete => "delete",
        }
    }
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    /// The level and the text of a log line (`WARN: text`) on a driver's standard error; `None` for
    /// any other line.
    pub(crate) fn of_line(line: &str) -> Option<(Self, &str)> {
        let (word, rest) = line.trim().split_once(':')?;
        let level = match word {
            "ERROR" => Self::Error,
            "WARN" => Self::Warn,
            "INFO" => Self::Info,
            "DEBUG" => Self::Debug,
            _ => return None,
        };
        rest.starts_with(|c: char| c.is_ascii_whitespace()).then(|| (level, rest.trim()))
    }
}

impl fmt::Display for Level {
    /// The letter in a LOG line for `oned`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "E",
            Self::Warn => "W",
            Self::Info => "I",
            Self::Debug => "D",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_has_a_level_a_colon_and_a_blank() {
        assert_eq!(Level::of_line("  WARN: import: late "), Some((Level::Warn, "import: late")));
        assert_eq!(Level::of_line("INFO: 12 blocks"), Some((Level::Info, "12 blocks")));
        for other in ["WARNING: x", "INFO:x", "info: x", "x", "INFO", ""] {
            assert_eq!(Level::of_line(other), None, "{other}");
        }
    }
}
