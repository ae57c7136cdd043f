//! How a disk is laid out: its partition table, and what each partition holds.

use crate::disk::Disk;
use crate::partition::{self, PartitionTable};
use crate::unavailable::Unavailable;
use crate::volume::{Content, Volume};

/// The most partitions of a disk that is looked into.
const MAX_PARTITIONS: usize = 64;

/// The layout of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) table: PartitionTable,
    /// In the order of the partitions' numbers; a disk without partitions is one volume.
    pub(crate) volumes: Vec<Volume>,
}

impl Layout {
    pub(crate) fn read(disk: &mut Disk) -> Result<Self, Unavailable> {
        let (table, partitions) = partition::read(disk)?;
        if partitions.len() > MAX_PARTITIONS {
            let message = format!("{} partitions are more than a system has", partitions.len());
            return Err(Unavailable::too_large(message));
        }
        let mut volumes = Vec::new();
        for partition in partitions {
            let range = partition.start..partition.start + partition.bytes;
            let content = Content::probe(disk, &range)?;
            volumes.push(Volume { partition: Some(partition), range, content });
        }
        let range = 0..disk.bytes();
        let content = Content::probe(disk, &range)?;
        let whole = Volume { partition: None, range, content };
        // The boot code of a file system may look like a table; what is left of an earlier use in a
        // disk's first sectors may look like a file system.
        let is_whole = volumes.is_empty()
            || (table == PartitionTable::Mbr
                && whole.content.is_known()
                && !volumes.iter().any(|volume| volume.content.is_known()));
        if is_whole {
            return Ok(Self { table: PartitionTable::None, volumes: vec![whole] });
        }
        Ok(Self { table, volumes })
    }

    /// Whether anything on the disk is known.
    pub(crate) fn is_known(&self) -> bool {
        self.table != PartitionTable::None
            || self.volumes.iter().any(|volume| volume.content.is_known())
    }
}
