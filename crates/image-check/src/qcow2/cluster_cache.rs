//! Compressed clusters: how they are unpacked, and a few that are kept.

use super::header::{Compression, Damage, Header};
use crate::page_cache::PageCache;
use crate::unavailable::Unavailable;
use std::io::Read;

/// The most bytes of decompressed clusters that are kept.
const MAX_BYTES: usize = 4 << 20;

/// The largest window that a zstd cluster may ask for, as a binary logarithm: four times the
/// largest cluster.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The clusters that were last decompressed, with their offsets in the file; the latest comes last.
#[derive(Default)]
pub(super) struct ClusterCache(Vec<(u64, Vec<u8>)>);

impl ClusterCache {
    /// The content of the cluster whose compressed bytes lie at an offset of the file. `bytes` is
    /// the most that they may have.
    pub(super) fn get(
        &mut self,
        file: &PageCache,
        header: &Header,
        offset: u64,
        bytes: u64,
    ) -> Result<&[u8], Unavailable> {
        if let Some(index) = self.0.iter().position(|(at, _)| *at == offset) {
            self.0[index..].rotate_left(1);
        } else {
            let cluster = decompress(file, header, offset, bytes)?;
            if self.0.len() >= (MAX_BYTES / cluster.len()).max(1) {
                self.0.remove(0);
            }
            self.0.push((offset, cluster));
        }
        Ok(self.0.last().map(|(_, cluster)| &**cluster).unwrap_or_default())
    }
}

/// One cluster; what the stream holds beyond it is not looked at.
fn decompress(
    file: &PageCache,
    header: &Header,
    offset: u64,
    bytes: u64,
) -> Result<Vec<u8>, Unavailable> {
    let available = file.file_bytes().saturating_sub(offset).min(bytes);
    let mut compressed = vec![0; usize::try_from(available).unwrap_or_default()];
    file.read(offset, &mut compressed)?;
    let mut cluster = vec![0; usize::try_from(header.cluster_bytes()).unwrap_or_default()];
    let outcome = match header.compression {
        Compression::Zlib => {
            flate2::read::DeflateDecoder::new(&*compressed).read_exact(&mut cluster)
        }
        Compression::Zstd => {
            zstd::stream::read::Decoder::with_buffer(&*compressed).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                decoder.read_exact(&mut cluster)
            })
        }
    };
    outcome.map_err(|error| {
        let cause = format!("the compressed cluster at {offset:#x} cannot be read: {error}");
        Damage::Inconsistent(cause)
    })?;
    Ok(cluster)
}
