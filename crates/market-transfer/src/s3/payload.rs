//! Bytes to be stored, with the digests that a service compares them with.

use crate::run_on_thread;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use md5::{Digest, Md5};
use object_store::PutPayload;
use object_store::client::HttpRequestBody;
use sha2::Sha256;

/// An object, or a part of one, in memory.
#[derive(Clone)]
pub struct Payload {
    pieces: PutPayload,
    md5: [u8; 16],
    sha256: [u8; 32],
}

impl Payload {
    /// Hashes the bytes, on a thread of its own: sending goes on meanwhile.
    pub async fn of(pieces: Vec<Bytes>) -> Self {
        let pieces = PutPayload::from_iter(pieces);
        let kept = pieces.clone();
        let hashed = run_on_thread("digests", move || Self::hashed(pieces)).await;
        // Without a thread it is done here.
        hashed.unwrap_or_else(|_| Self::hashed(kept))
    }

    fn hashed(pieces: PutPayload) -> Self {
        let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
        for piece in &pieces {
            md5.update(piece);
            sha256.update(piece);
        }
        Self { pieces, md5: md5.finalize().into(), sha256: sha256.finalize().into() }
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.pieces.content_length() as u64
    }

    /// Their MD5, in lower-case hexadecimal.
    pub fn md5(&self) -> String {
        crate::hex(&self.md5)
    }

    pub(super) fn content_md5(&self) -> HeaderValue {
        // Base64 is ASCII.
        HeaderValue::from_str(&BASE64_STANDARD.encode(self.md5))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub(super) fn sha256(&self) -> &[u8] {
        &self.sha256
    }

    pub(super) fn body(&self) -> HttpRequestBody {
        self.pieces.clone().into()
    }
}
