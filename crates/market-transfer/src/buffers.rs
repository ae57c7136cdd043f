//! Buffers that are reused once all their readers have dropped them: a transfer allocates a few, not
//! one for each piece.

use crate::PIECE_BYTES;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

#[derive(Default)]
pub(crate) struct Buffers {
    given_out: VecDeque<Bytes>,
}

impl Buffers {
    /// A buffer of [`PIECE_BYTES`] bytes that hold anything.
    pub(crate) fn take(&mut self) -> BytesMut {
        for _ in 0..self.given_out.len() {
            let Some(buffer) = self.given_out.pop_front() else { break };
            match buffer.try_into_mut() {
                Ok(buffer) => return buffer,
                Err(busy) => self.given_out.push_back(busy),
            }
        }
        BytesMut::zeroed(PIECE_BYTES)
    }

    /// The first `filled` bytes of a buffer as data; the buffer comes back here by itself.
    pub(crate) fn give_out(&mut self, buffer: BytesMut, filled: usize) -> Bytes {
        let whole = buffer.freeze();
        let data = whole.slice(..filled);
        self.given_out.push_back(whole);
        data
    }
}
