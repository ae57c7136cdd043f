//! A file that is written piece by piece, with its holes.

use crate::system::copy_range;
use crate::{Piece, ZEROS, start_thread};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A new file that is being written. Nothing is durable before [`finish`](Self::finish) has
/// returned.
///
/// It goes to the disk when all of it is written, not before: a disk that is busy with the first
/// part makes writing the rest several times slower (docs/benchmarks.md).
///
/// ```
/// use market_transfer::{Piece, SparseFile};
///
/// # let directory = tempfile::tempdir()?;
/// let mut file = SparseFile::new(std::fs::File::create(directory.path().join("image"))?, true);
/// file.write(&Piece::Data(b"boot"[..].into()))?;
/// file.write(&Piece::Hole(1 << 30))?;
/// file.finish()?;
/// assert_eq!(file.file().metadata()?.len(), 4 + (1 << 30));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SparseFile {
    file: Arc<File>,
    position: u64,
    keep_holes: bool,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl SparseFile {
    /// Writes into an empty file from its start. Without `keep_holes`, holes are written as zeros.
    pub fn new(file: File, keep_holes: bool) -> Self {
        Self { file: Arc::new(file), position: 0, keep_holes, syncing: None }
    }

    /// The number of bytes so far, holes included.
    pub fn len(&self) -> u64 {
        self.position
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Appends a range of another file by the shortest way: shared extents where the file system
    /// has them (XFS, Btrfs), a copy by the server (NFS, SMB), a copy inside the system, or through
    /// a small buffer.
    ///
    /// # Errors
    /// What the file system reports; `UnexpectedEof` when the source ends before the range.
    pub fn copy_range(&mut self, source: &File, range: Range<u64>) -> io::Result<()> {
        copy_range(source, range.start, &self.file, self.position, range.end - range.start)?;
        self.position += range.end - range.start;
        Ok(())
    }

    /// A handle to read back what was written, at the same offsets. Not what is still a hole at the
    /// end.
    ///
    /// # Errors
    /// What the system reports.
    pub fn read_back(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn write(&mut self, piece: &Piece) -> io::Result<()> {
        match piece {
            Piece::Hole(length) if self.keep_holes => {
                self.position += length;
                Ok(())
            }
            piece => piece.parts().try_for_each(|part| self.write_data(part)),
        }
    }

    fn write_data(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.position)?;
        self.position += data.len() as u64;
        Ok(())
    }

    /// Makes holes of aligned blocks of 64 KiB that hold nothing but zeros. Where the file system
    /// has no holes, nothing changes.
    ///
    /// # Errors
    /// What reading reports.
    pub fn punch_holes(&self) -> io::Result<()> {
        const BLOCK_BYTES: usize = 64 << 10;
        self.file.set_len(self.position)?;
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut at = 0;
        while at < self.position {
            at = match seek(&*self.file, SeekFrom::Data(at)) {
                Ok(data) => data / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
                Err(rustix::io::Errno::NXIO) => return Ok(()),
                Err(_) => at,
            };
            let wanted =
                usize::try_from(self.position - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            self.file.read_exact_at(&mut buffer[..wanted], at)?;
            if buffer[..wanted] == ZEROS[..wanted] {
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                if fallocate(&*self.file, mode, at, wanted as u64).is_err() {
                    return Ok(());
                }
            }
            at += wanted as u64;
        }
        Ok(())
    }

    /// Everything has been written: begins to put it on the disk, while others may still read it.
    pub fn begin_sync(&mut self) {
        if self.syncing.is_none() {
            let file = Arc::clone(&self.file);
            // Only earlier: without a thread, all of it is put there at the end.
            self.syncing = start_thread("sync", move || file.sync_data()).ok();
        }
    }

    /// Gives the file its length and waits until all of it is on the disk.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some(thread) = self.syncing.take() {
            // The kernel reports an error of writing back only once: it must not be lost here.
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the syncing thread died")))?;
        }
        self.file.set_len(self.position)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_become_holes_and_bytes_stay() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 3 << 20];
        bytes[(1 << 20) + 7] = 1;
        let mut sparse = SparseFile::new(file.reopen().unwrap(), true);
        sparse.write(&Piece::Data(bytes.clone().into())).unwrap();
        sparse.punch_holes().unwrap();
        sparse.finish().unwrap();
        assert!(std::fs::read(file.path()).unwrap() == bytes);
        assert!(file.path().metadata().unwrap().blocks() * 512 <= 128 << 10);
    }
}
