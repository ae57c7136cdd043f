//! Values that are hidden where they stand as a whole: a part of one is an ordinary word or path.

use super::LONGEST_PIECE;
use super::pieces::Pieces;
use super::view::View;
use std::ops::Range;

/// Values of [`SHORTEST_PIECE`](super::SHORTEST_PIECE) bytes or more.
#[derive(Clone, Default)]
pub(super) struct Wholes {
    /// Values that are one piece.
    single: Pieces,
    /// All pieces of longer values, those they begin with, and those they end with.
    parts: Pieces,
    firsts: Pieces,
    lasts: Pieces,
}

impl Wholes {
    pub(super) fn insert(&mut self, value: &[u8]) {
        match (value.first_chunk::<LONGEST_PIECE>(), value.last_chunk::<LONGEST_PIECE>()) {
            (Some(first), Some(last)) if value.len() > LONGEST_PIECE => {
                value.windows(LONGEST_PIECE).for_each(|piece| self.parts.insert(piece));
                self.firsts.insert(first);
                self.lasts.insert(last);
            }
            _ => self.single.insert(value),
        }
    }

    /// How many pieces are looked for.
    pub(super) fn len(&self) -> usize {
        self.single.len() + self.parts.len()
    }

    /// Tells where they are, in a time in proportion to the text. `in_words`: in the middle of a
    /// word is none.
    pub(super) fn find(&self, text: &View, in_words: bool, mut each: impl FnMut(Range<usize>)) {
        let is_edge = |at: usize| !in_words || text.is_edge(at);
        self.single.find(&text.bytes, |found| {
            if is_edge(found.start) && is_edge(found.end) {
                each(found);
            }
        });
        // Where each piece follows the one before from a first to a last one, there is a value.
        let mut begin = None;
        self.parts.find(&text.bytes, |part| {
            let piece = &text.bytes[part.clone()];
            begin = begin
                .filter(|(_, before)| before + 1 == part.start)
                .map(|(begin, _)| (begin, part.start));
            if begin.is_none() && self.firsts.has(piece) && is_edge(part.start) {
                begin = Some((part.start, part.start));
            }
            if let Some((begin, _)) = begin.filter(|_| self.lasts.has(piece) && is_edge(part.end)) {
                each(begin..part.end);
            }
        });
    }
}
