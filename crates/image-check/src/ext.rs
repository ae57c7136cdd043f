//! ext2, ext3 and ext4, read-only.
//!
//! Written by hand for images whose author means harm: the crate that reads ext4 visits an extent
//! tree whose nodes share their children once a path (340 to the power of five), and reserves
//! memory by a number of the superblock. Here a file's block is found by one descent, directories
//! are read from front to back, and every block that is looked at is paid from one budget. Source
//! of the facts: the kernel's `Documentation/filesystems/ext4`.

use crate::bytes::{little_u32, until_zero};
use crate::disk::Disk;
use crate::journal::{self, ESCAPED_BYTES, Logged};
use crate::time::Deadline;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Why something cannot be read, for the one who asked.
pub(crate) type Flaw = String;

/// Blocks that are looked at in one image: far more than a check needs.
const MAX_BLOCKS: u64 = 1 << 20;
/// Blocks that all journals of a disk stand for, and revoke.
const MAX_LOGGED: usize = 200_000;
/// The largest directory that is read.
const LARGEST_DIRECTORY_BYTES: u64 = 4 << 20;
/// Names of one directory.
const MAX_NAMES: usize = 50_000;
/// The longest target of a link.
const LONGEST_LINK_BYTES: u64 = 4_096;
const ROOT_INODE: u32 = 2;

/// Bits of `s_feature_incompat`.
const RECOVER: u32 = 0x4;
const SIXTY_FOUR_BITS: u32 = 0x80;
/// Those that change nothing for a reader of this kind, or that it knows: file types, extents, 64
/// bits, protection against two mounts, flexible groups, large attributes, checksum seeds, large
/// directories, inline data, encryption, case folding.
const UNDERSTOOD: u32 = RECOVER
    | 0x2
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

/// Bits of an inode's flags.
const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE_DATA: u32 = 0x1000_0000;

/// How much may still be looked at, and until when.
#[derive(Debug)]
pub(crate) struct Budget {
    blocks: u64,
    /// Blocks that journals may stand for.
    logged: usize,
    deadline: Deadline,
}

impl Budget {
    pub(crate) fn new(deadline: Deadline) -> Self {
        Self { blocks: MAX_BLOCKS, logged: MAX_LOGGED, deadline }
    }

    /// The budget itself; nothing is left here.
    pub(crate) fn take(&mut self) -> Self {
        let (blocks, logged) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.logged));
        Self { blocks, logged, deadline: self.deadline }
    }

    /// Pays for blocks that journals stand for.
    pub(crate) fn log(&mut self, blocks: usize) -> Result<(), Flaw> {
        self.logged = self
            .logged
            .checked_sub(blocks)
            .ok_or("the journals of the disk hold more than is read")?;
        Ok(())
    }

    /// Whether there is time left.
    pub(crate) fn check(&self) -> Result<(), Flaw> {
        self.deadline.check().map_err(|error| error.to_string())
    }

    fn spend(&mut self) -> Result<(), Flaw> {
        self.check()?;
        self.blocks = self
            .blocks
            .checked_sub(1)
            .ok_or("more of the file system would have to be read than is sensible")?;
        Ok(())
    }
}

/// A file system on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Ext {
    stretch: Range<u64>,
    block_bytes: u64,
    blocks: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_bytes: u64,
    descriptor_bytes: u64,
    /// Where the group descriptors begin, a block number.
    descriptors: u64,
    /// Its UUID, in lower case.
    pub(crate) uuid: String,
    pub(crate) label: String,
    /// Blocks that are in the journal.
    logged: Rc<HashMap<u64, Logged>>,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// An inode.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) permissions: u16,
    flags: u32,
    /// Extents, block numbers, or the beginning of the data itself.
    root: [u8; 60],
    /// The rest of data that lie in the inode.
    pub(crate) inline: Vec<u8>,
}

/// The disk and the budget that a look needs.
pub(crate) struct Look<'a> {
    pub(crate) disk: &'a mut Disk,
    pub(crate) budget: &'a mut Budget,
}

impl Ext {
    /// The file system that begins where a stretch of the disk does; its journal is read where it
    /// was not unmounted.
    pub(crate) fn open(look: &mut Look<'_>, stretch: Range<u64>) -> Result<Self, Flaw> {
        let superblock =
            look.disk.read_most(stretch.start + 1_024, 1_024).map_err(|error| error.to_string())?;
        if superblock.len() < 1_024 {
            return Err("the file system is cut short".to_owned());
        }
        let number = |at| little_u32(&superblock, at).unwrap_or_default();
        let small = |at: usize| number(at) & 0xffff;
        let features = number(0x60);
        if features & !UNDERSTOOD != 0 {
            return Err(format!(
                "the file system has features that are not read here ({:#x})",
                features & !UNDERSTOOD
            ));
        }
        let block_bytes = match number(0x18) {
            log @ 0..=6 => 1_024_u64 << log,
            log => return Err(format!("blocks of 2^{} bytes do not exist", u64::from(log) + 10)),
        };
        let wide = features & SIXTY_FOUR_BITS != 0;
        let blocks = u64::from(number(4)) | if wide { u64::from(number(0x150)) << 32 } else { 0 };
        if blocks.checked_mul(block_bytes).is_none_or(|bytes| bytes > stretch.end - stretch.start) {
            return Err("the file system is larger than the place that it is in".to_owned());
        }
        let inode_bytes = if number(0x4c) == 0 { 128 } else { u64::from(small(0x58)) };
        let descriptor_bytes = if wide { u64::from(small(0xfe)) } else { 32 };
        let sound = (128..=block_bytes).contains(&inode_bytes)
            && (32..=block_bytes).contains(&descriptor_bytes)
            && (!wide || descriptor_bytes >= 64)
            && number(0x28) > 0;
        if !sound {
            return Err("the file system's superblock makes no sense".to_owned());
        }
        let mut ext = Self {
            stretch,
            block_bytes,
            blocks,
            inodes: number(0),
            inodes_per_group: number(0x28),
            inode_bytes,
            descriptor_bytes,
            // Behind the superblock, which blocks of 1 KiB leave alone in one of their own.
            descriptors: if block_bytes == 1_024 { 2 } else { 1 },
            uuid: uuid(&superblock[0x68..0x78]),
            label: String::from_utf8_lossy(until_zero(&superblock[0x78..0x88])).into_owned(),
            logged: Rc::default(),
        };
        if features & RECOVER != 0 {
            let inode = ext.inode(look, number(0xe0))?;
            ext.logged = Rc::new(journal::read(&ext, look, &inode)?);
        }
        Ok(ext)
    }

    /// The root directory.
    pub(crate) fn root(&self, look: &mut Look<'_>) -> Result<Inode, Flaw> {
        self.inode(look, ROOT_INODE)
    }

    fn read(&self, look: &mut Look<'_>, position: u64, buffer: &mut [u8]) -> Result<(), Flaw> {
        look.budget.spend()?;
        let end = position.saturating_add(buffer.len() as u64);
        if end > self.blocks * self.block_bytes {
            return Err("the file system points behind its own end".to_owned());
        }
        let (block, within) = (position / self.block_bytes, position % self.block_bytes);
        let logged = self.logged.get(&block).copied();
        let place = logged.map_or(block, |logged| logged.place);
        if within + buffer.len() as u64 > self.block_bytes || place >= self.blocks {
            return Err(
                "the file system's structures lie across blocks, or behind its end".to_owned()
            );
        }
        let start = self.stretch.start + place * self.block_bytes + within;
        look.disk.read(start, buffer).map_err(|error| error.to_string())?;
        if logged.is_some_and(|logged| logged.escaped) {
            let bytes = ESCAPED_BYTES.iter().skip(usize::try_from(within).unwrap_or(usize::MAX));
            buffer.iter_mut().zip(bytes).for_each(|(byte, escaped)| *byte = *escaped);
        }
        Ok(())
    }

    pub(crate) fn block(&self, look: &mut Look<'_>, number: u64) -> Result<Vec<u8>, Flaw> {
        let mut block = vec![0; usize::try_from(self.block_bytes).unwrap_or_default()];
        self.read(look, number.saturating_mul(self.block_bytes), &mut block)?;
        Ok(block)
    }

    pub(crate) fn inode(&self, look: &mut Look<'_>, number: u32) -> Result<Inode, Flaw> {
        if number == 0 || number > self.inodes {
            return Err(format!("the file system names inode {number}, which does not exist"));
        }
        let (group, index) =
            ((number - 1) / self.inodes_per_group, (number - 1) % self.inodes_per_group);
        let mut descriptor = vec![0; usize::try_from(self.descriptor_bytes).unwrap_or_default()];
        let at = self.descriptors * self.block_bytes + u64::from(group) * self.descriptor_bytes;
        self.read(look, at, &mut descriptor)?;
        let high = if descriptor.len() >= 64 {
            little_u32(&descriptor, 0x28).unwrap_or_default()
        } else {
            0
        };
        let table =
            u64::from(little_u32(&descriptor, 8).unwrap_or_default()) | u64::from(high) << 32;
        let mut inode = vec![0; usize::try_from(self.inode_bytes).unwrap_or_default()];
        let at = table
            .saturating_mul(self.block_bytes)
            .saturating_add(u64::from(index) * self.inode_bytes);
        self.read(look, at, &mut inode)?;
        Ok(parse_inode(&inode))
    }

    /// The block of the disk that holds a file's block; `None` for a hole.
    pub(crate) fn place(
        &self,
        look: &mut Look<'_>,
        inode: &Inode,
        block: u64,
    ) -> Result<Option<u64>, Flaw> {
        if inode.flags & EXTENTS != 0 {
            self.by_extents(look, inode, block)
        } else {
            self.by_map(look, inode, block)
        }
    }

    fn by_extents(
        &self,
        look: &mut Look<'_>,
        inode: &Inode,
        block: u64,
    ) -> Result<Option<u64>, Flaw> {
        const LONGEST_WRITTEN: u64 = 32_768;
        let broken = || "an extent tree of the file system makes no sense".to_owned();
        let mut node = inode.root.to_vec();
        let mut expected_depth = None;
        loop {
            let word = |at: usize| {
                node.get(at..at + 2).map(|two| u64::from(u16::from_le_bytes([two[0], two[1]])))
            };
            let (magic, entries, depth) =
                (word(0), word(2).ok_or_else(broken)?, word(6).ok_or_else(broken)?);
            if magic != Some(0xf30a)
                || depth > 5
                || expected_depth.is_some_and(|expected| expected != depth)
            {
                return Err(broken());
            }
            let entries =
                node.get(12..).unwrap_or_default().chunks_exact(12).take(entries as usize);
            let first = |entry: &&[u8]| u64::from(little_u32(entry, 0).unwrap_or_default());
            let Some(entry) = entries.take_while(|entry| first(entry) <= block).last() else {
                return Ok(None);
            };
            let half = |at: usize| u64::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
            let low = |at| u64::from(little_u32(entry, at).unwrap_or_default());
            if depth == 0 {
                let (within, length) = (block - first(&entry), half(4));
                // A longer one is reserved, not written: zeros.
                let there = length <= LONGEST_WRITTEN && within < length;
                return Ok(there.then(|| (half(6) << 32 | low(8)) + within));
            }
            let child = half(8) << 32 | low(4);
            expected_depth = Some(depth - 1);
            node = self.block(look, child)?;
        }
    }

    fn by_map(&self, look: &mut Look<'_>, inode: &Inode, block: u64) -> Result<Option<u64>, Flaw> {
        const DIRECT: u64 = 12;
        let per_block = self.block_bytes / 4;
        let root =
            |index: u64| u64::from(little_u32(&inode.root, index as usize * 4).unwrap_or_default());
        if block < DIRECT {
            return Ok(Some(root(block)).filter(|&place| place != 0));
        }
        let mut index = block - DIRECT;
        let mut span = per_block;
        for level in 0..3 {
            if index < span {
                let mut place = root(DIRECT + level);
                while place != 0 && span > 1 {
                    span /= per_block;
                    let table = self.block(look, place)?;
                    place = u64::from(
                        little_u32(&table, (index / span) as usize * 4).unwrap_or_default(),
                    );
                    index %= span;
                }
                return Ok(Some(place).filter(|&place| place != 0));
            }
            index -= span;
            span = span.saturating_mul(per_block);
        }
        Err("a file of the file system is larger than its map".to_owned())
    }

    /// The first bytes of a file, at most `most`.
    pub(crate) fn content(
        &self,
        look: &mut Look<'_>,
        inode: &Inode,
        most: u64,
    ) -> Result<Vec<u8>, Flaw> {
        if inode.flags & ENCRYPTED != 0 {
            return Err("it is encrypted".to_owned());
        }
        let wanted = inode.bytes.min(most);
        if inode.flags & INLINE_DATA != 0 {
            let mut content = [&inode.root[..], &inode.inline].concat();
            content.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
            if content.len() as u64 != wanted {
                return Err("the data in an inode are cut short".to_owned());
            }
            return Ok(content);
        }
        let mut content = Vec::new();
        for index in 0..wanted.div_ceil(self.block_bytes) {
            match self.place(look, inode, index)? {
                Some(place) => content.extend_from_slice(&self.block(look, place)?),
                None => {
                    look.budget.spend()?;
                    content.resize(
                        content.len() + usize::try_from(self.block_bytes).unwrap_or_default(),
                        0,
                    );
                }
            }
        }
        content.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(content)
    }

    /// Where a link points to.
    pub(crate) fn target(&self, look: &mut Look<'_>, inode: &Inode) -> Result<Vec<u8>, Flaw> {
        match inode.bytes {
            0 => Err("a link points nowhere".to_owned()),
            bytes @ 1..60 if inode.flags & ENCRYPTED == 0 => {
                Ok(inode.root[..bytes as usize].to_vec())
            }
            bytes if bytes > LONGEST_LINK_BYTES => Err("a link's target is too long".to_owned()),
            _ => self.content(look, inode, LONGEST_LINK_BYTES),
        }
    }

    /// The names in a directory and their inodes, without the directory itself and its parent.
    pub(crate) fn entries(
        &self,
        look: &mut Look<'_>,
        inode: &Inode,
    ) -> Result<Vec<(Vec<u8>, u32)>, Flaw> {
        if inode.bytes > LARGEST_DIRECTORY_BYTES {
            return Err(format!("a directory of {} bytes is not read", inode.bytes));
        }
        let mut found = Vec::new();
        if inode.flags & INLINE_DATA != 0 {
            // The parent's number comes first.
            parse_entries(&inode.root[4..], &mut found)?;
            parse_entries(&inode.inline, &mut found)?;
            return Ok(found);
        }
        let content = self.content(look, inode, inode.bytes)?;
        for block in content.chunks(usize::try_from(self.block_bytes).unwrap_or(usize::MAX)) {
            parse_entries(block, &mut found)?;
        }
        Ok(found)
    }
}

/// The inode in at least 128 bytes.
fn parse_inode(inode: &[u8]) -> Inode {
    let mode = u16::from_le_bytes([inode[0], inode[1]]);
    let mut root = [0; 60];
    root.copy_from_slice(&inode[0x28..0x64]);
    let kind = match mode >> 12 {
        0x8 => Kind::File,
        0x4 => Kind::Directory,
        0xa => Kind::Link,
        _ => Kind::Other,
    };
    let number = |at| u64::from(little_u32(inode, at).unwrap_or_default());
    Inode {
        kind,
        bytes: number(4) | number(0x6c) << 32,
        permissions: mode & 0o7777,
        flags: number(0x20) as u32,
        root,
        inline: inline_data(inode).unwrap_or_default().to_vec(),
    }
}

/// The value of the attribute `system.data` behind the fields of an inode: what does not fit before
/// it.
fn inline_data(inode: &[u8]) -> Option<&[u8]> {
    const MAGIC: u32 = 0xea02_0000;
    const SYSTEM: u8 = 7;
    if little_u32(inode, 0x20)? & INLINE_DATA == 0 {
        return None;
    }
    let extra = usize::from(u16::from_le_bytes([*inode.get(0x80)?, *inode.get(0x81)?]));
    let attributes = inode.get(0x80 + extra..)?;
    if little_u32(attributes, 0)? != MAGIC {
        return None;
    }
    let attributes = &attributes[4..];
    let mut entry = attributes;
    while let [name_length, index, ..] = *entry
        && name_length > 0
    {
        let name = entry.get(16..16 + usize::from(name_length))?;
        if index == SYSTEM && name == b"data" {
            let offset = usize::from(u16::from_le_bytes([entry[2], entry[3]]));
            let length = little_u32(entry, 8)? as usize;
            return attributes.get(offset..offset.checked_add(length)?);
        }
        entry = entry.get(16 + name.len().next_multiple_of(4)..)?;
    }
    None
}

fn parse_entries(mut block: &[u8], found: &mut Vec<(Vec<u8>, u32)>) -> Result<(), Flaw> {
    while block.len() >= 8 {
        let inode = little_u32(block, 0).unwrap_or_default();
        let length = match u16::from_le_bytes([block[4], block[5]]) {
            // Of blocks of 64 KiB.
            0 | 0xffff if block.len() == 1 << 16 => 1 << 16,
            length => usize::from(length),
        };
        let (entry, rest) = match block.split_at_checked(length) {
            Some(parts) if length >= 8 && length % 4 == 0 => parts,
            _ => return Err("a directory of the file system makes no sense".to_owned()),
        };
        let name = entry
            .get(8..8 + usize::from(entry[6]))
            .ok_or("a directory of the file system makes no sense")?;
        if inode != 0 && !matches!(name, b"" | b"." | b"..") {
            found.push((name.to_vec(), inode));
        }
        if found.len() > MAX_NAMES {
            return Err("a directory has more names than are read".to_owned());
        }
        block = rest;
    }
    Ok(())
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
    fn entries_that_lead_nowhere_are_refused() {
        let mut found = Vec::new();
        let zero_length = [1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 0];
        assert!(parse_entries(&zero_length, &mut found).is_err());
        let too_long = [1, 0, 0, 0, 12, 0, 9, 1, b'a', 0, 0, 0];
        assert!(parse_entries(&too_long, &mut found).is_err());
        let sound = [1, 0, 0, 0, 12, 0, 1, 1, b'a', 0, 0, 0];
        assert!(parse_entries(&sound, &mut found).is_ok());
        assert_eq!(found, [(b"a".to_vec(), 1)]);
    }

    #[test]
    fn uuids_are_written_as_fstab_has_them() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
