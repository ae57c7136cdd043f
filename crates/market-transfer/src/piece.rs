//! The unit in which sources deliver bytes.

use bytes::Bytes;

/// The usual size of a piece of data, 256 KiB: large enough that the cost of a call does not count,
/// small enough that a dozen buffers are a few MiB.
pub const PIECE_BYTES: usize = 256 << 10;

/// Zeros, for holes where real bytes are needed.
pub static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// The grain at which runs of zeros become holes: the allocation unit of most file systems, times
/// 16.
const GRAIN: usize = 64 << 10;

/// The next bytes of a source: data, or a hole.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// This many zeros, which need not be stored.
    Hole(u64),
}

impl Piece {
    /// How many bytes of the source it is.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Hole(length) => *length,
        }
    }

    /// Whether it is no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All its bytes in order, in parts of at most [`PIECE_BYTES`] for a hole, whose bytes are zeros.
    ///
    /// ```
    /// use market_transfer::Piece;
    ///
    /// assert_eq!(Piece::Hole(300_000).parts().map(<[u8]>::len).sum::<usize>(), 300_000);
    /// ```
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (data, mut hole) = match self {
            Self::Data(data) => (Some(&data[..]), 0),
            Self::Hole(length) => (None, *length),
        };
        data.into_iter().chain(std::iter::from_fn(move || {
            let step = usize::try_from(hole).unwrap_or(ZEROS.len()).min(ZEROS.len());
            hole -= step as u64;
            (step > 0).then_some(&ZEROS[..step])
        }))
    }

    /// At most its first `most` bytes.
    pub(crate) fn cut_to(self, most: u64) -> Self {
        match self {
            Self::Data(bytes) => {
                let length = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
                Self::Data(bytes.slice(..length))
            }
            Self::Hole(length) => Self::Hole(length.min(most)),
        }
    }

    /// What is left without its first `count` bytes, if anything is.
    pub(crate) fn without_first(self, count: u64) -> Option<Self> {
        if self.len() <= count {
            return None;
        }
        Some(match self {
            Self::Data(bytes) => Self::Data(bytes.slice(usize::try_from(count).ok()?..)),
            Self::Hole(length) => Self::Hole(length - count),
        })
    }

    /// Appends its bytes to a head that is to have `count` bytes.
    pub(crate) fn copy_into(&self, head: &mut Vec<u8>, count: usize) {
        let missing = count - head.len();
        match self {
            Self::Data(data) => head.extend_from_slice(&data[..data.len().min(missing)]),
            Self::Hole(length) => head
                .resize(head.len() + usize::try_from(*length).unwrap_or(missing).min(missing), 0),
        }
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(bytes) => write!(f, "Data({} bytes)", bytes.len()),
            Self::Hole(length) => write!(f, "Hole({length} bytes)"),
        }
    }
}

/// Splits data that begins at `position` of the output into data and holes, so that zeros of a
/// stream need not be stored: whole, aligned runs of 64 KiB of zeros become holes.
///
/// ```
/// use bytes::Bytes;
/// use market_transfer::{Piece, split_zeros};
///
/// let mut data = vec![0; 128 << 10];
/// data[0] = 1;
/// let pieces: Vec<_> = split_zeros(0, Bytes::from(data)).collect();
/// assert_eq!(pieces[1], Piece::Hole(64 << 10));
/// ```
pub fn split_zeros(position: u64, data: Bytes) -> impl Iterator<Item = Piece> {
    let mut rest = data;
    let mut at = position;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let zeros = zero_run(at, &rest);
        let piece = if zeros > 0 {
            let _ = rest.split_to(zeros);
            Piece::Hole(zeros as u64)
        } else {
            let mut end = grain_end(at, rest.len(), 0);
            while end < rest.len() && zero_run(at + end as u64, &rest[end..]) == 0 {
                end = grain_end(at, rest.len(), end);
            }
            Piece::Data(rest.split_to(end))
        };
        at += piece.len();
        Some(piece)
    })
}

/// The end of the grain that holds offset `from` of data at `at`, at most `length`.
#[expect(clippy::cast_possible_truncation, reason = "a remainder of GRAIN fits")]
fn grain_end(at: u64, length: usize, from: usize) -> usize {
    let into = ((at + from as u64) % GRAIN as u64) as usize;
    (from + GRAIN - into).min(length)
}

/// How many bytes at the start are whole aligned grains of zeros.
fn zero_run(at: u64, data: &[u8]) -> usize {
    if !at.is_multiple_of(GRAIN as u64) {
        return 0;
    }
    data.chunks_exact(GRAIN).take_while(|grain| **grain == ZEROS[..GRAIN]).count() * GRAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(position: u64, data: &[u8]) -> Vec<(bool, u64)> {
        let pieces = split_zeros(position, Bytes::copy_from_slice(data));
        pieces.map(|piece| (matches!(piece, Piece::Hole(_)), piece.len())).collect()
    }

    #[test]
    fn aligned_runs_of_zeros_become_holes_and_nothing_is_lost() {
        let grain = GRAIN as u64;
        assert_eq!(split(0, &[0; 3 * GRAIN]), [(true, 3 * grain)]);
        assert_eq!(split(1, &[0; 3 * GRAIN]), [(false, grain - 1), (true, 2 * grain), (false, 1)]);
        assert_eq!(split(0, &[0; 100]), [(false, 100)]);
        assert_eq!(split(0, &[1; 3 * GRAIN]), [(false, 3 * grain)]);
        let mut mixed = vec![0; 5 * GRAIN];
        mixed[2 * GRAIN] = 1;
        assert_eq!(
            split(7 * grain, &mixed),
            [(true, 2 * grain), (false, grain), (true, 2 * grain)]
        );
        assert_eq!(split(0, &[]), []);
    }
}
