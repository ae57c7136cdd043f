//! The journal of an ext3 or ext4 that was not unmounted: which of its blocks are newer than those
//! of the file system. Nothing is written; a reader reads the newer ones instead.
//!
//! A transaction counts when its commit block is there, and the checksums of its descriptor and
//! commit blocks, where the journal has any, are right. Those of data blocks are not verified: a
//! wrong one keeps the kernel from mounting at all. Source of the facts: the kernel's
//! `Documentation/filesystems/ext4/journal.rst`.

use super::blocks::{Blocks, JOURNAL_MAGIC, JournalBlock};
use super::budget::BudgetedDisk;
use super::inode::Inode;
use super::mapping::locate;
use crate::bytes::{big_u32, big_u64};
use crate::unavailable::Unavailable;
use std::collections::HashMap;

/// Types of blocks.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

/// Bits of the journal's `s_feature_incompat`.
const SIXTY_FOUR_BITS: u32 = 2;
const CHECKSUM_2: u32 = 8;
const CHECKSUM_3: u32 = 0x10;
/// Those that are known: revocations, 64 bits, commits in any order, checksums.
const KNOWN_FEATURES: u32 = 1 | SIXTY_FOUR_BITS | 4 | CHECKSUM_2 | CHECKSUM_3;

/// Flags of a tag.
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST_TAG: u32 = 8;

/// The blocks of the largest journal that `mkfs` makes.
const MAX_BLOCKS: u64 = 1 << 18;

/// Reads the journal in an inode: the blocks of the file system that it holds, by their numbers.
pub(super) fn read(
    blocks: &Blocks,
    disk: &mut BudgetedDisk,
    inode: &Inode,
) -> Result<HashMap<u64, JournalBlock>, Unavailable> {
    let superblock = journal_block(blocks, disk, inode, 0)?;
    let word = |at| big_u32(&superblock, at).unwrap_or_default();
    if word(0) != JOURNAL_MAGIC || !matches!(word(4), 3 | 4) {
        return Err(Unavailable::damaged(
            "the file system was not unmounted, and it has no journal",
        ));
    }
    let features = if word(4) == 4 { word(0x28) } else { 0 };
    let seed = (features & (CHECKSUM_2 | CHECKSUM_3) != 0)
        .then(|| superblock.get(0x30..0x40).map_or(0, |uuid| crc32c(!0, uuid)));
    if seed.is_some() && !has_valid_checksum(superblock.get(..1_024).unwrap_or_default(), 0xfc, !0)
    {
        return Err(Unavailable::damaged(
            "the file system was not unmounted, and its journal is broken",
        ));
    }
    if features & !KNOWN_FEATURES != 0 {
        return Err(Unavailable::unsupported(format!(
            "the file system was not unmounted, and its journal is not read here ({features:#x})"
        )));
    }
    let (count, first, start) =
        (u64::from(word(0x10)), u64::from(word(0x14)), u64::from(word(0x1c)));
    if start == 0 {
        return Ok(HashMap::new());
    }
    if count > MAX_BLOCKS || first == 0 || first >= count || !(first..count).contains(&start) {
        return Err(Unavailable::damaged(
            "the file system was not unmounted, and its journal makes no sense",
        ));
    }
    let mut journal =
        Journal { blocks, inode, features, seed, first, count, next: start, left: count - first };
    journal.replay(disk, word(0x18))
}

/// Whether the checksum at an offset of a block is that of the block with zeros in its place.
fn has_valid_checksum(block: &[u8], at: usize, seed: u32) -> bool {
    let Some((before, rest)) = block.split_at_checked(at) else { return false };
    let Some((stored, behind)) = rest.split_at_checked(4) else { return false };
    crc32c(crc32c(crc32c(seed, before), &[0; 4]), behind) == big_u32(stored, 0).unwrap_or_default()
}

/// CRC-32C, continued from an earlier one, without the inversion at its end: as ext4 has it.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut crc, mut bit) = (index as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    bytes.iter().fold(crc, |crc, &byte| TABLE[usize::from((crc as u8) ^ byte)] ^ crc >> 8)
}

/// The block of the file system that holds a block of the journal.
fn locate_in_journal(
    blocks: &Blocks,
    disk: &mut BudgetedDisk,
    inode: &Inode,
    index: u64,
) -> Result<u64, Unavailable> {
    let has_holes = || Unavailable::damaged("the journal of the file system has holes");
    locate(blocks, disk, inode, index)?.ok_or_else(has_holes)
}

/// The content of a block of the journal.
fn journal_block(
    blocks: &Blocks,
    disk: &mut BudgetedDisk,
    inode: &Inode,
    index: u64,
) -> Result<Vec<u8>, Unavailable> {
    let block = locate_in_journal(blocks, disk, inode, index)?;
    blocks.block(disk, block)
}

struct Journal<'a> {
    blocks: &'a Blocks,
    inode: &'a Inode,
    features: u32,
    /// What checksums begin with, when there are any.
    seed: Option<u32>,
    /// The journal is a ring from this block on.
    first: u64,
    /// How many blocks the journal has, those before the ring included.
    count: u64,
    /// The block that is read next, and how many have not been.
    next: u64,
    left: u64,
}

impl Journal<'_> {
    /// The next block's number in the journal; `None` when the ring is closed.
    fn step(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let current = self.next;
        self.next = if current + 1 >= self.count { self.first } else { current + 1 };
        Some(current)
    }

    /// The blocks of all transactions that were committed; `sequence` is the number of the first.
    fn replay(
        &mut self,
        disk: &mut BudgetedDisk,
        mut sequence: u32,
    ) -> Result<HashMap<u64, JournalBlock>, Unavailable> {
        let mut logged: HashMap<u64, (u32, JournalBlock)> = HashMap::new();
        let mut revoked: HashMap<u64, u32> = HashMap::new();
        // Those of the transaction that is read, and how many of them were taken from the budget.
        let (mut new, mut new_revoked) = (Vec::new(), Vec::new());
        let mut taken = 0;
        while let Some(index) = self.step() {
            let content = journal_block(self.blocks, disk, self.inode, index)?;
            let word = |at| big_u32(&content, at).unwrap_or_default();
            if word(0) != JOURNAL_MAGIC || word(8) != sequence {
                break;
            }
            let checksum_at = match word(4) {
                COMMIT => 0x10,
                _ => content.len() - 4,
            };
            if self.seed.is_some_and(|seed| !has_valid_checksum(&content, checksum_at, seed)) {
                break;
            }
            match word(4) {
                DESCRIPTOR => self.tags(disk, &content, &mut new)?,
                REVOKE => self.revocations(&content, &mut new_revoked),
                COMMIT => {
                    logged.extend(new.drain(..).map(|(number, newer)| (number, (sequence, newer))));
                    revoked.extend(new_revoked.drain(..).map(|block| (block, sequence)));
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
            disk.take_journal_blocks((new.len() + new_revoked.len()).saturating_sub(taken))?;
            taken = new.len() + new_revoked.len();
        }
        // A block that was revoked by the same or a later transaction is not replayed. Numbers of
        // transactions wrap around.
        let is_revoked = |block: &u64, logged: u32| {
            revoked.get(block).is_some_and(|&at| at.wrapping_sub(logged) as i32 >= 0)
        };
        logged.retain(|block, (sequence, _)| !is_revoked(block, *sequence));
        Ok(logged.into_iter().map(|(number, (_, newer))| (number, newer)).collect())
    }

    /// The data blocks behind a descriptor block, with the numbers that its tags give them.
    fn tags(
        &mut self,
        disk: &mut BudgetedDisk,
        descriptor: &[u8],
        found: &mut Vec<(u64, JournalBlock)>,
    ) -> Result<(), Unavailable> {
        let wide = self.features & SIXTY_FOUR_BITS != 0;
        let has_checksum_3 = self.features & CHECKSUM_3 != 0;
        let old_form =
            8 + if wide { 4 } else { 0 } + if self.features & CHECKSUM_2 != 0 { 2 } else { 0 };
        let bytes = if has_checksum_3 { 16 } else { old_form };
        let mut at = 12;
        while let Some(tag) = descriptor.get(at..at + bytes) {
            let low = u64::from(big_u32(tag, 0).unwrap_or_default());
            let flags = if has_checksum_3 {
                big_u32(tag, 4).unwrap_or_default()
            } else {
                u32::from(u16::from_be_bytes([tag[6], tag[7]]))
            };
            let high = if wide { u64::from(big_u32(tag, 8).unwrap_or_default()) } else { 0 };
            let Some(index) = self.step() else { return Ok(()) };
            let block = locate_in_journal(self.blocks, disk, self.inode, index)?;
            let newer = JournalBlock { block, is_escaped: flags & ESCAPED != 0 };
            found.push((low | high << 32, newer));
            at += bytes + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST_TAG != 0 {
                break;
            }
        }
        Ok(())
    }

    /// The numbers of blocks in a revocation block.
    fn revocations(&self, content: &[u8], found: &mut Vec<u64>) {
        const HEADER_BYTES: usize = 16;
        let used = (big_u32(content, 12).unwrap_or_default() as usize).min(content.len());
        let entries = content.get(HEADER_BYTES..used).unwrap_or_default();
        if self.features & SIXTY_FOUR_BITS != 0 {
            found.extend(entries.chunks_exact(8).filter_map(|entry| big_u64(entry, 0)));
        } else {
            found.extend(
                entries.chunks_exact(4).filter_map(|entry| big_u32(entry, 0)).map(u64::from),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert!(!has_valid_checksum(&[0; 8], 6, !0));
    }
}
