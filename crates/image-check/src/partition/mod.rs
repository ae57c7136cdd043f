//! How a disk is divided: GPT, MBR with logical partitions, or not at all.

mod gpt;
mod mbr;
mod table;

pub(crate) use table::Partition;
pub use table::PartitionTable;

use crate::disk::Disk;
use crate::unavailable::Unavailable;

/// The kind of table that a disk has, and its partitions in the order of their numbers.
pub(crate) fn read(disk: &mut Disk) -> Result<(PartitionTable, Vec<Partition>), Unavailable> {
    let first = disk.read_at_most(0, 512)?;
    if first.len() < 512 {
        return Ok((PartitionTable::None, Vec::new()));
    }
    if mbr::is_protective(&first) {
        for sector_bytes in [512, 4_096] {
            if let Some(partitions) = gpt::read(disk, sector_bytes)? {
                return Ok((PartitionTable::Gpt, partitions));
            }
        }
    }
    let partitions = mbr::read(disk, &first)?;
    let table = if partitions.is_empty() { PartitionTable::None } else { PartitionTable::Mbr };
    Ok((table, partitions))
}
