//! Failures of requests as errors for operators.

use market_core::error::Error;
use market_s3::{Bucket, S3Error, remedy};

/// A failure as an error about an object, or about the bucket when the key is empty; and what can
/// be done.
pub(crate) fn error(bucket: &Bucket, key: &str, failure: S3Error) -> Error {
    let remedy = remedy(&failure, bucket.access(), bucket.name());
    let error = Error::from(failure.about(bucket.subject(key)));
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// Whether there is no bucket yet, so that it is to be made. Where the endpoint names the bucket
/// already, it is only looked for at the wrong place.
pub(crate) fn is_bucket_missing(bucket: &Bucket, failure: &S3Error) -> bool {
    failure.code() == "NoSuchBucket" && !bucket.access().names_bucket(bucket.name())
}
