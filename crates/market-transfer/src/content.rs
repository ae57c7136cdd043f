//! What a stream contains, by its first bytes; file names do not count.

/// What a stream contains. Raw images of disks are [`Other`](Self::Other), and so are formats of
/// images that hypervisors read, such as qcow2.
///
/// ```
/// use market_transfer::{Content, Packing};
///
/// assert_eq!(Content::sniff(b"\n<!DOCTYPE html><title>Log in</title>"), Content::Markup);
/// assert_eq!(Content::sniff(&[4, 0x22, 0x4d, 0x18]), Content::Packed(Packing::Foreign("lz4")));
/// assert_eq!(Content::sniff(&[0xeb, 0x63, 0x90, 0x10]), Content::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A compressed stream or an archive.
    Packed(Packing),
    /// An image of a virtual machine in a format that KVM and LXC cannot use; the format's name.
    ForeignImage(&'static str),
    /// An HTML or XML document: some servers send an error page with status 200.
    Markup,
    /// Text of several words, or JSON: valid UTF-8 without control characters other than those that
    /// end lines. No disk begins so. A single word is [`Other`](Self::Other).
    Text,
    /// Anything else, also nothing.
    Other,
}

impl Content {
    /// Recognises the content by the first bytes of a stream, or all of a shorter one; 64 KiB are
    /// enough.
    pub fn sniff(head: &[u8]) -> Self {
        if let Some(packing) = Packing::sniff(head) {
            return Self::Packed(packing);
        }
        const IMAGES: [(&[u8], &str); 7] = [
            (b"WithoutFreeSpace", "Parallels"),
            (b"WithouFreSpacExt", "Parallels"),
            (b"Bochs Virtual HD Image", "Bochs"),
            (b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
            (b"MComprHD", "CHD"),
            (b"VMA\0\0\0\0\x01", "VMA"),
            (b"partclone-image", "partclone"),
        ];
        if let Some((_, format)) = IMAGES.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::ForeignImage(format);
        }
        match Self::text(head) {
            Some(text) if is_markup(text) => Self::Markup,
            Some(text) if is_prose(text.trim()) => Self::Text,
            _ => Self::Other,
        }
    }

    /// The beginning as text, when all of it is text; its last character may be cut.
    fn text(head: &[u8]) -> Option<&str> {
        const LOOKED_AT: usize = 4_096;
        let start = &head[..head.len().min(LOOKED_AT)];
        let text = match std::str::from_utf8(start) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
            }
            Err(_) => return latin_markup(start),
        };
        let plain = |c: char| {
            !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}' | '\u{8}')
        };
        (!text.is_empty() && text.chars().all(plain)).then_some(text)
    }
}

/// A document in an older encoding is recognised by its first characters, which are the same in all
/// of them.
fn latin_markup(start: &[u8]) -> Option<&str> {
    let ascii = start.iter().position(|byte| !byte.is_ascii()).unwrap_or(start.len());
    std::str::from_utf8(&start[..ascii]).ok().filter(|text| is_markup(text))
}

fn is_prose(text: &str) -> bool {
    text.contains(char::is_whitespace) || text.starts_with(['{', '['])
}

fn is_markup(text: &str) -> bool {
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n', '\u{c}']);
    let begins =
        |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    [
        "<!doctype",
        "<html",
        "<head",
        "<body",
        "<title",
        "<script",
        "<meta",
        "<!--",
        "<?xml",
        "<error",
        "<svg",
    ]
    .into_iter()
    .any(begins)
}

/// The format that a stream is packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A compressed stream, which can be unpacked.
    Compressed(Compression),
    /// An archive of several files (`tar`, `zip`), which is never an image; its name.
    Archive(&'static str),
    /// A format that this crate cannot unpack; its name.
    Foreign(&'static str),
}

/// A compressed format that is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The word that its tool is called by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

impl Packing {
    /// Recognises the format by the first bytes of a stream; 512 are enough. `None` when it is not
    /// packed.
    ///
    /// ```
    /// use market_transfer::{Compression, Packing};
    ///
    /// assert_eq!(Packing::sniff(&[0x1f, 0x8b, 8]), Some(Packing::Compressed(Compression::Gzip)));
    /// assert_eq!(Packing::sniff(b"QFI\xfb"), None);
    /// ```
    pub fn sniff(head: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Packing); 22] = [
            (&[0x1f, 0x8b], Packing::Compressed(Compression::Gzip)),
            (b"BZh", Packing::Compressed(Compression::Bzip2)),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Packing::Compressed(Compression::Xz)),
            (&ZSTD_FRAME, Packing::Compressed(Compression::Zstd)),
            (b"PK\x03\x04", Packing::Archive("zip")),
            (b"PK\x05\x06", Packing::Archive("zip")),
            (b"PK00PK\x03\x04", Packing::Foreign("a zip archive in parts")),
            (&[0x1f, 0x9d, 0x90], Packing::Foreign("compress")),
            (&LZ4_FRAME, Packing::Foreign("lz4")),
            (&[0x02, 0x21, 0x4c, 0x18], Packing::Foreign("lz4")),
            (b"LZIP", Packing::Foreign("lzip")),
            (b"LRZI", Packing::Foreign("lrzip")),
            (b"RZIP", Packing::Foreign("rzip")),
            (&[0x89, b'L', b'Z', b'O', 0, b'\r', b'\n'], Packing::Foreign("lzop")),
            (b"7z\xbc\xaf\x27\x1c", Packing::Foreign("7z")),
            (b"Rar!\x1a\x07", Packing::Foreign("rar")),
            (b"MSCF\0\0\0\0", Packing::Foreign("cab")),
            (b"xar!", Packing::Foreign("xar")),
            (b"\xff\x06\0\0sNaPpY", Packing::Foreign("snappy")),
            (b"zPQ", Packing::Foreign("zpaq")),
            (b"!<arch>\n", Packing::Foreign("ar")),
            (b"MSWIM\0\0\0", Packing::Foreign("wim")),
        ];
        let by_magic =
            MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, packing)| packing);
        by_magic
            .or_else(|| behind_skippable_frames(head))
            .or_else(|| is_old_zstd(head).then_some(Self::Foreign("an old version of zstd")))
            .or_else(|| is_lzma(head).then_some(Self::Foreign("lzma")))
            .or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(Self::Archive("tar")))
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compressed(compression) => compression.name(),
            Self::Archive(name) | Self::Foreign(name) => name,
        }
    }
}

const ZSTD_FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Frames that hold no data may come first, as `pzstd` writes them; lz4 has the same kind.
fn behind_skippable_frames(head: &[u8]) -> Option<Packing> {
    let mut rest = head;
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, behind @ ..] = rest {
        let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        // What is behind a long one is not seen here: zstd is what is meant, and its reader will
        // tell.
        rest = behind.get(length..).unwrap_or(&ZSTD_FRAME);
        let packing = match rest {
            rest if rest.starts_with(&LZ4_FRAME) => Some(Packing::Foreign("lz4")),
            rest if rest.len() < 8 || rest.starts_with(&ZSTD_FRAME) => {
                Some(Packing::Compressed(Compression::Zstd))
            }
            _ => None,
        };
        if packing.is_some() {
            return packing;
        }
    }
    None
}

/// Versions before 0.8.
fn is_old_zstd(head: &[u8]) -> bool {
    matches!(head, [0x1e, 0xb5, 0x2f, 0xfd, ..] | [0x22..=0x27, 0xb5, 0x2f, 0xfd, ..])
}

/// The format before xz has no magic. Its header holds the usual parameters, a dictionary size of
/// one or two bits, and a length that is unknown or below 256 GiB; its data begin with a zero byte.
/// That is how xz tells it.
fn is_lzma(head: &[u8]) -> bool {
    let Some((header, [0, ..])) = head.split_at_checked(13) else { return false };
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
    let (dictionary, length) = (number(&header[1..5]), number(&header[5..13]));
    let usual = dictionary >= 4_096
        && (dictionary.is_power_of_two()
            || (dictionary % 3 == 0 && (dictionary / 3).is_power_of_two()));
    header[0] == 0x5d && usual && (length == u64::MAX || (1..1 << 38).contains(&length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_text_are_told_from_bytes() {
        for markup in [
            &b"<!DOCTYPE html>"[..],
            b"\xef\xbb\xbf\r\n <HTML>",
            b"<?xml version='1.0'?>",
            b"<html>caf\xe9",
        ] {
            assert_eq!(Content::sniff(markup), Content::Markup, "{markup:?}");
        }
        for text in [&b"Not found\n"[..], "é ".repeat(3_000).as_bytes(), b"{\"error\":1}"] {
            assert_eq!(Content::sniff(text), Content::Text, "{text:?}");
        }
        for other in [
            &b""[..],
            &[0; 512],
            b"text",
            b"some text\0",
            &[0xff; 600],
            b"QFI\xfb\0\0\0\x03",
            b"MZ\x90\0",
        ] {
            assert_eq!(Content::sniff(other), Content::Other, "{other:?}");
        }
    }

    #[test]
    fn what_is_not_unpacked_is_told_by_its_name() {
        let lzma = [&[0x5d, 0, 0, 0x80, 0][..], &[0xff; 8], &[0, 1, 2]].concat();
        let old_lz4 =
            [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &LZ4_FRAME, &[0; 9]].concat();
        for (head, name) in [
            (&lzma[..], "lzma"),
            (&old_lz4, "lz4"),
            (b"LZIP\x01", "lzip"),
            (b"\x1f\x9d\x90", "compress"),
        ] {
            assert_eq!(Packing::sniff(head), Some(Packing::Foreign(name)), "{head:?}");
        }
        assert_eq!(Content::sniff(b"WithoutFreeSpace\x02\0"), Content::ForeignImage("Parallels"));
        // A boot sector that begins like lzma.
        assert_eq!(Packing::sniff(&[0x5d, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn frames_without_data_are_looked_behind() {
        let skippable =
            |length: u32| [&[0x5f, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes()].concat();
        let zstd = Some(Packing::Compressed(Compression::Zstd));
        assert_eq!(
            Packing::sniff(&[skippable(0), skippable(0), ZSTD_FRAME.to_vec(), vec![0; 9]].concat()),
            zstd
        );
        assert_eq!(Packing::sniff(&skippable(u32::MAX)), zstd);
        assert_eq!(Packing::sniff(&[skippable(2), vec![0; 300]].concat()), None);
    }
}
