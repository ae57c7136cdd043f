//! What a command line names: standard input and files, with limits to their size.

use crate::action::{DumpError, MAX_DUMP_BYTES};
use crate::error::{Error, ErrorKind};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

/// The largest file that is read, in bytes: 256 MiB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Reads a driver message, or anything that is no larger, from standard input.
///
/// # Errors
/// [`ErrorKind::Usage`] when standard input is a terminal, [`ErrorKind::Dump`] when it holds more
/// than [`MAX_DUMP_BYTES`], and what the system reports.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Error> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let error = Error::new(
            ErrorKind::Usage,
            "standard input",
            "is a terminal, and a dump was expected there",
        );
        return Err(error.remedy("pipe it in"));
    }
    let mut dump = Vec::new();
    let mut capped = stdin.lock().take(MAX_DUMP_BYTES as u64 + 1);
    capped.read_to_end(&mut dump).map_err(|error| Error::io("standard input", &error))?;
    if dump.len() > MAX_DUMP_BYTES { Err(DumpError::TooLarge.into()) } else { Ok(dump) }
}

/// Reads a file that a command line names (`-` is standard input), and how long ago it was
/// written. It may be a pipe.
///
/// # Errors
/// [`ErrorKind::Usage`] when it is larger than 256 MiB, and what the system reports.
pub(crate) fn read_file(path: &Path) -> Result<(Vec<u8>, Duration), Error> {
    if path.as_os_str() == "-" {
        return Ok((read_stdin()?, Duration::ZERO));
    }
    let subject = || path.display().to_string();
    let fail = |error: &io::Error| Error::io(subject(), error);
    let file = File::open(path).map_err(|error| fail(&error))?;
    let written =
        file.metadata().and_then(|metadata| metadata.modified()).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(ErrorKind::Usage, subject(), "is larger than 256 MiB"));
    }
    Ok((bytes, written.elapsed().unwrap_or_default()))
}
