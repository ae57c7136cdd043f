//! Sizes.

use std::fmt;

/// A size in mebibytes (1,048,576 bytes), the unit of every size in OpenNebula.
///
/// ```
/// use market_core::model::MiB;
///
/// assert_eq!(MiB::containing(1_048_577), MiB(2), "rounded up: a size must hold the bytes");
/// assert_eq!(MiB(3).to_string(), "3 MiB");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MiB(pub i64);

impl MiB {
    /// Bytes in one MiB.
    pub const BYTES: u64 = 1 << 20;

    /// The size that holds so many bytes, rounded up.
    pub fn containing(bytes: u64) -> Self {
        Self(i64::try_from(bytes.div_ceil(Self::BYTES)).unwrap_or(i64::MAX))
    }

    /// The whole MiB in so many bytes, rounded down: what can be promised of free space.
    pub fn within(bytes: u64) -> Self {
        Self(i64::try_from(bytes / Self::BYTES).unwrap_or(i64::MAX))
    }

    /// The most bytes that a packed image may become when its disk was declared to have this size:
    /// an eighth and 8 MiB more, since an image has tables and may have snapshots. 1 TiB for a size
    /// that was not declared (0 or less).
    pub fn max_unpacked_bytes(self) -> u64 {
        const UNKNOWN: u64 = 1 << 40;
        const TABLES: u64 = 8 << 20;
        match self.bytes() {
            0 => UNKNOWN,
            bytes => bytes.saturating_add(bytes / 8).saturating_add(TABLES),
        }
    }

    /// The size in bytes; 0 for a negative size.
    pub fn bytes(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0).saturating_mul(Self::BYTES)
    }
}

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}
