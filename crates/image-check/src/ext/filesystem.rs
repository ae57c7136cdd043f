//! A file system: its inodes, and what their files hold.

use super::blocks::Blocks;
use super::budget::BudgetedDisk;
use super::directory::{self, DirectoryEntry};
use super::inode::Inode;
use super::superblock::{self, Superblock};
use super::{journal, mapping};
use crate::bytes::little_u32;
use crate::unavailable::{SkipReason, Unavailable};
use std::ops::Range;

/// The largest directory that is read.
const MAX_DIRECTORY_BYTES: u64 = 4 << 20;
/// The longest target of a symbolic link.
const MAX_TARGET_BYTES: u64 = 4_096;
/// Targets below this size lie in the inode.
const FAST_SYMLINK_BYTES: u64 = 60;
const ROOT_INODE: u32 = 2;

/// A file system on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Ext {
    superblock: Superblock,
    blocks: Blocks,
}

impl Ext {
    /// The file system in a range of the disk. Where it was not unmounted, its journal is read, so
    /// that its files are as the guest would see them.
    pub(crate) fn open(disk: &mut BudgetedDisk, range: Range<u64>) -> Result<Self, Unavailable> {
        let start = range.start + superblock::OFFSET;
        let bytes = disk.read_at_most(start, superblock::BYTES)?;
        let superblock = Superblock::parse(&bytes, range.end - range.start)?;
        let blocks = Blocks::new(range, superblock.block_bytes, superblock.blocks);
        let journal = superblock.pending_journal;
        let ext = Self { superblock, blocks };
        let Some(number) = journal else { return Ok(ext) };
        let inode = ext.inode(disk, number)?;
        let newer = journal::read(&ext.blocks, disk, &inode)?;
        Ok(Self { blocks: ext.blocks.with_journal(newer), ..ext })
    }

    /// Its UUID, in lower case.
    pub(crate) fn uuid(&self) -> &str {
        &self.superblock.uuid
    }

    pub(crate) fn label(&self) -> &str {
        &self.superblock.label
    }

    /// The root directory.
    pub(crate) fn root(&self, disk: &mut BudgetedDisk) -> Result<Inode, Unavailable> {
        self.inode(disk, ROOT_INODE)
    }

    /// The inode of a number.
    pub(crate) fn inode(&self, disk: &mut BudgetedDisk, number: u32) -> Result<Inode, Unavailable> {
        let superblock = &self.superblock;
        if number == 0 || number > superblock.inodes {
            let message = format!("the file system names inode {number}, which does not exist");
            return Err(Unavailable::damaged(message));
        }
        let group = u64::from((number - 1) / superblock.inodes_per_group);
        let index = u64::from((number - 1) % superblock.inodes_per_group);
        let table = self.inode_table(disk, group)?;
        let mut inode = vec![0; usize::try_from(superblock.inode_bytes).unwrap_or_default()];
        let at = table
            .saturating_mul(superblock.block_bytes)
            .saturating_add(index * superblock.inode_bytes);
        self.blocks.read(disk, at, &mut inode)?;
        Ok(Inode::parse(&inode))
    }

    /// The block at which the inodes of a group begin.
    fn inode_table(&self, disk: &mut BudgetedDisk, group: u64) -> Result<u64, Unavailable> {
        let Superblock { block_bytes, descriptor_bytes, first_descriptor_block, .. } =
            self.superblock;
        let mut descriptor = vec![0; usize::try_from(descriptor_bytes).unwrap_or_default()];
        let at = first_descriptor_block * block_bytes + group * descriptor_bytes;
        self.blocks.read(disk, at, &mut descriptor)?;
        let number = |at| u64::from(little_u32(&descriptor, at).unwrap_or_default());
        let high = if descriptor.len() >= 64 { number(0x28) } else { 0 };
        Ok(number(8) | high << 32)
    }

    /// The first bytes of a file, at most so many.
    pub(crate) fn content(
        &self,
        disk: &mut BudgetedDisk,
        inode: &Inode,
        max_bytes: u64,
    ) -> Result<Vec<u8>, Unavailable> {
        if inode.is_encrypted() {
            return Err(Unavailable::new(SkipReason::Encrypted, "it is encrypted"));
        }
        let wanted = inode.bytes.min(max_bytes);
        let length = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        if inode.is_inline() {
            content = [&inode.block[..], &inode.inline_rest].concat();
            content.truncate(length);
            if content.len() as u64 != wanted {
                return Err(Unavailable::damaged("the data in an inode are cut short"));
            }
            return Ok(content);
        }
        let block_bytes = self.superblock.block_bytes;
        for index in 0..wanted.div_ceil(block_bytes) {
            match mapping::locate(&self.blocks, disk, inode, index)? {
                Some(block) => content.extend_from_slice(&self.blocks.block(disk, block)?),
                None => {
                    disk.take_block()?;
                    let hole = usize::try_from(block_bytes).unwrap_or_default();
                    content.resize(content.len() + hole, 0);
                }
            }
        }
        content.truncate(length);
        Ok(content)
    }

    /// Where a symbolic link leads.
    pub(crate) fn target(
        &self,
        disk: &mut BudgetedDisk,
        inode: &Inode,
    ) -> Result<Vec<u8>, Unavailable> {
        match inode.bytes {
            0 => Err(Unavailable::damaged("a link points nowhere")),
            bytes @ 1..FAST_SYMLINK_BYTES if !inode.is_encrypted() => {
                Ok(inode.block[..bytes as usize].to_vec())
            }
            bytes if bytes > MAX_TARGET_BYTES => {
                Err(Unavailable::damaged("a link's target is too long"))
            }
            _ => self.content(disk, inode, MAX_TARGET_BYTES),
        }
    }

    /// The names in a directory and their inodes, without the directory itself and its parent.
    pub(crate) fn entries(
        &self,
        disk: &mut BudgetedDisk,
        inode: &Inode,
    ) -> Result<Vec<DirectoryEntry>, Unavailable> {
        if inode.bytes > MAX_DIRECTORY_BYTES {
            let message = format!("a directory of {} bytes is not read", inode.bytes);
            return Err(Unavailable::too_large(message));
        }
        let mut found = Vec::new();
        if inode.is_inline() {
            // The number of the parent comes first.
            directory::parse(&inode.block[4..], &mut found)?;
            directory::parse(&inode.inline_rest, &mut found)?;
            return Ok(found);
        }
        let content = self.content(disk, inode, inode.bytes)?;
        let block_bytes = usize::try_from(self.superblock.block_bytes).unwrap_or(usize::MAX);
        for block in content.chunks(block_bytes) {
            directory::parse(block, &mut found)?;
        }
        Ok(found)
    }
}
