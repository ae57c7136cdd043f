//! What somebody has said of an image.

use market_checksum::{Expected, Md5, Sha256};

/// What somebody has said of an image, to be compared with what it is. What is `None`, as
/// everything is by default, is not compared: the check is a
/// [skip](crate::SkipReason::NotDeclared).
///
/// ```
/// use image_check::Declared;
///
/// let declared = Declared::default().with_format("qcow2").with_size_mib(2_048);
/// assert!(!declared.has_checksum());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declared {
    /// The format: `qcow2`, `raw` or another [name](crate::Format::name), in any letter case.
    pub format: Option<String>,
    /// The size of the disk that a guest sees, in bytes.
    pub virtual_bytes: Option<u64>,
    /// The same in MiB, rounded up, as the attribute SIZE of an app or an image has it. Not
    /// compared when `virtual_bytes` is there.
    pub size_mib: Option<u64>,
    /// MD5 of the file.
    pub md5: Option<Md5>,
    /// SHA-256 of the file.
    pub sha256: Option<Sha256>,
}

impl Declared {
    /// Compares the format, see [`Declared::format`].
    #[must_use]
    pub fn with_format(self, format: impl Into<String>) -> Self {
        Self { format: Some(format.into()), ..self }
    }

    /// Compares the size of the disk that a guest sees, in bytes.
    #[must_use]
    pub fn with_virtual_bytes(self, bytes: u64) -> Self {
        Self { virtual_bytes: Some(bytes), ..self }
    }

    /// Compares the same size in MiB, rounded up, see [`Declared::size_mib`].
    #[must_use]
    pub fn with_size_mib(self, mib: u64) -> Self {
        Self { size_mib: Some(mib), ..self }
    }

    /// Compares the MD5 of the file.
    #[must_use]
    pub fn with_md5(self, md5: Md5) -> Self {
        Self { md5: Some(md5), ..self }
    }

    /// Compares the SHA-256 of the file.
    #[must_use]
    pub fn with_sha256(self, sha256: Sha256) -> Self {
        Self { sha256: Some(sha256), ..self }
    }

    /// Whether a checksum is to be compared: then the file has to be read to its end by somebody.
    pub fn has_checksum(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }

    /// The checksums, to be compared with those that are computed.
    pub(crate) fn checksums(&self) -> Expected {
        const BY: &str = "its description";
        Expected::new().and_maybe(BY, self.md5).and_maybe(BY, self.sha256)
    }
}
