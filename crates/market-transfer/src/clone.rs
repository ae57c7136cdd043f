//! Copies that the file system makes itself: shared extents, or a copy on the server of a network file system.

use rustix::fs::{SeekFrom, copy_file_range, fstatfs, ioctl_ficlone, seek};
use std::fs::File;
use std::io;

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
    use rustix::io::Errno;
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
