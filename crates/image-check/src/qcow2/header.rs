//! The header of a qcow2 image.

use crate::bytes::{big_u32, big_u64};
use crate::unavailable::Unavailable;

/// Bits of `incompatible_features`.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN_FEATURES: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

/// The largest L1 table that QEMU opens.
const MAX_L1_BYTES: u64 = 32 << 20;

/// What is wrong with an image's structures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// They contradict each other, or the format.
    Inconsistent(String),
    /// They lead behind the end of the file: some of it was lost on its way.
    Truncated(String),
}

impl Damage {
    /// What is wrong, for people.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Inconsistent(message) | Self::Truncated(message) => message,
        }
    }

    /// The same, of the structure that a text names.
    pub(crate) fn of(self, subject: &str) -> Self {
        match self {
            Self::Inconsistent(message) => Self::Inconsistent(format!("{subject} {message}")),
            Self::Truncated(message) => Self::Truncated(format!("{subject} {message}")),
        }
    }
}

impl From<Damage> for Unavailable {
    fn from(damage: Damage) -> Self {
        Self::damaged(damage.message())
    }
}

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Zlib,
    Zstd,
}

/// A header whose fields agree with each other. The offsets in it may lead anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    /// The size of the disk that a guest sees, in bytes.
    pub(crate) virtual_bytes: u64,
    /// The binary logarithm of the cluster size in bytes.
    pub(super) cluster_bits: u32,
    /// The encryption method: 0 for none, 1 for AES, 2 for LUKS.
    pub(crate) encryption: u32,
    pub(super) l1_entries: u32,
    /// Where the L1 table begins, in bytes of the file.
    pub(super) l1_offset: u64,
    /// Where the refcount table begins, in bytes of the file.
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_clusters: u32,
    /// The binary logarithm of a reference count's size in bits.
    pub(super) refcount_order: u32,
    /// How many internal snapshots there are.
    pub(crate) snapshots: u32,
    features: u64,
    pub(crate) compression: Compression,
    /// It names a backing file.
    pub(crate) has_backing_file: bool,
}

impl Header {
    /// The header in an image's first bytes, or what is wrong with it.
    pub(crate) fn parse(head: &[u8]) -> Result<Self, Damage> {
        let truncated = || Damage::Truncated("its header is cut short".to_owned());
        let u32_at = |at| big_u32(head, at).ok_or_else(truncated);
        let u64_at = |at| big_u64(head, at).ok_or_else(truncated);
        let version = u32_at(4)?;
        if !matches!(version, 2 | 3) {
            return Err(Damage::Inconsistent(format!(
                "its header says version {version}, where 2 and 3 exist"
            )));
        }
        let (features, refcount_order, header_bytes) =
            if version == 3 { (u64_at(72)?, u32_at(96)?, u32_at(100)?) } else { (0, 4, 72) };
        let compression = match head.get(104) {
            Some(1) if features & COMPRESSION_TYPE != 0 && header_bytes > 104 => Compression::Zstd,
            Some(0) | None => Compression::Zlib,
            Some(_) if features & COMPRESSION_TYPE == 0 => Compression::Zlib,
            Some(other) => {
                return Err(Damage::Inconsistent(format!(
                    "it uses compression type {other}, which is unknown"
                )));
            }
        };
        let header = Self {
            version,
            virtual_bytes: u64_at(24)?,
            cluster_bits: u32_at(20)?,
            encryption: u32_at(32)?,
            l1_entries: u32_at(36)?,
            l1_offset: u64_at(40)?,
            refcount_table_offset: u64_at(48)?,
            refcount_table_clusters: u32_at(56)?,
            refcount_order,
            snapshots: u32_at(60)?,
            features,
            compression,
            has_backing_file: u64_at(8)? != 0,
        };
        header.check().map_err(Damage::Inconsistent)?;
        Ok(header)
    }

    fn check(&self) -> Result<(), String> {
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(format!("clusters of 2^{} bytes do not exist", self.cluster_bits));
        }
        if self.refcount_order > 6 {
            return Err(format!("reference counts of 2^{} bits do not exist", self.refcount_order));
        }
        let unknown = self.features & !KNOWN_FEATURES;
        if unknown != 0 {
            return Err(format!("it needs features that are unknown ({unknown:#x})"));
        }
        if self.virtual_bytes > i64::MAX as u64 {
            return Err(format!("a disk of {} bytes cannot exist", self.virtual_bytes));
        }
        let needed = self.virtual_bytes.div_ceil(self.cluster_bytes() * self.l2_entries());
        if needed * 8 > MAX_L1_BYTES || u64::from(self.l1_entries) * 8 > MAX_L1_BYTES {
            return Err(format!(
                "{} bytes of disk need a larger L1 table than QEMU opens",
                self.virtual_bytes
            ));
        }
        if u64::from(self.l1_entries) < needed {
            return Err(format!("its L1 table has {} entries and needs {needed}", self.l1_entries));
        }
        if !self.l1_offset.is_multiple_of(self.cluster_bytes()) {
            return Err("its L1 table begins inside a cluster".to_owned());
        }
        Ok(())
    }

    pub(crate) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Each entry of an L2 table has a bitmap of 32 subclusters.
    pub(super) fn has_subclusters(&self) -> bool {
        self.features & EXTENDED_L2 != 0
    }

    pub(super) fn l2_entry_bytes(&self) -> u64 {
        if self.has_subclusters() { 16 } else { 8 }
    }

    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster_bytes() / self.l2_entry_bytes()
    }

    /// How many clusters the guest's disk has.
    pub(super) fn guest_clusters(&self) -> u64 {
        self.virtual_bytes.div_ceil(self.cluster_bytes())
    }

    /// The data are in another file.
    pub(crate) fn has_external_data(&self) -> bool {
        self.features & EXTERNAL_DATA != 0
    }

    /// What the image's own marks say of its state, when that is not good.
    pub(crate) fn bad_mark(&self) -> Option<&'static str> {
        match self.features {
            features if features & CORRUPT != 0 => Some("the image is marked as corrupt"),
            features if features & DIRTY != 0 => {
                Some("the image is marked as dirty: its last writer was interrupted")
            }
            _ => None,
        }
    }
}
