//! What the file system does itself: copies by shared extents or on the server of a network file system, and a rename that
//! never replaces.

use rustix::fs::{AtFlags, RenameFlags, SeekFrom, copy_file_range, fstatfs, ioctl_ficlone, linkat, renameat_with, seek, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Makes `target` (empty, on the same file system) a copy of `source` without moving the bytes through this machine: shared
/// extents where the file system has them (XFS, Btrfs), or a copy by the server (NFS, SMB, CephFS). `false` when the file
/// system can do neither; then nothing was written.
///
/// On file systems that would only copy through this machine's memory it is left alone: reading, hashing and writing at once
/// takes no longer than hashing, and a copy followed by hashing does.
///
/// # Errors
/// What the file system reports after it has begun.
pub fn clone_whole(source: &File, target: &File) -> io::Result<bool> {
    if ioctl_ficlone(target, source).is_ok() {
        return Ok(true);
    }
    if !copies_on_server(source) || !copies_on_server(target) {
        return Ok(false);
    }
    copy_extents(source, target, source.metadata()?.len())
}

fn copies_on_server(file: &File) -> bool {
    const NFS: u32 = 0x6969;
    const CIFS: u32 = 0xff53_4d42;
    const SMB2: u32 = 0xfe53_4d42;
    const CEPH: u32 = 0x00c3_6400;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the magic is a 32-bit number")]
    fstatfs(file).is_ok_and(|stat| matches!(stat.f_type as u32, NFS | CIFS | SMB2 | CEPH))
}

/// Copies the data of `source` up to `length` with `copy_file_range`, holes left out. `false` when the system cannot do that
/// between these two files; then nothing was written.
///
/// # Errors
/// What the system reports after it has begun, or when `source` ends early.
pub fn copy_extents(source: &File, target: &File, length: u64) -> io::Result<bool> {
    let (mut position, mut copied) = (0, false);
    while position < length {
        let (start, end) = match seek(source, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => break,
            Err(_) => (position, length),
            Ok(start) => (start, seek(source, SeekFrom::Hole(start)).unwrap_or(length)),
        };
        position = start.min(length);
        let end = end.min(length);
        while position < end {
            let (mut from, mut to) = (position, position);
            let step = usize::try_from(end - position).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(source, Some(&mut from), target, Some(&mut to), step) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ended early")),
                Ok(count) => {
                    position += count as u64;
                    copied = true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) if !copied => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
    target.set_len(length)?;
    Ok(true)
}

/// Gives a finished file its name in another (or the same) directory of its file system, in one step, without ever replacing a
/// file that has that name.
///
/// # Errors
/// What the system reports, as an [`io::Error`]; `AlreadyExists` when the name is taken.
pub fn rename_new(from: impl AsFd, name: &str, to: impl AsFd, new_name: &str) -> io::Result<()> {
    let renamed = renameat_with(&from, name, &to, new_name, RenameFlags::NOREPLACE);
    match renamed {
        // A file system that cannot promise it (NFS): a link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(&from, name, &to, new_name, AtFlags::empty())?;
            // The file has its name; the first one, if it stays, is garbage that its owner can tell by its name.
            let _ = unlinkat(&from, name, AtFlags::empty());
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}
