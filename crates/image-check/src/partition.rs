//! How a disk is divided: GPT, MBR with logical partitions, or not at all.
//!
//! GPT is read by hand: the crate for it asserts a size that the table names, allocates by another,
//! and wants to be able to write.

use crate::bytes::{little_u32, little_u64};
use crate::disk::Disk;
use std::io;

/// Logical partitions that are followed: a chain can be a circle.
const MAX_LOGICAL: usize = 64;
/// Entries of a GPT that are read; 128 is what tools write.
const MAX_ENTRIES: u32 = 1_024;
const LARGEST_ENTRY_BYTES: u32 = 4_096;

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// A GUID partition table.
    Gpt,
    /// A DOS partition table.
    Mbr,
    /// No table: one file system from the first byte on, or nothing that is known.
    None,
}

/// A stretch of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// As the guest numbers it.
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    /// An EFI system partition.
    pub(crate) is_efi: bool,
    /// The identifier in `PARTUUID=`, in lower case.
    pub(crate) uuid: String,
    /// The name in `PARTLABEL=`.
    pub(crate) name: String,
}

/// The table of a disk and what is in it, in the order of the numbers.
pub(crate) fn read(disk: &mut Disk) -> io::Result<(Table, Vec<Partition>)> {
    let first = disk.read_most(0, 512)?;
    if first.len() < 512 {
        return Ok((Table::None, Vec::new()));
    }
    // Without its protective entry a GPT is what an earlier use of the disk has left.
    const PROTECTIVE: u8 = 0xee;
    let is_protected =
        entries(&first).iter().any(|&(kind, start, _)| kind == PROTECTIVE && start == 1);
    for sector_bytes in [512, 4_096] {
        if is_protected && let Some(partitions) = gpt(disk, sector_bytes)? {
            return Ok((Table::Gpt, partitions));
        }
    }
    match mbr(disk, &first)? {
        partitions if partitions.is_empty() => Ok((Table::None, partitions)),
        partitions => Ok((Table::Mbr, partitions)),
    }
}

/// The table behind the first sector, or its copy in the last.
fn gpt(disk: &mut Disk, sector_bytes: u64) -> io::Result<Option<Vec<Partition>>> {
    let last = (disk.bytes() / sector_bytes).saturating_sub(1);
    for sector in [1, last] {
        if let Some(partitions) = gpt_at(disk, sector, sector_bytes)? {
            return Ok(Some(partitions));
        }
    }
    Ok(None)
}

fn gpt_at(disk: &mut Disk, sector: u64, sector_bytes: u64) -> io::Result<Option<Vec<Partition>>> {
    let header = disk.read_most(sector * sector_bytes, 512)?;
    if !header.starts_with(b"EFI PART") || header.len() < 512 {
        return Ok(None);
    }
    let number = |at| little_u32(&header, at).unwrap_or_default();
    let header_bytes = number(12) as usize;
    if !(92..=512).contains(&header_bytes) {
        return Ok(None);
    }
    let mut unsigned = header[..header_bytes].to_vec();
    unsigned[16..20].fill(0);
    let (entries, entry_bytes) = (number(80), number(84));
    let sound = checksum(&unsigned) == number(16)
        && entries <= MAX_ENTRIES
        && (128..=LARGEST_ENTRY_BYTES).contains(&entry_bytes)
        && entry_bytes % 8 == 0;
    let Some(start) = little_u64(&header, 72).and_then(|lba| lba.checked_mul(sector_bytes)) else {
        return Ok(None);
    };
    if !sound || start >= disk.bytes() {
        return Ok(None);
    }
    let table = disk.read_most(start, (entries * entry_bytes) as usize)?;
    if checksum(&table) != number(88) {
        return Ok(None);
    }
    let entries = table.chunks_exact(entry_bytes as usize).zip(1..);
    Ok(Some(
        entries
            .filter_map(|(entry, number)| gpt_entry(entry, number, sector_bytes, disk.bytes()))
            .collect(),
    ))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn gpt_entry(entry: &[u8], number: u32, sector_bytes: u64, disk_bytes: u64) -> Option<Partition> {
    let kind = uuid(entry.get(..16)?)?;
    if kind == "00000000-0000-0000-0000-000000000000" {
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
    let is_efi = kind == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    Some(Partition {
        number,
        start,
        bytes: end - start,
        is_efi,
        uuid: uuid(entry.get(16..32)?)?,
        name,
    })
}

/// A GUID as text: its first three parts are little-endian.
fn uuid(bytes: &[u8]) -> Option<String> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes else { return None };
    let [i, j, node @ ..] = rest else { return None };
    let node: String = node.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!(
        "{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{i:02x}{j:02x}-{node}"
    ))
}

/// An entry of a DOS table: type, first sector, sectors.
type Entry = (u8, u64, u64);

fn entries(sector: &[u8]) -> Vec<Entry> {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Vec::new();
    }
    let entry = |at: usize| {
        let is_sound = matches!(sector.get(at)?, 0 | 0x80);
        let found = (
            *sector.get(at + 4)?,
            little_u32(sector, at + 8)?.into(),
            little_u32(sector, at + 12)?.into(),
        );
        is_sound.then_some(found)
    };
    // One entry that is none makes it no table.
    (0..4).map(|index| entry(446 + index * 16)).collect::<Option<Vec<_>>>().unwrap_or_default()
}

const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

fn mbr(disk: &mut Disk, first: &[u8]) -> io::Result<Vec<Partition>> {
    let signature = little_u32(first, 440).unwrap_or_default();
    let disk_bytes = disk.bytes();
    let partition = |number: u32, kind: u8, sector: u64, sectors: u64| {
        let (start, bytes) = (sector * 512, sectors * 512);
        let sound = kind != 0 && start > 0 && bytes > 0 && start.checked_add(bytes)? <= disk_bytes;
        let uuid = format!("{signature:08x}-{number:02x}");
        sound.then(|| Partition {
            number,
            start,
            bytes,
            is_efi: kind == 0xef,
            uuid,
            name: String::new(),
        })
    };
    let mut partitions = Vec::new();
    for ((kind, sector, sectors), number) in entries(first).into_iter().zip(1..) {
        if EXTENDED.contains(&kind) {
            for ((kind, sector, sectors), number) in logical(disk, sector)?.into_iter().zip(5..) {
                partitions.extend(partition(number, kind, sector, sectors));
            }
        } else {
            partitions.extend(partition(number, kind, sector, sectors));
        }
    }
    partitions.sort_by_key(|partition| partition.number);
    Ok(partitions)
}

/// The chain of logical partitions in an extended one.
fn logical(disk: &mut Disk, extended: u64) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut next = extended;
    for _ in 0..MAX_LOGICAL {
        if (next + 1) * 512 > disk.bytes() {
            break;
        }
        let sector = disk.read_most(next * 512, 512)?;
        let [own, link, ..] = entries(&sector)[..] else { break };
        if own.0 != 0 {
            found.push((own.0, next + own.1, own.2));
        }
        if !EXTENDED.contains(&link.0) || link.1 == 0 {
            break;
        }
        next = extended + link.1;
    }
    Ok(found)
}
