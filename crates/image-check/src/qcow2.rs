//! qcow2, read-only: the header, the way from a guest's address to the bytes, and whether the
//! tables are sound.
//!
//! Written by hand: no crate reads zstd clusters, and none says what is wrong with an image. Every
//! number comes from the image's author: tables are read through a small page cache, nothing is
//! allocated by a size that the image names. Source of the facts: `docs/interop/qcow2.rst` of QEMU.

use crate::bytes::{big_u32, big_u64};
use crate::pages::Pages;
use crate::time::Deadline;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

/// What a header's feature bits say, see `incompatible_features`.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const OTHER_COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN_FEATURES: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | OTHER_COMPRESSION | EXTENDED_L2;

/// The largest first-level table that QEMU opens.
const LARGEST_L1_BYTES: u64 = 32 << 20;

/// Where a table's entry points to: bits 9 to 55.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;

/// Decompressed clusters that are kept, at most this many bytes of them.
const KEPT_BYTES: usize = 4 << 20;

/// The largest window that a zstd cluster may ask for: four times the largest cluster.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Zlib,
    Zstd,
}

/// A header that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) virtual_bytes: u64,
    cluster_bits: u32,
    /// The encryption method, 0 for none.
    pub(crate) encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_table_offset: u64,
    refcount_table_clusters: u32,
    refcount_bits_log: u32,
    pub(crate) snapshots: u32,
    features: u64,
    pub(crate) compression: Compression,
    /// It names a backing file.
    pub(crate) backed: bool,
}

impl Header {
    /// The header in an image's first bytes, or what is wrong with it.
    pub(crate) fn parse(head: &[u8]) -> Result<Self, String> {
        let cut = || "its header is cut short".to_owned();
        let u32_at = |at| big_u32(head, at).ok_or_else(cut);
        let u64_at = |at| big_u64(head, at).ok_or_else(cut);
        let version = u32_at(4)?;
        if !matches!(version, 2 | 3) {
            return Err(format!("its header says version {version}, where 2 and 3 exist"));
        }
        let (features, refcount_bits_log, header_bytes) =
            if version == 3 { (u64_at(72)?, u32_at(96)?, u32_at(100)?) } else { (0, 4, 72) };
        let compression = match head.get(104) {
            Some(1) if features & OTHER_COMPRESSION != 0 && header_bytes > 104 => Compression::Zstd,
            Some(0) | None => Compression::Zlib,
            Some(_) if features & OTHER_COMPRESSION == 0 => Compression::Zlib,
            Some(other) => return Err(format!("it uses compression {other}, which is unknown")),
        };
        let header = Self {
            version,
            virtual_bytes: u64_at(24)?,
            cluster_bits: u32_at(20)?,
            encryption: u32_at(32)?,
            l1_entries: u32_at(36)?,
            l1_offset: u64_at(40)?,
            refcount_table_offset: u64_at(48)?,
            refcount_table_clusters: u32_at(56)?,
            refcount_bits_log,
            snapshots: u32_at(60)?,
            features,
            compression,
            backed: u64_at(8)? != 0,
        };
        header.check().map(|()| header)
    }

    fn check(&self) -> Result<(), String> {
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(format!("clusters of 2^{} bytes do not exist", self.cluster_bits));
        }
        if self.refcount_bits_log > 6 {
            return Err(format!(
                "reference counts of 2^{} bits do not exist",
                self.refcount_bits_log
            ));
        }
        let unknown = self.features & !KNOWN_FEATURES;
        if unknown != 0 {
            return Err(format!("it needs features that are unknown ({unknown:#x})"));
        }
        if self.virtual_bytes > i64::MAX as u64 {
            return Err(format!("a disk of {} bytes cannot exist", self.virtual_bytes));
        }
        let needed = self.virtual_bytes.div_ceil(self.cluster_bytes() * self.l2_entries());
        if needed * 8 > LARGEST_L1_BYTES || u64::from(self.l1_entries) * 8 > LARGEST_L1_BYTES {
            return Err(format!(
                "{} bytes of disk need a larger table than QEMU opens",
                self.virtual_bytes
            ));
        }
        if u64::from(self.l1_entries) < needed {
            return Err(format!(
                "its first table has {} entries and needs {needed}",
                self.l1_entries
            ));
        }
        if !self.l1_offset.is_multiple_of(self.cluster_bytes()) {
            return Err("its first table begins inside a cluster".to_owned());
        }
        Ok(())
    }

    pub(crate) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn l2_entry_bytes(&self) -> u64 {
        if self.features & EXTENDED_L2 != 0 { 16 } else { 8 }
    }

    fn l2_entries(&self) -> u64 {
        self.cluster_bytes() / self.l2_entry_bytes()
    }

    pub(crate) fn external_data(&self) -> bool {
        self.features & EXTERNAL_DATA != 0
    }

    /// What the image says of its own state, when that is not good.
    pub(crate) fn marked(&self) -> Option<&'static str> {
        match self.features {
            features if features & CORRUPT != 0 => Some("the image is marked as corrupt"),
            features if features & DIRTY != 0 => {
                Some("the image is marked as dirty: whoever wrote it last was cut off")
            }
            _ => None,
        }
    }

    fn guest_clusters(&self) -> u64 {
        self.virtual_bytes.div_ceil(self.cluster_bytes())
    }
}

/// Where a guest's cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Zeros,
    /// Bytes of the file; of an image with subclusters those whose bit is set.
    Data {
        offset: u64,
        subclusters: Option<u32>,
    },
    Compressed {
        offset: u64,
        bytes: u64,
    },
}

/// An image whose guest bytes can be read.
pub(crate) struct Qcow2 {
    pub(crate) header: Header,
    pages: Pages,
    /// The clusters last decompressed, the latest behind.
    kept: Vec<(u64, Vec<u8>)>,
}

fn corrupt(cause: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

impl Qcow2 {
    pub(crate) fn new(file: File, header: Header) -> io::Result<Self> {
        Ok(Self { header, pages: Pages::new(file)?, kept: Vec::new() })
    }

    fn l1_entry(&mut self, index: u64) -> io::Result<u64> {
        self.pages.big_u64(self.header.l1_offset + index * 8)
    }

    /// Where the second-level table of an entry of the first is.
    fn l2_offset(&self, entry: u64) -> Result<Option<u64>, String> {
        match entry & OFFSET {
            0 => Ok(None),
            offset if offset % self.header.cluster_bytes() != 0 => {
                Err(format!("a second table at {offset:#x} begins inside a cluster"))
            }
            offset if offset + self.header.cluster_bytes() > self.pages.file_bytes() => {
                Err(format!(
                    "a second table at {offset:#x} lies behind the file's end: the file is cut short"
                ))
            }
            offset => Ok(Some(offset)),
        }
    }

    fn place(&mut self, cluster: u64) -> io::Result<Place> {
        let (l1, l2) = (cluster / self.header.l2_entries(), cluster % self.header.l2_entries());
        let entry = self.l1_entry(l1)?;
        let Some(table) = self.l2_offset(entry).map_err(corrupt)? else { return Ok(Place::Zeros) };
        self.place_in(table, l2)
    }

    /// The place that an entry of a second-level table tells.
    fn place_in(&mut self, table: u64, index: u64) -> io::Result<Place> {
        let at = table + index * self.header.l2_entry_bytes();
        let entry = self.pages.big_u64(at)?;
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.header.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1);
            let sectors = ((entry & (COMPRESSED - 1)) >> offset_bits) + 1;
            return Ok(Place::Compressed { offset, bytes: sectors * 512 - offset % 512 });
        }
        let offset = entry & OFFSET;
        if self.header.features & EXTENDED_L2 != 0 {
            let bitmap = self.pages.big_u64(at + 8)?;
            let (allocated, zeros) = (bitmap as u32, (bitmap >> 32) as u32);
            let stored = allocated & !zeros;
            return Ok(match offset {
                0 => Place::Zeros,
                _ if stored == 0 => Place::Zeros,
                offset => Place::Data { offset, subclusters: Some(stored) },
            });
        }
        Ok(match offset {
            0 => Place::Zeros,
            _ if entry & ALL_ZEROS != 0 && self.header.version >= 3 => Place::Zeros,
            offset => Place::Data { offset, subclusters: None },
        })
    }

    /// Fills `buffer` with the guest's bytes at `position`, all of which must be on the disk.
    pub(crate) fn read(&mut self, mut position: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let cluster_bytes = self.header.cluster_bytes();
        while !buffer.is_empty() {
            let within = position % cluster_bytes;
            let length =
                buffer.len().min(usize::try_from(cluster_bytes - within).unwrap_or(usize::MAX));
            let (part, rest) = buffer.split_at_mut(length);
            match self.place(position / cluster_bytes)? {
                Place::Zeros => part.fill(0),
                Place::Data { offset, subclusters: None } => {
                    self.pages.read(offset + within, part)?
                }
                Place::Data { offset, subclusters: Some(stored) } => {
                    self.read_parts(offset, within, stored, part)?
                }
                Place::Compressed { offset, bytes } => {
                    let start = usize::try_from(within).unwrap_or_default();
                    let cluster = self.decompressed(offset, bytes)?;
                    part.copy_from_slice(&cluster[start..start + length]);
                }
            }
            position += length as u64;
            buffer = rest;
        }
        Ok(())
    }

    /// Reads a cluster of which only some of the 32 parts are stored.
    fn read_parts(
        &mut self,
        offset: u64,
        mut within: u64,
        stored: u32,
        mut buffer: &mut [u8],
    ) -> io::Result<()> {
        let part_bytes = self.header.cluster_bytes() / 32;
        while !buffer.is_empty() {
            let length = buffer
                .len()
                .min(usize::try_from(part_bytes - within % part_bytes).unwrap_or(usize::MAX));
            let (part, rest) = buffer.split_at_mut(length);
            if stored >> (within / part_bytes) & 1 == 1 {
                self.pages.read(offset + within, part)?;
            } else {
                part.fill(0);
            }
            within += length as u64;
            buffer = rest;
        }
        Ok(())
    }

    fn decompressed(&mut self, offset: u64, bytes: u64) -> io::Result<&[u8]> {
        if let Some(found) = self.kept.iter().position(|(at, _)| *at == offset) {
            let cluster = self.kept.remove(found);
            self.kept.push(cluster);
        } else {
            let cluster = self.decompress(offset, bytes)?;
            let most = (KEPT_BYTES / cluster.len()).max(1);
            if self.kept.len() >= most {
                self.kept.remove(0);
            }
            self.kept.push((offset, cluster));
        }
        self.kept
            .last()
            .map(|(_, cluster)| &**cluster)
            .ok_or_else(|| corrupt("no cluster".to_owned()))
    }

    /// One cluster, whatever the stream would go on with.
    fn decompress(&mut self, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let available = self.pages.file_bytes().saturating_sub(offset).min(bytes);
        let mut stored = vec![0; usize::try_from(available).unwrap_or_default()];
        self.pages.read(offset, &mut stored)?;
        let mut cluster = vec![0; usize::try_from(self.header.cluster_bytes()).unwrap_or_default()];
        let outcome = match self.header.compression {
            Compression::Zlib => {
                flate2::read::DeflateDecoder::new(&*stored).read_exact(&mut cluster)
            }
            Compression::Zstd => {
                zstd::stream::read::Decoder::with_buffer(&*stored).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                    decoder.read_exact(&mut cluster)
                })
            }
        };
        outcome.map_err(|error| {
            corrupt(format!("the compressed cluster at {offset:#x} cannot be read: {error}"))
        })?;
        Ok(cluster)
    }

    /// The stretches of the guest's disk that plain bytes of the file stand for, in order: `each`
    /// ends the walk with an error.
    pub(crate) fn stored<E: From<io::Error>>(
        &mut self,
        deadline: &Deadline,
        mut each: impl FnMut(&mut Self, Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        let cluster_bytes = self.header.cluster_bytes();
        for index in 0..self.header.guest_clusters().div_ceil(self.header.l2_entries()) {
            deadline.check()?;
            let entry = self.l1_entry(index)?;
            let Some(table) = self.l2_offset(entry).map_err(corrupt)? else { continue };
            let first = index * self.header.l2_entries();
            for l2 in 0..self.header.l2_entries().min(self.header.guest_clusters() - first) {
                if let Place::Data { .. } = self.place_in(table, l2)? {
                    let start = (first + l2) * cluster_bytes;
                    each(self, start..(start + cluster_bytes).min(self.header.virtual_bytes))?;
                }
            }
        }
        Ok(())
    }

    /// Looks at every table: what is wrong with the first thing that is, or how many clusters hold
    /// data.
    pub(crate) fn examine(&mut self, deadline: &Deadline) -> io::Result<Result<Examined, String>> {
        let mut owners = Owners::new(&self.header, self.pages.file_bytes());
        let mut examined = Examined::default();
        let header = self.header.clone();
        let l1_bytes = u64::from(header.l1_entries) * 8;
        if header.l1_offset.saturating_add(l1_bytes) > self.pages.file_bytes() {
            return Ok(Err(
                "its first table lies behind the file's end: the file is cut short".to_owned()
            ));
        }
        let metadata = owners
            .take(0, 1, "the header")
            .and_then(|()| owners.take(header.l1_offset, l1_bytes, "the first table"));
        if let Err(clash) = metadata {
            return Ok(Err(clash));
        }
        for index in 0..u64::from(header.l1_entries) {
            deadline.check()?;
            let entry = self.l1_entry(index)?;
            let table = match self.l2_offset(entry) {
                Ok(None) => continue,
                Ok(Some(table)) => table,
                Err(flaw) => return Ok(Err(flaw)),
            };
            if let Err(clash) = owners.take(table, header.cluster_bytes(), "a second table") {
                return Ok(Err(clash));
            }
            if self.references(table)? == Some(0) {
                return Ok(Err(format!(
                    "the second table at {table:#x} is in use and counted as free"
                )));
            }
            let first = index * header.l2_entries();
            for l2 in 0..header.l2_entries().min(header.guest_clusters().saturating_sub(first)) {
                let place = self.place_in(table, l2)?;
                if let Err(flaw) =
                    self.examine_place(place, first + l2, &mut owners, &mut examined)?
                {
                    return Ok(Err(flaw));
                }
            }
        }
        Ok(Ok(examined))
    }

    fn examine_place(
        &mut self,
        place: Place,
        cluster: u64,
        owners: &mut Owners,
        examined: &mut Examined,
    ) -> io::Result<Result<(), String>> {
        let cluster_bytes = self.header.cluster_bytes();
        let guest = cluster * cluster_bytes;
        let (offset, needed) = match place {
            Place::Zeros => return Ok(Ok(())),
            Place::Data { offset, .. } => {
                (offset, cluster_bytes.min(self.header.virtual_bytes - guest))
            }
            Place::Compressed { offset, .. } => (offset, 1),
        };
        // QEMU writes of the last cluster of a file no more than it has to.
        let whole_bytes = self.pages.file_bytes().next_multiple_of(cluster_bytes);
        let cause =
            if offset >= self.pages.file_bytes() || offset.saturating_add(needed) > whole_bytes {
                Some("lies behind the file's end: the file is cut short".to_owned())
            } else if matches!(place, Place::Data { .. }) && offset % cluster_bytes != 0 {
                Some("begins inside another".to_owned())
            } else if self.references(offset)? == Some(0) {
                Some("is in use and counted as free".to_owned())
            } else if matches!(place, Place::Data { .. }) {
                owners.take(offset, cluster_bytes, "a cluster").err()
            } else {
                None
            };
        match place {
            Place::Compressed { .. } => examined.compressed_clusters += 1,
            _ => examined.data_clusters += 1,
        }
        Ok(match cause {
            Some(cause) => {
                Err(format!("the cluster at {offset:#x} for the disk's byte {guest} {cause}"))
            }
            None => Ok(()),
        })
    }

    /// How often the cluster at an offset is counted as used; `None` where the counts cannot be
    /// found.
    fn references(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let header = &self.header;
        let cluster_bytes = header.cluster_bytes();
        let bits = 1_u64 << header.refcount_bits_log;
        let per_block = cluster_bytes * 8 / bits;
        let cluster = offset / cluster_bytes;
        let (index, within) = (cluster / per_block, cluster % per_block);
        if index >= u64::from(header.refcount_table_clusters) * cluster_bytes / 8 {
            return Ok(Some(0));
        }
        let entry = header.refcount_table_offset.saturating_add(index * 8);
        let file_bytes = self.pages.file_bytes();
        if entry.saturating_add(8) > file_bytes {
            return Ok(None);
        }
        let block = self.pages.big_u64(entry)? & OFFSET;
        if block == 0 {
            return Ok(Some(0));
        }
        if block.saturating_add(cluster_bytes) > file_bytes {
            return Ok(None);
        }
        let word = self.pages.big_u64(block + within * bits / 64 * 8)?;
        // Counts of a byte or more are big-endian; smaller ones begin at a byte's lowest bit.
        let value = if bits >= 8 {
            word >> (64 - bits - within * bits % 64)
        } else {
            let byte =
                word.to_be_bytes()[usize::try_from(within * bits / 8 % 8).unwrap_or_default()];
            u64::from(byte) >> (within * bits % 8)
        };
        Ok(Some(if bits == 64 { value } else { value & ((1 << bits) - 1) }))
    }
}

/// What the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) data_clusters: u64,
    pub(crate) compressed_clusters: u64,
}

/// Which clusters of the file have an owner already: two owners overwrite each other.
struct Owners {
    cluster_bits: u32,
    /// A bit a cluster; empty for a file of more clusters than are worth it.
    taken: Vec<u64>,
    /// Clusters beyond that.
    sparse: HashSet<u64>,
}

/// 128 Mi clusters: 8 TiB of the usual ones in 16 MiB.
const MAX_CLUSTERS: u64 = 1 << 27;

impl Owners {
    fn new(header: &Header, file_bytes: u64) -> Self {
        let clusters = file_bytes.div_ceil(header.cluster_bytes()).min(MAX_CLUSTERS);
        let words = usize::try_from(clusters.div_ceil(64)).unwrap_or_default();
        Self { cluster_bits: header.cluster_bits, taken: vec![0; words], sparse: HashSet::new() }
    }

    fn take(&mut self, offset: u64, bytes: u64, what: &str) -> Result<(), String> {
        let last = offset + bytes.max(1) - 1;
        for cluster in offset >> self.cluster_bits..=last >> self.cluster_bits {
            let first =
                match self.taken.get_mut(usize::try_from(cluster / 64).unwrap_or(usize::MAX)) {
                    Some(word) => {
                        let bit = 1 << (cluster % 64);
                        let first = *word & bit == 0;
                        *word |= bit;
                        first
                    }
                    None if self.sparse.len() < 100_000 => self.sparse.insert(cluster),
                    None => true,
                };
            if !first {
                return Err(format!(
                    "{what} at {:#x} has another owner too",
                    cluster << self.cluster_bits
                ));
            }
        }
        Ok(())
    }
}
