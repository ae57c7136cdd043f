//! Local files and block devices: read by a thread, holes kept, and noticed when they change
//! meanwhile.

use crate::buffers::Buffers;
use crate::file::{fill, open_to_read};
use crate::{
    Error, ErrorKind, Location, Options, PIECE_BYTES, Piece, Scheme, Source, redacted, start_thread,
};
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use tokio::sync::mpsc;

/// Pieces read ahead of the consumer.
const READ_AHEAD: usize = 4;

/// Local paths, and `file://` with a path.
pub(crate) struct FileScheme;

impl Scheme for FileScheme {
    fn names(&self) -> &[&str] {
        &["file"]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let path = location.path().ok_or_else(|| location.malformed("is no local path"))?;
        Source::open_path(path, options)
    }
}

pub(crate) struct FileSource {
    pub(crate) file: File,
    pub(crate) length: u64,
    subject: String,
    /// Of a regular file: what it was when it was opened.
    before: Option<Metadata>,
    /// What was taken so far.
    position: u64,
    /// The reading thread's pieces, once there is one.
    pieces: Option<mpsc::Receiver<Result<Piece, Error>>>,
}

impl FileSource {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let subject = redacted(&path.to_string_lossy());
        let file = open_to_read(path).map_err(|error| Error::io(&subject, &error))?;
        Self::of(file, subject)
    }

    pub(crate) fn of(file: File, subject: String) -> Result<Self, Error> {
        let fail = |error: io::Error| Error::io(&subject, &error);
        let before = file.metadata().map_err(fail)?;
        let device = before.file_type().is_block_device();
        if !device && !before.is_file() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                subject,
                "is neither a file nor a block device",
            ));
        }
        let length = if device {
            seek(&file, SeekFrom::End(0)).map_err(|error| fail(error.into()))?
        } else {
            before.len()
        };
        // Only advice: read-ahead is an optimisation.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self {
            file,
            length,
            subject,
            before: (!device).then_some(before),
            position: 0,
            pieces: None,
        })
    }

    /// The next piece; `None` once all of the file was read and is still the file that it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Error> {
        let pieces = match &mut self.pieces {
            Some(pieces) => pieces,
            None => {
                let file =
                    self.file.try_clone().map_err(|error| Error::io(&self.subject, &error))?;
                let (subject, length, position) =
                    (self.subject.clone(), self.length, self.position);
                let reader = Reader {
                    file,
                    subject,
                    length,
                    before: self.before.clone(),
                    buffers: Buffers::default(),
                };
                let (sender, pieces) = mpsc::channel(READ_AHEAD);
                start_thread("reader", move || reader.run(position, &sender))
                    .map_err(|error| Error::io(&self.subject, &error))?;
                self.pieces.insert(pieces)
            }
        };
        let piece = pieces.recv().await.transpose()?;
        self.position += piece.as_ref().map_or(0, Piece::len);
        Ok(piece)
    }

    /// What comes next, at most `most` bytes of it, without reading it. Not to be mixed with
    /// [`next`](Self::next) before it.
    pub(crate) fn extent(&self, most: u64) -> Result<Extent, Error> {
        if self.position >= self.length {
            unchanged(&self.file, self.before.as_ref(), &self.subject)?;
            return Ok(Extent::End);
        }
        let (start, end) = extent(&self.file, self.position, self.length, self.before.is_some());
        if start > self.position {
            return Ok(Extent::Hole(start - self.position));
        }
        Ok(Extent::Data(self.position..end.min(self.position.saturating_add(most))))
    }

    /// Skips what [`extent`](Self::extent) returned.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.position += bytes;
    }

    /// The first `count` bytes, or fewer when there are fewer.
    pub(crate) fn head(&self, count: usize) -> Result<Vec<u8>, Error> {
        let mut head = vec![0; usize::try_from(self.length).unwrap_or(count).min(count)];
        let filled =
            fill(&self.file, &mut head, 0).map_err(|error| Error::io(&self.subject, &error))?;
        head.truncate(filled);
        Ok(head)
    }
}

/// The next range of a local source.
pub(crate) enum Extent {
    Data(Range<u64>),
    Hole(u64),
    End,
}

struct Reader {
    file: File,
    subject: String,
    length: u64,
    before: Option<Metadata>,
    buffers: Buffers,
}

impl Reader {
    fn run(mut self, start: u64, sender: &mpsc::Sender<Result<Piece, Error>>) {
        let mut position = start;
        while position < self.length {
            let piece = self.read(position);
            position += piece.as_ref().map_or(0, Piece::len);
            let failed = piece.is_err();
            // Nobody listens any more: the transfer was given up.
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
        if let Err(error) = unchanged(&self.file, self.before.as_ref(), &self.subject) {
            let _ = sender.blocking_send(Err(error));
        }
    }

    fn read(&mut self, position: u64) -> Result<Piece, Error> {
        let (start, end) = extent(&self.file, position, self.length, self.before.is_some());
        if start > position {
            return Ok(Piece::Hole(start - position));
        }
        let wanted = usize::try_from(end - position).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut buffer = self.buffers.take();
        let filled = fill(&self.file, &mut buffer[..wanted], position)
            .map_err(|error| Error::io(&self.subject, &error))?;
        if filled < wanted {
            let at = position + filled as u64;
            let cause =
                format!("ended after {at} of {} bytes: it changed while it was read", self.length);
            return Err(Error::new(ErrorKind::Changed, &self.subject, cause));
        }
        Ok(Piece::Data(self.buffers.give_out(buffer, filled)))
    }
}

/// The next range of data at or after `position`: its start and end. On file systems without holes
/// it is all of the file.
fn extent(file: &File, position: u64, length: u64, has_holes: bool) -> (u64, u64) {
    let start = match seek(file, SeekFrom::Data(position)) {
        Ok(start) => start.min(length),
        Err(rustix::io::Errno::NXIO) if has_holes => return (length, length),
        Err(_) => return (position, length),
    };
    let end = seek(file, SeekFrom::Hole(start)).unwrap_or(length).clamp(start, length);
    if start == end && start < length { (position, length) } else { (start, end) }
}

fn unchanged(file: &File, before: Option<&Metadata>, subject: &str) -> Result<(), Error> {
    let Some(before) = before else { return Ok(()) };
    let after = file.metadata().map_err(|error| Error::io(subject, &error))?;
    let stamp = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    if stamp(before) == stamp(&after) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Changed, subject, "changed while it was read"))
}
