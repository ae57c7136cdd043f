//! Whether the tables of an image are consistent: every table and every cluster lies in the file,
//! begins at a cluster, has one owner, and is counted as used.

use super::header::{Damage, Header};
use super::reader::{Mapping, OFFSET, Qcow2};
use crate::deadline::Deadline;
use crate::unavailable::Unavailable;
use std::collections::HashSet;
use std::io;

/// How many of the guest's clusters the tables map to bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterCounts {
    /// Stored as they are.
    pub(crate) plain: u64,
    pub(crate) compressed: u64,
}

/// Why the tables were not found consistent: they are not, or they could not be read to the end.
enum Failure {
    Damaged(Damage),
    Unavailable(Unavailable),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl Qcow2 {
    /// Reads every table: the first thing that is wrong, or how many clusters there are.
    ///
    /// # Errors
    /// When they cannot be read, or not in time.
    pub(crate) fn check_tables(
        &mut self,
        deadline: &Deadline,
    ) -> Result<Result<ClusterCounts, Damage>, Unavailable> {
        match self.count_clusters(deadline) {
            Ok(counts) => Ok(Ok(counts)),
            Err(Failure::Damaged(damage)) => Ok(Err(damage)),
            Err(Failure::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    fn count_clusters(&mut self, deadline: &Deadline) -> Result<ClusterCounts, Failure> {
        let header = self.header.clone();
        let mut owners = Owners::new(&header, self.file.file_bytes());
        let mut counts = ClusterCounts::default();
        let l1_bytes = u64::from(header.l1_entries) * 8;
        if header.l1_offset.saturating_add(l1_bytes) > self.file.file_bytes() {
            let cause = "its L1 table lies behind the file's end: the file is cut short";
            return Err(Damage::Truncated(cause.to_owned()).into());
        }
        owners.claim(0, 1, "the header")?;
        owners.claim(header.l1_offset, l1_bytes, "the L1 table")?;
        for index in 0..u64::from(header.l1_entries) {
            deadline.check()?;
            let entry = self.l1_entry(index)?;
            let Some(table) = self.l2_table(entry)? else { continue };
            owners.claim(table, header.cluster_bytes(), "an L2 table")?;
            if self.reference_count(table)? == Some(0) {
                let cause = format!("the L2 table at {table:#x} is in use and counted as free");
                return Err(Damage::Inconsistent(cause).into());
            }
            let first = index * header.l2_entries();
            for l2 in 0..header.l2_entries().min(header.guest_clusters().saturating_sub(first)) {
                match self.mapping_in(table, l2)? {
                    Mapping::Zeros => {}
                    Mapping::Data { offset, .. } => {
                        self.check_plain(offset, first + l2, &mut owners)?;
                        counts.plain += 1;
                    }
                    Mapping::Compressed { offset, .. } => {
                        self.check_compressed(offset, first + l2)?;
                        counts.compressed += 1;
                    }
                }
            }
        }
        Ok(counts)
    }

    /// Checks a cluster of the guest that is stored as it is, at an offset of the file.
    fn check_plain(
        &mut self,
        offset: u64,
        cluster: u64,
        owners: &mut Owners,
    ) -> Result<(), Failure> {
        let cluster_bytes = self.header.cluster_bytes();
        let left = self.header.virtual_bytes - cluster * cluster_bytes;
        self.check_extent(offset, cluster_bytes.min(left))
            .and_then(|()| match offset % cluster_bytes {
                0 => Ok(()),
                _ => Err(Damage::Inconsistent("begins inside another".to_owned())),
            })
            .map_err(|damage| self.name(offset, cluster, damage))?;
        self.check_used(offset, cluster)?;
        owners
            .claim(offset, cluster_bytes, "a cluster")
            .map_err(|damage| self.name(offset, cluster, damage))?;
        Ok(())
    }

    /// Checks a cluster of the guest that is stored compressed, at an offset of the file. Others
    /// may share the file's cluster with it.
    fn check_compressed(&mut self, offset: u64, cluster: u64) -> Result<(), Failure> {
        self.check_extent(offset, 1).map_err(|damage| self.name(offset, cluster, damage))?;
        self.check_used(offset, cluster)
    }

    /// Whether so many bytes at an offset lie in the file. QEMU writes no more of a file's last
    /// cluster than it has to.
    fn check_extent(&self, offset: u64, bytes: u64) -> Result<(), Damage> {
        let file_bytes = self.file.file_bytes();
        let whole_bytes = file_bytes.next_multiple_of(self.header.cluster_bytes());
        if offset >= file_bytes || offset.saturating_add(bytes) > whole_bytes {
            let cause = "lies behind the file's end: the file is cut short";
            return Err(Damage::Truncated(cause.to_owned()));
        }
        Ok(())
    }

    fn check_used(&mut self, offset: u64, cluster: u64) -> Result<(), Failure> {
        if self.reference_count(offset)? == Some(0) {
            let damage = Damage::Inconsistent("is in use and counted as free".to_owned());
            return Err(self.name(offset, cluster, damage).into());
        }
        Ok(())
    }

    /// Says which cluster is damaged: where it is in the file, and which bytes of the disk it
    /// holds.
    fn name(&self, offset: u64, cluster: u64, damage: Damage) -> Damage {
        let guest = cluster * self.header.cluster_bytes();
        damage.of(&format!("the cluster at {offset:#x} for the disk's byte {guest}"))
    }

    /// The reference count of the cluster at an offset of the file; `None` where the refcount table
    /// or block of it lies behind the file's end.
    fn reference_count(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let header = &self.header;
        let cluster_bytes = header.cluster_bytes();
        let bits = 1_u64 << header.refcount_order;
        let counts_per_block = cluster_bytes * 8 / bits;
        let cluster = offset / cluster_bytes;
        let (index, within) = (cluster / counts_per_block, cluster % counts_per_block);
        if index >= u64::from(header.refcount_table_clusters) * cluster_bytes / 8 {
            return Ok(Some(0));
        }
        let entry = header.refcount_table_offset.saturating_add(index * 8);
        let file_bytes = self.file.file_bytes();
        if entry.saturating_add(8) > file_bytes {
            return Ok(None);
        }
        let block = self.file.big_u64(entry)? & OFFSET;
        if block == 0 {
            return Ok(Some(0));
        }
        if block.saturating_add(cluster_bytes) > file_bytes {
            return Ok(None);
        }
        let word = self.file.big_u64(block + within * bits / 64 * 8)?;
        // Counts of a byte or more are big-endian; smaller ones begin at a byte's lowest bit.
        let value = if bits >= 8 {
            word >> (64 - bits - within * bits % 64)
        } else {
            let byte = usize::try_from(within * bits / 8 % 8).unwrap_or_default();
            u64::from(word.to_be_bytes()[byte]) >> (within * bits % 8)
        };
        Ok(Some(if bits == 64 { value } else { value & ((1 << bits) - 1) }))
    }
}

/// The most clusters whose owners are kept in a bitmap: 128 Mi, 8 TiB of the usual ones, in 16 MiB
/// of memory.
const MAX_BITMAP_CLUSTERS: u64 = 1 << 27;
/// The most clusters beyond those whose owners are known.
const MAX_OTHER_CLUSTERS: usize = 100_000;

/// Which clusters of the file have an owner: what two of them share, each overwrites for the other.
struct Owners {
    cluster_bits: u32,
    /// A bit a cluster.
    bitmap: Vec<u64>,
    /// Clusters beyond the bitmap.
    others: HashSet<u64>,
}

impl Owners {
    fn new(header: &Header, file_bytes: u64) -> Self {
        let clusters = file_bytes.div_ceil(header.cluster_bytes()).min(MAX_BITMAP_CLUSTERS);
        let words = usize::try_from(clusters.div_ceil(64)).unwrap_or_default();
        Self { cluster_bits: header.cluster_bits, bitmap: vec![0; words], others: HashSet::new() }
    }

    /// Gives the clusters of some bytes at an offset of the file to an owner, unless they have one.
    fn claim(&mut self, offset: u64, bytes: u64, owner: &str) -> Result<(), Damage> {
        let last = offset + bytes.max(1) - 1;
        for cluster in offset >> self.cluster_bits..=last >> self.cluster_bits {
            if !self.insert(cluster) {
                let at = cluster << self.cluster_bits;
                return Err(Damage::Inconsistent(format!("{owner} at {at:#x} has another owner")));
            }
        }
        Ok(())
    }

    /// Whether a cluster had no owner.
    fn insert(&mut self, cluster: u64) -> bool {
        match self.bitmap.get_mut(usize::try_from(cluster / 64).unwrap_or(usize::MAX)) {
            Some(word) => {
                let bit = 1 << (cluster % 64);
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            }
            None if self.others.len() < MAX_OTHER_CLUSTERS => self.others.insert(cluster),
            None => true,
        }
    }
}
