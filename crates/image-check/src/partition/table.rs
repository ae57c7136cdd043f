//! What all partition tables have in common.

use serde::Serialize;

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PartitionTable {
    /// A GUID partition table: the primary one, or its copy at the disk's end.
    Gpt,
    /// A DOS partition table in the first sector, with the logical partitions that it leads to.
    Mbr,
    /// No table: one file system from the first byte on, or nothing that is known.
    None,
}

/// A partition that lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// As the guest numbers it.
    pub(crate) number: u32,
    /// Where it begins, in bytes of the disk.
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    /// It is an EFI system partition.
    pub(crate) is_efi: bool,
    /// The identifier in `PARTUUID=`, in lower case.
    pub(crate) uuid: String,
    /// The name in `PARTLABEL=`.
    pub(crate) name: String,
}
