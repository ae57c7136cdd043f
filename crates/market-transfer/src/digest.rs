//! Digests on a thread of their own, so that hashing overlaps with reading and writing.

use crate::{Piece, ZEROS};
use md5::{Digest, Md5};
use sha1::Sha1;
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Which digests are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// MD5.
    pub md5: bool,
    /// SHA-1.
    pub sha1: bool,
}

impl Wanted {
    /// MD5 alone.
    pub const MD5: Self = Self { md5: true, sha1: false };
}

/// Digests in lower-case hexadecimal, and how many bytes they cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Bytes, holes included.
    pub bytes: u64,
    /// MD5, when it was wanted.
    pub md5: Option<String>,
    /// SHA-1, when it was wanted.
    pub sha1: Option<String>,
}

/// Computes digests of the pieces it is given, in order.
pub struct Digester {
    queue: mpsc::Sender<Piece>,
    thread: JoinHandle<Digests>,
}

/// Pieces that may wait for the thread: with the source's own, a few MiB.
const QUEUE: usize = 4;

impl Digester {
    /// Starts the thread.
    pub fn start(wanted: Wanted) -> Self {
        let (queue, mut pieces) = mpsc::channel::<Piece>(QUEUE);
        let thread = std::thread::spawn(move || {
            let mut md5 = wanted.md5.then(Md5::new);
            let mut sha1 = wanted.sha1.then(Sha1::new);
            let mut bytes = 0;
            let mut update = |data: &[u8]| {
                if let Some(md5) = &mut md5 {
                    md5.update(data);
                }
                if let Some(sha1) = &mut sha1 {
                    sha1.update(data);
                }
            };
            while let Some(piece) = pieces.blocking_recv() {
                bytes += piece.len();
                match piece {
                    Piece::Data(data) => update(&data),
                    Piece::Hole(length) => zeros(length, &mut update),
                }
            }
            Digests { bytes, md5: md5.map(|md5| hex(&md5.finalize())), sha1: sha1.map(|sha1| hex(&sha1.finalize())) }
        });
        Self { queue, thread }
    }

    /// Adds a piece; waits while the thread is busy with earlier ones.
    pub async fn update(&mut self, piece: Piece) {
        // The thread ends only when the queue closes, which happens in `finish` and on drop.
        let _ = self.queue.send(piece).await;
    }

    /// The digests of all pieces.
    pub async fn finish(self) -> Digests {
        let Self { queue, thread } = self;
        drop(queue);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        // The thread does nothing that can panic; an empty result matches no declared digest.
        joined.ok().and_then(Result::ok).unwrap_or_default()
    }
}

fn zeros(length: u64, update: &mut impl FnMut(&[u8])) {
    let mut left = length;
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
        update(&ZEROS[..step]);
        left -= step as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
