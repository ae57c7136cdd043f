//! What lies in a partition, by its magic numbers.

use crate::disk::Disk;
use crate::partition::Partition;
use crate::unavailable::Unavailable;
use serde::Serialize;
use std::ops::Range;

/// How many bytes of a volume hold the magic numbers: Btrfs' comes last, in the superblock at
/// 64 KiB.
const PROBED_BYTES: usize = 0x11000;

/// What a partition, or a disk without any, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Content {
    /// ext2, ext3 or ext4: the only file systems that are read.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// A physical volume of LVM2.
    Lvm,
    /// A LUKS volume: encrypted.
    Luks,
    /// Swap space.
    Swap,
    /// FAT, as EFI system partitions have it.
    Fat,
    /// NTFS.
    Ntfs,
    /// ISO 9660: a CD or DVD.
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

    /// It is something: neither empty nor unknown.
    pub(crate) fn is_known(self) -> bool {
        !matches!(self, Self::Unknown | Self::Empty)
    }

    /// Whether a Linux system may be in it, which is not read here.
    pub(crate) fn may_hide_a_system(self) -> bool {
        matches!(self, Self::Xfs | Self::Btrfs | Self::Lvm | Self::Luks)
    }

    /// What a range of the disk begins with.
    pub(crate) fn probe(disk: &mut Disk, range: &Range<u64>) -> Result<Self, Unavailable> {
        let bytes = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let head = disk.read_at_most(range.start, bytes.min(PROBED_BYTES))?;
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

/// A range of the disk and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// `None` for a disk without partitions.
    pub(crate) partition: Option<Partition>,
    /// In bytes of the disk.
    pub(crate) range: Range<u64>,
    pub(crate) content: Content,
}

impl Volume {
    pub(crate) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// What is where, for people.
    pub(crate) fn describe(&self) -> String {
        match &self.partition {
            Some(partition) => {
                format!("partition {} holds {}", partition.number, self.content.name())
            }
            None => format!("the disk holds {}", self.content.name()),
        }
    }
}
