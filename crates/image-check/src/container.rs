//! The container of an image by its first 64 KiB: its format, and whether whoever opens the image
//! opens another file too.
//!
//! An image that names a backing file or an external data file makes its reader open that file on
//! the host: an upload that names `/etc/shadow` would publish it. Such images are refused on every
//! way into a marketplace or a datastore.

use crate::bytes::{big_u32, big_u64, little_u32, little_u64};
use memchr::memmem;
use serde::{Serialize, Serializer};
use std::fmt;

/// How many bytes of an image's beginning [`Container::sniff`] looks at: 64 KiB. QEMU itself probes
/// with less; headers with the names of other files fit.
pub const HEAD_BYTES: usize = 64 << 10;

/// The longest name of another file that is shown, in bytes: QEMU's limit for backing files.
const MAX_NAME_BYTES: usize = 1_024;

/// The format of an image, in QEMU's terms.
///
/// ```
/// use image_check::Format;
///
/// assert_eq!(Format::Qcow2.name(), "qcow2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Anything without the magic number of another format: the bytes of the disk itself.
    Raw,
    /// QEMU copy-on-write, version 1.
    Qcow,
    /// QEMU copy-on-write, version 2 or later.
    Qcow2,
    /// QEMU enhanced disk.
    Qed,
    /// VMware: a sparse extent (`KDMV`, `COWD`), or a text that describes extents.
    Vmdk,
    /// Hyper-V, current.
    Vhdx,
    /// Virtual PC and Hyper-V, old: a dynamic VHD.
    Vpc,
    /// VirtualBox.
    Vdi,
    /// The whole file is a LUKS volume.
    Luks,
}

impl Format {
    /// The word for it in `qemu-img -f`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow => "qcow",
            Self::Qcow2 => "qcow2",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vpc => "vpc",
            Self::Vdi => "vdi",
            Self::Luks => "luks",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What the first bytes of an image tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// The format.
    pub format: Format,
    /// The other file that the image needs; `None` when it holds all of its data.
    pub reference: Option<Reference>,
}

/// A file outside of an image that the image needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reference {
    /// What the image needs it for.
    pub role: ReferenceRole,
    /// Its name as the image has it, hostile or not; `None` when it lies behind the first
    /// [`HEAD_BYTES`], or is no single name. At most 1,024 bytes.
    pub name: Option<String>,
}

/// What an image needs another file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReferenceRole {
    /// What the image does not hold is read from there.
    BackingFile,
    /// The image holds tables only; all data are there.
    ExternalDataFile,
}

impl fmt::Display for ReferenceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BackingFile => "backing file",
            Self::ExternalDataFile => "external data file",
        })
    }
}

impl Container {
    /// Tells the container by the first [`HEAD_BYTES`] of an image, or by all of a shorter one.
    /// Never fails: bytes without a known magic number are [`Format::Raw`].
    ///
    /// ```
    /// use image_check::{Container, Format};
    ///
    /// assert_eq!(Container::sniff(b"just bytes").format, Format::Raw);
    /// ```
    pub fn sniff(head: &[u8]) -> Self {
        let of = |format, reference| Self { format, reference };
        match head {
            [b'Q', b'F', b'I', 0xfb, ..] => qcow(head),
            [b'Q', b'E', b'D', 0, ..] => of(Format::Qed, qed(head)),
            [b'K', b'D', b'M', b'V', ..] | [b'C', b'O', b'W', b'D', ..] => {
                of(Format::Vmdk, sparse_vmdk(head))
            }
            [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => of(Format::Vhdx, None),
            [b'c', b'o', b'n', b'e', b'c', b't', b'i', b'x', ..] => of(Format::Vpc, None),
            [b'L', b'U', b'K', b'S', 0xba, 0xbe, ..] => of(Format::Luks, None),
            _ if little_u32(head, 64) == Some(0xbeda_107f) => of(Format::Vdi, None),
            _ if is_vmdk_descriptor(head) => of(Format::Vmdk, Some(descriptor_extent(head))),
            _ => of(Format::Raw, None),
        }
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(MAX_NAME_BYTES)]).into_owned()
}

/// The name stored at an offset of the head, where it lies inside.
fn name_at(head: &[u8], offset: u64, bytes: u64) -> Option<String> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(bytes).ok()?.min(MAX_NAME_BYTES))?;
    head.get(start..end).map(text)
}

fn backing(name: Option<String>) -> Option<Reference> {
    Some(Reference { role: ReferenceRole::BackingFile, name })
}

fn external(name: Option<String>) -> Reference {
    Reference { role: ReferenceRole::ExternalDataFile, name }
}

/// qcow and qcow2: the header holds the offset and length of a backing file's name; a feature bit
/// says that the data are in another file.
fn qcow(head: &[u8]) -> Container {
    const EXTERNAL_DATA: u64 = 1 << 2;
    let version = big_u32(head, 4).unwrap_or_default();
    let format = if version >= 2 { Format::Qcow2 } else { Format::Qcow };
    let features = if version >= 3 { big_u64(head, 72).unwrap_or_default() } else { 0 };
    let reference = match big_u64(head, 8) {
        Some(offset) if offset != 0 => {
            let bytes = u64::from(big_u32(head, 16).unwrap_or_default());
            backing(name_at(head, offset, bytes))
        }
        _ if features & EXTERNAL_DATA != 0 => Some(external(data_file_name(head))),
        _ => None,
    };
    Container { format, reference }
}

/// The name in the header extension of type `DATA`.
fn data_file_name(head: &[u8]) -> Option<String> {
    const DATA_FILE: u32 = 0x4441_5441;
    let mut at = big_u32(head, 100)? as usize;
    loop {
        let (kind, bytes) = (big_u32(head, at)?, big_u32(head, at + 4)? as usize);
        match kind {
            0 => return None,
            DATA_FILE => return name_at(head, at as u64 + 8, bytes as u64),
            _ => at = at.checked_add(8)?.checked_add(bytes.checked_next_multiple_of(8)?)?,
        }
    }
}

fn qed(head: &[u8]) -> Option<Reference> {
    const BACKING: u64 = 1;
    if little_u64(head, 16).unwrap_or(BACKING) & BACKING == 0 {
        return None;
    }
    let place = little_u32(head, 56).zip(little_u32(head, 60));
    backing(place.and_then(|(offset, bytes)| name_at(head, u64::from(offset), u64::from(bytes))))
}

/// A sparse VMDK (`KDMV`, or `COWD` of old ESX). QEMU looks for the parent's name in the 20 sectors
/// behind the first, wherever the header says that the descriptor is, and as a plain substring; an
/// image of capacity 0 with a descriptor has its data in the files that the descriptor names.
fn sparse_vmdk(head: &[u8]) -> Option<Reference> {
    const DESCRIPTOR: std::ops::Range<usize> = 0x200..0x200 + 20 * 512;
    const HINT: &[u8] = b"parentFileNameHint";
    let capacity = little_u64(head, 12).unwrap_or_default();
    let descriptor_sector = little_u64(head, 28).unwrap_or_default();
    if head.starts_with(b"KDMV") && capacity == 0 && descriptor_sector != 0 {
        return Some(external(None));
    }
    // A shorter image has no descriptor there.
    let descriptor = head.get(DESCRIPTOR.start..DESCRIPTOR.end.min(head.len())).unwrap_or_default();
    let hint = memmem::find(descriptor, HINT)?;
    backing(quoted(&descriptor[hint..]))
}

/// The first text between quotes.
fn quoted(descriptor: &[u8]) -> Option<String> {
    descriptor.split(|&byte| byte == b'"').nth(1).map(text)
}

/// A text that describes an image whose data are in other files, by the rule of QEMU's own probe
/// (comments and blank lines, then the version) or by its usual beginning. It holds no data of its
/// own, whatever follows.
fn is_vmdk_descriptor(head: &[u8]) -> bool {
    let lines = || head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines().find(|line| !line.starts_with(b"#") && !line.is_empty());
    let version =
        first.is_some_and(|line| matches!(line, b"version=1" | b"version=2" | b"version=3"));
    version
        || lines().next().is_some_and(|line| line.eq_ignore_ascii_case(b"# disk descriptorfile"))
}

/// The first extent that a VMDK descriptor names.
fn descriptor_extent(descriptor: &[u8]) -> Reference {
    let extent = descriptor
        .split(|&byte| byte == b'\n')
        .find(|line| line.starts_with(b"RW ") || line.starts_with(b"RDONLY "));
    external(extent.and_then(quoted))
}
