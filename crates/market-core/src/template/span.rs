//! Where a piece of text lies in a template's buffer.

use std::ops::Range;

/// A half-open byte range. 32-bit offsets keep an attribute at 32 bytes; inputs beyond 4 GiB are
/// refused before parsing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    #[expect(clippy::cast_possible_truncation, reason = "every buffer is held below 4 GiB")]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) fn len(self) -> usize {
        self.range().len()
    }

    pub(super) fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.range()).unwrap_or_default()
    }
}
