//! A file that is written piece by piece, holes kept, and that reaches the disk while it is written.

use crate::system::copy_range;
use crate::{Piece, ZEROS};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// How much is written before the disk is asked to begin: the final sync then has little left to wait for.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// A new file under way. Nothing is durable before [`finish`](Self::finish) has returned.
pub struct SparseFile {
    file: Arc<File>,
    position: u64,
    unsynced: u64,
    keep_holes: bool,
    syncer: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl SparseFile {
    /// Writes into an empty file from its start. Without `keep_holes`, holes are written as zeros.
    pub fn new(file: File, keep_holes: bool) -> Self {
        Self { file: Arc::new(file), position: 0, unsynced: 0, keep_holes, syncer: None }
    }

    /// Bytes so far, holes included.
    pub fn len(&self) -> u64 {
        self.position
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Appends a range of another file by the shortest way: shared extents where the file system has them (XFS, Btrfs), a copy
    /// by the server (NFS, SMB), a copy inside the system, or through a small buffer. A handle to read it back, at the offsets
    /// it has in `source` when all of `source` is appended from its start.
    ///
    /// # Errors
    /// What the file system reports; `UnexpectedEof` when the source ends before the range.
    pub fn copy_range(&mut self, source: &File, range: Range<u64>) -> io::Result<File> {
        copy_range(source, range.start, &self.file, self.position, range.end - range.start)?;
        self.appended(range.end - range.start);
        self.file.try_clone()
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn write(&mut self, piece: &Piece) -> io::Result<()> {
        match piece {
            Piece::Data(data) => self.write_data(data),
            Piece::Hole(length) if self.keep_holes => {
                self.position += length;
                Ok(())
            }
            Piece::Hole(length) => {
                let mut left = *length;
                while left > 0 {
                    let step = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
                    self.write_data(&ZEROS[..step])?;
                    left -= step as u64;
                }
                Ok(())
            }
        }
    }

    fn write_data(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.position)?;
        self.appended(data.len() as u64);
        Ok(())
    }

    fn appended(&mut self, bytes: u64) {
        self.position += bytes;
        self.unsynced += bytes;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.start_sync();
        }
    }

    /// Asks the syncing thread for a round, unless it is busy with one.
    fn start_sync(&mut self) {
        let (queue, _) = self.syncer.get_or_insert_with(|| {
            let (queue, rounds) = sync_channel(1);
            let file = Arc::clone(&self.file);
            let thread = std::thread::spawn(move || {
                while rounds.recv().is_ok() {
                    // The kernel reports an error of writing back only once: it must reach `finish` from here.
                    file.sync_data()?;
                }
                Ok(())
            });
            (queue, thread)
        });
        match queue.try_send(()) {
            Ok(()) => self.unsynced = 0,
            Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Gives the file its length and waits until all of it is on the disk.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Some((queue, thread)) = self.syncer.take() {
            drop(queue);
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the syncing thread died")))?;
        }
        self.file.set_len(self.position)?;
        self.file.sync_all()
    }
}
