//! The journal of an ext3 or ext4 that was not unmounted: which of its blocks stand for blocks of
//! the file system. Nothing is written; a reader looks there instead.
//!
//! A transaction counts when its commit is there, and the checksums of its descriptors and commit
//! are right where the journal has some. Those of the blocks themselves are not looked at: a wrong
//! one keeps the kernel from mounting at all. Source of the facts: the kernel's
//! `Documentation/filesystems/ext4/journal.rst`.

use crate::bytes::{big_u32, big_u64};
use crate::ext::{Ext, Flaw, Inode, Look};
use std::collections::HashMap;

const MAGIC: u32 = 0xc03b_3998;
/// Kinds of blocks.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

/// Bits of the journal's `s_feature_incompat`.
const SIXTY_FOUR_BITS: u32 = 2;
const CHECKSUM_2: u32 = 8;
const CHECKSUM_3: u32 = 0x10;
/// Those that are understood: revocations, 64 bits, commits in any order, checksums.
const UNDERSTOOD: u32 = 1 | SIXTY_FOUR_BITS | 4 | CHECKSUM_2 | CHECKSUM_3;

/// Flags of a tag.
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST_TAG: u32 = 8;

/// The largest journal that `mkfs` makes has as many blocks.
const MAX_BLOCKS: u64 = 1 << 18;

/// A block of the file system as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Where it is, a block of the file system too.
    pub(crate) place: u64,
    /// Its first four bytes are the journal's magic number, which was taken out of it.
    pub(crate) escaped: bool,
}

/// The bytes that stand at the beginning of an escaped block.
pub(crate) const ESCAPED_BYTES: [u8; 4] = MAGIC.to_be_bytes();

/// Reads the journal in an inode.
pub(crate) fn read(
    ext: &Ext,
    look: &mut Look<'_>,
    inode: &Inode,
) -> Result<HashMap<u64, Logged>, Flaw> {
    let superblock = block(ext, look, inode, 0)?.1;
    let word = |at| big_u32(&superblock, at).unwrap_or_default();
    if word(0) != MAGIC || !matches!(word(4), 3 | 4) {
        return Err("the file system was not unmounted, and it has no journal".to_owned());
    }
    let features = if word(4) == 4 { word(0x28) } else { 0 };
    let seed = (features & (CHECKSUM_2 | CHECKSUM_3) != 0)
        .then(|| superblock.get(0x30..0x40).map_or(0, |uuid| crc32c(!0, uuid)));
    if seed.is_some() && !is_sound(superblock.get(..1_024).unwrap_or_default(), 0xfc, !0) {
        return Err("the file system was not unmounted, and its journal is broken".to_owned());
    }
    if features & !UNDERSTOOD != 0 {
        return Err(format!(
            "the file system was not unmounted, and its journal is not read here ({features:#x})"
        ));
    }
    let (blocks, first, start) =
        (u64::from(word(0x10)), u64::from(word(0x14)), u64::from(word(0x1c)));
    if start == 0 {
        return Ok(HashMap::new());
    }
    if blocks > MAX_BLOCKS || first == 0 || first >= blocks || !(first..blocks).contains(&start) {
        return Err("the file system was not unmounted, and its journal makes no sense".to_owned());
    }
    let mut log =
        Log { ext, inode, features, seed, first, blocks, at: start, left: blocks - first };
    log.replay(look, word(0x18))
}

/// Whether the checksum at a place of a block is that of the block with zeros in its place.
fn is_sound(block: &[u8], at: usize, seed: u32) -> bool {
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

fn block(
    ext: &Ext,
    look: &mut Look<'_>,
    inode: &Inode,
    index: u64,
) -> Result<(u64, Vec<u8>), Flaw> {
    let place = ext.place(look, inode, index)?.ok_or("the journal of the file system has holes")?;
    Ok((place, ext.block(look, place)?))
}

struct Log<'a> {
    ext: &'a Ext,
    inode: &'a Inode,
    features: u32,
    /// Where checksums begin, when there are any.
    seed: Option<u32>,
    first: u64,
    blocks: u64,
    at: u64,
    left: u64,
}

impl Log<'_> {
    /// The next block's number in the journal; `None` when all have been seen.
    fn step(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let here = self.at;
        self.at = if here + 1 >= self.blocks { self.first } else { here + 1 };
        Some(here)
    }

    /// Every transaction that was committed.
    fn replay(
        &mut self,
        look: &mut Look<'_>,
        mut sequence: u32,
    ) -> Result<HashMap<u64, Logged>, Flaw> {
        let mut logged: HashMap<u64, (u32, Logged)> = HashMap::new();
        let mut revoked: HashMap<u64, u32> = HashMap::new();
        let (mut new, mut new_revoked) = (Vec::new(), Vec::new());
        // What of these is paid for.
        let mut pending = 0;
        while let Some(here) = self.step() {
            let (_, content) = block(self.ext, look, self.inode, here)?;
            let word = |at| big_u32(&content, at).unwrap_or_default();
            if word(0) != MAGIC || word(8) != sequence {
                break;
            }
            let checksum_at = match word(4) {
                COMMIT => 0x10,
                _ => content.len() - 4,
            };
            if self.seed.is_some_and(|seed| !is_sound(&content, checksum_at, seed)) {
                break;
            }
            match word(4) {
                DESCRIPTOR => self.tags(look, &content, &mut new)?,
                REVOKE => self.revocations(&content, &mut new_revoked),
                COMMIT => {
                    logged.extend(new.drain(..).map(|(block, place)| (block, (sequence, place))));
                    revoked.extend(new_revoked.drain(..).map(|block| (block, sequence)));
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
            look.budget.log((new.len() + new_revoked.len()).saturating_sub(pending))?;
            pending = new.len() + new_revoked.len();
        }
        // What was revoked later than it was logged is not what the block holds. Numbers wrap
        // around.
        let is_revoked = |block: &u64, logged: u32| {
            revoked.get(block).is_some_and(|&at| at.wrapping_sub(logged) as i32 >= 0)
        };
        logged.retain(|block, (sequence, _)| !is_revoked(block, *sequence));
        Ok(logged.into_iter().map(|(block, (_, place))| (block, place)).collect())
    }

    /// The blocks behind a descriptor, and what each of them stands for.
    fn tags(
        &mut self,
        look: &mut Look<'_>,
        descriptor: &[u8],
        found: &mut Vec<(u64, Logged)>,
    ) -> Result<(), Flaw> {
        let wide = self.features & SIXTY_FOUR_BITS != 0;
        let new_form = self.features & CHECKSUM_3 != 0;
        let short =
            8 + if wide { 4 } else { 0 } + if self.features & CHECKSUM_2 != 0 { 2 } else { 0 };
        let bytes = if new_form { 16 } else { short };
        let mut at = 12;
        while let Some(tag) = descriptor.get(at..at + bytes) {
            let low = u64::from(big_u32(tag, 0).unwrap_or_default());
            let flags = if new_form {
                big_u32(tag, 4).unwrap_or_default()
            } else {
                u32::from(u16::from_be_bytes([tag[6], tag[7]]))
            };
            let high = if wide { u64::from(big_u32(tag, 8).unwrap_or_default()) } else { 0 };
            let Some(here) = self.step() else { return Ok(()) };
            let place = self
                .ext
                .place(look, self.inode, here)?
                .ok_or("the journal of the file system has holes")?;
            found.push((low | high << 32, Logged { place, escaped: flags & ESCAPED != 0 }));
            at += bytes + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST_TAG != 0 {
                break;
            }
        }
        Ok(())
    }

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
        assert!(!is_sound(&[0; 8], 6, !0));
    }
}
