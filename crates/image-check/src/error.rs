//! Why an image, or a policy, could not be read at all. What is wrong with an image is no error: it
//! is in the [report](crate::Report).

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What failed, on which file, and why. It is one line, as far as the file's name is.
///
/// ```
/// use image_check::{ErrorKind, Image};
/// use std::path::Path;
///
/// let error = Image::open(Path::new("/nowhere/disk.img")).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Io);
/// assert_eq!(error.subject(), "/nowhere/disk.img");
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    subject: String,
    cause: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refuses: the file is absent, may not be read, or its medium fails. The
    /// [`std::io::Error`] is the error's source.
    Io,
    /// The path leads to something else than a file or a block device.
    NotAFile,
    /// A policy's text makes no sense. A [`toml::de::Error`] is the source, if it is no TOML.
    Policy,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, subject: &str, cause: impl Into<String>) -> Self {
        Self { kind, subject: subject.to_owned(), cause: cause.into(), source: None }
    }

    pub(crate) fn io(subject: &str, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        Self::new(ErrorKind::Io, subject, error.to_string()).caused_by(error)
    }

    pub(crate) fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// The same error with something to do about it behind its cause.
    pub(crate) fn advise(mut self, advice: &str) -> Self {
        self.cause.push_str("; ");
        self.cause.push_str(advice);
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file or the policy, as it was named.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What is wrong with it.
    pub fn cause(&self) -> &str {
        &self.cause
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
