//! What can go wrong while bytes are read, moved and stored.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

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

/// A transfer that failed: what was being read or written, and why, on one line.
///
/// No message holds a URL's user, password or query, and neither does any
/// [`source`](StdError::source). This crate attaches three types: [`io::Error`], [`HttpStatus`] and
/// [`Distrust`]; who attaches others keeps to the same rule. The sentence is complete: nobody needs to print the source too. That is for
/// programs, which ask with [`caused_by`](Self::caused_by).
///
/// ```
/// use market_transfer::{Error, ErrorKind};
///
/// let error = Error::io("/nonexistent", &std::fs::read("/nonexistent").unwrap_err());
/// assert_eq!(error.kind, ErrorKind::Absent);
/// assert_eq!(error.to_string(), "/nonexistent: No such file or directory");
/// let system = error.caused_by::<std::io::Error>().unwrap();
/// assert_eq!(system.kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    /// What a program decides by.
    pub kind: ErrorKind,
    /// The path or URL, as it may be shown.
    pub subject: String,
    /// What happened.
    pub cause: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Two are equal when they say the same; what they were made from does not count.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, &self.subject, &self.cause) == (&other.kind, &other.subject, &other.cause)
    }
}

impl Eq for Error {}

impl Error {
    /// An error of a kind about a subject.
    pub fn new(kind: ErrorKind, subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), cause: cause.into(), source: None }
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
        Self::new(kind, subject, system_text(error)).with_source(same(error))
    }

    /// The same of another kind.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same about another subject.
    #[must_use]
    pub fn with_subject(self, subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..self }
    }

    /// The same with another cause.
    #[must_use]
    pub fn with_cause(self, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), ..self }
    }

    /// The same with the error that it was made from. Neither its text nor its `Debug` may hold a
    /// secret.
    #[must_use]
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// What it was made from, when that is of this type.
    pub fn caused_by<T: StdError + 'static>(&self) -> Option<&T> {
        find_cause(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The status of an HTTP response that is none to what was asked for, such as 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("HTTP status {0}")]
pub struct HttpStatus(pub u16);

/// Why the certificate of a server is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It was valid once.
    #[error("has expired")]
    Expired,
    /// It will be valid, or the clock of this machine is wrong.
    #[error("is not valid yet: is the clock of this machine right?")]
    NotYetValid,
    /// It is one for another host name or address.
    #[error("is one for another name")]
    OtherName,
    /// It is signed by nobody who is trusted here.
    #[error("is signed by nobody who is trusted here")]
    UnknownIssuer,
    /// It is none for servers: most of all, an authority shows its own certificate.
    #[error("is none that a trusted authority gives to a server: is it self-signed?")]
    Unfit,
    /// Anything else.
    #[error("cannot be trusted")]
    Other,
}

/// The first error of a type in the chain of the sources of an error, that error excluded. An
/// [`io::Error`] that wraps another error is passed over together with what it is made of.
pub fn find_cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = inner(cause);
    }
    None
}

/// The next error of a chain; of an [`io::Error`] the one that it wraps, which its
/// [`source`](StdError::source) passes over.
pub(crate) fn inner<'a>(
    cause: &'a (dyn StdError + 'static),
) -> Option<&'a (dyn StdError + 'static)> {
    let held = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.map(|held| held as &(dyn StdError + 'static)).or_else(|| cause.source())
}

/// The same error once more. Of one that wraps another the kind alone is kept: nobody knows what
/// the text of that holds.
fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The system's sentence without the number that Rust adds.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((sentence, _)) => sentence.to_owned(),
        None => text,
    }
}
