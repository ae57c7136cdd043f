//! Image containers by their first 64 KiB: which format, and whether the image would make its
//! reader open another file.
//!
//! An image that names a backing file or an external data file reads that file on the host that
//! uses it: an upload that names `/etc/shadow` would publish it. Such images are refused on every
//! way into a marketplace or a datastore.

use memchr::memmem;

/// How much of an image's beginning tells what it is.
pub const HEAD_BYTES: usize = 64 << 10;

/// What an image's first bytes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The format, in qemu's word; `raw` for anything else.
    pub format: &'static str,
    /// The other file that the image needs, if it does.
    pub reference: Option<Reference>,
}

/// A file outside an image that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `backing file` or `external data file`.
    pub role: &'static str,
    /// Its name, as far as the head holds it.
    pub name: Option<String>,
}

impl Container {
    /// Looks at the first [`HEAD_BYTES`] of an image, or at all of a shorter one.
    ///
    /// ```
    /// use image_check::Container;
    ///
    /// assert_eq!(Container::sniff(b"just bytes").format, "raw");
    /// ```
    pub fn sniff(head: &[u8]) -> Self {
        let raw = Self { format: "raw", reference: None };
        let of = |format, reference| Self { format, reference };
        match head {
            [b'Q', b'F', b'I', 0xfb, ..] => qcow(head),
            [b'Q', b'E', b'D', 0, ..] => of("qed", qed(head)),
            [b'K', b'D', b'M', b'V', ..] | [b'C', b'O', b'W', b'D', ..] => {
                of("vmdk", sparse_vmdk(head))
            }
            [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => of("vhdx", None),
            [b'c', b'o', b'n', b'e', b'c', b't', b'i', b'x', ..] => of("vpc", None),
            [b'L', b'U', b'K', b'S', 0xba, 0xbe, ..] => of("luks", None),
            _ if little_u32(head, 64) == Some(0xbeda_107f) => of("vdi", None),
            _ if is_vmdk_descriptor(head) => of("vmdk", Some(descriptor_extent(head))),
            _ => raw,
        }
    }
}

pub(crate) fn big_u32(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn big_u64(head: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?))
}

pub(crate) fn little_u32(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn little_u64(head: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?))
}

/// The name stored at an offset of the head, where it lies inside.
fn name_at(head: &[u8], offset: u64, length: u64) -> Option<String> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?.min(1_024))?;
    Some(String::from_utf8_lossy(head.get(start..end)?).into_owned())
}

fn backing(name: Option<String>) -> Option<Reference> {
    Some(Reference { role: "backing file", name })
}

/// qcow and qcow2: the header names a backing file by its offset; a feature bit says that data are
/// elsewhere.
fn qcow(head: &[u8]) -> Container {
    const EXTERNAL_DATA: u64 = 1 << 2;
    let version = big_u32(head, 4).unwrap_or_default();
    let format = if version >= 2 { "qcow2" } else { "qcow" };
    let features = if version >= 3 { big_u64(head, 72).unwrap_or_default() } else { 0 };
    let reference = match big_u64(head, 8) {
        Some(offset) if offset != 0 => {
            backing(name_at(head, offset, u64::from(big_u32(head, 16).unwrap_or_default())))
        }
        _ if features & EXTERNAL_DATA != 0 => {
            Some(Reference { role: "external data file", name: data_file_name(head) })
        }
        _ => None,
    };
    Container { format, reference }
}

/// The name in the header extension of type `DATA`.
fn data_file_name(head: &[u8]) -> Option<String> {
    const DATA_FILE: u32 = 0x4441_5441;
    let mut at = big_u32(head, 100)? as usize;
    loop {
        let (kind, length) = (big_u32(head, at)?, big_u32(head, at + 4)? as usize);
        match kind {
            0 => return None,
            DATA_FILE => return name_at(head, at as u64 + 8, length as u64),
            _ => at = at.checked_add(8)?.checked_add(length.checked_next_multiple_of(8)?)?,
        }
    }
}

fn qed(head: &[u8]) -> Option<Reference> {
    const BACKING: u64 = 1;
    if little_u64(head, 16).unwrap_or(BACKING) & BACKING == 0 {
        return None;
    }
    let place = little_u32(head, 56).zip(little_u32(head, 60));
    backing(place.and_then(|(offset, length)| name_at(head, u64::from(offset), u64::from(length))))
}

/// A sparse VMDK (`KDMV`, or `COWD` of old ESX). qemu looks for the parent's name in the 20 sectors
/// behind the first, wherever the header says that the descriptor is, and as a plain substring; an
/// image of capacity 0 with a descriptor has its data in the files that the descriptor names.
fn sparse_vmdk(head: &[u8]) -> Option<Reference> {
    const DESCRIPTOR: std::ops::Range<usize> = 0x200..0x200 + 20 * 512;
    const HINT: &[u8] = b"parentFileNameHint";
    let capacity = little_u64(head, 12).unwrap_or_default();
    let descriptor_sector = little_u64(head, 28).unwrap_or_default();
    if head.starts_with(b"KDMV") && capacity == 0 && descriptor_sector != 0 {
        return Some(Reference { role: "external data file", name: None });
    }
    // A shorter image has no descriptor there.
    let descriptor = head.get(DESCRIPTOR.start..DESCRIPTOR.end.min(head.len())).unwrap_or_default();
    let hint = memmem::find(descriptor, HINT)?;
    let name =
        descriptor[hint..].split(|&b| b == b'"').nth(1).map(|name| &name[..name.len().min(1_024)]);
    backing(name.map(|name| String::from_utf8_lossy(name).into_owned()))
}

/// A text that describes an image whose data are in other files, by the rule of qemu's own probe
/// (comments and blank lines, then the version) or by its usual beginning. It holds no data of its
/// own, whatever follows.
fn is_vmdk_descriptor(head: &[u8]) -> bool {
    let lines = || head.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let first = lines().find(|line| !line.starts_with(b"#") && !line.is_empty());
    let version =
        first.is_some_and(|line| matches!(line, b"version=1" | b"version=2" | b"version=3"));
    version
        || lines().next().is_some_and(|line| line.eq_ignore_ascii_case(b"# disk descriptorfile"))
}

fn descriptor_extent(descriptor: &[u8]) -> Reference {
    let extent = descriptor
        .split(|&b| b == b'\n')
        .find(|line| line.starts_with(b"RW ") || line.starts_with(b"RDONLY "));
    let name = extent.and_then(|line| line.split(|&b| b == b'"').nth(1));
    let name =
        name.map(|name| String::from_utf8_lossy(&name[..name.len().min(1_024)]).into_owned());
    Reference { role: "external data file", name }
}
