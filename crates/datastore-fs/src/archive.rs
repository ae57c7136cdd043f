//! Compressed files and archives by their first bytes.

/// What an image arrives packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// One compressed stream, in this format.
    Compressed(&'static str),
    /// Several files: never an image.
    Archive(&'static str),
}

impl Packing {
    /// Looks at the first bytes; names do not count.
    pub(crate) fn sniff(head: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Packing); 5] = [
            (&[0x1f, 0x8b], Packing::Compressed("gzip")),
            (b"BZh", Packing::Compressed("bzip2")),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Packing::Compressed("xz")),
            (&[0x28, 0xb5, 0x2f, 0xfd], Packing::Compressed("zstd")),
            (b"PK\x03\x04", Packing::Archive("zip")),
        ];
        let by_magic = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, packing)| packing);
        by_magic.or_else(|| (head.get(257..262) == Some(b"ustar")).then_some(Self::Archive("tar")))
    }
}
