//! The way from a file's block to the block of the file system that holds it: extent trees of ext4,
//! and the block maps of ext2 and ext3.
//!
//! A block is found by one descent from the root. (A walk of a whole extent tree whose nodes share
//! their children visits 340 to the power of five of them.)

use super::blocks::Blocks;
use super::budget::BudgetedDisk;
use super::inode::Inode;
use crate::bytes::{little_u16, little_u32};
use crate::unavailable::Unavailable;

/// The block of the file system that holds a file's block; `None` for a hole.
pub(super) fn locate(
    blocks: &Blocks,
    disk: &mut BudgetedDisk,
    inode: &Inode,
    block: u64,
) -> Result<Option<u64>, Unavailable> {
    if inode.has_extents() {
        by_extents(blocks, disk, inode, block)
    } else {
        by_block_map(blocks, disk, inode, block)
    }
}

/// A header of a node of an extent tree, and each of its entries, have this size.
const ENTRY_BYTES: usize = 12;

fn by_extents(
    blocks: &Blocks,
    disk: &mut BudgetedDisk,
    inode: &Inode,
    block: u64,
) -> Result<Option<u64>, Unavailable> {
    const MAGIC: u16 = 0xf30a;
    const MAX_DEPTH: u16 = 5;
    /// A longer extent is allocated and not written: zeros.
    const MAX_WRITTEN_BLOCKS: u64 = 32_768;
    let malformed = || Unavailable::damaged("an extent tree of the file system makes no sense");
    let mut node = inode.block.to_vec();
    let mut expected_depth = None;
    loop {
        let header = |at| little_u16(&node, at).ok_or_else(malformed);
        let (magic, entries, depth) = (header(0)?, header(2)?, header(6)?);
        let is_expected = expected_depth.is_none_or(|expected| expected == depth);
        if magic != MAGIC || depth > MAX_DEPTH || !is_expected {
            return Err(malformed());
        }
        let entries = node
            .get(ENTRY_BYTES..)
            .unwrap_or_default()
            .chunks_exact(ENTRY_BYTES)
            .take(usize::from(entries));
        let first = |entry: &&[u8]| u64::from(little_u32(entry, 0).unwrap_or_default());
        let Some(entry) = entries.take_while(|entry| first(entry) <= block).last() else {
            return Ok(None);
        };
        let short = |at| u64::from(little_u16(entry, at).unwrap_or_default());
        let long = |at| u64::from(little_u32(entry, at).unwrap_or_default());
        if depth == 0 {
            let (within, length) = (block - first(&entry), short(4));
            let is_written = length <= MAX_WRITTEN_BLOCKS && within < length;
            return Ok(is_written.then(|| (short(6) << 32 | long(8)) + within));
        }
        let child = short(8) << 32 | long(4);
        expected_depth = Some(depth - 1);
        node = blocks.block(disk, child)?;
    }
}

fn by_block_map(
    blocks: &Blocks,
    disk: &mut BudgetedDisk,
    inode: &Inode,
    block: u64,
) -> Result<Option<u64>, Unavailable> {
    /// Numbers of blocks in the inode itself; three more lead to tables of one, two and three
    /// levels.
    const DIRECT: u64 = 12;
    const LEVELS: u64 = 3;
    let per_table = blocks.block_bytes() / 4;
    let in_inode =
        |index: u64| u64::from(little_u32(&inode.block, index as usize * 4).unwrap_or_default());
    if block < DIRECT {
        return Ok(Some(in_inode(block)).filter(|&found| found != 0));
    }
    let mut index = block - DIRECT;
    // How many blocks a table of this level leads to.
    let mut span = per_table;
    for level in 0..LEVELS {
        if index < span {
            let mut found = in_inode(DIRECT + level);
            while found != 0 && span > 1 {
                span /= per_table;
                let table = blocks.block(disk, found)?;
                let at = (index / span) as usize * 4;
                found = u64::from(little_u32(&table, at).unwrap_or_default());
                index %= span;
            }
            return Ok(Some(found).filter(|&found| found != 0));
        }
        index -= span;
        span = span.saturating_mul(per_table);
    }
    Err(Unavailable::damaged("a file of the file system is larger than its map"))
}
