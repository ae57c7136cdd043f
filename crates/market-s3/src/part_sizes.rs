//! How large the parts of a multipart upload are: an upload has at most 10,000, or what the service
//! allows, and must hold what is coming, up to 5 TiB ("Amazon S3 multipart upload limits" of the
//! Amazon S3 User Guide).

use market_core::backend::Length;

const MIB: u64 = 1 << 20;

/// The largest object of S3, in bytes: 5 TiB.
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// The most parts of a multipart upload.
pub const MAX_PARTS: u64 = 10_000;

/// The smallest part that is not the last one, in bytes: 5 MiB.
pub const MIN_PART_BYTES: u64 = 5 * MIB;

/// The largest part, in bytes: 5 GiB.
pub const MAX_PART_BYTES: u64 = 5 << 30;

/// What a part has when nothing asks for more: large enough that requests cost little, small enough
/// that several are under way.
const DEFAULT_PART_BYTES: u64 = 8 * MIB;

/// So many parts every known service allows. Whether it allows more is to be found out before more
/// are needed.
pub const COMMONLY_ALLOWED_PARTS: u64 = 1_000;

/// Tells the size of each part of a multipart upload.
///
/// ```
/// use market_core::backend::Length;
/// use market_s3::{MAX_PARTS, PartSizes};
///
/// let sizes = PartSizes::new(Length::Exact(100 << 30), None, MAX_PARTS);
/// assert_eq!(sizes.bytes(0), Some(11 << 20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSizes {
    first_bytes: u64,
    /// Whether the length is known: then all parts but the last have one size.
    even: bool,
    max_parts: u64,
}

impl PartSizes {
    /// The sizes for an object of this length, in at most `max_parts` parts (brought into the range
    /// of 1 to [`MAX_PARTS`]). Parts have `part_bytes` (8 MiB for `None`), or as much more as the
    /// object needs.
    pub fn new(length: Length, part_bytes: Option<u64>, max_parts: u64) -> Self {
        let max_parts = max_parts.clamp(1, MAX_PARTS);
        let (expected, parts, even) = match length {
            Length::Exact(bytes) => (bytes, max_parts, true),
            Length::Hint(bytes) => (bytes.min(MAX_OBJECT_BYTES), even_parts(max_parts), false),
            Length::Unknown => (0, even_parts(max_parts), false),
        };
        let wanted = part_bytes.unwrap_or(DEFAULT_PART_BYTES).clamp(MIN_PART_BYTES, MAX_PART_BYTES);
        let needed = expected.div_ceil(parts).next_multiple_of(MIB);
        Self { first_bytes: wanted.max(needed).min(MAX_PART_BYTES), even, max_parts }
    }

    /// The same sizes so far, and at most so many parts in all.
    #[must_use]
    pub fn with_max_parts(self, max_parts: u64) -> Self {
        Self { max_parts: max_parts.clamp(1, MAX_PARTS), ..self }
    }

    /// The most parts that there may be.
    pub fn max_parts(&self) -> u64 {
        self.max_parts
    }

    /// The part, counted from 0, before which it must be known whether the service allows more than
    /// [`COMMONLY_ALLOWED_PARTS`]; `bytes` is the length of the object, where it is known or
    /// expected. `None` when it need not be known. It is 0 where more will be needed anyway: parts
    /// that must hold what is left after many small ones are large.
    pub fn limit_needed_at(&self, bytes: Option<u64>) -> Option<u64> {
        if self.max_parts <= COMMONLY_ALLOWED_PARTS {
            return None;
        }
        let allowed =
            if self.even { COMMONLY_ALLOWED_PARTS } else { even_parts(COMMONLY_ALLOWED_PARTS) };
        if bytes.is_some_and(|bytes| bytes.div_ceil(self.first_bytes) > allowed) {
            return Some(0);
        }
        (!self.even).then_some(allowed)
    }

    /// The size of a part in bytes, counted from 0; `None` when there may be no such part.
    pub fn bytes(&self, part: u64) -> Option<u64> {
        if part >= self.max_parts {
            return None;
        }
        let even = even_parts(self.max_parts);
        let beyond = part.saturating_sub(even - 1);
        if self.even || beyond == 0 {
            return Some(self.first_bytes);
        }
        // Grows by as much each time as makes the sum of the second half the largest object.
        let grown =
            (2 * MAX_OBJECT_BYTES / (even * even)).saturating_mul(beyond).next_multiple_of(MIB);
        Some(self.first_bytes.max(grown).min(MAX_PART_BYTES))
    }
}

/// How many parts of the first size are made of an object that may be longer than expected; later
/// ones grow.
fn even_parts(max_parts: u64) -> u64 {
    (max_parts / 2).max(1)
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
            (0..43).map(|power| 1 << power).filter(|&bytes| bytes <= MAX_OBJECT_BYTES).collect();
        lengths.extend([
            MAX_OBJECT_BYTES,
            MAX_OBJECT_BYTES - 1,
            80_000 * MIB,
            80_000 * MIB + 1,
            312 << 30,
        ]);
        for length in lengths {
            for wanted in
                [None, Some(5 * MIB), Some(32 * MIB), Some(MAX_PART_BYTES), Some(1), Some(u64::MAX)]
            {
                let sizes = PartSizes::new(Length::Exact(length), wanted, MAX_PARTS);
                let (parts, largest) = cut(sizes, length).expect("it fits");
                assert!(parts <= MAX_PARTS && (MIN_PART_BYTES..=MAX_PART_BYTES).contains(&largest));
            }
        }
        // Memory: the parts of an object are not larger than they must be.
        assert_eq!(PartSizes::new(Length::Exact(1 << 30), None, MAX_PARTS).bytes(0), Some(8 * MIB));
        assert_eq!(
            PartSizes::new(Length::Exact(80_000 * MIB), None, MAX_PARTS).bytes(9_999),
            Some(8 * MIB)
        );
        assert_eq!(
            PartSizes::new(Length::Exact(MAX_OBJECT_BYTES), None, MAX_PARTS).bytes(0),
            Some(525 * MIB)
        );
        assert_eq!(
            PartSizes::new(Length::Exact(1 << 30), Some(32 * MIB), MAX_PARTS).bytes(0),
            Some(32 * MIB)
        );
    }

    #[test]
    fn what_is_longer_than_expected_still_fits() {
        for length in
            [Length::Unknown, Length::Hint(1), Length::Hint(1 << 40), Length::Hint(u64::MAX)]
        {
            for wanted in [None, Some(5 * MIB), Some(MAX_PART_BYTES)] {
                let sizes = PartSizes::new(length, wanted, MAX_PARTS);
                let (parts, _) = cut(sizes, MAX_OBJECT_BYTES).expect("5 TiB fit");
                assert!(parts <= MAX_PARTS, "{length:?}: {parts}");
            }
        }
        // The usual cases stay small: 39 GiB of unknown length, and whatever a hint says truly.
        assert_eq!(
            cut(PartSizes::new(Length::Unknown, None, MAX_PARTS), 39 << 30),
            Some((4_992, 8 * MIB))
        );
        let hinted =
            cut(PartSizes::new(Length::Hint(100 << 30), None, MAX_PARTS), 100 << 30).unwrap();
        assert_eq!(hinted.1, 21 * MIB);
    }

    #[test]
    fn a_service_that_allows_fewer_parts_gets_larger_ones() {
        for most in [1, 2, 100, 1_000, 5_000] {
            for length in [1, 8 * MIB, 7 << 30, 40 << 30, most * MAX_PART_BYTES] {
                let length = length.min(most * MAX_PART_BYTES).min(MAX_OBJECT_BYTES);
                let sizes = PartSizes::new(Length::Exact(length), None, most);
                assert!(
                    cut(sizes, length).unwrap().0 <= most
                        && sizes.limit_needed_at(Some(length)).is_none()
                            == (most <= 1_000 || length < 8_001 * MIB)
                );
            }
        }
        // Learnt in the middle: 500 parts have gone, and 500 more hold whatever an image may have.
        for length in [Length::Unknown, Length::Hint(1 << 40)] {
            let sizes = PartSizes::new(length, None, MAX_PARTS);
            assert_eq!(sizes.limit_needed_at(None), Some(500));
            let limited = sizes.with_max_parts(1_000);
            assert_eq!(limited.bytes(499), sizes.bytes(499));
            assert!(cut(limited, 2 << 40).unwrap().0 <= 1_000);
        }
        // What is expected to need more is asked for at once, and cut into parts that do not grow.
        for (hint, limit_needed_at) in
            [(0, 500), (4_000 * MIB, 500), (4_000 * MIB + 1, 0), (80 << 30, 0), (u64::MAX, 0)]
        {
            let sizes = PartSizes::new(Length::Hint(hint), None, MAX_PARTS);
            assert_eq!(sizes.limit_needed_at(Some(hint)), Some(limit_needed_at), "{hint}");
        }
        assert_eq!(
            cut(PartSizes::new(Length::Hint(80 << 30), None, COMMONLY_ALLOWED_PARTS), 80 << 30)
                .unwrap()
                .1,
            164 * MIB
        );
        let known = |length| {
            PartSizes::new(Length::Exact(length), None, MAX_PARTS).limit_needed_at(Some(length))
        };
        assert_eq!((known(8_000 * MIB), known(8_000 * MIB + 1)), (None, Some(0)));
    }
}
