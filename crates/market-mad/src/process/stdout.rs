//! Reading the standard output of an executable.

use super::BUFFER_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;
use tokio::task::yield_now;

/// Collects standard output, up to a limit.
pub(super) struct StdoutReader {
    max_bytes: usize,
    bytes: Vec<u8>,
}

impl StdoutReader {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: Vec::new() }
    }

    /// Reads to the end. At more bytes than the limit it drops all, notifies `overflow`, and stops.
    pub(super) async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>, overflow: &Notify) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if self.bytes.len() + count > self.max_bytes {
                self.bytes = Vec::new();
                overflow.notify_one();
                return;
            }
            self.bytes.extend_from_slice(&buffer[..count]);
            yield_now().await;
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
