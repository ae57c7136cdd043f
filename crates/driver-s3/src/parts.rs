//! How large the parts of an upload are: an upload has at most 10,000, and must hold what is coming, up to 5 TiB.

use market_core::backend::Length;

const MIB: u64 = 1 << 20;

/// The largest object of S3: 5 TiB.
pub(crate) const LARGEST_OBJECT_BYTES: u64 = 5 << 40;

/// The most parts of an upload.
pub(crate) const MOST_PARTS: u64 = 10_000;

/// The smallest part that is not the last one.
pub(crate) const SMALLEST_PART_BYTES: u64 = 5 * MIB;

/// The largest part.
pub(crate) const LARGEST_PART_BYTES: u64 = 5 << 30;

/// What a part has when nothing asks for more: large enough that requests cost little, small enough that several are under way.
const USUAL_PART_BYTES: u64 = 8 * MIB;

/// How many parts of the first size are made of an object that may be longer than expected; what follows grows.
const EVEN_PARTS: u64 = MOST_PARTS / 2;

/// Tells the size of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartSizes {
    first_bytes: u64,
    /// Whether the length is known: then all parts but the last have one size.
    even: bool,
}

impl PartSizes {
    /// For an object of this length; with a size that is wanted, when it will do.
    pub(crate) fn new(length: Length, wanted_bytes: Option<u64>) -> Self {
        let (expected, parts, even) = match length {
            Length::Exact(bytes) => (bytes, MOST_PARTS, true),
            Length::Hint(bytes) => (bytes.min(LARGEST_OBJECT_BYTES), EVEN_PARTS, false),
            Length::Unknown => (0, EVEN_PARTS, false),
        };
        let wanted = wanted_bytes.unwrap_or(USUAL_PART_BYTES).clamp(SMALLEST_PART_BYTES, LARGEST_PART_BYTES);
        let needed = expected.div_ceil(parts).next_multiple_of(MIB);
        Self { first_bytes: wanted.max(needed).min(LARGEST_PART_BYTES), even }
    }

    /// The size of the part with this number, the first being 0; `None` when there is none.
    pub(crate) fn bytes(&self, part: u64) -> Option<u64> {
        if part >= MOST_PARTS {
            return None;
        }
        let beyond = part.saturating_sub(EVEN_PARTS - 1);
        if self.even || beyond == 0 {
            return Some(self.first_bytes);
        }
        // Grows by as much each time as makes the sum of the second half the largest object.
        let grown = (2 * LARGEST_OBJECT_BYTES / (EVEN_PARTS * EVEN_PARTS) * beyond).next_multiple_of(MIB);
        Some(self.first_bytes.max(grown).min(LARGEST_PART_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many parts an object takes, and the largest of them; no byte is moved.
    fn cut(sizes: PartSizes, length: u64) -> Option<(u64, u64)> {
        let (mut left, mut part, mut largest) = (length, 0, 0);
        while left > 0 {
            let bytes = sizes.bytes(part)?;
            largest = largest.max(bytes);
            left = left.saturating_sub(bytes);
            part += 1;
        }
        Some((part, largest))
    }

    #[test]
    fn every_known_length_up_to_5_tib_fits_in_10_000_even_parts() {
        let mut lengths: Vec<u64> =
            (0..43).map(|power| 1 << power).filter(|&bytes| bytes <= LARGEST_OBJECT_BYTES).collect();
        lengths.extend([LARGEST_OBJECT_BYTES, LARGEST_OBJECT_BYTES - 1, 80_000 * MIB, 80_000 * MIB + 1, 312 << 30]);
        for length in lengths {
            for wanted in [None, Some(5 * MIB), Some(32 * MIB), Some(LARGEST_PART_BYTES), Some(1), Some(u64::MAX)] {
                let sizes = PartSizes::new(Length::Exact(length), wanted);
                let (parts, largest) = cut(sizes, length).expect("it fits");
                assert!(parts <= MOST_PARTS && (SMALLEST_PART_BYTES..=LARGEST_PART_BYTES).contains(&largest));
            }
        }
        // Memory: the parts of an object are not larger than they must be.
        assert_eq!(PartSizes::new(Length::Exact(1 << 30), None).bytes(0), Some(8 * MIB));
        assert_eq!(PartSizes::new(Length::Exact(80_000 * MIB), None).bytes(9_999), Some(8 * MIB));
        assert_eq!(PartSizes::new(Length::Exact(LARGEST_OBJECT_BYTES), None).bytes(0), Some(525 * MIB));
        assert_eq!(PartSizes::new(Length::Exact(1 << 30), Some(32 * MIB)).bytes(0), Some(32 * MIB));
    }

    #[test]
    fn what_is_longer_than_expected_still_fits() {
        for length in [Length::Unknown, Length::Hint(1), Length::Hint(1 << 40), Length::Hint(u64::MAX)] {
            for wanted in [None, Some(5 * MIB), Some(LARGEST_PART_BYTES)] {
                let sizes = PartSizes::new(length, wanted);
                let (parts, _) = cut(sizes, LARGEST_OBJECT_BYTES).expect("5 TiB fit");
                assert!(parts <= MOST_PARTS, "{length:?}: {parts}");
            }
        }
        // The usual cases stay small: 39 GiB of unknown length, and whatever a hint says truly.
        assert_eq!(cut(PartSizes::new(Length::Unknown, None), 39 << 30), Some((4_992, 8 * MIB)));
        let hinted = cut(PartSizes::new(Length::Hint(100 << 30), None), 100 << 30).unwrap();
        assert_eq!(hinted.1, 21 * MIB);
    }
}
