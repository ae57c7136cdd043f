//! The way from a guest's offset to the bytes of the file: L1 table, L2 table, cluster.

use super::cluster_cache::ClusterCache;
use super::header::{Damage, Header};
use crate::deadline::Deadline;
use crate::page_cache::PageCache;
use crate::unavailable::Unavailable;
use std::fs::File;
use std::io;
use std::ops::Range;

/// The offset in an entry of a table: bits 9 to 55.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Flags of an entry of an L2 table.
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;

/// How many subclusters a cluster has, where it has any.
const SUBCLUSTERS: u64 = 32;

/// Where the bytes of one of the guest's clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Nowhere: they are zeros.
    Zeros,
    /// At an offset of the file. Of subclusters, those whose bit is set are stored; the others are
    /// zeros.
    Data { offset: u64, subclusters: Option<u32> },
    /// Compressed, at an offset of the file, in at most so many bytes.
    Compressed { offset: u64, bytes: u64 },
}

/// An image whose guest's bytes can be read.
pub(crate) struct Qcow2 {
    pub(crate) header: Header,
    pub(super) file: PageCache,
    decompressed: ClusterCache,
}

impl Qcow2 {
    pub(crate) fn new(file: File, header: Header) -> io::Result<Self> {
        Ok(Self { header, file: PageCache::new(file)?, decompressed: ClusterCache::default() })
    }

    pub(super) fn l1_entry(&mut self, index: u64) -> io::Result<u64> {
        self.file.big_u64(self.header.l1_offset + index * 8)
    }

    /// Where the L2 table is that an entry of the L1 table names; `None` when there is none.
    pub(super) fn l2_table(&self, l1_entry: u64) -> Result<Option<u64>, Damage> {
        match l1_entry & OFFSET {
            0 => Ok(None),
            offset if offset % self.header.cluster_bytes() != 0 => Err(Damage::Inconsistent(
                format!("the L2 table at {offset:#x} begins inside a cluster"),
            )),
            offset if offset + self.header.cluster_bytes() > self.file.file_bytes() => {
                Err(Damage::Truncated(format!(
                    "the L2 table at {offset:#x} lies behind the file's end: \
                     the file is cut short"
                )))
            }
            offset => Ok(Some(offset)),
        }
    }

    /// Where one of the guest's clusters is, by its number.
    fn mapping(&mut self, cluster: u64) -> Result<Mapping, Unavailable> {
        let (l1, l2) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let entry = self.l1_entry(l1)?;
        match self.l2_table(entry)? {
            Some(table) => Ok(self.mapping_in(table, l2)?),
            None => Ok(Mapping::Zeros),
        }
    }

    /// Where the cluster is that an entry of an L2 table describes.
    pub(super) fn mapping_in(&mut self, table: u64, index: u64) -> io::Result<Mapping> {
        let at = table + index * self.header.l2_entry_bytes();
        let entry = self.file.big_u64(at)?;
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.header.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1);
            let sectors = ((entry & (COMPRESSED - 1)) >> offset_bits) + 1;
            return Ok(Mapping::Compressed { offset, bytes: sectors * 512 - offset % 512 });
        }
        let offset = entry & OFFSET;
        if offset == 0 {
            return Ok(Mapping::Zeros);
        }
        if self.header.has_subclusters() {
            let bitmap = self.file.big_u64(at + 8)?;
            let (allocated, zeros) = (bitmap as u32, (bitmap >> 32) as u32);
            return Ok(match allocated & !zeros {
                0 => Mapping::Zeros,
                stored => Mapping::Data { offset, subclusters: Some(stored) },
            });
        }
        if entry & ALL_ZEROS != 0 && self.header.version >= 3 {
            return Ok(Mapping::Zeros);
        }
        Ok(Mapping::Data { offset, subclusters: None })
    }

    /// Fills `buffer` with the guest's bytes at `position`, all of which must be on the disk.
    pub(crate) fn read(
        &mut self,
        mut position: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), Unavailable> {
        let cluster_bytes = self.header.cluster_bytes();
        while !buffer.is_empty() {
            let within = position % cluster_bytes;
            let (part, rest) = split_at_most(buffer, cluster_bytes - within);
            let length = part.len();
            match self.mapping(position / cluster_bytes)? {
                Mapping::Zeros => part.fill(0),
                Mapping::Data { offset, subclusters: None } => {
                    self.file.read(offset + within, part)?
                }
                Mapping::Data { offset, subclusters: Some(stored) } => {
                    self.read_subclusters(offset, within, stored, part)?
                }
                Mapping::Compressed { offset, bytes } => {
                    let start = usize::try_from(within).unwrap_or_default();
                    let cluster = self.decompressed.get(&self.file, &self.header, offset, bytes)?;
                    part.copy_from_slice(&cluster[start..start + length]);
                }
            }
            position += length as u64;
            buffer = rest;
        }
        Ok(())
    }

    /// Reads from a cluster of which only some subclusters are stored.
    fn read_subclusters(
        &mut self,
        offset: u64,
        mut within: u64,
        stored: u32,
        mut buffer: &mut [u8],
    ) -> io::Result<()> {
        let subcluster_bytes = self.header.cluster_bytes() / SUBCLUSTERS;
        while !buffer.is_empty() {
            let (part, rest) = split_at_most(buffer, subcluster_bytes - within % subcluster_bytes);
            if stored >> (within / subcluster_bytes) & 1 == 1 {
                self.file.read(offset + within, part)?;
            } else {
                part.fill(0);
            }
            within += part.len() as u64;
            buffer = rest;
        }
        Ok(())
    }

    /// Calls `each` for the ranges of the guest's disk that are stored uncompressed, in order. An
    /// error ends it.
    pub(crate) fn for_each_data_range(
        &mut self,
        deadline: &Deadline,
        mut each: impl FnMut(&mut Self, Range<u64>) -> Result<(), Unavailable>,
    ) -> Result<(), Unavailable> {
        let cluster_bytes = self.header.cluster_bytes();
        let (l2_entries, clusters) = (self.header.l2_entries(), self.header.guest_clusters());
        for index in 0..clusters.div_ceil(l2_entries) {
            deadline.check()?;
            let entry = self.l1_entry(index)?;
            let Some(table) = self.l2_table(entry)? else { continue };
            let first = index * l2_entries;
            for l2 in 0..l2_entries.min(clusters - first) {
                if let Mapping::Data { .. } = self.mapping_in(table, l2)? {
                    let start = (first + l2) * cluster_bytes;
                    each(self, start..(start + cluster_bytes).min(self.header.virtual_bytes))?;
                }
            }
        }
        Ok(())
    }
}

/// The first bytes of a buffer, at most so many, and the others.
fn split_at_most(buffer: &mut [u8], bytes: u64) -> (&mut [u8], &mut [u8]) {
    let length = buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
    buffer.split_at_mut(length)
}
