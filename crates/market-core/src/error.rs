//! One error for everything a driver does: a kind for programs, a sentence for operators.

use crate::action::DumpError;
use crate::report::ReportError;
use market_checksum::Mismatch;
use market_transfer as transfer;
use std::borrow::Cow;
use std::fmt;

/// What a program decides by; each kind has its own [exit code](ErrorKind::exit_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The executable was called in a way that it does not know.
    Usage,
    /// The dump is not one, or not of the expected kind.
    Dump,
    /// An attribute of the marketplace or datastore is missing or wrong.
    Config,
    /// Access was refused.
    Denied,
    /// Something that must be there is not.
    Absent,
    /// Something that must not be there is.
    Exists,
    /// No room is left.
    Full,
    /// The bytes are not those that were announced.
    Mismatch,
    /// The other side cannot be reached or fails; trying later may help.
    Unreachable,
    /// Not supported, or refused on purpose.
    Unsupported,
    /// Stopped by a signal, or nobody is left to take the answer.
    Cancelled,
    /// Anything else.
    Failed,
}

impl ErrorKind {
    /// The exit code of an executable that fails with this kind (docs/run-the-drivers.md lists
    /// them).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Dump => 3,
            Self::Config => 4,
            Self::Denied => 5,
            Self::Absent => 6,
            Self::Exists => 7,
            Self::Full => 8,
            Self::Mismatch => 9,
            Self::Unreachable => 10,
            Self::Unsupported => 11,
            Self::Cancelled => 12,
        }
    }
}

/// A failure: what it is about, why, and what to do.
///
/// ```
/// use market_core::error::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Full, "PUBLIC_DIR /srv/market", "4096 MiB are needed, 100 MiB are free")
///     .remedy("free some space or use a larger disk");
/// assert_eq!(
///     error.to_string(),
///     "PUBLIC_DIR /srv/market: 4096 MiB are needed, 100 MiB are free; free some space or use a larger disk",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What a program decides by.
    pub kind: ErrorKind,
    /// What it is about: an attribute, a path, a URL as it may be shown, an object.
    pub subject: String,
    /// What happened.
    pub cause: String,
    /// What the operator can do.
    pub remedy: Option<String>,
}

impl Error {
    /// An error without a remedy.
    pub fn new(kind: ErrorKind, subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), cause: cause.into(), remedy: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// An attribute that is missing or wrong.
    pub fn config(attribute: &str, cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, format!("attribute {attribute}"), cause)
    }

    /// Bytes that have another checksum than was declared, with the remedy of that declaration.
    pub fn mismatch(subject: impl Into<String>, mismatch: Mismatch) -> Self {
        let error = Self::new(ErrorKind::Mismatch, subject, mismatch.to_string());
        Self { remedy: mismatch.remedy.map(Cow::into_owned), ..error }
    }

    /// An error that the system reported about a subject.
    pub fn io(subject: impl Into<String>, error: &std::io::Error) -> Self {
        transfer::Error::io(subject, error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl std::error::Error for Error {}

impl From<transfer::Error> for Error {
    fn from(error: transfer::Error) -> Self {
        use transfer::ErrorKind as From;
        let (kind, remedy) = match error.kind {
            From::Absent => (ErrorKind::Absent, None),
            From::Denied => (ErrorKind::Denied, Some("check who may read or write it")),
            From::Unreachable => (ErrorKind::Unreachable, Some("try again once it answers")),
            From::Untrusted => (
                ErrorKind::Unreachable,
                Some(
                    "set TLS_CA to a file with the certificate of its authority, or TLS_INSECURE=\"YES\"",
                ),
            ),
            From::Changed => {
                (ErrorKind::Mismatch, Some("nothing was published; try again when it is at rest"))
            }
            From::Corrupt | From::Trailing => (ErrorKind::Mismatch, Some("check the source")),
            From::TooLarge => (
                ErrorKind::Mismatch,
                Some("check the source, the declared SIZE and MAX_UNPACKED_MB"),
            ),
            From::Full => (ErrorKind::Full, Some("free some space")),
            From::Unsupported => (ErrorKind::Unsupported, None),
            From::Malformed => (ErrorKind::Config, None),
            _ => (ErrorKind::Failed, None),
        };
        Self { kind, subject: error.subject, cause: error.cause, remedy: remedy.map(str::to_owned) }
    }
}

impl From<DumpError> for Error {
    fn from(error: DumpError) -> Self {
        Self::new(ErrorKind::Dump, "the driver message", error.to_string())
    }
}

impl From<ReportError> for Error {
    fn from(error: ReportError) -> Self {
        Self::new(ErrorKind::Failed, "the driver's answer", error.to_string())
    }
}
