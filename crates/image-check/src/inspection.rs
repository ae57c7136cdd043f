//! What was found by looking into an image: everything that the checks and the summary ask.

use crate::container::{Container, Format};
use crate::deadline::Deadline;
use crate::disk::{Disk, StoredBytes};
use crate::guest::Guest;
use crate::layout::Layout;
use crate::qcow2::{ClusterCounts, Compression, Damage, Header, Qcow2};
use crate::unavailable::{SkipReason, Unavailable};
use std::fs::File;

/// What was found in an image.
pub(crate) struct Inspection {
    pub(crate) container: Container,
    /// The header of a qcow2 image; `None` for other formats.
    pub(crate) header: Option<Result<Header, Damage>>,
    /// What the file is packed in, if it is.
    pub(crate) packing: Option<&'static str>,
    /// The size of the file; `None` for a stream.
    pub(crate) file_bytes: Option<u64>,
    pub(crate) tables: Result<Tables, Unavailable>,
    pub(crate) stored: Result<StoredBytes, Unavailable>,
    pub(crate) layout: Result<Layout, Unavailable>,
    pub(crate) guest: Result<Guest, Unavailable>,
}

/// The tables of a container that map the guest's disk to the file.
pub(crate) enum Tables {
    /// A raw image has none.
    None,
    Consistent(ClusterCounts),
    Damaged(Damage),
}

impl Inspection {
    /// What the first bytes of an image tell; `file_bytes` is `None` for a stream. The rest is not
    /// available before [`inspect`](Self::inspect).
    pub(crate) fn of_head(head: &[u8], file_bytes: Option<u64>) -> Self {
        let container = Container::sniff(head);
        let header = (container.format == Format::Qcow2).then(|| Header::parse(head));
        let head_only = Unavailable::new(
            SkipReason::HeadOnly,
            "only the first 64 KiB of a stream are looked at",
        );
        Self {
            container,
            header,
            packing: packing(head),
            file_bytes,
            tables: Err(head_only.clone()),
            stored: Err(head_only.clone()),
            layout: Err(head_only.clone()),
            guest: Err(head_only),
        }
    }

    /// Looks into the disk of the image in a file. `open` gives a handle on it.
    pub(crate) fn inspect(
        &mut self,
        deadline: Deadline,
        open: impl FnOnce() -> Result<File, Unavailable>,
    ) {
        match self.disk(open) {
            Ok(disk) => self.inspect_disk(disk, deadline),
            Err(unavailable) => {
                self.tables = Err(unavailable.clone());
                self.stored = Err(unavailable.clone());
                self.layout = Err(unavailable.clone());
                self.guest = Err(unavailable);
            }
        }
    }

    fn inspect_disk(&mut self, mut disk: Disk, deadline: Deadline) {
        self.tables = match &mut disk {
            Disk::Raw(..) => Ok(Tables::None),
            Disk::Qcow2(image) => image.check_tables(&deadline).map(|outcome| match outcome {
                Ok(counts) => Tables::Consistent(counts),
                Err(damage) => Tables::Damaged(damage),
            }),
        };
        self.layout = Layout::read(&mut disk);
        self.guest = match &self.layout {
            Ok(layout) => Guest::find(disk, layout, deadline),
            Err(unavailable) => Err(unavailable.clone()),
        };
    }

    /// Counts what the image stores: reads all of it.
    pub(crate) fn count_stored(
        &mut self,
        deadline: Deadline,
        open: impl FnOnce() -> Result<File, Unavailable>,
    ) {
        self.stored = self.disk(open).and_then(|mut disk| disk.count_stored(&deadline));
    }

    /// The disk in the image, or why it is not read.
    fn disk(&self, open: impl FnOnce() -> Result<File, Unavailable>) -> Result<Disk, Unavailable> {
        match (&self.header, self.container.format) {
            (Some(Err(damage)), _) => Err(damage.clone().into()),
            (Some(Ok(header)), _) => {
                if let Some(unavailable) = unreadable(header) {
                    return Err(unavailable);
                }
                Qcow2::new(open()?, header.clone())
                    .map(|image| Disk::Qcow2(Box::new(image)))
                    .map_err(|error| Unavailable::from(error).about("cannot be read"))
            }
            (None, Format::Raw) if self.packing.is_none() => {
                Ok(Disk::Raw(open()?, self.file_bytes.unwrap_or_default()))
            }
            (None, format) => {
                let name = self.packing.unwrap_or(format.name());
                Err(Unavailable::unsupported(format!("{name} is not read here")))
            }
        }
    }

    /// Whether the image names another file.
    pub(crate) fn names_other_file(&self) -> bool {
        let external = matches!(&self.header, Some(Ok(header)) if header.has_external_data());
        external || self.container.reference.is_some()
    }

    /// The size of the disk that a guest would see, in bytes.
    pub(crate) fn virtual_bytes(&self) -> Option<u64> {
        match (&self.header, self.container.format) {
            (Some(Ok(header)), _) => Some(header.virtual_bytes),
            (None, Format::Raw) => self.file_bytes,
            _ => None,
        }
    }

    /// How clusters are compressed, where some are.
    pub(crate) fn compression(&self) -> Option<&'static str> {
        let header = self.header.as_ref()?.as_ref().ok()?;
        let Ok(Tables::Consistent(ClusterCounts { compressed: 1.., .. })) = self.tables else {
            return None;
        };
        Some(match header.compression {
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        })
    }
}

/// Why the disk of a qcow2 image is not read.
fn unreadable(header: &Header) -> Option<Unavailable> {
    let (reason, message) = match () {
        () if header.encryption != 0 => (SkipReason::Encrypted, "the image is encrypted"),
        () if header.has_external_data() => {
            (SkipReason::Elsewhere, "the image's data are in another file, which is never opened")
        }
        () if header.has_backing_file => {
            (SkipReason::Elsewhere, "the image needs its backing file, which is never opened")
        }
        () => return None,
    };
    Some(Unavailable::new(reason, message))
}

/// The format that a file is packed in, by its first bytes: what is packed is no disk.
fn packing(head: &[u8]) -> Option<&'static str> {
    let is = |magic: &[u8]| head.starts_with(magic);
    match () {
        () if is(&[0x1f, 0x8b]) => Some("gzip"),
        () if is(b"BZh") => Some("bzip2"),
        () if is(&[0xfd, b'7', b'z', b'X', b'Z', 0]) => Some("xz"),
        () if is(&[0x28, 0xb5, 0x2f, 0xfd]) => Some("zstd"),
        () if is(b"PK\x03\x04") => Some("zip"),
        () if head.get(257..262) == Some(b"ustar") => Some("tar"),
        () => None,
    }
}
