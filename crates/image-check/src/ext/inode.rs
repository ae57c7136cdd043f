//! Inodes: what a file is, and where its data are.

use crate::bytes::{little_u16, little_u32};

/// The size of the fields that every inode has, in bytes.
const BASE_BYTES: usize = 128;

/// Bits of an inode's flags.
const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE_DATA: u32 = 0x1000_0000;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular,
    Directory,
    Symlink,
    /// A device, a pipe, a socket.
    Other,
}

/// An inode.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) file_type: FileType,
    pub(crate) bytes: u64,
    /// The mode without the type.
    pub(crate) permissions: u16,
    flags: u32,
    /// `i_block`: the root of the extent tree, block numbers, or the beginning of the data.
    pub(super) block: [u8; 60],
    /// The rest of data that lie in the inode itself.
    pub(crate) inline_rest: Vec<u8>,
}

impl Inode {
    /// The inode in at least 128 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let number = |at| little_u32(bytes, at).unwrap_or_default();
        let mode = number(0) as u16;
        let mut block = [0; 60];
        if let Some(stored) = bytes.get(0x28..0x64) {
            block.copy_from_slice(stored);
        }
        let file_type = match mode >> 12 {
            0x8 => FileType::Regular,
            0x4 => FileType::Directory,
            0xa => FileType::Symlink,
            _ => FileType::Other,
        };
        let flags = number(0x20);
        let rest = if flags & INLINE_DATA != 0 { inline_rest(bytes) } else { None };
        Self {
            file_type,
            bytes: u64::from(number(4)) | u64::from(number(0x6c)) << 32,
            permissions: mode & 0o7777,
            flags,
            block,
            inline_rest: rest.unwrap_or_default().to_vec(),
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }

    /// Its data are mapped by an extent tree, not by block numbers.
    pub(super) fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }

    /// Its data lie in the inode itself.
    pub(super) fn is_inline(&self) -> bool {
        self.flags & INLINE_DATA != 0
    }
}

/// The value of the extended attribute `system.data`, which lies behind the fields of an inode: the
/// data that do not fit into `i_block`.
fn inline_rest(inode: &[u8]) -> Option<&[u8]> {
    const MAGIC: u32 = 0xea02_0000;
    const SYSTEM: u8 = 7;
    let extra = usize::from(little_u16(inode, BASE_BYTES)?);
    let attributes = inode.get(BASE_BYTES + extra..)?;
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
            let offset = usize::from(little_u16(entry, 2)?);
            let length = little_u32(entry, 8)? as usize;
            return attributes.get(offset..offset.checked_add(length)?);
        }
        entry = entry.get(16 + name.len().next_multiple_of(4)..)?;
    }
    None
}
