//! What TO is.

use market_core::error::{Error, ErrorKind};
use market_core::transfer::redacted;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is at the path that the bytes go to.
pub(crate) enum Destination {
    /// A regular file, or nothing yet. The path is that of the file itself, not of a link to it.
    File(PathBuf),
    /// A device or a pipe, open for writing. It must not be replaced by a file.
    Special(File),
}

impl Destination {
    /// # Errors
    /// [`ErrorKind::Exists`] for a directory, and what the system reports.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let subject = || redacted(&path.to_string_lossy());
        let fail = |error: io::Error| Error::io(subject(), &error);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                Err(Error::new(ErrorKind::Exists, subject(), "is a directory"))
            }
            Ok(metadata) if metadata.is_file() => {
                Ok(Self::File(path.canonicalize().map_err(fail)?))
            }
            Ok(_) => Ok(Self::Special(File::options().write(true).open(path).map_err(fail)?)),
            Err(_) => Ok(Self::File(path.to_owned())),
        }
    }
}
