//! The last step of an import: the upload becomes an object, if there is none of its key; what
//! became of that step when its answer was lost; and whether the object stays this import's.
//!
//! Not every service knows the condition that nothing may be replaced, or keeps it when two
//! requests meet. So it is looked afterwards whether the object is this import's own, by its mark,
//! for as long as another import may be completing that had looked before: such a one has a
//! multipart upload of the same key in progress, which is called a rival here. An import that looks
//! later finds the object, and does not complete.

use crate::deleter::delete_object;
use crate::key::source_of;
use crate::writer::{IMPORT_MARK, Method, Writer};
use market_core::backend::Published;
use market_core::checksum::Md5;
use market_core::error::{Error, ErrorKind};
use market_core::model::SourceUrl;
use market_core::transfer::{DigestSet, Digester, ErrorKind as FailureKind};
use market_s3::{ETag, ObjectMeta, ObjectUrl, PutMode, S3Error};
use std::cell::Cell;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How long rivals are waited for.
const RIVALS_TIMEOUT: Duration = Duration::from_secs(30);

/// An upload that was created, and got its last part, longer ago is not being completed.
const RIVAL_MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// How long is looked where rivals cannot be seen, or a service does not find what it has stored.
const BLIND_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a completion may take after this process was told to end: a service completes large
/// objects in seconds, and what is not waited for may be left.
const COMPLETION_TIMEOUT_AT_END: Duration = Duration::from_secs(6);

/// How long it may take then until it is known what became of it, all requests together.
const OUTCOME_TIMEOUT_AT_END: Duration = Duration::from_secs(8);

/// How long a look at the object may take then; the next one goes over another connection.
const LOOK_TIMEOUT_AT_END: Duration = Duration::from_millis(1_500);

/// What is said of a service that is not waited for any longer.
const TOLD_TO_END: &str = "the service had not answered when this process was told to end";

/// The pause between two looks at the object.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// An import in progress: its bytes, and whether they are an object yet.
pub struct S3Upload {
    pub(crate) writer: Writer,
    /// The MD5 of all that was sent, once it is known.
    pub(crate) md5: Option<Md5>,
    completion: Cell<Completion>,
    /// When it was seen, at its completion, that this process is to end.
    stopped: Cell<Option<Instant>>,
}

impl fmt::Debug for S3Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.writer.bucket.subject(&self.writer.key);
        f.debug_struct("S3Upload").field("object", &subject).finish_non_exhaustive()
    }
}

/// Whether the service was asked to complete an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completion {
    NotAsked,
    /// It was, and what became of it is not known; so many times it was looked.
    Unknown(u32),
    Known,
}

/// Whether another import may be completing an upload of the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rivals {
    None,
    Some,
    CannotBeSeen,
}

impl S3Upload {
    pub(crate) fn new(writer: Writer) -> Self {
        let completion = Cell::new(Completion::NotAsked);
        Self { writer, md5: None, completion, stopped: Cell::new(None) }
    }

    /// Makes what was sent an object, unless there is one of its key.
    pub(crate) async fn publish(&self) -> Published {
        self.in_time(COMPLETION_TIMEOUT_AT_END, self.look_and_complete()).await
    }

    /// Finds out what became of a completion whose answer was lost. While the upload is still there
    /// it may yet be under way: it is asked for again after some time.
    pub(crate) async fn resolve(&self) -> Published {
        self.in_time(OUTCOME_TIMEOUT_AT_END, self.find_out()).await
    }

    /// Gives the upload up. One that may be completed at this moment is left alone: not every
    /// service does one of the two.
    pub(crate) async fn abort(self) -> Result<(), Error> {
        if matches!(self.completion.get(), Completion::Unknown(_)) {
            let subject = format!("the upload of {}", self.subject());
            return Err(Error::new(ErrorKind::Failed, subject, "may be completed at this moment"));
        }
        self.writer.abort().await
    }

    fn subject(&self) -> String {
        self.writer.bucket.subject(&self.writer.key)
    }

    fn source(&self) -> SourceUrl {
        source_of(&ObjectUrl::new(self.writer.bucket.name(), self.writer.key.as_str()))
    }

    fn exists(&self) -> Published {
        Published::Exists(self.source())
    }

    fn unknown(&self, failure: S3Error) -> Published {
        Published::Unknown(self.writer.error(failure))
    }

    /// Who is told to end waits for what cannot be interrupted, but not for a service that does not
    /// answer: until so long after it was told.
    async fn in_time(&self, limit: Duration, step: impl Future<Output = Published>) -> Published {
        let end = async {
            let _ = self.writer.config.stop.requested().await;
            let stopped = self.stopped.get().unwrap_or_else(Instant::now);
            self.stopped.set(Some(stopped));
            sleep_until(stopped + limit).await;
        };
        tokio::select! {
            biased;
            outcome = step => outcome,
            () = end => {
                Published::Unknown(Error::new(ErrorKind::Cancelled, self.subject(), TOLD_TO_END))
            }
        }
    }

    async fn look_and_complete(&self) -> Published {
        let Writer { bucket, key, config, .. } = &self.writer;
        // Until the service is asked to complete, nothing has to be waited for.
        let looked = config.stop.or(async {
            let found = bucket.retried(|| bucket.head(key)).await;
            found.map_err(|failure| self.writer.error(failure))
        });
        match looked.await {
            Ok(None) => self.complete().await,
            Ok(Some(found)) if self.is_ours(&found, None) => self.confirm(None).await,
            Ok(Some(_)) => self.exists(),
            Err(error) => Published::NotPublished(error),
        }
    }

    /// Looks once for the object; not for long when this process is told to end.
    async fn look(&self) -> Result<Option<ObjectMeta>, S3Error> {
        let end = async {
            let _ = self.writer.config.stop.requested().await;
            sleep(LOOK_TIMEOUT_AT_END).await;
        };
        tokio::select! {
            biased;
            found = self.writer.bucket.head(&self.writer.key) => found,
            () = end => Err(S3Error::indeterminate(TOLD_TO_END)),
        }
    }

    async fn complete(&self) -> Published {
        let outcome = self.ask_to_complete().await;
        self.settle(outcome)
    }

    /// Remembers that it is known what became of the upload.
    fn settle(&self, outcome: Published) -> Published {
        if !matches!(outcome, Published::Unknown(_)) {
            self.completion.set(Completion::Known);
        }
        outcome
    }

    async fn ask_to_complete(&self) -> Published {
        self.completion.set(match self.completion.get() {
            Completion::Unknown(looked) => Completion::Unknown(looked),
            _ => Completion::Unknown(0),
        });
        let sent = match self.send_completion(PutMode::Create).await {
            // A service that knows no such condition. There is no object of that key: it was just
            // looked for.
            Err(failure) if failure.kind() == FailureKind::Unsupported => {
                self.send_completion(PutMode::Overwrite).await
            }
            sent => sent,
        };
        let failure = match sent {
            Ok(etag) => return self.confirm(etag.as_ref()).await,
            Err(failure) => failure,
        };
        if !failure.is_definite_refusal() {
            return self.unknown(failure);
        }
        // Refused: because the key is taken, or the upload is gone; perhaps as an earlier answer
        // was lost.
        match self.look().await {
            Ok(Some(found)) => self.judge(&found).await,
            Ok(None) => Published::NotPublished(self.writer.error(failure)),
            Err(unknown) => self.unknown(unknown),
        }
    }

    /// Asks the service for the object; its ETag, when it is told.
    async fn send_completion(&self, mode: PutMode) -> Result<Option<ETag>, S3Error> {
        let Writer { bucket, key, method, object, parts, .. } = &self.writer;
        match method {
            Method::Parts { id, .. } => bucket.complete_upload(key, id, parts, mode).await,
            Method::Whole(None) => Err(S3Error::malformed_response("nothing was written")),
            Method::Whole(Some(payload)) => {
                bucket.put_object(key, payload, object, mode).await?;
                Ok(Some(ETag::new(payload.md5().to_string())))
            }
        }
    }

    async fn find_out(&self) -> Published {
        let Writer { bucket, key, config, method, .. } = &self.writer;
        if let Completion::Unknown(looked) = self.completion.get() {
            self.completion.set(Completion::Unknown(looked + 1));
            tokio::select! {
                _ = config.stop.requested() => {}
                () = sleep(config.options.retry.first_pause * 2_u32.saturating_pow(looked)) => {}
            }
        }
        match self.look().await {
            Ok(Some(found)) => return self.settle(self.judge(&found).await),
            Ok(None) => {}
            Err(failure) => return self.unknown(failure),
        }
        let Method::Parts { id, .. } = method else { return self.complete().await };
        match bucket.list_parts(key, id).await {
            Ok(_) => self.complete().await,
            Err(failure) if failure.is_unsupported_list_of_parts() => self.complete().await,
            Err(failure) if !failure.is_no_such_upload() => self.unknown(failure),
            // It may have been completed between the two requests.
            Err(failure) => match self.look().await {
                Ok(Some(found)) => self.settle(self.judge(&found).await),
                Ok(None) => self.settle(Published::NotPublished(self.writer.error(failure))),
                Err(failure) => self.unknown(failure),
            },
        }
    }

    async fn judge(&self, found: &ObjectMeta) -> Published {
        if self.is_ours(found, None) { self.confirm(None).await } else { self.exists() }
    }

    /// Whether an object is this import's. A service that keeps no metadata tells it by the ETag
    /// that it gave the object.
    fn is_ours(&self, found: &ObjectMeta, etag: Option<&ETag>) -> bool {
        match found.metadata(IMPORT_MARK) {
            Some(mark) => mark == self.writer.mark,
            None => etag.is_some() && etag == found.etag.as_ref(),
        }
    }

    /// Proves that the object is this import's and has its length, and that it stays so.
    async fn confirm(&self, etag: Option<&ETag>) -> Published {
        let Writer { bucket, config, .. } = &self.writer;
        let (begun, sent) = (Instant::now(), self.writer.bytes());
        let mut told = false;
        loop {
            // In this order: an upload that is gone by then has become the object that is found, or
            // never will.
            let rivals = self.rivals().await;
            let missing = match bucket.retried(|| self.look()).await {
                Ok(Some(found)) if !self.is_ours(&found, etag) => return self.exists(),
                Ok(Some(ObjectMeta { bytes: Some(bytes), .. })) if bytes != sent => {
                    return self
                        .withdraw(format!("the service made {bytes} bytes of {sent}"))
                        .await;
                }
                Ok(found) => found.is_none(),
                Err(failure) => return self.unknown(failure),
            };
            let limit = match rivals {
                _ if missing => BLIND_TIMEOUT,
                Rivals::None => Duration::ZERO,
                Rivals::Some => RIVALS_TIMEOUT,
                Rivals::CannotBeSeen => BLIND_TIMEOUT,
            };
            if begun.elapsed() >= limit || config.stop.reason().is_some() {
                if missing {
                    let cause = "the service does not find what it has just stored";
                    return self.unknown(S3Error::malformed_response(cause));
                }
                return match rivals {
                    Rivals::CannotBeSeen => self.read_back().await,
                    _ => Published::At(self.source()),
                };
            }
            if rivals == Rivals::Some && !told {
                told = true;
                let text = "the object is there; another import of its key is not finished and is waited for, up to half a minute";
                config.log.info(text);
            }
            tokio::select! {
                _ = config.stop.requested() => {}
                () = sleep(LOOK_PAUSE) => {}
            }
        }
    }

    /// Reads the object, where it cannot be seen whether another import stores one at the same
    /// time: its mark and its bytes may be of two.
    async fn read_back(&self) -> Published {
        let Writer { bucket, key, config, .. } = &self.writer;
        let read = async {
            let mut stream = bucket.open_object(key, &config.options).await?;
            let mut digester = Digester::start(DigestSet::MD5);
            while let Some(piece) = stream.next().await? {
                digester.update(piece).await;
            }
            digester.finish().await.map_err(|error| Error::io("the digest", &error))
        };
        // Who is told to stop does not wait for what is there.
        match config.stop.or(read).await {
            Ok(digests) if self.md5.is_some() && digests.md5 != self.md5 => {
                self.withdraw("the service holds other bytes than were sent".to_owned()).await
            }
            Ok(_) => Published::At(self.source()),
            Err(error) if error.kind == ErrorKind::Cancelled => Published::At(self.source()),
            Err(error) => Published::Unknown(error),
        }
    }

    /// Removes an object that is this import's and not what was sent.
    async fn withdraw(&self, cause: String) -> Published {
        let Writer { bucket, key, config, .. } = &self.writer;
        let error = Error::new(ErrorKind::Mismatch, self.subject(), cause);
        match delete_object(bucket, key, &config.log).await {
            Ok(_) => Published::NotPublished(error.remedy("it was removed again")),
            Err(left) => {
                Published::Unknown(error.remedy(format!("it could not be removed again ({left})")))
            }
        }
    }

    async fn rivals(&self) -> Rivals {
        let Writer { bucket, key, method, .. } = &self.writer;
        let own = if let Method::Parts { id, .. } = method { id.as_str() } else { "" };
        let uploads = match bucket.list_uploads(key, |other| other == key).await {
            Ok(uploads) => uploads,
            // AWS keeps the condition.
            Err(_) if bucket.access().is_aws() => return Rivals::None,
            Err(_) => return Rivals::CannotBeSeen,
        };
        for upload in uploads.iter().filter(|upload| upload.id != own) {
            let parts = bucket.list_parts(key, &upload.id).await.unwrap_or_default();
            let age = parts.iter().map(|part| part.age).fold(upload.age, std::cmp::Ord::min);
            if age < RIVAL_MAX_AGE {
                return Rivals::Some;
            }
        }
        Rivals::None
    }
}
