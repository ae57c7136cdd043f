//! The disk that a guest would see, whatever container it is in. Nothing is ever written, and no
//! other file is opened.

use crate::deadline::Deadline;
use crate::page_cache::read_padded;
use crate::qcow2::Qcow2;
use crate::unavailable::Unavailable;
use rustix::fs::SeekFrom as Seek;
use std::fs::File;
use std::ops::Range;

/// How many bytes are read and compared with zeros at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The smallest hole that file systems of hosts make.
const HOLE_BYTES: usize = 4_096;

/// A disk in an image file.
pub(crate) enum Disk {
    /// A raw image, of so many bytes.
    Raw(File, u64),
    /// A qcow2 image.
    Qcow2(Box<Qcow2>),
}

impl Disk {
    /// The disk's size.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Raw(_, bytes) => *bytes,
            Self::Qcow2(image) => image.header.virtual_bytes,
        }
    }

    /// Fills a buffer with the bytes at a position.
    ///
    /// # Errors
    /// When they are not all on the disk, or cannot be read.
    pub(crate) fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<(), Unavailable> {
        if position.checked_add(buffer.len() as u64).is_none_or(|end| end > self.bytes()) {
            return Err(Unavailable::damaged("what is looked for lies behind the disk's end"));
        }
        match self {
            Self::Raw(file, _) => Ok(read_padded(file, position, buffer)?),
            Self::Qcow2(image) => image.read(position, buffer),
        }
    }

    /// The bytes from a position to the disk's end, at most so many.
    pub(crate) fn read_at_most(
        &mut self,
        position: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, Unavailable> {
        let left = self.bytes().saturating_sub(position);
        let mut buffer = vec![0; usize::try_from(left).unwrap_or(bytes).min(bytes)];
        self.read(position, &mut buffer)?;
        Ok(buffer)
    }

    /// Counts the bytes that are stored as they are, and those of them that could be holes: they
    /// are zeros in blocks as large as a hole must be, 4 KiB of a raw image and a cluster of a
    /// qcow2.
    pub(crate) fn count_stored(&mut self, deadline: &Deadline) -> Result<StoredBytes, Unavailable> {
        let mut stored = StoredBytes::default();
        let mut buffer = vec![0; CHUNK_BYTES];
        match self {
            Self::Raw(file, bytes) => for_each_data_range(file, *bytes, |range| {
                let read = |position, part: &mut [u8]| Ok(read_padded(file, position, part)?);
                stored.count(range, HOLE_BYTES, &mut buffer, deadline, read)
            })?,
            Self::Qcow2(image) => image.for_each_data_range(deadline, |image, range| {
                let cluster_bytes = usize::try_from(image.header.cluster_bytes());
                let block_bytes = cluster_bytes.unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
                let read = |position, part: &mut [u8]| image.read(position, part);
                stored.count(range, block_bytes, &mut buffer, deadline, read)
            })?,
        }
        Ok(stored)
    }
}

/// How many bytes an image stores as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredBytes {
    pub(crate) all: u64,
    /// Those of them that are zeros and could be holes.
    pub(crate) zeros: u64,
}

impl StoredBytes {
    fn count(
        &mut self,
        range: Range<u64>,
        block_bytes: usize,
        buffer: &mut [u8],
        deadline: &Deadline,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Unavailable>,
    ) -> Result<(), Unavailable> {
        let mut position = range.start;
        while position < range.end {
            deadline.check()?;
            let left = usize::try_from(range.end - position).unwrap_or(CHUNK_BYTES);
            let length = left.min(buffer.len());
            let part = &mut buffer[..length];
            read(position, part)?;
            let zero_blocks = part.chunks(block_bytes).filter(|block| is_zero(block));
            self.zeros += zero_blocks.map(<[u8]>::len).sum::<usize>() as u64;
            self.all += length as u64;
            position += length as u64;
        }
        Ok(())
    }
}

fn is_zero(block: &[u8]) -> bool {
    static ZEROS: [u8; 4_096] = [0; 4_096];
    block.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

/// Calls `each` for the ranges of a file that are no holes; for all of it where the file system
/// cannot tell.
fn for_each_data_range(
    file: &File,
    bytes: u64,
    mut each: impl FnMut(Range<u64>) -> Result<(), Unavailable>,
) -> Result<(), Unavailable> {
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
