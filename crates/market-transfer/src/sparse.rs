//! A file that is written piece by piece, holes kept, and that reaches the disk while it is written.

use crate::{Piece, ZEROS, clone_whole};
use std::fs::File;
use std::io;
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

    /// Fills the file with a clone of `source`, when the file system makes one (see [`clone_whole`](crate::clone_whole)); a
    /// handle to read it back, or `None`: nothing was done.
    ///
    /// # Errors
    /// What the file system reports after it has begun.
    pub fn clone_from(&mut self, source: &File) -> io::Result<Option<File>> {
        if !self.keep_holes || !clone_whole(source, &self.file)? {
            return Ok(None);
        }
        self.position = self.file.metadata()?.len();
        self.file.try_clone().map(Some)
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
        self.position += data.len() as u64;
        self.unsynced += data.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.start_sync();
        }
        Ok(())
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
