//! Pieces of bytes that a text is searched for, however many there are.

use super::{LONGEST_PIECE, SHORTEST_PIECE};
use std::collections::HashSet;
use std::ops::Range;

/// A set of pieces of [`SHORTEST_PIECE`] to [`LONGEST_PIECE`] bytes.
#[derive(Clone, Default)]
pub(super) struct Pieces {
    keys: HashSet<u128>,
    /// How the pieces begin: at most places of a text none does.
    begins: HashSet<[u8; SHORTEST_PIECE]>,
    /// Whether there is a piece of this length.
    lengths: [bool; LONGEST_PIECE + 1],
}

impl Pieces {
    /// Adds a piece; one of another length is not kept.
    pub(super) fn insert(&mut self, piece: &[u8]) {
        if let (Some(begin), Some(of_length)) = (piece.first_chunk(), self.lengths.get_mut(piece.len())) {
            *of_length = true;
            self.begins.insert(*begin);
            self.keys.insert(key(piece));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How much memory they take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * 17 + self.begins.capacity() * 5
    }

    /// Tells of the longest piece at every place of a text: a bounded number of look-ups for each of its bytes.
    pub(super) fn find(&self, text: &[u8], mut each: impl FnMut(Range<usize>)) {
        for (at, begin) in text.array_windows().enumerate() {
            if self.begins.contains(begin) {
                let is_here = |length: &usize| {
                    self.lengths[*length]
                        && text.get(at..at + length).is_some_and(|part| self.keys.contains(&key(part)))
                };
                (SHORTEST_PIECE..=LONGEST_PIECE)
                    .rev()
                    .find(is_here)
                    .into_iter()
                    .for_each(|length| each(at..at + length));
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
