//! DOS partition tables: four entries in the first sector, and chains of logical partitions.

use super::table::Partition;
use crate::bytes::little_u32;
use crate::disk::Disk;
use crate::unavailable::Unavailable;

/// The most logical partitions that are followed: a chain may lead back to itself.
const MAX_LOGICAL: usize = 64;

/// Types of entries.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const EFI_SYSTEM: u8 = 0xef;
const PROTECTIVE: u8 = 0xee;

/// The size of a sector, in bytes: the only one that these tables know.
const SECTOR_BYTES: u64 = 512;

/// An entry of a table.
#[derive(Clone, Copy)]
struct Entry {
    kind: u8,
    /// The first sector.
    start: u64,
    sectors: u64,
}

/// The entries of a table; none when the sector holds no table.
fn entries(sector: &[u8]) -> Vec<Entry> {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Vec::new();
    }
    let entry = |at: usize| {
        let is_valid = matches!(sector.get(at)?, 0 | 0x80);
        let entry = Entry {
            kind: *sector.get(at + 4)?,
            start: little_u32(sector, at + 8)?.into(),
            sectors: little_u32(sector, at + 12)?.into(),
        };
        is_valid.then_some(entry)
    };
    // A boot sector without a table has any bytes there: one that is no entry makes it no table.
    (0..4).map(|index| entry(446 + index * 16)).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Whether the table says that the disk has a GPT. A GPT without that is what an earlier use of the
/// disk has left.
pub(super) fn is_protective(first: &[u8]) -> bool {
    entries(first).iter().any(|entry| entry.kind == PROTECTIVE && entry.start == 1)
}

/// The primary and logical partitions of the table in the first sector.
pub(super) fn read(disk: &mut Disk, first: &[u8]) -> Result<Vec<Partition>, Unavailable> {
    let signature = little_u32(first, 440).unwrap_or_default();
    let disk_bytes = disk.bytes();
    let partition = |number: u32, entry: Entry| {
        let (start, bytes) = (entry.start * SECTOR_BYTES, entry.sectors * SECTOR_BYTES);
        let lies_on_disk = start > 0 && bytes > 0 && start.checked_add(bytes)? <= disk_bytes;
        (entry.kind != 0 && lies_on_disk).then(|| Partition {
            number,
            start,
            bytes,
            is_efi: entry.kind == EFI_SYSTEM,
            uuid: format!("{signature:08x}-{number:02x}"),
            name: String::new(),
        })
    };
    let mut partitions = Vec::new();
    for (entry, number) in entries(first).into_iter().zip(1..) {
        if EXTENDED.contains(&entry.kind) {
            let logical = logical(disk, entry.start)?.into_iter().zip(5..);
            partitions.extend(logical.filter_map(|(entry, number)| partition(number, entry)));
        } else {
            partitions.extend(partition(number, entry));
        }
    }
    partitions.sort_by_key(|partition| partition.number);
    Ok(partitions)
}

/// The chain of logical partitions in an extended one. Each sector of it describes one, relative to
/// itself, and links the next, relative to the extended partition.
fn logical(disk: &mut Disk, extended: u64) -> Result<Vec<Entry>, Unavailable> {
    let mut found = Vec::new();
    let mut next = extended;
    for _ in 0..MAX_LOGICAL {
        if (next + 1) * SECTOR_BYTES > disk.bytes() {
            break;
        }
        let sector = disk.read_at_most(next * SECTOR_BYTES, 512)?;
        let [own, link, ..] = entries(&sector)[..] else { break };
        if own.kind != 0 {
            found.push(Entry { start: next + own.start, ..own });
        }
        if !EXTENDED.contains(&link.kind) || link.start == 0 {
            break;
        }
        next = extended + link.start;
    }
    Ok(found)
}
