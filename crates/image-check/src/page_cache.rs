//! Reads at any place of a file, and a small cache of its pages for tables that are read entry by
//! entry.

use crate::bytes::big_u64;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const PAGE_BYTES: u64 = 4_096;
/// How many pages are kept: a page has the slot of its number modulo this.
const SLOTS: usize = 256;

/// A file with a cache of 1 MiB.
pub(crate) struct PageCache {
    file: File,
    file_bytes: u64,
    /// Numbers and contents of pages.
    slots: Vec<Option<(u64, Box<[u8]>)>>,
}

impl PageCache {
    pub(crate) fn new(mut file: File) -> io::Result<Self> {
        let file_bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, file_bytes, slots: vec![None; SLOTS] })
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The big-endian number at an offset that is a multiple of eight, through the cache.
    pub(crate) fn big_u64(&mut self, at: u64) -> io::Result<u64> {
        let number = at / PAGE_BYTES;
        let slot = &mut self.slots[usize::try_from(number % SLOTS as u64).unwrap_or_default()];
        let page = match slot {
            Some((cached, page)) if *cached == number => page,
            _ => {
                let mut page = vec![0; PAGE_BYTES as usize].into_boxed_slice();
                read_padded(&self.file, number * PAGE_BYTES, &mut page)?;
                &mut slot.insert((number, page)).1
            }
        };
        let within = usize::try_from(at % PAGE_BYTES).unwrap_or_default();
        Ok(big_u64(page, within).unwrap_or_default())
    }

    /// Fills a buffer past the cache; see [`read_padded`].
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_padded(&self.file, at, buffer)
    }
}

/// Fills a buffer from a file. What lies behind the file's end reads as zeros, as in QEMU.
pub(crate) fn read_padded(file: &File, mut position: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, position) {
            Ok(0) => {
                buffer.fill(0);
                return Ok(());
            }
            Ok(count) => {
                position += count as u64;
                buffer = &mut buffer[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
