//! The words of the protocol.

use std::fmt;

/// An action that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Monitor,
    Import,
    Delete,
}

impl Action {
    /// By its word, in any letter case.
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        [Self::Monitor, Self::Import, Self::Delete]
            .into_iter()
            .find(|action| word.eq_ignore_ascii_case(action.word().as_bytes()))
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Monitor => "MONITOR",
            Self::Import => "IMPORT",
            Self::Delete => "DELETE",
        }
    }

    /// The name of its executable.
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
    /// The level and the text of a line of a driver's standard error, when it is a log line.
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
