//! A local file or block device as a source: read by a thread, holes kept, and noticed when it changes meanwhile.

use crate::buffers::Buffers;
use crate::{Error, ErrorKind, PIECE_BYTES, Piece, shown};
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use tokio::sync::mpsc;

/// Pieces read ahead of the consumer.
const READ_AHEAD: usize = 4;

pub(crate) struct FileSource {
    pub(crate) file: File,
    pub(crate) length: u64,
    pieces: mpsc::Receiver<Result<Piece, Error>>,
}

impl FileSource {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let subject = shown(&path.to_string_lossy());
        // Opening a FIFO would wait for its writer, so it must not block; this is no matter for files.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(nonblocking).open(path);
        let file = file.map_err(|error| Error::io(&subject, &error))?;
        Self::of(file, subject)
    }

    pub(crate) fn of(file: File, subject: String) -> Result<Self, Error> {
        let fail = |error: io::Error| Error::io(&subject, &error);
        let before = file.metadata().map_err(fail)?;
        let device = before.file_type().is_block_device();
        if !device && !before.is_file() {
            return Err(Error::new(ErrorKind::Unsupported, subject, "is neither a file nor a block device"));
        }
        let length = if device { seek(&file, SeekFrom::End(0)).map_err(|error| fail(error.into()))? } else { before.len() };
        // Only advice: read-ahead is an optimisation.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let reader = Reader {
            file: file.try_clone().map_err(fail)?,
            subject,
            length,
            before: (!device).then_some(before),
            buffers: Buffers::default(),
        };
        let (sender, pieces) = mpsc::channel(READ_AHEAD);
        std::thread::spawn(move || reader.run(&sender));
        Ok(Self { file, length, pieces })
    }

    /// The next piece; `None` once all of the file was read and is still the file that it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Error> {
        self.pieces.recv().await.transpose()
    }
}

struct Reader {
    file: File,
    subject: String,
    length: u64,
    before: Option<Metadata>,
    buffers: Buffers,
}

impl Reader {
    fn run(mut self, sender: &mpsc::Sender<Result<Piece, Error>>) {
        let mut position = 0;
        while position < self.length {
            let piece = self.read(position);
            position += piece.as_ref().map_or(0, Piece::len);
            let failed = piece.is_err();
            // Nobody listens any more: the transfer was given up.
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
        if let Err(error) = self.unchanged() {
            let _ = sender.blocking_send(Err(error));
        }
    }

    fn read(&mut self, position: u64) -> Result<Piece, Error> {
        let (start, end) = self.extent(position);
        if start > position {
            return Ok(Piece::Hole(start - position));
        }
        let wanted = usize::try_from(end - position).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut buffer = self.buffers.take();
        let mut filled = 0;
        while filled < wanted {
            match self.file.read_at(&mut buffer[filled..wanted], position + filled as u64) {
                Ok(0) => {
                    let at = position + filled as u64;
                    let cause = format!("ended after {at} of {} bytes: it changed while it was read", self.length);
                    return Err(Error::new(ErrorKind::Changed, &self.subject, cause));
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.subject, &error)),
            }
        }
        Ok(Piece::Data(self.buffers.give_out(buffer, filled)))
    }

    /// The next stretch of data at or after `position`: its start and end. File systems that know no holes have one of all.
    fn extent(&self, position: u64) -> (u64, u64) {
        let start = match seek(&self.file, SeekFrom::Data(position)) {
            Ok(start) => start.min(self.length),
            Err(rustix::io::Errno::NXIO) if self.before.is_some() => return (self.length, self.length),
            Err(_) => return (position, self.length),
        };
        let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.length).clamp(start, self.length);
        if start == end && start < self.length { (position, self.length) } else { (start, end) }
    }

    fn unchanged(&self) -> Result<(), Error> {
        let Some(before) = &self.before else { return Ok(()) };
        let after = self.file.metadata().map_err(|error| Error::io(&self.subject, &error))?;
        let stamp = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if stamp(before) == stamp(&after) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Changed, &self.subject, "changed while it was read"))
    }
}
