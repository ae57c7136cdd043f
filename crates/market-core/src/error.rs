//! One error for everything a driver does: a kind for programs, a sentence for operators.

use crate::action::DumpError;
use crate::report::ReportError;
use market_checksum::Mismatch;
use market_transfer as transfer;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

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
    /// All kinds, in the order of their exit codes. There may be more of them one day.
    pub const ALL: &'static [Self] = &[
        Self::Failed,
        Self::Usage,
        Self::Dump,
        Self::Config,
        Self::Denied,
        Self::Absent,
        Self::Exists,
        Self::Full,
        Self::Mismatch,
        Self::Unreachable,
        Self::Unsupported,
        Self::Cancelled,
    ];

    /// The exit code of an executable that fails with this kind, from 1
    /// (docs/run-the-drivers.md lists them with examples).
    pub const fn exit_code(self) -> u8 {
        self.row().0
    }

    /// The kind in a word or two, as `--help` and docs/run-the-drivers.md have it.
    ///
    /// ```
    /// use market_core::error::ErrorKind;
    ///
    /// let codes = ErrorKind::ALL.iter().map(|kind| format!("{} {kind}", kind.exit_code()));
    /// assert_eq!(codes.collect::<Vec<_>>()[..3], ["1 anything else", "2 usage", "3 message"]);
    /// ```
    pub const fn description(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (u8, &'static str) {
        match self {
            Self::Failed => (1, "anything else"),
            Self::Usage => (2, "usage"),
            Self::Dump => (3, "message"),
            Self::Config => (4, "configuration"),
            Self::Denied => (5, "denied"),
            Self::Absent => (6, "absent"),
            Self::Exists => (7, "exists"),
            Self::Full => (8, "no space"),
            Self::Mismatch => (9, "bytes differ"),
            Self::Unreachable => (10, "unreachable"),
            Self::Unsupported => (11, "unsupported"),
            Self::Cancelled => (12, "stopped"),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.description())
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
///
/// The sentence is complete: nobody needs to print the [`source`](std::error::Error::source) too.
/// That is for programs, which ask with [`caused_by`](Self::caused_by).
#[derive(Clone, Debug)]
pub struct Error {
    /// What a program decides by.
    pub kind: ErrorKind,
    /// What it is about: an attribute, a path, a URL as it may be shown, an object.
    pub subject: String,
    /// What happened.
    pub cause: String,
    /// What the operator can do.
    pub remedy: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Two are equal when they say the same; what they were made from does not count.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, &self.subject, &self.cause, &self.remedy)
            == (&other.kind, &other.subject, &other.cause, &other.remedy)
    }
}

impl Eq for Error {}

impl Error {
    /// An error without a remedy.
    pub fn new(kind: ErrorKind, subject: impl Into<String>, cause: impl Into<String>) -> Self {
        let (subject, cause) = (subject.into(), cause.into());
        Self { kind, subject, cause, remedy: None, source: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
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

    /// An attribute that is missing or wrong.
    pub fn config(attribute: &str, cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, format!("attribute {attribute}"), cause)
    }

    /// Bytes that have another checksum than was declared, with the remedy of that declaration.
    pub fn mismatch(subject: impl Into<String>, mismatch: Mismatch) -> Self {
        let error = Self::new(ErrorKind::Mismatch, subject, mismatch.to_string());
        let remedy = mismatch.remedy.clone().map(Cow::into_owned);
        Self { remedy, ..error }.with_source(mismatch)
    }

    /// An error that the system reported about a subject.
    pub fn io(subject: impl Into<String>, error: &std::io::Error) -> Self {
        transfer::Error::io(subject, error).into()
    }

    /// What it was made from, when that is of this type: an [`std::io::Error`], the
    /// [`HttpStatus`](transfer::HttpStatus) or [`Distrust`](transfer::Distrust) of a server, a
    /// [`Mismatch`] of checksums.
    ///
    /// ```
    /// use market_core::error::Error;
    ///
    /// let error = Error::io("/nonexistent", &std::fs::read("/nonexistent").unwrap_err());
    /// let system = error.caused_by::<std::io::Error>().unwrap();
    /// assert_eq!(system.kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn caused_by<T: StdError + 'static>(&self) -> Option<&T> {
        transfer::find_cause(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

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
        let told = Self::new(kind, error.subject.clone(), error.cause.clone());
        Self { remedy: remedy.map(str::to_owned), ..told }.with_source(error)
    }
}

impl From<DumpError> for Error {
    fn from(error: DumpError) -> Self {
        Self::new(ErrorKind::Dump, "the driver message", error.to_string()).with_source(error)
    }
}

impl From<ReportError> for Error {
    fn from(error: ReportError) -> Self {
        Self::new(ErrorKind::Failed, "the driver's answer", error.to_string()).with_source(error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_what_it_was_made_from() {
        let system = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("/srv", &system).with_subject("PUBLIC_DIR /srv");
        assert_eq!(error.kind, ErrorKind::Full);
        assert_eq!(
            error.caused_by::<std::io::Error>().unwrap().kind(),
            std::io::ErrorKind::StorageFull
        );
        assert_eq!(error.caused_by::<transfer::Error>().unwrap().kind, transfer::ErrorKind::Full);
        assert!(error.caused_by::<Mismatch>().is_none());
        let expected =
            market_checksum::Expected::new().and("MD5", market_checksum::Md5::from([1; 16]));
        let differs = expected.verify(&market_checksum::Digests::new(0)).unwrap_err();
        let error = Error::mismatch("an image", differs.clone());
        assert_eq!(error.caused_by::<Mismatch>(), Some(&differs));
        assert_eq!(error, Error::new(ErrorKind::Mismatch, "an image", differs.to_string()));
    }
}
