//! GUID partition tables.
//!
//! Our own, because the crate for them asserts a size that the table names, allocates by another,
//! and wants to be able to write. Source of the facts: the UEFI specification, chapter 5.

use super::table::Partition;
use crate::bytes::{little_u32, little_u64};
use crate::disk::Disk;
use crate::unavailable::Unavailable;

/// The most entries that are read; tools write 128.
const MAX_ENTRIES: u32 = 1_024;
const MAX_ENTRY_BYTES: u32 = 4_096;

/// The partitions by the primary header, or by its copy in the last sector; `None` when neither is
/// valid.
pub(super) fn read(
    disk: &mut Disk,
    sector_bytes: u64,
) -> Result<Option<Vec<Partition>>, Unavailable> {
    let last = (disk.bytes() / sector_bytes).saturating_sub(1);
    for sector in [1, last] {
        if let Some(partitions) = read_at(disk, sector, sector_bytes)? {
            return Ok(Some(partitions));
        }
    }
    Ok(None)
}

fn read_at(
    disk: &mut Disk,
    sector: u64,
    sector_bytes: u64,
) -> Result<Option<Vec<Partition>>, Unavailable> {
    let header = disk.read_at_most(sector * sector_bytes, 512)?;
    let Some(Array { start, entries, entry_bytes, crc }) = entry_array(&header, sector_bytes)
    else {
        return Ok(None);
    };
    if start >= disk.bytes() {
        return Ok(None);
    }
    let array = disk.read_at_most(start, (entries * entry_bytes) as usize)?;
    if crc32(&array) != crc {
        return Ok(None);
    }
    let numbered = array.chunks_exact(entry_bytes as usize).zip(1..);
    let partitions =
        numbered.filter_map(|(entry, number)| partition(entry, number, sector_bytes, disk.bytes()));
    Ok(Some(partitions.collect()))
}

/// Where the entries of a table are, as its header says it.
struct Array {
    /// In bytes of the disk.
    start: u64,
    entries: u32,
    entry_bytes: u32,
    crc: u32,
}

/// What a header says of the entries; `None` when it is no valid header.
fn entry_array(header: &[u8], sector_bytes: u64) -> Option<Array> {
    if !header.starts_with(b"EFI PART") || header.len() < 512 {
        return None;
    }
    let number = |at| little_u32(header, at).unwrap_or_default();
    let header_bytes = number(12) as usize;
    if !(92..=512).contains(&header_bytes) {
        return None;
    }
    // The header's checksum is that of the header with zeros in its place.
    let mut unsigned = header[..header_bytes].to_vec();
    unsigned[16..20].fill(0);
    let array = Array {
        start: little_u64(header, 72)?.checked_mul(sector_bytes)?,
        entries: number(80),
        entry_bytes: number(84),
        crc: number(88),
    };
    let is_valid = crc32(&unsigned) == number(16)
        && array.entries <= MAX_ENTRIES
        && (128..=MAX_ENTRY_BYTES).contains(&array.entry_bytes)
        && array.entry_bytes.is_multiple_of(8);
    is_valid.then_some(array)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The partition that an entry describes; `None` for an unused entry, and for one that does not lie
/// on the disk.
fn partition(entry: &[u8], number: u32, sector_bytes: u64, disk_bytes: u64) -> Option<Partition> {
    const UNUSED: &str = "00000000-0000-0000-0000-000000000000";
    const EFI_SYSTEM: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    let kind = guid(entry.get(..16)?)?;
    if kind == UNUSED {
        return None;
    }
    let start = little_u64(entry, 32)?.checked_mul(sector_bytes)?;
    let end = little_u64(entry, 40)?.checked_add(1)?.checked_mul(sector_bytes)?;
    if end <= start || end > disk_bytes {
        return None;
    }
    let units =
        entry.get(56..128)?.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let name = char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|c| c.unwrap_or('\u{fffd}'))
        .collect();
    let uuid = guid(entry.get(16..32)?)?;
    Some(Partition { number, start, bytes: end - start, is_efi: kind == EFI_SYSTEM, uuid, name })
}

/// A GUID as text: its first three parts are little-endian.
fn guid(bytes: &[u8]) -> Option<String> {
    let [a, b, c, d, e, f, g, h, i, j, node @ ..] = bytes else { return None };
    let node: String = node.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!(
        "{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{i:02x}{j:02x}-{node}"
    ))
}
