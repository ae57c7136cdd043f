//! Uploads as the service has them: begun, looked for, given up.

use crate::listing;
use crate::market::error;
use bytes::Bytes;
use http::{HeaderMap, Method};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::transfer::s3::{Bucket, Failure};
use market_core::transfer::{ErrorKind as FailureKind, shown};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Attribute, PutMultipartOptions};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long giving up an upload may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(60);

/// How long parts that were on their way are waited for.
const LATE_PARTS: Duration = Duration::from_secs(1);

/// How often an upload is given up that is still there afterwards: parts that were under way may arrive late.
const ABORT_ROUNDS: u32 = 3;

/// Uploads carry a mark, by which the object that comes of one is known.
const MARK: &str = "market-import";

/// An object that is there.
pub(crate) struct Found {
    /// The mark of the upload that it came of.
    pub(crate) mark: Option<String>,
}

/// Looks for an object.
pub(crate) async fn find(bucket: &Bucket, key: &str) -> Result<Option<Found>, Failure> {
    bucket.retried(|| find_once(bucket, key)).await
}

pub(crate) async fn find_once(bucket: &Bucket, key: &str) -> Result<Option<Found>, Failure> {
    match bucket.send(Method::HEAD, key, &[], HeaderMap::new(), Bytes::new()).await {
        Ok(answer) => {
            let mark = answer.headers.get(format!("x-amz-meta-{MARK}")).and_then(|value| value.to_str().ok());
            Ok(Some(Found { mark: mark.map(str::to_owned) }))
        }
        Err(failure) if failure.status == Some(404) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Refuses a key that is taken.
pub(crate) async fn must_be_free(bucket: &Bucket, key: &str) -> Result<(), Error> {
    match find(bucket, key).await.map_err(|failure| error(bucket.subject(key), failure))? {
        None => Ok(()),
        Some(_) => {
            let error = Error::new(ErrorKind::Exists, bucket.subject(key), "already exists; nothing was replaced");
            Err(error.remedy("remove it if no app has it (see gc), or choose another APP_PREFIX"))
        }
    }
}

/// Begins an upload. Where an answer was lost there may be another one, whose id nobody knows: it is given up.
pub(crate) async fn create(bucket: &Bucket, key: &str, path: &Path, mark: &str, log: &Log) -> Result<String, Failure> {
    let began = Instant::now();
    let lost = Cell::new(false);
    let request = || async {
        let mut options = PutMultipartOptions::default();
        options.attributes.insert(Attribute::Metadata(MARK.into()), mark.to_owned().into());
        let created = bucket.store().create_multipart_opts(path, options).await.map_err(Failure::from);
        lost.set(lost.get() || created.as_ref().is_err_and(|failure| !failure.is_certain()));
        created
    };
    let created = bucket.retried(request).await;
    if lost.get() {
        let known = created.as_deref().unwrap_or_default();
        if let Err(left) = abort_strays(bucket, key, known, began).await {
            log.warn(format_args!("an upload may be left, as answers were lost ({left}); gc finds it"));
        }
    }
    created
}

/// Gives up the uploads of a key that were begun since, but the known one.
async fn abort_strays(bucket: &Bucket, key: &str, known: &str, began: Instant) -> Result<(), Error> {
    let uploads = listing::uploads(bucket, key).await.map_err(|failure| error(bucket.subject(key), failure))?;
    // Services tell whole seconds.
    let since = began.elapsed() + Duration::from_secs(2);
    for upload in uploads.into_iter().filter(|upload| upload.key == key && upload.id != known && upload.age <= since) {
        // One that has parts is another import's.
        match listing::parts(bucket, key, &upload.id).await {
            Ok(parts) if parts.is_empty() => drop(abort(bucket, key, &upload.id, false).await?),
            Ok(_) => {}
            Err(failure) if is_gone(&failure) => {}
            Err(failure) => return Err(error(bucket.subject(key), failure)),
        }
    }
    Ok(())
}

pub(crate) async fn create_bucket(bucket: &Bucket, log: &Log) -> Result<(), Error> {
    let region = &bucket.access().region;
    // Only AWS wants to be told where: others take another region's name for a mistake.
    let body = if bucket.access().is_aws() && region != "us-east-1" {
        format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
             </LocationConstraint></CreateBucketConfiguration>"
        )
    } else {
        String::new()
    };
    let body = Bytes::from(body);
    let put = || bucket.send(Method::PUT, "", &[], HeaderMap::new(), body.clone());
    match bucket.retried(put).await {
        Ok(_) => log.info(format_args!("the bucket {} was made", bucket.name())),
        // Somebody was faster, or an answer was lost. Whether it can be used shows next.
        Err(failure) if failure.status == Some(409) => {}
        Err(failure) => return Err(error(bucket.subject(""), failure)),
    }
    Ok(())
}

pub(crate) fn is_gone(failure: &Failure) -> bool {
    failure.kind == FailureKind::Absent
}

/// Gives an upload up, and looks whether it is gone; whether it was there. `late`: parts were on their way, and may arrive after
/// that.
pub(crate) async fn abort(bucket: &Bucket, key: &str, id: &str, late: bool) -> Result<bool, Error> {
    let fail = |failure: Failure| error(format!("the upload {} of {}", shown(id), bucket.subject(key)), failure);
    let query = [("uploadId", id)];
    let rounds = async {
        for round in 0..ABORT_ROUNDS {
            let delete = || bucket.send(Method::DELETE, key, &query, HeaderMap::new(), Bytes::new());
            match bucket.retried(delete).await {
                Err(failure) if !is_gone(&failure) => return Err(fail(failure)),
                Err(_) if round == 0 && !late => return Ok(false),
                _ => {}
            }
            if late && round == 0 {
                tokio::time::sleep(LATE_PARTS).await;
                continue;
            }
            match listing::parts(bucket, key, id).await {
                Err(failure) if is_gone(&failure) => return Ok(true),
                // Some services list no parts where others say that there is no upload.
                Ok(parts) if parts.is_empty() => return Ok(true),
                Ok(_) => {}
                Err(failure) => return Err(fail(failure)),
            }
        }
        Err(fail(Failure::garbled("the service keeps it although it was given up")))
    };
    match tokio::time::timeout(ABORT_PATIENCE, rounds).await {
        Ok(outcome) => outcome,
        Err(_) => Err(fail(Failure::garbled("it could not be given up in a minute"))),
    }
}
