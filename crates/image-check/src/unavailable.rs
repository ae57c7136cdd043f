//! Why a part of an image could not be looked at.

use serde::Serialize;
use std::fmt;
use std::io;

/// Why a check could not be made. A skipped check says nothing about the image: neither that it is
/// good, nor that it is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SkipReason {
    /// The [time limit](crate::Options::time_limit) was over before this part had its turn.
    TimeLimit,
    /// There is more of it than is read: blocks of a file system, names of a directory, links on a
    /// path, lines of a file. The bounds protect against images that were made to exhaust a reader.
    TooLarge,
    /// A container, a file system or one of its features that is not read here.
    Unsupported,
    /// It is encrypted.
    Encrypted,
    /// The structures of the disk or of a file system contradict themselves, or end too early.
    Damaged,
    /// No Linux system, or nothing of the kind that the check is about, is there.
    NotFound,
    /// There are several systems, and nothing tells which one starts.
    Ambiguous,
    /// It is in another file or on another disk, which is never opened.
    Elsewhere,
    /// Nothing was declared that it could be compared with, or no checksum was computed.
    NotDeclared,
    /// Only the beginning of a stream was there: see [`check_head`](crate::check_head).
    HeadOnly,
    /// The operating system could not read the image's file.
    Io,
}

/// Why a part of an image could not be looked at: the kind, which decisions read, and a sentence
/// for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) reason: SkipReason,
    pub(crate) message: String,
}

impl Unavailable {
    pub(crate) fn new(reason: SkipReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(SkipReason::Damaged, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(SkipReason::TooLarge, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SkipReason::Unsupported, message)
    }

    /// The same reason, with what it is about before the message.
    pub(crate) fn about(self, subject: impl fmt::Display) -> Self {
        Self { message: format!("{subject}: {}", self.message), ..self }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Self::new(SkipReason::Io, error.to_string())
    }
}
