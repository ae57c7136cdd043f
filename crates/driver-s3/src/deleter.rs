//! Objects are deleted, and it is looked whether they are gone.

use crate::failure::error;
use market_core::backend::Deleted;
use market_core::error::Error;
use market_core::log::Log;
use market_s3::{Bucket, Reason, S3Error};

/// Removes an object. A service says nothing of whether there was one, so it is looked for before
/// and after.
pub(crate) async fn delete_object(bucket: &Bucket, key: &str, log: &Log) -> Result<Deleted, Error> {
    let fail = |failure| error(bucket, key, failure);
    if bucket.retried(|| bucket.head(key)).await.map_err(fail)?.is_none() {
        return Ok(Deleted::Absent);
    }
    let accepted = match bucket.retried(|| bucket.delete_object(key)).await {
        // Some say so when an earlier answer was lost; what is true is looked for.
        Err(failure) if failure.status() == Some(404) => false,
        deleted => deleted.map(|()| true).map_err(fail)?,
    };
    match bucket.retried(|| must_be_gone(bucket, key)).await {
        // It was found before, and is not any more: this is the place.
        Err(failure) if accepted && *failure.reason() == Reason::ListedButNotFound => {
            let subject = bucket.subject(key);
            log.warn(format_args!(
                "{subject} was deleted and is not found any more; the service still lists it"
            ));
        }
        gone => gone.map_err(fail)?,
    }
    Ok(Deleted::Removed)
}

async fn must_be_gone(bucket: &Bucket, key: &str) -> Result<(), S3Error> {
    match bucket.head(key).await? {
        None => Ok(()),
        Some(_) => {
            let cause = "the service says that it has deleted the object, and still has it";
            Err(S3Error::indeterminate(cause))
        }
    }
}
