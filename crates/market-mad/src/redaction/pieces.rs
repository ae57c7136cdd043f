//! Pieces of bytes that a text is searched for, however many there are.

use super::{LONGEST_PIECE, SHORTEST_PIECE};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;

/// A set of pieces of [`SHORTEST_PIECE`] to [`LONGEST_PIECE`] bytes.
#[derive(Clone, Default)]
pub(super) struct Pieces {
    keys: HashSet<u128, Seed>,
    /// How the pieces begin: at most places of a text none does.
    begins: HashSet<u32, Seed>,
    /// Whether there is a piece of this length.
    lengths: [bool; LONGEST_PIECE + 1],
}

impl Pieces {
    /// Makes room for so many pieces.
    pub(super) fn reserve(&mut self, pieces: usize) {
        self.keys.reserve(pieces);
    }

    /// Adds a piece; one of another length is not kept.
    pub(super) fn insert(&mut self, piece: &[u8]) {
        if let (Some(begin), Some(of_length)) =
            (piece.first_chunk(), self.lengths.get_mut(piece.len()))
        {
            *of_length = true;
            self.begins.insert(u32::from_le_bytes(*begin));
            self.keys.insert(key(piece));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, piece: &[u8]) -> bool {
        self.lengths.get(piece.len()) == Some(&true) && self.keys.contains(&key(piece))
    }

    /// Tells of the pieces at every place of a text: a bounded number of look-ups for each of its
    /// bytes.
    pub(super) fn find(&self, text: &[u8], mut each: impl FnMut(Range<usize>)) {
        for (at, begin) in text.array_windows().enumerate() {
            if self.begins.contains(&u32::from_le_bytes(*begin)) {
                (SHORTEST_PIECE..=LONGEST_PIECE)
                    .map(|length| at..at + length)
                    .filter(|range| text.get(range.clone()).is_some_and(|part| self.has(part)))
                    .for_each(&mut each);
            }
        }
    }
}

/// The bytes of a piece and their number.
fn key(piece: &[u8]) -> u128 {
    const { assert!(LONGEST_PIECE < 16) };
    let shifted = |key: u128, byte: &u8| key << 8 | u128::from(*byte);
    piece.iter().fold(piece.len() as u128, shifted)
}

/// A hash of one number with a seed of this process: several times as fast as the standard one, and
/// a text is looked up at each of its bytes.
#[derive(Clone, Copy)]
struct Seed([u64; 2]);

impl Default for Seed {
    fn default() -> Self {
        static SEED: LazyLock<[u64; 2]> =
            LazyLock::new(|| [0, 1].map(|number| RandomState::new().hash_one(number)));
        Self(*SEED)
    }
}

impl BuildHasher for Seed {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed { seed: self.0, hash: 0 }
    }
}

struct Mixed {
    seed: [u64; 2],
    hash: u64,
}

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128(u128::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u128(u128::from(number));
    }

    /// Both halves of a product of both halves.
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
