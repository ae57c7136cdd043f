//! What lies in a partition, by its magic numbers.

use crate::disk::Disk;
use std::io;
use std::ops::Range;

/// What a partition, or a disk without any, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// ext2, ext3 or ext4: the one that is read.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// A physical volume of LVM.
    Lvm,
    /// An encrypted volume.
    Luks,
    /// Swap space.
    Swap,
    /// FAT, as EFI system partitions have it.
    Fat,
    /// NTFS.
    Ntfs,
    /// ISO 9660: a CD.
    Iso9660,
    /// SquashFS.
    Squashfs,
    /// Nothing but zeros where a file system would begin.
    Empty,
    /// Something else.
    Unknown,
}

impl Content {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext",
            Self::Xfs => "XFS",
            Self::Btrfs => "Btrfs",
            Self::Lvm => "LVM",
            Self::Luks => "LUKS",
            Self::Swap => "swap",
            Self::Fat => "FAT",
            Self::Ntfs => "NTFS",
            Self::Iso9660 => "ISO 9660",
            Self::Squashfs => "SquashFS",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a Linux system may live there that cannot be read.
    pub(crate) fn may_hide_a_system(self) -> bool {
        matches!(self, Self::Xfs | Self::Btrfs | Self::Lvm | Self::Luks)
    }

    /// Looks at the beginning of a stretch of the disk.
    pub(crate) fn probe(disk: &mut Disk, stretch: &Range<u64>) -> io::Result<Self> {
        let most = usize::try_from(stretch.end - stretch.start).unwrap_or(usize::MAX).min(0x11000);
        let head = disk.read_most(stretch.start, most)?;
        let is = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
        Ok(match () {
            () if is(0, b"XFSB") => Self::Xfs,
            () if is(0x10040, b"_BHRfS_M") => Self::Btrfs,
            () if is(0, b"LUKS\xba\xbe") => Self::Luks,
            () if is(0x200, b"LABELONE") && is(0x218, b"LVM2 001") => Self::Lvm,
            () if is(0xff6, b"SWAPSPACE2") => Self::Swap,
            () if is(0x438, &[0x53, 0xef]) => Self::Ext,
            () if is(0x8001, b"CD001") => Self::Iso9660,
            () if is(3, b"NTFS    ") => Self::Ntfs,
            () if is(0x36, b"FAT1") || is(0x52, b"FAT32") => Self::Fat,
            () if is(0, b"hsqs") => Self::Squashfs,
            () if head.iter().all(|&byte| byte == 0) => Self::Empty,
            () => Self::Unknown,
        })
    }
}
