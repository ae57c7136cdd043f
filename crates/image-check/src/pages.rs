//! Reading a file at any place, and a small cache of its pages for tables that are read entry by
//! entry.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const PAGE_BYTES: u64 = 4_096;
/// Pages that are kept, each at the place that its number has.
const PAGES: usize = 256;

pub(crate) struct Pages {
    file: File,
    file_bytes: u64,
    pages: Vec<Option<(u64, Box<[u8]>)>>,
}

impl Pages {
    pub(crate) fn new(mut file: File) -> io::Result<Self> {
        let file_bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, file_bytes, pages: vec![None; PAGES] })
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// A number at an address that is a multiple of eight.
    pub(crate) fn big_u64(&mut self, at: u64) -> io::Result<u64> {
        let number = at / PAGE_BYTES;
        let slot = &mut self.pages[usize::try_from(number % PAGES as u64).unwrap_or_default()];
        let page = match slot {
            Some((held, page)) if *held == number => page,
            _ => {
                let mut page = vec![0; PAGE_BYTES as usize].into_boxed_slice();
                read_padded(&self.file, number * PAGE_BYTES, &mut page)?;
                &mut slot.insert((number, page)).1
            }
        };
        let within = usize::try_from(at % PAGE_BYTES).unwrap_or_default();
        Ok(crate::bytes::big_u64(page, within).unwrap_or_default())
    }

    /// Bytes that are not kept.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_padded(&self.file, at, buffer)
    }
}

/// Fills a buffer from a file; what lies behind its end reads as zeros, as QEMU has it.
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
