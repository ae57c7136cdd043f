//! `s3://bucket/key`: an object as a source.

use super::origin::S3Origin;
use super::{Access, Bucket};
use crate::{Error, Location, Options, Scheme, Source};

/// A bucket and a key of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectLocation {
    /// The bucket.
    pub bucket: String,
    /// The key, as it is written.
    pub key: String,
}

impl ObjectLocation {
    /// Reads `s3://bucket/key`.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) for any other scheme, and without a bucket or a
    /// key.
    pub fn parse(location: &Location) -> Result<Self, Error> {
        match location.rest().split_once('/') {
            Some((bucket, key))
                if location.scheme() == "s3" && !bucket.is_empty() && !key.is_empty() =>
            {
                Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
            }
            _ => Err(location.malformed("is not s3://bucket/key")),
        }
    }
}

/// The scheme `s3` with the service that has the objects, and the keys for it.
#[derive(Clone, Debug)]
pub struct S3Scheme(Access);

impl S3Scheme {
    /// Objects of this service.
    pub fn new(access: Access) -> Self {
        Self(access)
    }
}

impl Scheme for S3Scheme {
    fn names(&self) -> &[&str] {
        &["s3"]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let ObjectLocation { bucket, key } = ObjectLocation::parse(location)?;
        let origin = S3Origin::new(Bucket::open(&self.0, &bucket, options)?, &key, options)?;
        let subject = origin.subject().to_owned();
        Source::from_origin(origin, &subject, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_key_are_told_apart() {
        let parse = |text: &str| ObjectLocation::parse(&Location::parse(text).unwrap());
        let object = parse("S3://b/a/x y?z#1-7").unwrap();
        assert_eq!((object.bucket.as_str(), object.key.as_str()), ("b", "a/x y?z#1-7"));
        for wrong in ["s3://", "s3://b", "s3://b/", "s3:///k", "http://b/k"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
