//! How much of a disk may be read: what an image's author piles up must not take more time or
//! memory than a check is worth.

use crate::deadline::Deadline;
use crate::disk::Disk;
use crate::unavailable::Unavailable;

/// The most blocks of file systems that are read of one image: far more than the checks need.
const MAX_BLOCKS: u64 = 1 << 20;
/// The most blocks that all journals of a disk may hold or revoke.
const MAX_JOURNAL_BLOCKS: usize = 200_000;

/// A disk that is read within limits.
pub(crate) struct BudgetedDisk {
    disk: Disk,
    /// Blocks that may still be read.
    blocks: u64,
    /// Blocks that journals may still hold or revoke.
    journal_blocks: usize,
    deadline: Deadline,
}

impl BudgetedDisk {
    pub(crate) fn new(disk: Disk, deadline: Deadline) -> Self {
        Self { disk, blocks: MAX_BLOCKS, journal_blocks: MAX_JOURNAL_BLOCKS, deadline }
    }

    /// Fills a buffer with the bytes at a position of the disk.
    pub(super) fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<(), Unavailable> {
        self.disk.read(position, buffer)
    }

    /// The bytes from a position to the disk's end, at most so many.
    pub(super) fn read_at_most(
        &mut self,
        position: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, Unavailable> {
        self.disk.read_at_most(position, bytes)
    }

    /// Fails when no time is left.
    pub(crate) fn check_time(&self) -> Result<(), Unavailable> {
        self.deadline.check()
    }

    /// Takes a block from the budget.
    pub(super) fn take_block(&mut self) -> Result<(), Unavailable> {
        self.check_time()?;
        self.blocks = self.blocks.checked_sub(1).ok_or_else(|| {
            Unavailable::too_large("more of the file system would have to be read than is sensible")
        })?;
        Ok(())
    }

    /// Takes blocks that a journal holds or revokes from the budget.
    pub(super) fn take_journal_blocks(&mut self, blocks: usize) -> Result<(), Unavailable> {
        self.journal_blocks = self.journal_blocks.checked_sub(blocks).ok_or_else(|| {
            Unavailable::too_large("the journals of the disk hold more than is read")
        })?;
        Ok(())
    }
}
