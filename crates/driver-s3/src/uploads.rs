//! Multipart uploads of one import: created, measured, aborted, with nothing left behind.

use crate::failure::error;
use market_core::error::Error;
use market_core::log::Log;
use market_core::stop::Stop;
use market_core::transfer::{ErrorKind as FailureKind, redacted};
use market_s3::{
    Bucket, COMMONLY_ALLOWED_PARTS, ListedUpload, MAX_PARTS, ObjectOptions, Payload, S3Error,
};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long aborting an upload may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take after this process was told to end.
const ABORT_TIMEOUT_AT_END: Duration = Duration::from_secs(10);

/// How long is looked for an upload that was being created when this process was told to end.
const STRAYS_TIMEOUT_AT_END: Duration = Duration::from_millis(900);

/// How long parts that were on their way are waited for before an upload is aborted again.
const LATE_PARTS_PAUSE: Duration = Duration::from_secs(1);

/// How often an upload is aborted that is still there afterwards.
const MAX_ABORTS: u32 = 3;

/// How many parts services are known to allow: the most that S3 allows first.
const KNOWN_LIMITS: [u64; 4] = [MAX_PARTS, 5_000, 2_000, COMMONLY_ALLOWED_PARTS];

/// Services tell whole seconds: an upload may seem older than it is by so much.
const CLOCK_RESOLUTION: Duration = Duration::from_secs(2);

/// The uploads of one key.
pub(crate) struct Uploads<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) key: &'a str,
    /// What the object is stored with.
    pub(crate) object: &'a ObjectOptions,
    pub(crate) stop: &'a Stop,
    pub(crate) log: &'a Log,
}

impl Uploads<'_> {
    /// Creates an upload: its id. Where an answer was lost there may be another one, whose id
    /// nobody knows: it is aborted. `own` are the other uploads of this import.
    ///
    /// The outer error is that this process is told to end.
    pub(crate) async fn create(&self, own: &[&str]) -> Result<Result<String, S3Error>, Error> {
        let began = Instant::now();
        let lost = Cell::new(false);
        let request = || async {
            let created = self.bucket.create_upload(self.key, self.object).await;
            let unclear = created.as_ref().is_err_and(|failure| !failure.is_definite_refusal());
            lost.set(lost.get() || unclear);
            created
        };
        let created = tokio::select! {
            biased;
            reason = self.stop.requested() => {
                let strays = self.abort_strays(own, began);
                if !matches!(tokio::time::timeout(STRAYS_TIMEOUT_AT_END, strays).await, Ok(Ok(()))) {
                    self.log.warn("an upload may be left, as it was just being begun; gc finds it");
                }
                return Err(reason.into());
            }
            created = self.bucket.retried(request) => created,
        };
        if lost.get() {
            let known: Vec<&str> = own.iter().copied().chain(created.as_deref()).collect();
            if let Err(left) = self.abort_strays(&known, began).await {
                self.log.warn(format_args!(
                    "an upload may be left, as answers were lost ({left}); gc finds it"
                ));
            }
        }
        Ok(created)
    }

    /// Aborts the uploads of the key that were created since, but the known ones.
    async fn abort_strays(&self, known: &[&str], began: Instant) -> Result<(), Error> {
        let fail = |failure| error(self.bucket, self.key, failure);
        let uploads = self.bucket.list_uploads(self.key, |other| other == self.key).await;
        let since = began.elapsed() + CLOCK_RESOLUTION;
        let is_stray =
            |upload: &ListedUpload| !known.contains(&upload.id.as_str()) && upload.age <= since;
        for upload in uploads.map_err(fail)?.iter().filter(|upload| is_stray(upload)) {
            // One that has parts is another import's.
            match self.bucket.list_parts(self.key, &upload.id).await {
                Ok(parts) if parts.is_empty() => {
                    let _ = abort(self.bucket, self.key, &upload.id, false, None).await?;
                }
                Ok(_) => {}
                Err(failure) if failure.is_no_such_upload() => {}
                Err(failure) => return Err(fail(failure)),
            }
        }
        Ok(())
    }

    /// Aborts an upload of this import; a log line says when it is left.
    pub(crate) async fn abort_or_warn(&self, id: &str, parts_on_their_way: bool) {
        let aborted = abort(self.bucket, self.key, id, parts_on_their_way, Some(self.stop));
        if let Err(left) = aborted.await {
            self.log.warn(format_args!("an upload is left ({left}); gc finds it"));
        }
    }

    /// Finds out how many parts the service allows of an upload, by sending a last one of an upload
    /// that is aborted again. `own` is the upload that needs to know. Where it cannot be found out,
    /// the most that S3 allows is assumed.
    ///
    /// The error is that this process is told to end.
    pub(crate) async fn find_max_parts(&self, own: &str) -> Result<u64, Error> {
        if self.bucket.access().is_aws() {
            return Ok(MAX_PARTS);
        }
        let tried = match self.create(&[own]).await? {
            Ok(id) => {
                let tries = async { Ok::<_, Error>(self.try_limits(&id).await) };
                let tried = self.stop.or(tries).await;
                self.abort_or_warn(&id, !matches!(tried, Ok(Ok(_)))).await;
                tried?
            }
            Err(failure) => Err(failure),
        };
        Ok(tried.unwrap_or_else(|failure| {
            self.log.warn(format_args!(
                "how many parts the service allows could not be found out ({failure}): {MAX_PARTS} are assumed; MAX_PARTS says it"
            ));
            MAX_PARTS
        }))
    }

    async fn try_limits(&self, id: &str) -> Result<u64, S3Error> {
        let payload = Payload::new(vec!["?".into()]).await;
        let mut refusal = S3Error::malformed_response("no number of a part was tried");
        for limit in KNOWN_LIMITS {
            let sent = self
                .bucket
                .retried(|| self.bucket.upload_part(self.key, id, limit, &payload))
                .await;
            match sent {
                Ok(_) => return Ok(limit),
                // It may be for its number.
                Err(refused)
                    if refused.is_definite_refusal()
                        && matches!(refused.kind(), FailureKind::Failed | FailureKind::Full) =>
                {
                    refusal = refused;
                }
                Err(failure) => return Err(failure),
            }
        }
        // When none of them is taken, it is not for its number.
        Err(refusal)
    }
}

/// Aborts an upload, and looks whether it is gone; whether it was there. Parts that were on their
/// way may arrive after the first time. With `stop`, it is given up earlier when this process is
/// told to end.
pub(crate) async fn abort(
    bucket: &Bucket,
    key: &str,
    id: &str,
    parts_on_their_way: bool,
    stop: Option<&Stop>,
) -> Result<bool, Error> {
    let fail = |failure| {
        let error = error(bucket, key, failure);
        let subject = format!("the upload {} of {}", redacted(id), error.subject);
        error.with_subject(subject)
    };
    let timed_out = |cause| Err(fail(S3Error::malformed_response(cause)));
    let aborted = abort_until_gone(bucket, key, id, parts_on_their_way);
    let end = async {
        match stop {
            Some(stop) => drop(stop.requested().await),
            None => std::future::pending().await,
        }
        tokio::time::sleep(ABORT_TIMEOUT_AT_END).await;
    };
    tokio::select! {
        outcome = tokio::time::timeout(ABORT_TIMEOUT, aborted) => match outcome {
            Ok(outcome) => outcome.map_err(fail),
            Err(_) => timed_out("it could not be given up in a minute"),
        },
        () = end => timed_out("it could not be given up in time"),
    }
}

async fn abort_until_gone(
    bucket: &Bucket,
    key: &str,
    id: &str,
    parts_on_their_way: bool,
) -> Result<bool, S3Error> {
    for round in 0..MAX_ABORTS {
        match bucket.retried(|| bucket.abort_upload(key, id)).await {
            Err(failure) if !failure.is_no_such_upload() => return Err(failure),
            Err(_) if round == 0 && !parts_on_their_way => return Ok(false),
            _ => {}
        }
        if parts_on_their_way && round == 0 {
            tokio::time::sleep(LATE_PARTS_PAUSE).await;
            continue;
        }
        match bucket.list_parts(key, id).await {
            Err(failure)
                if failure.is_no_such_upload() || failure.is_unsupported_list_of_parts() =>
            {
                return Ok(true);
            }
            // Some services list no parts where others say that there is no upload.
            Ok(parts) if parts.is_empty() => return Ok(true),
            Ok(_) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(S3Error::malformed_response("the service keeps it although it was given up"))
}
