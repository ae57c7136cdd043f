//! The disk that a guest would see, whatever container it is in. Nothing is ever written, and no
//! other file is opened.

use crate::pages::read_padded;
use crate::qcow2::Qcow2;
use crate::time::Deadline;
use rustix::fs::SeekFrom as Seek;
use std::fs::File;
use std::io;
use std::ops::Range;

/// What is read and compared at once.
const CHUNK_BYTES: usize = 1 << 20;
/// A hole of a file is no smaller.
const HOLE_BYTES: usize = 4_096;

pub(crate) struct Disk {
    bytes: u64,
    layout: Layout,
}

enum Layout {
    None,
    Raw(File),
    Qcow2(Box<Qcow2>),
}

impl Disk {
    pub(crate) fn raw(file: File, bytes: u64) -> Self {
        Self { bytes, layout: Layout::Raw(file) }
    }

    /// A disk of no bytes.
    pub(crate) fn none() -> Self {
        Self { bytes: 0, layout: Layout::None }
    }

    pub(crate) fn qcow2(image: Qcow2) -> Self {
        Self { bytes: image.header.virtual_bytes, layout: Layout::Qcow2(Box::new(image)) }
    }

    /// The disk's size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The qcow2 image, if it is one.
    pub(crate) fn as_qcow2(&mut self) -> Option<&mut Qcow2> {
        match &mut self.layout {
            Layout::Qcow2(image) => Some(image),
            _ => None,
        }
    }

    /// Fills a buffer with the bytes at a position.
    ///
    /// # Errors
    /// When they are not all on the disk, or cannot be read.
    pub(crate) fn read(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        if position.checked_add(buffer.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "what is looked for lies behind the disk's end",
            ));
        }
        match &mut self.layout {
            Layout::None => Ok(()),
            Layout::Raw(file) => read_padded(file, position, buffer),
            Layout::Qcow2(image) => image.read(position, buffer),
        }
    }

    /// As many bytes from a position on as there are, at most `most`.
    pub(crate) fn read_most(&mut self, position: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = self.bytes.saturating_sub(position);
        let mut buffer = vec![0; usize::try_from(left).unwrap_or(most).min(most)];
        self.read(position, &mut buffer)?;
        Ok(buffer)
    }

    /// How many bytes are stored as such, and how many of them could be holes: they are zeros in
    /// blocks as large as a hole must be, 4 KiB of a raw image and a cluster of a qcow2.
    pub(crate) fn count_stored(&mut self, deadline: &Deadline) -> io::Result<Stored> {
        let mut stored = Stored::default();
        let mut buffer = vec![0; CHUNK_BYTES];
        match &mut self.layout {
            Layout::None => {}
            Layout::Raw(file) => raw_stretches(file, self.bytes, |range| {
                let read = |position, part: &mut [u8]| read_padded(file, position, part);
                stored.look(range, HOLE_BYTES, &mut buffer, deadline, read)
            })?,
            Layout::Qcow2(image) => image.stored(deadline, |image, range| {
                let cluster = usize::try_from(image.header.cluster_bytes())
                    .unwrap_or(CHUNK_BYTES)
                    .min(CHUNK_BYTES);
                let read = |position, part: &mut [u8]| image.read(position, part);
                stored.look(range, cluster, &mut buffer, deadline, read)
            })?,
        }
        Ok(stored)
    }
}

/// Plain bytes of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    pub(crate) zero_bytes: u64,
}

impl Stored {
    fn look(
        &mut self,
        range: Range<u64>,
        block_bytes: usize,
        buffer: &mut [u8],
        deadline: &Deadline,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut position = range.start;
        while position < range.end {
            deadline.check()?;
            let length =
                usize::try_from(range.end - position).unwrap_or(CHUNK_BYTES).min(buffer.len());
            let part = &mut buffer[..length];
            read(position, part)?;
            let zeros = part
                .chunks(block_bytes)
                .filter(|block| is_zero(block))
                .map(<[u8]>::len)
                .sum::<usize>();
            self.bytes += length as u64;
            self.zero_bytes += zeros as u64;
            position += length as u64;
        }
        Ok(())
    }
}

fn is_zero(block: &[u8]) -> bool {
    static ZEROS: [u8; 4_096] = [0; 4_096];
    block.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

/// The stretches of a file that are no holes; all of it where the file system cannot tell.
fn raw_stretches(
    file: &File,
    bytes: u64,
    mut each: impl FnMut(Range<u64>) -> io::Result<()>,
) -> io::Result<()> {
    let mut position = 0;
    while position < bytes {
        let start = match rustix::fs::seek(file, Seek::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(_) => return each(position..bytes),
        };
        let end = rustix::fs::seek(file, Seek::Hole(start)).unwrap_or(bytes).min(bytes);
        if end <= start {
            return Ok(());
        }
        each(start..end)?;
        position = end;
    }
    Ok(())
}
