//! Real images, made without any tool.

use crate::noise;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CLUSTER: u64 = 64 << 10;

/// Writes a sparse raw image of `size` bytes in which one byte range of `stretch` bytes in every
/// tenth of it holds data.
///
/// # Errors
/// What the file system reports.
pub fn sparse_raw(path: &Path, size: u64, stretch: usize) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(size)?;
    for tenth in 0..10 {
        file.write_all_at(&noise(tenth + 1, stretch), size / 10 * tenth)?;
    }
    Ok(())
}

/// Writes a qcow2 (version 3) image of `virtual_size` bytes whose first `data_clusters` clusters of
/// 64 KiB hold data.
///
/// # Errors
/// What the file system reports.
///
/// # Panics
/// When the image would need more than one table of each kind: 512 MiB, 8,188 clusters.
pub fn qcow2(path: &Path, virtual_size: u64, data_clusters: u64) -> io::Result<()> {
    assert!(
        virtual_size <= 512 << 20
            && data_clusters * CLUSTER <= virtual_size
            && data_clusters < 8_188
    );
    // Clusters in order: header, refcount table, refcount block, L1, L2, data.
    let (table, block, l1, l2, data) =
        (CLUSTER, 2 * CLUSTER, 3 * CLUSTER, 4 * CLUSTER, 5 * CLUSTER);
    let file = File::create(path)?;
    file.set_len(data + data_clusters * CLUSTER)?;
    let mut header = Vec::new();
    header.extend_from_slice(b"QFI\xfb");
    header.extend_from_slice(&3_u32.to_be_bytes());
    header.extend_from_slice(&[0; 12]); // no backing file
    header.extend_from_slice(&16_u32.to_be_bytes()); // cluster bits
    header.extend_from_slice(&virtual_size.to_be_bytes());
    header.extend_from_slice(&[0; 4]); // not encrypted
    header.extend_from_slice(&1_u32.to_be_bytes()); // L1 entries
    header.extend_from_slice(&l1.to_be_bytes());
    header.extend_from_slice(&table.to_be_bytes());
    header.extend_from_slice(&1_u32.to_be_bytes()); // refcount table clusters
    header.extend_from_slice(&[0; 12]); // no snapshots
    header.extend_from_slice(&[0; 24]); // no feature bits
    header.extend_from_slice(&4_u32.to_be_bytes()); // refcounts of 16 bits
    header.extend_from_slice(&104_u32.to_be_bytes()); // header length
    file.write_all_at(&header, 0)?;
    file.write_all_at(&block.to_be_bytes(), table)?;
    let used = usize::try_from(5 + data_clusters).unwrap_or(usize::MAX);
    file.write_all_at(&1_u16.to_be_bytes().repeat(used), block)?;
    const COPIED: u64 = 1 << 63;
    file.write_all_at(&(l2 | COPIED).to_be_bytes(), l1)?;
    let entries: Vec<u8> =
        (0..data_clusters).flat_map(|n| ((data + n * CLUSTER) | COPIED).to_be_bytes()).collect();
    file.write_all_at(&entries, l2)?;
    for n in 0..data_clusters {
        file.write_all_at(
            &noise(n + 1, usize::try_from(CLUSTER).unwrap_or_default()),
            data + n * CLUSTER,
        )?;
    }
    Ok(())
}

/// The first bytes of a qcow2 image that needs the backing file `name`.
pub fn qcow2_with_backing(name: &str) -> Vec<u8> {
    let mut image = vec![0; 64 << 10];
    image[..4].copy_from_slice(b"QFI\xfb");
    image[4..8].copy_from_slice(&3_u32.to_be_bytes());
    image[8..16].copy_from_slice(&1_024_u64.to_be_bytes());
    image[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
    image[1_024..1_024 + name.len()].copy_from_slice(name.as_bytes());
    image
}
