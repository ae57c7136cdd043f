//! What can go wrong while bytes move.

use std::io;

/// The kind of an [`Error`]: what a program decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such file or object.
    Absent,
    /// Access was refused.
    Denied,
    /// The other side cannot be reached, fails, or is too slow; trying later may help.
    Unreachable,
    /// The other side cannot prove who it is.
    Untrusted,
    /// The bytes are not what they were, or not as many as was said.
    Changed,
    /// The bytes are not of the form that they begin with.
    Corrupt,
    /// A whole compressed stream is followed by bytes that belong to none.
    Trailing,
    /// There are more bytes than are allowed.
    TooLarge,
    /// No room is left.
    Full,
    /// The kind of source is not one that can be read.
    Unsupported,
    /// The location has no usable form.
    Malformed,
    /// Anything else that the system reports.
    Failed,
}

/// A transfer that failed: what was being read or written, and why. No message holds a URL's user,
/// password or query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {cause}")]
pub struct Error {
    /// What a program decides by.
    pub kind: ErrorKind,
    /// The path or URL, as it may be shown.
    pub subject: String,
    /// What happened.
    pub cause: String,
}

impl Error {
    /// An error of a kind about a subject.
    pub fn new(kind: ErrorKind, subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), cause: cause.into() }
    }

    /// An error that the system reported.
    pub fn io(subject: impl Into<String>, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Absent,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Denied
            }
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::Full,
            io::ErrorKind::TimedOut | io::ErrorKind::StaleNetworkFileHandle => {
                ErrorKind::Unreachable
            }
            _ => ErrorKind::Failed,
        };
        Self::new(kind, subject, system_text(error))
    }
}

/// The system's sentence without the number that Rust adds.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((sentence, _)) => sentence.to_owned(),
        None => text,
    }
}
