//! What was computed, and what is to be.

use crate::{Algorithm, Checksum, Md5, Sha1, Sha256};

/// Which digests are computed.
///
/// ```
/// use market_checksum::{Algorithm, DigestSet};
///
/// const RECORDED: DigestSet = DigestSet::MD5.and(DigestSet::SHA256);
/// assert!(RECORDED.contains(Algorithm::Sha256) && !RECORDED.contains(Algorithm::Sha1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DigestSet {
    md5: bool,
    sha1: bool,
    sha256: bool,
}

impl DigestSet {
    /// None.
    pub const NONE: Self = Self { md5: false, sha1: false, sha256: false };
    /// MD5 alone.
    pub const MD5: Self = Self { md5: true, ..Self::NONE };
    /// SHA-1 alone.
    pub const SHA1: Self = Self { sha1: true, ..Self::NONE };
    /// SHA-256 alone.
    pub const SHA256: Self = Self { sha256: true, ..Self::NONE };

    /// Those of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            md5: self.md5 || other.md5,
            sha1: self.sha1 || other.sha1,
            sha256: self.sha256 || other.sha256,
        }
    }

    /// Whether this one is computed.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Md5 => self.md5,
            Algorithm::Sha1 => self.sha1,
            Algorithm::Sha256 => self.sha256,
        }
    }

    /// The algorithms, one after the other.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(move |&algorithm| self.contains(algorithm))
    }
}

impl From<Algorithm> for DigestSet {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::MD5,
            Algorithm::Sha1 => Self::SHA1,
            Algorithm::Sha256 => Self::SHA256,
        }
    }
}

impl FromIterator<Algorithm> for DigestSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        algorithms.into_iter().fold(Self::NONE, |set, algorithm| set.and(algorithm.into()))
    }
}

/// Digests that were computed, and how many bytes they cover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Digests {
    /// Bytes that they cover, holes of sparse files included.
    pub bytes: u64,
    /// MD5, when it was computed.
    pub md5: Option<Md5>,
    /// SHA-1, when it was computed.
    pub sha1: Option<Sha1>,
    /// SHA-256, when it was computed.
    pub sha256: Option<Sha256>,
}

impl Digests {
    /// No digest of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// With this one, which replaces another of the same algorithm.
    #[must_use]
    pub fn with(mut self, checksum: impl Into<Checksum>) -> Self {
        match checksum.into() {
            Checksum::Md5(md5) => self.md5 = Some(md5),
            Checksum::Sha1(sha1) => self.sha1 = Some(sha1),
            Checksum::Sha256(sha256) => self.sha256 = Some(sha256),
        }
        self
    }

    /// The one of this algorithm, when it was computed.
    pub fn get(&self, algorithm: Algorithm) -> Option<Checksum> {
        match algorithm {
            Algorithm::Md5 => self.md5.map(Checksum::Md5),
            Algorithm::Sha1 => self.sha1.map(Checksum::Sha1),
            Algorithm::Sha256 => self.sha256.map(Checksum::Sha256),
        }
    }
}
