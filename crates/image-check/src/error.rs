//! Why nothing can be said about an image at all.

/// What failed and why; one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {cause}")]
pub struct Error {
    /// The file.
    pub subject: String,
    /// What is wrong with it.
    pub cause: String,
}

impl Error {
    pub(crate) fn new(subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { subject: subject.into(), cause: cause.into() }
    }
}
