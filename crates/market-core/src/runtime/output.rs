//! Answers on standard output. One that could not be delivered is an error: whoever asked does not
//! know of what was done.

use crate::error::{Error, ErrorKind};
use standard_output::StandardOutput;
use std::io::{self, Write};

/// Writes an answer to standard output, without a buffer.
///
/// # Errors
/// [`ErrorKind::Failed`] when not all of it is taken: then what was done must be undone, as nobody
/// will know of it.
pub fn print(answer: &[u8]) -> Result<(), Error> {
    open_output()?.write_all(answer).map_err(|error| undelivered(&error))
}

/// Opens standard output. An action that leaves something behind calls this before it begins.
///
/// # Errors
/// [`ErrorKind::Failed`] when standard output was closed as the process began, or is not open for
/// writing: no answer could be delivered.
pub fn open_output() -> Result<StandardOutput, Error> {
    StandardOutput::open().map_err(|error| undelivered(&error))
}

/// The error for an answer that was not taken.
pub(super) fn undelivered(error: &io::Error) -> Error {
    Error::io("standard output", error)
        .with_kind(ErrorKind::Failed)
        .remedy("the answer could not be delivered")
}
