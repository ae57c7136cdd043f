//! `s3://bucket/key`.

use market_transfer::{Error, ErrorKind, redacted};
use std::fmt;
use std::str::FromStr;

/// An object of an S3 service, as `s3://bucket/key` names it: the SOURCE of an app. The key stands
/// in it as it is, not encoded, so that a `?` or a `%` belongs to it.
///
/// ```
/// use market_s3::ObjectUrl;
///
/// let url: ObjectUrl = "s3://apps/our apps/of 2026-3".parse()?;
/// assert_eq!((url.bucket(), url.key()), ("apps", "our apps/of 2026-3"));
/// assert_eq!(url.to_string(), "s3://apps/our apps/of 2026-3");
/// assert!("s3://apps".parse::<ObjectUrl>().is_err());
/// # Ok::<(), market_transfer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectUrl {
    bucket: String,
    key: String,
}

impl ObjectUrl {
    /// The object of a key in a bucket.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into() }
    }

    /// The name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key of the object.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether a request can be made for the object. Programs that clean up URLs would ask for
    /// another one when a segment of the key is `.` or `..`; and no URL holds control characters.
    pub fn is_addressable(&self) -> bool {
        is_addressable(&self.key)
    }
}

/// See [`ObjectUrl::is_addressable`].
pub(crate) fn is_addressable(key: &str) -> bool {
    !key.contains(char::is_control) && key.split('/').all(|segment| !matches!(segment, "." | ".."))
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl FromStr for ObjectUrl {
    type Err = Error;

    /// The scheme may have capitals; bucket and key are not empty.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = || {
            let (scheme, rest) = text.split_once("://")?;
            let (bucket, key) = rest.split_once('/')?;
            let valid = scheme.eq_ignore_ascii_case("s3")
                && !bucket.is_empty()
                && !key.is_empty()
                && !key.contains('\0');
            valid.then(|| Self::new(bucket, key))
        };
        parsed().ok_or_else(|| {
            Error::new(ErrorKind::Malformed, redacted(text), "is not s3://bucket/key")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_bucket_or_key_is_refused() {
        let url: ObjectUrl = "S3://b/a/x y?z#1-7".parse().unwrap();
        assert_eq!(url, ObjectUrl::new("b", "a/x y?z#1-7"));
        for wrong in
            ["", "s3://", "s3://b", "s3://b/", "s3:///k", "http://b/k", "/b/k", "s3://b/\0"]
        {
            let error = wrong.parse::<ObjectUrl>().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed, "{wrong}");
        }
    }
}
