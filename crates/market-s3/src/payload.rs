//! Bytes to be stored, with the digests that a service compares them with.

use crate::progress::Progress;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use market_transfer::{Md5, Sha256, run_on_thread};
use md5::Digest;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An object, or a part of one, in memory: its bytes in the buffers that they came in, their MD5
/// (sent as `Content-MD5`) and their SHA-256 (signed as `x-amz-content-sha256`). Cloning it copies
/// no bytes.
#[derive(Clone)]
pub struct Payload {
    pieces: Arc<[Bytes]>,
    bytes: u64,
    md5: Md5,
    sha256: Sha256,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Payload {
    /// Computes the digests, on a thread of its own: what is sent meanwhile goes on.
    pub async fn new(pieces: Vec<Bytes>) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into();
        let kept = Arc::clone(&pieces);
        let hashed = run_on_thread("digests", move || Self::hashed(pieces)).await;
        // Where no thread can be started it is done on this one.
        hashed.unwrap_or_else(|_| Self::hashed(kept))
    }

    fn hashed(pieces: Arc<[Bytes]>) -> Self {
        let (mut md5, mut sha256, mut bytes) = (md5::Md5::new(), sha2::Sha256::new(), 0);
        for piece in pieces.iter() {
            md5.update(piece);
            sha256.update(piece);
            bytes += piece.len() as u64;
        }
        let md5 = <[u8; 16]>::from(md5.finalize()).into();
        let sha256 = <[u8; 32]>::from(sha256.finalize()).into();
        Self { pieces, bytes, md5, sha256 }
    }

    /// The body of a request that has none, or a small one.
    pub(crate) fn small(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        Self::hashed(if bytes.is_empty() { Arc::default() } else { [bytes].into() })
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Their MD5.
    pub fn md5(&self) -> Md5 {
        self.md5
    }

    pub(crate) fn content_md5(&self) -> String {
        BASE64_STANDARD.encode(self.md5.as_bytes())
    }

    pub(crate) fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// The bytes as the body of a request; each piece that is taken is progress.
    pub(crate) fn into_body(
        self,
        progress: Progress,
    ) -> impl Body<Data = Bytes, Error = Infallible> {
        PayloadBody { pieces: self.pieces, next: 0, left: self.bytes, progress }
    }
}

struct PayloadBody {
    pieces: Arc<[Bytes]>,
    next: usize,
    left: u64,
    progress: Progress,
}

impl Body for PayloadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.touch();
        let piece = self.pieces.get(self.next).cloned();
        self.next += 1;
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    // The exact length: services refuse what comes in chunks.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_of_all_pieces() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pieces = vec![Bytes::from_static(b"hel"), Bytes::from_static(b"lo")];
        let payload = runtime.block_on(Payload::new(pieces));
        assert_eq!(
            (payload.bytes(), payload.md5().to_string()),
            (5, "5d41402abc4b2a76b9719d911017c592".into())
        );
        assert_eq!(payload.content_md5(), "XUFAKrxLKna5cZ2REBfFkg==");
        assert!(!format!("{payload:?}").contains("hel"));
        assert_eq!(Payload::small("").bytes(), 0);
    }
}
