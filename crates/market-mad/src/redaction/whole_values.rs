//! Values that are hidden only as a whole: their parts are ordinary words and paths.

use super::MAX_PIECE_BYTES;
use super::mapped_text::MappedText;
use super::piece_set::PieceSet;
use std::ops::Range;

/// Values of [`MIN_PIECE_BYTES`](super::MIN_PIECE_BYTES) bytes or more.
#[derive(Clone, Default)]
pub(super) struct WholeValues {
    /// Values that are one piece.
    single: PieceSet,
    /// All pieces of longer values.
    parts: PieceSet,
    /// The pieces that they begin with.
    firsts: PieceSet,
    /// The pieces that they end with.
    lasts: PieceSet,
}

impl WholeValues {
    pub(super) fn insert(&mut self, value: &[u8]) {
        match (value.first_chunk::<MAX_PIECE_BYTES>(), value.last_chunk::<MAX_PIECE_BYTES>()) {
            (Some(first), Some(last)) if value.len() > MAX_PIECE_BYTES => {
                value.windows(MAX_PIECE_BYTES).for_each(|piece| self.parts.insert(piece));
                self.firsts.insert(first);
                self.lasts.insert(last);
            }
            _ => self.single.insert(value),
        }
    }

    /// How many pieces are searched for.
    pub(super) fn pieces(&self) -> usize {
        self.single.len() + self.parts.len()
    }

    /// Calls `each` with the place of every value, in a time in proportion to the text.
    /// `only_words`: a value in the middle of a word does not count.
    pub(super) fn find(
        &self,
        text: &MappedText,
        only_words: bool,
        mut each: impl FnMut(Range<usize>),
    ) {
        let is_edge = |at: usize| !only_words || text.is_edge(at);
        self.single.find(&text.bytes, |found| {
            if is_edge(found.start) && is_edge(found.end) {
                each(found);
            }
        });
        // Consecutive pieces from a first to a last one are a value. `run` is where they begin, and
        // where the last of them began.
        let mut run: Option<(usize, usize)> = None;
        self.parts.find(&text.bytes, |part| {
            let piece = &text.bytes[part.clone()];
            run = run
                .filter(|(_, previous)| previous + 1 == part.start)
                .map(|(begin, _)| (begin, part.start));
            if run.is_none() && self.firsts.contains(piece) && is_edge(part.start) {
                run = Some((part.start, part.start));
            }
            let is_end = self.lasts.contains(piece) && is_edge(part.end);
            if let Some((begin, _)) = run.filter(|_| is_end) {
                each(begin..part.end);
            }
        });
    }
}
