//! ext2, ext3 and ext4, read-only.
//!
//! Our own, because images come from people who may mean harm: the crate that reads ext4 walks
//! whole extent trees, and reserves memory by a number of the superblock. Here every block that is
//! read is taken from one budget, and every size that a structure claims has a bound. Source of the
//! facts: the kernel's `Documentation/filesystems/ext4`.

mod blocks;
mod budget;
mod directory;
mod filesystem;
mod inode;
mod journal;
mod mapping;
mod superblock;

pub(crate) use budget::BudgetedDisk;
pub(crate) use filesystem::Ext;
pub(crate) use inode::{FileType, Inode};
