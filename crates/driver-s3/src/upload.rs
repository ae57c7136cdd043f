//! An upload in parts: nobody sees it before it is completed, and it is completed only when the service holds what was sent.
//!
//! Every part is signed with its SHA-256, which services check; when all are there, the service's own list of parts is compared
//! with what was sent.

use crate::listing;
use crate::market::error;
use crate::parts::PartSizes;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use market_core::backend::Published;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::transfer::s3::{Bucket, Failure, xml};
use market_core::transfer::{ErrorKind as FailureKind, Piece, ZEROS, random_name, shown};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Attribute, PutMultipartOptions, PutPayload};
use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the parts that are filled or under way may take together; a part that is larger takes what it takes, alone.
const IN_FLIGHT_BYTES: u64 = 64 << 20;

/// Less than this is copied: it may be a part of a buffer that is several times as large.
const LITTLE_BYTES: usize = 128 << 10;

/// How long giving up an upload may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(60);

/// How long parts that were on their way are waited for.
const LATE_PARTS: Duration = Duration::from_secs(1);

/// How often an upload is given up that is still there afterwards: parts that were under way may arrive late.
const ABORT_ROUNDS: u32 = 3;

/// Uploads carry a mark, by which the object that comes of one is known.
const MARK: &str = "market-import";

/// An upload under way.
pub(crate) struct Upload {
    bucket: Arc<Bucket>,
    key: String,
    path: Path,
    id: String,
    mark: String,
    sizes: PartSizes,
    /// The part that is being filled.
    filling: Vec<Bytes>,
    filled: u64,
    /// Parts that were filled so far, and those under way.
    begun: u64,
    sending: JoinSet<Result<Sent, Error>>,
    in_flight: u64,
    sent: Vec<Sent>,
    completion: Cell<Completion>,
}

/// Whether the service was asked to complete an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completion {
    NotAsked,
    /// So many times it was asked what became of it.
    Unknown(u32),
    Known,
}

/// A part that the service has taken.
struct Sent {
    number: u64,
    etag: String,
    bytes: u64,
}

impl Upload {
    /// Begins an upload; makes the bucket when it is missing.
    pub(crate) async fn begin(bucket: Arc<Bucket>, key: String, sizes: PartSizes, log: &Log) -> Result<Self, Error> {
        let mark = random_name::<16>().map_err(|error| Error::io("the system's random numbers", &error))?;
        let path = bucket.path(&key)?;
        let created = match create(&bucket, &key, &path, &mark, log).await {
            Err(failure) if failure.code == "NoSuchBucket" => {
                create_bucket(&bucket, log).await?;
                create(&bucket, &key, &path, &mark, log).await
            }
            created => created,
        };
        let id = created.map_err(|failure| error(bucket.subject(&key), failure))?;
        // What the proof will need in the end is to be known now.
        if let Err(failure) = listing::parts(&bucket, &key, &id).await {
            if let Err(left) = abort(&bucket, &key, &id, false).await {
                log.warn(format_args!("an upload is left ({left}); gc finds it"));
            }
            return Err(error(format!("the parts of {}", bucket.subject(&key)), failure));
        }
        Ok(Self {
            bucket,
            key,
            path,
            id,
            mark,
            sizes,
            filling: Vec::new(),
            filled: 0,
            begun: 0,
            sending: JoinSet::new(),
            in_flight: 0,
            sent: Vec::new(),
            completion: Cell::new(Completion::NotAsked),
        })
    }

    /// The key that the object will have.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn error(&self, failure: Failure) -> Error {
        error(self.bucket.subject(&self.key), failure)
    }

    /// Appends a piece.
    pub(crate) async fn write(&mut self, mut piece: Piece) -> Result<(), Error> {
        while !piece.is_empty() {
            let size = self.sizes.bytes(self.begun).ok_or_else(|| {
                Error::new(ErrorKind::Full, self.bucket.subject(&self.key), "has more than 10,000 parts")
            })?;
            let room = size - self.filled;
            match &mut piece {
                Piece::Data(data) => {
                    let taken = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
                    self.filled += taken as u64;
                    let data = data.split_to(taken);
                    // A little piece of a large buffer would keep all of it.
                    let data = if taken < LITTLE_BYTES { Bytes::copy_from_slice(&data) } else { data };
                    self.filling.push(data);
                }
                Piece::Hole(length) => {
                    // Zeros of one place in memory, however many.
                    let taken = room.min(*length).min(ZEROS.len() as u64);
                    *length -= taken;
                    self.filled += taken;
                    let zeros = Bytes::from_static(&ZEROS);
                    self.filling.push(zeros.slice(..usize::try_from(taken).unwrap_or(zeros.len())));
                }
            }
            if self.filled == size {
                self.send().await?;
            }
        }
        // What has failed is to be known at once.
        while let Some(ended) = self.sending.try_join_next() {
            self.took(ended)?;
        }
        Ok(())
    }

    /// Sends the part that is filled, and waits until there is room for the next one.
    async fn send(&mut self) -> Result<(), Error> {
        let (bytes, number) = (std::mem::take(&mut self.filled), self.begun);
        let payload = PutPayload::from_iter(std::mem::take(&mut self.filling));
        self.begun += 1;
        self.in_flight += bytes;
        let (bucket, path, id) = (Arc::clone(&self.bucket), self.path.clone(), self.id.clone());
        let subject = format!("part {} of {}", number + 1, self.bucket.subject(&self.key));
        self.sending.spawn(async move {
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let put = || async {
                let stored = bucket.store().put_part(&path, &id, index, payload.clone()).await;
                stored.map_err(Failure::from)
            };
            let stored = bucket.retried(put).await.map_err(|failure| error(subject, failure))?;
            Ok(Sent { number: number + 1, etag: stored.content_id, bytes })
        });
        let next = self.sizes.bytes(self.begun).unwrap_or_default();
        while self.in_flight > 0 && self.in_flight + next > IN_FLIGHT_BYTES.max(next) {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), Error> {
        match self.sending.join_next().await {
            Some(ended) => self.took(ended),
            None => Ok(()),
        }
    }

    fn took(&mut self, ended: Result<Result<Sent, Error>, tokio::task::JoinError>) -> Result<(), Error> {
        let sent = ended
            .map_err(|_| Error::new(ErrorKind::Failed, self.bucket.subject(&self.key), "a part was given up"))??;
        self.in_flight -= sent.bytes;
        self.sent.push(sent);
        Ok(())
    }

    /// Sends what is left, and waits until the service has taken everything.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        if self.filled > 0 {
            self.send().await?;
        }
        while !self.sending.is_empty() {
            self.wait_for_one().await?;
        }
        self.sent.sort_by_key(|part| part.number);
        Ok(())
    }

    /// Compares what the service says that it holds with what was sent; the bytes that it holds.
    pub(crate) async fn prove(&mut self) -> Result<u64, Error> {
        let listed = listing::parts(&self.bucket, &self.key, &self.id).await.map_err(|failure| self.error(failure))?;
        let mismatch = |cause: String| {
            let error = Error::new(ErrorKind::Mismatch, self.bucket.subject(&self.key), cause);
            Err(error.remedy("nothing was published; import again"))
        };
        if listed.len() != self.sent.len() {
            return mismatch(format!("the service holds {} parts of {}", listed.len(), self.sent.len()));
        }
        for (held, sent) in listed.iter().zip(&self.sent) {
            let number = sent.number;
            if held.number != number || held.bytes != sent.bytes {
                return mismatch(format!("the service holds part {number} with another size than was sent"));
            }
            if held.etag.trim_matches('"') != sent.etag.trim_matches('"') {
                return mismatch(format!("the service holds another part {number} than it took"));
            }
        }
        Ok(self.sent.iter().map(|part| part.bytes).sum())
    }

    /// Makes the parts an object, unless there is one of its key.
    pub(crate) async fn complete(&self, source: &str) -> Published {
        match self.bucket.retried(|| self.look(source)).await {
            Ok(None) => self.ask_to_complete(source).await,
            Ok(Some(published)) => published,
            Err(failure) => Published::NotPublished(self.error(failure)),
        }
    }

    async fn ask_to_complete(&self, source: &str) -> Published {
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

    async fn ask(&self, source: &str) -> Published {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        self.completion.set(match self.completion.get() {
            Completion::Unknown(asked) => Completion::Unknown(asked),
            _ => Completion::Unknown(0),
        });
        let failure = match self.send_completion(headers).await {
            Ok(()) => return Published::At(source.to_owned()),
            // A service that knows no such condition. There is no object of that key: it was just looked for.
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                match self.send_completion(HeaderMap::new()).await {
                    Ok(()) => return Published::At(source.to_owned()),
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        if !failure.is_certain() {
            return Published::Unknown(self.error(failure));
        }
        // Refused: because the key is taken, or the upload is gone; perhaps as an earlier answer was lost.
        match self.look(source).await {
            Ok(Some(published)) => published,
            Ok(None) => Published::NotPublished(self.error(failure)),
            Err(unknown) => Published::Unknown(self.error(unknown)),
        }
    }

    async fn send_completion(&self, headers: HeaderMap) -> Result<(), Failure> {
        let mut body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
        for Sent { number, etag, .. } in &self.sent {
            let etag = etag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        body.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", self.id.as_str())];
        let answer = self.bucket.send(Method::POST, &self.key, &query, headers, Bytes::from(body)).await?;
        let told = std::str::from_utf8(&answer.body).ok().and_then(|text| xml(text).ok());
        match told.map(|document| document.root_element().tag_name().name() == "CompleteMultipartUploadResult") {
            Some(true) => Ok(()),
            _ => Err(Failure::told_in(&answer.body)
                .unwrap_or_else(|| Failure::garbled("the answer does not tell whether the upload was completed"))),
        }
    }

    /// Finds out what became of a completion whose answer was lost. While the upload is still there it may yet be under way: it
    /// is asked for again after some time.
    pub(crate) async fn resolve(&self, source: &str, backoff: Duration) -> Published {
        if let Completion::Unknown(asked) = self.completion.get() {
            self.completion.set(Completion::Unknown(asked + 1));
            tokio::time::sleep(backoff * 2_u32.saturating_pow(asked)).await;
        }
        match self.look(source).await {
            Ok(Some(published)) => return self.settle(published),
            Ok(None) => {}
            Err(failure) => return Published::Unknown(self.error(failure)),
        }
        match listing::parts(&self.bucket, &self.key, &self.id).await {
            Ok(_) => self.ask_to_complete(source).await,
            Err(failure) if !is_gone(&failure) => Published::Unknown(self.error(failure)),
            // It may have been completed between the two questions.
            Err(failure) => match self.look(source).await {
                Ok(Some(published)) => self.settle(published),
                Ok(None) => self.settle(Published::NotPublished(self.error(failure))),
                Err(failure) => Published::Unknown(self.error(failure)),
            },
        }
    }

    /// What has the key: this upload's object, or another one. Not tried again: who must know asks again.
    async fn look(&self, source: &str) -> Result<Option<Published>, Failure> {
        let found = find_once(&self.bucket, &self.key).await?;
        Ok(found.map(|found| match found.mark {
            Some(mark) if mark == self.mark => Published::At(source.to_owned()),
            _ => Published::Exists(self.bucket.subject(&self.key)),
        }))
    }

    /// Gives the upload up. One that may be completed at this moment is left alone: not every service does one of the two.
    pub(crate) async fn abort(mut self) -> Result<(), Error> {
        if matches!(self.completion.get(), Completion::Unknown(_)) {
            let subject = format!("the upload of {}", self.bucket.subject(&self.key));
            return Err(Error::new(ErrorKind::Failed, subject, "may be completed at this moment"));
        }
        let late = !self.sending.is_empty();
        self.sending.shutdown().await;
        abort(&self.bucket, &self.key, &self.id, late).await.map(drop)
    }
}

/// An object that is there.
pub(crate) struct Found {
    /// The mark of the upload that it came of.
    mark: Option<String>,
}

/// Looks for an object.
pub(crate) async fn find(bucket: &Bucket, key: &str) -> Result<Option<Found>, Failure> {
    bucket.retried(|| find_once(bucket, key)).await
}

async fn find_once(bucket: &Bucket, key: &str) -> Result<Option<Found>, Failure> {
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
async fn create(bucket: &Bucket, key: &str, path: &Path, mark: &str, log: &Log) -> Result<String, Failure> {
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

async fn create_bucket(bucket: &Bucket, log: &Log) -> Result<(), Error> {
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

fn is_gone(failure: &Failure) -> bool {
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
