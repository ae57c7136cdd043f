//! A set of short byte strings that a text is searched for. The time does not depend on how many
//! there are.

use super::{MAX_PIECE_BYTES, MIN_PIECE_BYTES};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;

/// A set of pieces of [`MIN_PIECE_BYTES`] to [`MAX_PIECE_BYTES`] bytes.
#[derive(Clone, Default)]
pub(super) struct PieceSet {
    keys: HashSet<u128, SeededHasher>,
    /// The first four bytes of all pieces: at most places of a text this look-up is enough.
    prefixes: HashSet<u32, SeededHasher>,
    /// Whether there is a piece of this length.
    has_length: [bool; MAX_PIECE_BYTES + 1],
}

impl PieceSet {
    /// Reserves capacity for this many more pieces.
    pub(super) fn reserve(&mut self, pieces: usize) {
        self.keys.reserve(pieces);
    }

    /// Adds a piece. A shorter or longer one is ignored.
    pub(super) fn insert(&mut self, piece: &[u8]) {
        if let (Some(prefix), Some(has_length)) =
            (piece.first_chunk(), self.has_length.get_mut(piece.len()))
        {
            *has_length = true;
            self.prefixes.insert(u32::from_le_bytes(*prefix));
            self.keys.insert(key(piece));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a piece is in the set.
    pub(super) fn contains(&self, piece: &[u8]) -> bool {
        self.has_length.get(piece.len()) == Some(&true) && self.keys.contains(&key(piece))
    }

    /// Calls `each` with the place of every piece in a text. It takes a bounded number of look-ups
    /// for each byte.
    pub(super) fn find(&self, text: &[u8], mut each: impl FnMut(Range<usize>)) {
        for (at, prefix) in text.array_windows().enumerate() {
            if self.prefixes.contains(&u32::from_le_bytes(*prefix)) {
                (MIN_PIECE_BYTES..=MAX_PIECE_BYTES)
                    .map(|length| at..at + length)
                    .filter(|range| text.get(range.clone()).is_some_and(|part| self.contains(part)))
                    .for_each(&mut each);
            }
        }
    }
}

/// The bytes of a piece and its length, as one number.
fn key(piece: &[u8]) -> u128 {
    const { assert!(MAX_PIECE_BYTES < 16) };
    let shifted = |key: u128, byte: &u8| key << 8 | u128::from(*byte);
    piece.iter().fold(piece.len() as u128, shifted)
}

/// Hashes one number with a random seed of this process. It is several times as fast as the
/// standard library's hasher, and a text is looked up at each of its bytes.
#[derive(Clone, Copy)]
struct SeededHasher([u64; 2]);

impl Default for SeededHasher {
    fn default() -> Self {
        static SEED: LazyLock<[u64; 2]> =
            LazyLock::new(|| [0, 1].map(|number| RandomState::new().hash_one(number)));
        Self(*SEED)
    }
}

impl BuildHasher for SeededHasher {
    type Hasher = FoldedMultiply;

    fn build_hasher(&self) -> FoldedMultiply {
        FoldedMultiply { seed: self.0, hash: 0 }
    }
}

/// Multiplies the seeded halves of a number, and folds the product.
struct FoldedMultiply {
    seed: [u64; 2],
    hash: u64,
}

impl Hasher for FoldedMultiply {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128(u128::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u128(u128::from(number));
    }

    fn write_u128(&mut self, number: u128) {
        let [low, high] =
            [number as u64 ^ self.seed[0] ^ self.hash, (number >> 64) as u64 ^ self.seed[1]];
        let product = u128::from(low) * u128::from(high);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}
