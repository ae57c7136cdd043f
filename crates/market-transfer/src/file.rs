//! Reading files that somebody else has named.

use crate::{Error, ErrorKind, redacted};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Opening a FIFO would wait for its writer, so it must not block; this is no matter for files.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// All of a small file that somebody else has named, such as the certificates of `TLS_CA`: never a
/// device, a FIFO or a directory, and never more than `max_bytes` of it.
///
/// # Errors
/// Names the path: what the system reports, and [`Malformed`](ErrorKind::Malformed) when it is no
/// regular file or too large.
///
/// ```
/// use market_transfer::{ErrorKind, read_small_file};
///
/// assert_eq!(read_small_file("/dev/zero".as_ref(), 1 << 20).unwrap_err().kind, ErrorKind::Malformed);
/// ```
pub fn read_small_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Error> {
    let subject = redacted(&path.to_string_lossy());
    let fail = |error: io::Error| Error::io(&subject, &error);
    let file = open_to_read(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(Error::new(ErrorKind::Malformed, &subject, "is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::new(
            ErrorKind::Malformed,
            &subject,
            format!("is larger than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn fill(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
