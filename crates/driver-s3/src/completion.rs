//! The last step of an upload: it becomes an object, if there is none of its key; what became of
//! that step when its answer was lost; and whether the object stays this upload's.
//!
//! Not every service knows the condition that nothing may be replaced, or keeps it when two
//! requests meet. So it is looked afterwards whether the object is this import's own, by its mark,
//! for as long as another import may be completing that had looked before: such a one has an
//! unfinished upload of the same key. An import that looks later finds the object, and does not
//! complete.

use crate::listing;
use crate::market::remove_object;
use crate::unfinished::{Found, find_once, is_gone, lists_no_parts, marked};
use crate::upload::{Sent, Upload, Way};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use market_core::backend::Published;
use market_core::error::{Error, ErrorKind};
use market_core::model::SourceUrl;
use market_core::transfer::s3::S3Error;
use market_core::transfer::{DigestSet, Digester, ErrorKind as FailureKind, Source};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How long other uploads of the key are waited for.
const RIVAL_PATIENCE: Duration = Duration::from_secs(30);

/// An upload that was begun, and got its last part, longer ago is nobody's that is completing.
const RIVAL_ALIVE: Duration = Duration::from_secs(15 * 60);

/// How long is looked where other uploads cannot be seen.
const BLIND_PATIENCE: Duration = Duration::from_secs(3);

/// How long a service may take to complete when somebody waits for this process to end: it
/// completes large objects in seconds, and what is not waited for may be left.
const COMPLETION_HASTE: Duration = Duration::from_secs(6);

/// How long it may take then until it is known what became of it, all questions together.
const OUTCOME_HASTE: Duration = Duration::from_secs(8);

/// How long a look at the object may take then; the next one goes over another connection.
const LOOK_HASTE: Duration = Duration::from_millis(1_500);

/// What is said of a service that is not waited for any longer.
const TOLD_TO_END: &str = "the service had not answered when this process was told to end";

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Whether the service was asked to complete an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    NotAsked,
    /// So many times it was asked what became of it.
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

impl Upload {
    /// Makes what was sent an object, unless there is one of its key.
    pub(crate) async fn complete(&self, source: &SourceUrl) -> Published {
        self.in_time(COMPLETION_HASTE, self.look_and_complete(source)).await
    }

    /// Who is told to end waits for what cannot be interrupted, but not for a service that does not
    /// answer: until so long after it was told.
    async fn in_time(&self, haste: Duration, step: impl Future<Output = Published>) -> Published {
        let hurry = async {
            let _ = self.terms.stop.requested().await;
            let stopped = self.stopped.get().unwrap_or_else(Instant::now);
            self.stopped.set(Some(stopped));
            sleep_until(stopped + haste).await;
        };
        tokio::select! {
            biased;
            outcome = step => outcome,
            () = hurry => {
                Published::Unknown(Error::new(ErrorKind::Cancelled, self.bucket.subject(&self.key), TOLD_TO_END))
            }
        }
    }

    async fn look_and_complete(&self, source: &SourceUrl) -> Published {
        // Until the service is asked to complete, nothing has to be waited for.
        let looked = self.terms.stop.or(async {
            let found = self.bucket.retried(|| find_once(&self.bucket, &self.key)).await;
            found.map_err(|failure| self.error(failure))
        });
        match looked.await {
            Ok(None) => self.ask_to_complete(source).await,
            Ok(Some(found)) if self.is_ours(&found, None) => self.confirm(source, None).await,
            Ok(Some(_)) => self.exists(),
            Err(error) => Published::NotPublished(error),
        }
    }

    /// Looks once for the object; not for long when somebody waits for this process to end.
    async fn look(&self) -> Result<Option<Found>, S3Error> {
        let hurry = async {
            let _ = self.terms.stop.requested().await;
            sleep(LOOK_HASTE).await;
        };
        tokio::select! {
            biased;
            found = find_once(&self.bucket, &self.key) => found,
            () = hurry => Err(S3Error::unsettled(TOLD_TO_END)),
        }
    }

    async fn ask_to_complete(&self, source: &SourceUrl) -> Published {
        let outcome = self.ask(source).await;
        self.settle(outcome)
    }

    /// Remembers that it is known what became of the upload.
    fn settle(&self, outcome: Published) -> Published {
        if !matches!(outcome, Published::Unknown(_)) {
            self.completion.set(Completion::Known);
        }
        outcome
    }

    async fn ask(&self, source: &SourceUrl) -> Published {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        self.completion.set(match self.completion.get() {
            Completion::Unknown(asked) => Completion::Unknown(asked),
            _ => Completion::Unknown(0),
        });
        let failure = match self.send_completion(headers).await {
            Ok(etag) => return self.confirm(source, etag.as_deref()).await,
            // A service that knows no such condition. There is no object of that key: it was just
            // looked for.
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                match self.send_completion(HeaderMap::new()).await {
                    Ok(etag) => return self.confirm(source, etag.as_deref()).await,
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        if !failure.is_certain() {
            return Published::Unknown(self.error(failure));
        }
        // Refused: because the key is taken, or the upload is gone; perhaps as an earlier answer
        // was lost.
        match self.look().await {
            Ok(Some(found)) if self.is_ours(&found, None) => self.confirm(source, None).await,
            Ok(Some(_)) => self.exists(),
            Ok(None) => Published::NotPublished(self.error(failure)),
            Err(unknown) => Published::Unknown(self.error(unknown)),
        }
    }

    /// Asks the service for the object; its ETag, when it is told.
    async fn send_completion(&self, mut headers: HeaderMap) -> Result<Option<String>, S3Error> {
        let id = match &self.way {
            Way::Parts { id, .. } => id,
            Way::Whole(payload) => {
                let Some(payload) = payload else {
                    return Err(S3Error::garbled("nothing was written"));
                };
                let marks = marked(&self.mark, &self.terms.headers)
                    .map_err(|error| S3Error::garbled(error.cause))?;
                headers.extend(marks);
                self.bucket.put(&self.key, &[], headers, payload).await?;
                return Ok(Some(payload.md5()));
            }
        };
        let query = [("uploadId", id.as_str())];
        let answer = self
            .bucket
            .send(Method::POST, &self.key, &query, headers, self.list_of_parts())
            .await?;
        let document = self.bucket.document(&answer, &["CompleteMultipartUpload"])?;
        let etag = document.root_element().children().find(|node| node.tag_name().name() == "ETag");
        Ok(etag.and_then(|node| node.text()).map(|etag| etag.trim().to_owned()))
    }

    fn list_of_parts(&self) -> Bytes {
        let mut body =
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                .to_owned();
        for Sent { number, etag, .. } in &self.sent {
            let etag = etag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ =
                write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        body.push_str("</CompleteMultipartUpload>");
        Bytes::from(body)
    }

    /// Finds out what became of a completion whose answer was lost. While the upload is still there
    /// it may yet be under way: it is asked for again after some time.
    pub(crate) async fn resolve(&self, source: &SourceUrl, backoff: Duration) -> Published {
        self.in_time(OUTCOME_HASTE, self.find_out(source, backoff)).await
    }

    async fn find_out(&self, source: &SourceUrl, backoff: Duration) -> Published {
        if let Completion::Unknown(asked) = self.completion.get() {
            self.completion.set(Completion::Unknown(asked + 1));
            tokio::select! {
                _ = self.terms.stop.requested() => {}
                () = sleep(backoff * 2_u32.saturating_pow(asked)) => {}
            }
        }
        match self.look().await {
            Ok(Some(found)) => return self.settle(self.judge(source, &found).await),
            Ok(None) => {}
            Err(failure) => return Published::Unknown(self.error(failure)),
        }
        let Way::Parts { id, .. } = &self.way else { return self.ask_to_complete(source).await };
        match listing::parts(&self.bucket, &self.key, id).await {
            Ok(_) => self.ask_to_complete(source).await,
            Err(failure) if lists_no_parts(&failure) => self.ask_to_complete(source).await,
            Err(failure) if !is_gone(&failure) => Published::Unknown(self.error(failure)),
            // It may have been completed between the two questions.
            Err(failure) => match self.look().await {
                Ok(Some(found)) => self.settle(self.judge(source, &found).await),
                Ok(None) => self.settle(Published::NotPublished(self.error(failure))),
                Err(failure) => Published::Unknown(self.error(failure)),
            },
        }
    }

    async fn judge(&self, source: &SourceUrl, found: &Found) -> Published {
        if self.is_ours(found, None) { self.confirm(source, None).await } else { self.exists() }
    }

    fn exists(&self) -> Published {
        Published::Exists(SourceUrl::new(self.bucket.subject(&self.key)))
    }

    /// Whether an object is this upload's. A service that keeps no marks tells it by the ETag that
    /// it gave the object.
    fn is_ours(&self, found: &Found, etag: Option<&str>) -> bool {
        let plain = |etag: &str| etag.trim_matches('"').to_owned();
        match &found.mark {
            Some(mark) => *mark == self.mark,
            None => etag.is_some() && etag.map(plain) == found.etag.as_deref().map(plain),
        }
    }

    /// Proves that the object is this upload's and has its length, and that it stays so.
    async fn confirm(&self, source: &SourceUrl, etag: Option<&str>) -> Published {
        let begun = Instant::now();
        let mut told = false;
        loop {
            // In this order: an upload that is gone by then has become the object that is found, or
            // never will.
            let rivals = self.rivals().await;
            let found = self.bucket.retried(|| self.look()).await;
            let missing = match found {
                Ok(Some(found)) if !self.is_ours(&found, etag) => return self.exists(),
                Ok(Some(Found { bytes: Some(bytes), .. })) if bytes != self.bytes() => {
                    return self
                        .withdraw(format!("the service made {bytes} bytes of {}", self.bytes()))
                        .await;
                }
                Ok(Some(_)) => false,
                Ok(None) => true,
                Err(failure) => return Published::Unknown(self.error(failure)),
            };
            let patience = match rivals {
                _ if missing => BLIND_PATIENCE,
                Rivals::None => Duration::ZERO,
                Rivals::Some => RIVAL_PATIENCE,
                Rivals::CannotBeSeen => BLIND_PATIENCE,
            };
            if begun.elapsed() >= patience || self.terms.stop.reason().is_some() {
                if missing {
                    let cause = "the service does not find what it has just stored";
                    return Published::Unknown(self.error(S3Error::garbled(cause)));
                }
                return match rivals {
                    Rivals::CannotBeSeen => self.read_back(source).await,
                    _ => Published::At(source.clone()),
                };
            }
            if rivals == Rivals::Some && !told {
                told = true;
                let text = "the object is there; another import of its key is not finished and is waited for, up to half a minute";
                self.terms.log.info(text);
            }
            tokio::select! {
                _ = self.terms.stop.requested() => {}
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Reads the object, where it cannot be seen whether another import stores one at the same
    /// time: its mark and its bytes may be of two.
    async fn read_back(&self, source: &SourceUrl) -> Published {
        let read = async {
            let mut stream = Source::open(source.as_str(), &self.terms.options).await?;
            let mut digester = Digester::start(DigestSet::MD5);
            while let Some(piece) = stream.next().await? {
                digester.update(piece).await;
            }
            digester.finish().await.map_err(|error| Error::io("the digest", &error))
        };
        // Who is told to stop does not wait for what is there.
        match self.terms.stop.or(read).await {
            Ok(digests) if self.md5.is_some() && digests.md5 != self.md5 => {
                self.withdraw("the service holds other bytes than were sent".to_owned()).await
            }
            Ok(_) => Published::At(source.clone()),
            Err(error) if error.kind == ErrorKind::Cancelled => Published::At(source.clone()),
            Err(error) => Published::Unknown(error),
        }
    }

    /// Removes an object that is this upload's and not what was sent.
    async fn withdraw(&self, cause: String) -> Published {
        let error = Error::new(ErrorKind::Mismatch, self.bucket.subject(&self.key), cause);
        match remove_object(&self.bucket, &self.key, &self.terms.log).await {
            Ok(_) => Published::NotPublished(error.remedy("it was removed again")),
            Err(left) => {
                Published::Unknown(error.remedy(format!("it could not be removed again ({left})")))
            }
        }
    }

    async fn rivals(&self) -> Rivals {
        let own = if let Way::Parts { id, .. } = &self.way { id.as_str() } else { "" };
        let uploads = match listing::uploads_to(&self.bucket, &self.key).await {
            Ok(uploads) => uploads,
            // AWS keeps the condition.
            Err(_) if self.bucket.access().is_aws() => return Rivals::None,
            Err(_) => return Rivals::CannotBeSeen,
        };
        for upload in uploads.iter().filter(|upload| upload.id != own) {
            let parts =
                listing::parts(&self.bucket, &self.key, &upload.id).await.unwrap_or_default();
            let age = parts.iter().map(|part| part.age).fold(upload.age, std::cmp::Ord::min);
            if age < RIVAL_ALIVE {
                return Rivals::Some;
            }
        }
        Rivals::None
    }
}
