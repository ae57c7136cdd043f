//! Values that may not be shown.

use std::fmt;

/// A key or a password. It cannot be printed, formatted or serialized; [`expose`](Secret::expose)
/// is the only way to it.
///
/// ```compile_fail
/// let key = market_core::model::Secret::new("hunter2");
/// println!("{key}");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Where bytes are to be had: a path or a URL. It may hold a user, a password or keys
/// (`rbd://...?CEPH_KEY=..`), so `Debug` shows no more than its scheme, and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SourceUrl(String);

impl SourceUrl {
    /// Wraps a path or URL.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The path or URL as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once("://") {
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') => {
                write!(f, "{scheme}://..")
            }
            _ if self.0.starts_with('/') => fmt::Debug::fmt(&self.0, f),
            _ => write!(f, "<{} bytes>", self.0.len()),
        }
    }
}
