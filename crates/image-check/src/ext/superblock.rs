//! The superblock of an ext file system.

use crate::bytes::{little_u32, until_zero};
use crate::unavailable::Unavailable;

/// Where the superblock begins in the file system, and its size, in bytes.
pub(super) const OFFSET: u64 = 1_024;
pub(super) const BYTES: usize = 1_024;

/// Bits of `s_feature_incompat`.
const RECOVER: u32 = 0x4;
const SIXTY_FOUR_BITS: u32 = 0x80;
/// Those that change nothing for a reader of this kind, or that it knows: file types, recovery,
/// extents, 64 bits, multiple mount protection, flexible block groups, large extended attributes,
/// checksum seeds, large directories, inline data, encryption, case folding.
const KNOWN_FEATURES: u32 = 0x2
    | RECOVER
    | 0x40
    | SIXTY_FOUR_BITS
    | 0x100
    | 0x200
    | 0x400
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;

/// The fields that a reader needs; they agree with each other, and with the room that there is.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_bytes: u64,
    /// How many blocks the file system has.
    pub(super) blocks: u64,
    pub(super) inodes: u32,
    pub(super) inodes_per_group: u32,
    pub(super) inode_bytes: u64,
    /// The size of a group descriptor.
    pub(super) descriptor_bytes: u64,
    /// The block at which the group descriptors begin.
    pub(super) first_descriptor_block: u64,
    /// The inode of the journal when it has to be replayed: the file system was not unmounted.
    pub(super) pending_journal: Option<u32>,
    /// In lower case, as fstab writes it.
    pub(super) uuid: String,
    pub(super) label: String,
}

impl Superblock {
    /// The superblock of a file system that has room for so many bytes.
    pub(super) fn parse(bytes: &[u8], available_bytes: u64) -> Result<Self, Unavailable> {
        if bytes.len() < BYTES {
            return Err(Unavailable::damaged("the file system is cut short"));
        }
        let number = |at| little_u32(bytes, at).unwrap_or_default();
        let short = |at: usize| u64::from(number(at) & 0xffff);
        let features = number(0x60);
        if features & !KNOWN_FEATURES != 0 {
            return Err(Unavailable::unsupported(format!(
                "the file system has features that are not read here ({:#x})",
                features & !KNOWN_FEATURES
            )));
        }
        let block_bytes = match number(0x18) {
            log @ 0..=6 => 1_024_u64 << log,
            log => {
                let log = u64::from(log) + 10;
                return Err(Unavailable::damaged(format!("blocks of 2^{log} bytes do not exist")));
            }
        };
        let has_64_bits = features & SIXTY_FOUR_BITS != 0;
        let high = if has_64_bits { u64::from(number(0x150)) << 32 } else { 0 };
        let blocks = u64::from(number(4)) | high;
        if blocks.checked_mul(block_bytes).is_none_or(|bytes| bytes > available_bytes) {
            return Err(Unavailable::damaged(
                "the file system is larger than the place that it is in",
            ));
        }
        let superblock = Self {
            block_bytes,
            blocks,
            inodes: number(0),
            inodes_per_group: number(0x28),
            inode_bytes: if number(0x4c) == 0 { 128 } else { short(0x58) },
            descriptor_bytes: if has_64_bits { short(0xfe) } else { 32 },
            // Behind the superblock, which has a block of its own where blocks are of 1 KiB.
            first_descriptor_block: if block_bytes == 1_024 { 2 } else { 1 },
            pending_journal: (features & RECOVER != 0).then(|| number(0xe0)),
            uuid: uuid(&bytes[0x68..0x78]),
            label: String::from_utf8_lossy(until_zero(&bytes[0x78..0x88])).into_owned(),
        };
        let sizes = 32..=block_bytes;
        let is_consistent = (128..=block_bytes).contains(&superblock.inode_bytes)
            && sizes.contains(&superblock.descriptor_bytes)
            && (!has_64_bits || superblock.descriptor_bytes >= 64)
            && superblock.inodes_per_group > 0;
        if !is_consistent {
            return Err(Unavailable::damaged("the file system's superblock makes no sense"));
        }
        Ok(superblock)
    }
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_fstab_has_them() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
