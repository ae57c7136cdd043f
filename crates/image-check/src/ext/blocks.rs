//! The blocks of an ext file system, each as it is on the disk or, where the journal has a newer
//! one, as it is there.

use super::budget::BudgetedDisk;
use crate::unavailable::Unavailable;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// A block of the file system that the journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalBlock {
    /// Where the journal has it: the number of a block of the file system too.
    pub(super) block: u64,
    /// Its first four bytes are the journal's magic number, and zeros in the journal.
    pub(super) is_escaped: bool,
}

/// The magic number of journals.
pub(super) const JOURNAL_MAGIC: u32 = 0xc03b_3998;

/// The blocks of a file system.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    /// Where the file system is, in bytes of the disk.
    range: Range<u64>,
    block_bytes: u64,
    count: u64,
    /// The blocks that the journal holds, by their numbers.
    journal: Rc<HashMap<u64, JournalBlock>>,
}

impl Blocks {
    pub(super) fn new(range: Range<u64>, block_bytes: u64, count: u64) -> Self {
        Self { range, block_bytes, count, journal: Rc::default() }
    }

    /// The same blocks, some of which the journal holds.
    pub(super) fn with_journal(self, journal: HashMap<u64, JournalBlock>) -> Self {
        Self { journal: Rc::new(journal), ..self }
    }

    pub(super) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// The content of a block.
    pub(super) fn block(
        &self,
        disk: &mut BudgetedDisk,
        number: u64,
    ) -> Result<Vec<u8>, Unavailable> {
        let mut block = vec![0; usize::try_from(self.block_bytes).unwrap_or_default()];
        self.read(disk, number.saturating_mul(self.block_bytes), &mut block)?;
        Ok(block)
    }

    /// Fills a buffer with the bytes at a position of the file system, all of them of one block.
    pub(super) fn read(
        &self,
        disk: &mut BudgetedDisk,
        position: u64,
        buffer: &mut [u8],
    ) -> Result<(), Unavailable> {
        disk.take_block()?;
        let end = position.saturating_add(buffer.len() as u64);
        if end > self.count * self.block_bytes {
            return Err(Unavailable::damaged("the file system points behind its own end"));
        }
        let (block, within) = (position / self.block_bytes, position % self.block_bytes);
        let newer = self.journal.get(&block).copied();
        let stored_at = newer.map_or(block, |newer| newer.block);
        if within + buffer.len() as u64 > self.block_bytes || stored_at >= self.count {
            return Err(Unavailable::damaged(
                "the file system's structures lie across blocks, or behind its end",
            ));
        }
        disk.read(self.range.start + stored_at * self.block_bytes + within, buffer)?;
        if newer.is_some_and(|newer| newer.is_escaped) {
            let magic = JOURNAL_MAGIC.to_be_bytes();
            let hidden = magic.iter().skip(usize::try_from(within).unwrap_or(usize::MAX));
            buffer.iter_mut().zip(hidden).for_each(|(byte, magic)| *byte = *magic);
        }
        Ok(())
    }
}
