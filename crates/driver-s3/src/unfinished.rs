//! Uploads as the service has them: begun, looked for, given up.

use crate::listing;
use crate::market::error;
use crate::parts::{MAX_PARTS, SURE_PARTS};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::stop::Stop;
use market_core::transfer::s3::{Bucket, Payload, S3Error};
use market_core::transfer::{ErrorKind as FailureKind, redacted};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long giving up an upload may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take when somebody waits for this process to end.
const HASTE: Duration = Duration::from_secs(10);

/// How long is looked for what became of an upload that was being begun when this process was told
/// to end.
const BEGINNING_HASTE: Duration = Duration::from_millis(900);

/// How many parts services are known to allow; others than the most that S3 allows.
const LIMITS: [u64; 4] = [MAX_PARTS, 5_000, 2_000, SURE_PARTS];

/// How long parts that were on their way are waited for.
const LATE_PARTS: Duration = Duration::from_secs(1);

/// How often an upload is given up that is still there afterwards: parts that were under way may
/// arrive late.
const ABORT_ROUNDS: u32 = 3;

/// Objects carry a mark, by which it is known which import made them.
pub(crate) const MARK: &str = "x-amz-meta-market-import";

/// An object that is there.
pub(crate) struct Found {
    /// The mark of the import that made it.
    pub(crate) mark: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) bytes: Option<u64>,
}

/// Looks for an object.
pub(crate) async fn find(bucket: &Bucket, key: &str) -> Result<Option<Found>, S3Error> {
    bucket.retried(|| find_once(bucket, key)).await
}

pub(crate) async fn find_once(bucket: &Bucket, key: &str) -> Result<Option<Found>, S3Error> {
    let found = bucket.look(key).await?;
    Ok(found.map(|headers| {
        let text =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = text("content-length").and_then(|length| length.parse().ok());
        Found { mark: text(MARK), etag: text("etag"), bytes }
    }))
}

/// Refuses a key that is taken. Where there is no bucket yet, it is free.
pub(crate) async fn must_be_free(bucket: &Bucket, key: &str) -> Result<(), Error> {
    match find(bucket, key).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            let error = Error::new(
                ErrorKind::Exists,
                bucket.subject(key),
                "already exists; nothing was replaced",
            );
            Err(error.remedy("remove it if no app has it (see gc), or choose another APP_PREFIX"))
        }
        Err(failure) if is_to_be_made(bucket, &failure) => Ok(()),
        Err(failure) => Err(error(bucket, key, failure)),
    }
}

/// Begins an upload. Where an answer was lost there may be another one, whose id nobody knows: it
/// is given up. `own` are the other uploads of this import to that key.
pub(crate) async fn create(
    bucket: &Bucket,
    key: &str,
    headers: &HeaderMap,
    own: &[&str],
    stop: &Stop,
    log: &Log,
) -> Result<Result<String, S3Error>, Error> {
    let began = Instant::now();
    let lost = Cell::new(false);
    let request = || async {
        let created = create_once(bucket, key, headers).await;
        lost.set(lost.get() || created.as_ref().is_err_and(|failure| !failure.is_certain()));
        created
    };
    let created = tokio::select! {
        biased;
        reason = stop.requested() => {
            let strays = tokio::time::timeout(BEGINNING_HASTE, abort_strays(bucket, key, own, began)).await;
            if !matches!(strays, Ok(Ok(()))) {
                log.warn("an upload may be left, as it was just being begun; gc finds it");
            }
            return Err(reason.into());
        }
        created = bucket.retried(request) => created,
    };
    if lost.get() {
        let known: Vec<&str> = own.iter().copied().chain(created.as_deref()).collect();
        if let Err(left) = abort_strays(bucket, key, &known, began).await {
            log.warn(format_args!(
                "an upload may be left, as answers were lost ({left}); gc finds it"
            ));
        }
    }
    Ok(created)
}

async fn create_once(bucket: &Bucket, key: &str, headers: &HeaderMap) -> Result<String, S3Error> {
    let answer =
        bucket.send(Method::POST, key, &[("uploads", "")], headers.clone(), Bytes::new()).await?;
    let document =
        bucket.document(&answer, &["InitiateMultipartUpload", "CreateMultipartUpload"])?;
    let id = document.root_element().children().find(|node| node.tag_name().name() == "UploadId");
    let id = id.and_then(|node| node.text()).filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or_else(|| S3Error::garbled("the service has begun an upload and does not name it"))
}

/// Finds out how many parts the service allows of an upload, by sending a last one of an upload
/// that is given up again. `own` is the upload that asks. What cannot be found out is taken for as
/// many as S3 allows.
///
/// # Errors
/// Only when this process is told to end.
pub(crate) async fn most_parts(
    bucket: &Bucket,
    key: &str,
    headers: &HeaderMap,
    own: &str,
    stop: &Stop,
    log: &Log,
) -> Result<u64, Error> {
    if bucket.access().is_aws() {
        return Ok(MAX_PARTS);
    }
    let tried = match create(bucket, key, headers, &[own], stop, log).await? {
        Ok(id) => {
            let tried = stop.or(async { Ok::<_, Error>(try_limits(bucket, key, &id).await) }).await;
            let late = !matches!(tried, Ok(Ok(_)));
            if let Err(left) = abort(bucket, key, &id, late, Some(stop)).await {
                log.warn(format_args!("an upload is left ({left}); gc finds it"));
            }
            tried?
        }
        Err(failure) => Err(failure),
    };
    Ok(tried.unwrap_or_else(|failure| {
        log.warn(format_args!(
            "how many parts the service allows could not be found out ({failure}): {MAX_PARTS} are assumed; MAX_PARTS says it"
        ));
        MAX_PARTS
    }))
}

async fn try_limits(bucket: &Bucket, key: &str, id: &str) -> Result<u64, S3Error> {
    let payload = Payload::of(vec![Bytes::from_static(b"?")]).await;
    let mut refusal = S3Error::garbled("no number of a part was tried");
    for limit in LIMITS {
        let number = limit.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", id)];
        match bucket.retried(|| bucket.put(key, &query, HeaderMap::new(), &payload)).await {
            Ok(_) => return Ok(limit),
            // It may be for its number.
            Err(refused)
                if refused.is_certain()
                    && matches!(refused.kind, FailureKind::Failed | FailureKind::Full) =>
            {
                refusal = refused;
            }
            Err(failure) => return Err(failure),
        }
    }
    // When none of them is taken, it is not for its number.
    Err(refusal)
}

/// Gives up the uploads of a key that were begun since, but the known ones.
async fn abort_strays(
    bucket: &Bucket,
    key: &str,
    known: &[&str],
    began: Instant,
) -> Result<(), Error> {
    let uploads =
        listing::uploads_to(bucket, key).await.map_err(|failure| error(bucket, key, failure))?;
    // Services tell whole seconds.
    let since = began.elapsed() + Duration::from_secs(2);
    for upload in uploads
        .into_iter()
        .filter(|upload| !known.contains(&upload.id.as_str()) && upload.age <= since)
    {
        // One that has parts is another import's.
        match listing::parts(bucket, key, &upload.id).await {
            Ok(parts) if parts.is_empty() => {
                let _ = abort(bucket, key, &upload.id, false, None).await?;
            }
            Ok(_) => {}
            Err(failure) if is_gone(&failure) => {}
            Err(failure) => return Err(error(bucket, key, failure)),
        }
    }
    Ok(())
}

/// Makes the bucket, in the region that requests are signed for. Some services must be told, some
/// take the name of a region for a mistake.
pub(crate) async fn create_bucket(bucket: &Bucket, log: &Log) -> Result<(), Error> {
    let region = &bucket.access().region;
    let there = format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}\
         </LocationConstraint></CreateBucketConfiguration>",
        region.replace('&', "&amp;").replace('<', "&lt;")
    );
    let there = if region == "us-east-1" { Bytes::new() } else { Bytes::from(there) };
    let put = |body: &Bytes| bucket.send(Method::PUT, "", &[], HeaderMap::new(), body.clone());
    let made = match bucket.retried(|| put(&there)).await {
        Err(failure) if !there.is_empty() && is_about_body(&failure) => {
            bucket.retried(|| put(&Bytes::new())).await
        }
        made => made,
    };
    match made {
        Ok(_) => log.info(format_args!("the bucket {} was made", bucket.name())),
        // Somebody was faster, or an answer was lost. Whether it can be used shows next.
        Err(failure) if failure.status == Some(409) => {}
        Err(failure) => return Err(error(bucket, "", failure)),
    }
    Ok(())
}

/// Whether the request may be taken without a region in it.
fn is_about_body(failure: &S3Error) -> bool {
    failure.is_certain() && !matches!(failure.status, Some(401 | 403 | 409))
}

/// Whether the service cannot say which parts an upload has: it may take the request for one about
/// the object.
pub(crate) fn lists_no_parts(failure: &S3Error) -> bool {
    failure.is_unknown_request() || failure.code == "NoSuchKey"
}

/// The mark of an import, as objects carry it.
pub(crate) fn marked(mark: &str, more: &HeaderMap) -> Result<HeaderMap, Error> {
    let mut headers = more.clone();
    let mark = HeaderValue::from_str(mark)
        .map_err(|error| Error::new(ErrorKind::Failed, MARK, error.to_string()))?;
    headers.insert(MARK, mark);
    Ok(headers)
}

/// Whether there is no bucket yet. Where the endpoint names it already, it is only looked for at
/// the wrong place.
pub(crate) fn is_to_be_made(bucket: &Bucket, failure: &S3Error) -> bool {
    failure.code == "NoSuchBucket" && !bucket.access().names_bucket(bucket.name())
}

pub(crate) fn is_gone(failure: &S3Error) -> bool {
    failure.code == "NoSuchUpload"
}

/// Gives an upload up, and looks whether it is gone; whether it was there. `late`: parts were on
/// their way, and may arrive after that. There is less patience when `stop` is used.
pub(crate) async fn abort(
    bucket: &Bucket,
    key: &str,
    id: &str,
    late: bool,
    stop: Option<&Stop>,
) -> Result<bool, Error> {
    let fail = |failure: S3Error| {
        let error = error(bucket, key, failure);
        let subject = format!("the upload {} of {}", redacted(id), error.subject);
        error.with_subject(subject)
    };
    let query = [("uploadId", id)];
    let rounds = async {
        for round in 0..ABORT_ROUNDS {
            let delete =
                || bucket.send(Method::DELETE, key, &query, HeaderMap::new(), Bytes::new());
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
                Err(failure) if is_gone(&failure) || lists_no_parts(&failure) => return Ok(true),
                // Some services list no parts where others say that there is no upload.
                Ok(parts) if parts.is_empty() => return Ok(true),
                Ok(_) => {}
                Err(failure) => return Err(fail(failure)),
            }
        }
        Err(fail(S3Error::garbled("the service keeps it although it was given up")))
    };
    let hurried = async {
        match stop {
            Some(stop) => drop(stop.requested().await),
            None => std::future::pending().await,
        }
        tokio::time::sleep(HASTE).await;
    };
    tokio::select! {
        outcome = tokio::time::timeout(ABORT_PATIENCE, rounds) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(fail(S3Error::garbled("it could not be given up in a minute"))),
        },
        () = hurried => Err(fail(S3Error::garbled("it could not be given up in time"))),
    }
}
