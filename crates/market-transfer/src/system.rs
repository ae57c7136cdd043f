//! Operations of the system: copies between files, a rename that never replaces a file, random
//! names.

use crate::digest::hex;
use rustix::fs::{AtFlags, RenameFlags, copy_file_range, linkat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Small enough to stay in the processor's cache between the read and the write.
const COPY_BYTES: usize = 128 << 10;

/// Copies `length` bytes from one offset to another with `copy_file_range`, which shares extents or
/// lets a server copy where it can; through a buffer between files that it cannot connect.
pub(crate) fn copy_range(
    source: &File,
    from: u64,
    target: &File,
    to: u64,
    length: u64,
) -> io::Result<()> {
    let mut copied = 0;
    while copied < length {
        let (mut read_at, mut write_at) = (from + copied, to + copied);
        let step = usize::try_from(length - copied).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), step) {
            // The end of the source, or a file that only pretends to have a length: reading tells.
            Ok(0) => {
                return copy_through_buffer(
                    source,
                    from + copied,
                    target,
                    to + copied,
                    length - copied,
                );
            }
            Ok(count) => copied += count as u64,
            Err(Errno::INTR) => {}
            Err(
                Errno::XDEV
                | Errno::INVAL
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::PERM
                | Errno::BADF,
            ) => {
                return copy_through_buffer(
                    source,
                    from + copied,
                    target,
                    to + copied,
                    length - copied,
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_buffer(
    source: &File,
    from: u64,
    target: &File,
    to: u64,
    length: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0;
    while copied < length {
        let step = usize::try_from(length - copied).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        source.read_exact_at(&mut buffer[..step], from + copied)?;
        target.write_all_at(&buffer[..step], to + copied)?;
        copied += step as u64;
    }
    Ok(())
}

/// Gives a finished file its name in another (or the same) directory of its file system, in one
/// step, without ever replacing a file that has that name.
///
/// # Errors
/// What the system reports, as an [`io::Error`]; `AlreadyExists` when the name is taken.
pub fn rename_new(from: impl AsFd, name: &str, to: impl AsFd, new_name: &str) -> io::Result<()> {
    let renamed = renameat_with(&from, name, &to, new_name, RenameFlags::NOREPLACE);
    match renamed {
        // A file system that cannot promise it (NFS): a link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if let Err(error) = linkat(&from, name, &to, new_name, AtFlags::empty())
                && !is_same_file(&from, name, &to, new_name)
            {
                return Err(error.into());
            }
            // The file has its name; the first one, if it stays, is garbage that its owner can tell
            // by its name.
            let _ = unlinkat(&from, name, AtFlags::empty());
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

/// Whether two names, each in its directory, are links to one file. An NFS server that has lost its
/// answer to a link or rename answers `EEXIST` to the repeated request: this tells whether the first
/// one was carried out, or the name is taken.
pub fn is_same_file(from: impl AsFd, name: &str, to: impl AsFd, other_name: &str) -> bool {
    let identity = |directory: std::os::fd::BorrowedFd<'_>, name: &str| {
        statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|stat| (stat.st_dev, stat.st_ino))
    };
    let first = identity(from.as_fd(), name);
    first.is_some() && first == identity(to.as_fd(), other_name)
}

/// A name of `BYTES` random bytes in lower-case hexadecimal. With 16 bytes, two names are never the
/// same.
///
/// # Errors
/// When the system has no random numbers.
///
/// ```
/// assert_eq!(market_transfer::random_name::<16>()?.len(), 32);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn random_name<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random)?;
    Ok(hex(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_copying_move_the_same_bytes_and_notice_an_early_end() {
        type Copy = fn(&File, u64, &File, u64, u64) -> io::Result<()>;
        let source = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        source.write_all_at(&bytes, 0).unwrap();
        for copy in [copy_range as Copy, copy_through_buffer as Copy] {
            let target = tempfile::tempfile().unwrap();
            copy(&source, 1_000, &target, 5, 299_000).unwrap();
            let mut copied = vec![0; 299_000];
            target.read_exact_at(&mut copied, 5).unwrap();
            assert!(copied == bytes[1_000..]);
            assert_eq!(
                copy(&source, 299_999, &target, 0, 2).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof
            );
        }
    }
}
