//! An upload in parts: nobody sees it before it is completed, and it is completed only when the
//! service holds what was sent.
//!
//! Every part is signed with its SHA-256 and goes with its MD5, which services check; when all are
//! there, the service's own list of parts is compared with what was sent. A service that lists no
//! parts must tell the MD5 of each. One that knows no uploads in parts gets the object in one
//! request, from memory.

use crate::completion::Completion;
use crate::listing;
use crate::market::error;
use crate::parts::PartSizes;
use crate::unfinished::{
    abort, create, create_bucket, is_gone, is_to_be_made, lists_no_parts, marked, most_parts,
};
use bytes::Bytes;
use http::HeaderMap;
use market_core::backend::Length;
use market_core::checksum::Md5;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::stop::Stop;
use market_core::transfer::s3::{Bucket, Payload, S3Error};
use market_core::transfer::{Options, Piece, ZEROS, random_name};
use std::cell::Cell;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the parts that are filled or under way may take together; a part that is larger takes what
/// it takes, alone.
const IN_FLIGHT_BYTES: u64 = 64 << 20;

/// The largest object that goes in one request: it is in memory.
const LARGEST_WHOLE_BYTES: u64 = 64 << 20;

/// Less than this is copied: it may be a part of a buffer that is several times as large.
const LITTLE_BYTES: usize = 128 << 10;

/// What imports need beside the bytes.
pub(crate) struct Terms {
    /// The size of a part that is wanted.
    pub(crate) part_bytes: Option<u64>,
    /// The most parts, when the operator says so.
    pub(crate) most_parts: Option<u64>,
    /// What new objects are sent with.
    pub(crate) headers: HeaderMap,
    /// How the object is read back.
    pub(crate) options: Options,
    pub(crate) stop: Stop,
    pub(crate) log: Log,
}

/// How the bytes go to the service.
pub(crate) enum Way {
    /// In parts of the upload of this id; whether the service lists them.
    Parts { id: String, listed: bool },
    /// In one request, once they are all here.
    Whole(Option<Payload>),
}

/// An upload under way.
pub(crate) struct Upload {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) key: String,
    pub(crate) way: Way,
    pub(crate) mark: String,
    /// The MD5 of all that was sent, once it is known.
    pub(crate) md5: Option<Md5>,
    pub(crate) terms: Terms,
    sizes: PartSizes,
    /// From which part on it must be known how many the service allows.
    asks_at: Option<u64>,
    /// The part that is being filled.
    filling: Vec<Bytes>,
    filled: u64,
    /// Parts that were filled so far, and those under way.
    begun: u64,
    sending: JoinSet<Result<Sent, Error>>,
    in_flight: u64,
    pub(crate) sent: Vec<Sent>,
    pub(crate) completion: Cell<Completion>,
    /// When it was seen, at its completion, that this process is to end.
    pub(crate) stopped: Cell<Option<Instant>>,
}

/// A part that the service has taken.
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) etag: String,
    pub(crate) bytes: u64,
}

impl Upload {
    /// Begins an upload; makes the bucket when it is missing.
    pub(crate) async fn begin(
        bucket: Arc<Bucket>,
        key: String,
        length: Length,
        terms: Terms,
    ) -> Result<Self, Error> {
        let mark = random_name::<16>()
            .map_err(|error| Error::io("the system's random numbers", &error))?;
        bucket.path(&key)?;
        let headers = marked(&mark, &terms.headers)?;
        let way = match begin_parts(&bucket, &key, &headers, &terms).await? {
            Some((id, listed)) => Way::Parts { id, listed },
            None => Way::Whole(None),
        };
        let exact = if let Length::Exact(bytes) = length { Some(bytes) } else { None };
        if matches!(way, Way::Whole(_)) && exact.is_some_and(|bytes| bytes > LARGEST_WHOLE_BYTES) {
            return Err(too_large_for_one_request(&bucket, &key));
        }
        let sizes = PartSizes::new(length, terms.part_bytes, terms.most_parts.unwrap_or(u64::MAX));
        let expected = if let Length::Hint(bytes) = length { Some(bytes) } else { exact };
        let asks_at = sizes
            .asks_at(expected)
            .filter(|_| matches!(way, Way::Parts { .. }) && terms.most_parts.is_none());
        let mut upload = Self {
            bucket,
            key,
            way,
            mark,
            md5: None,
            terms,
            sizes,
            asks_at,
            filling: Vec::new(),
            filled: 0,
            begun: 0,
            sending: JoinSet::new(),
            in_flight: 0,
            sent: Vec::new(),
            completion: Cell::new(Completion::NotAsked),
            stopped: Cell::new(None),
        };
        match upload.plan(length, exact).await {
            Ok(()) => Ok(upload),
            Err(error) => {
                let log = upload.terms.log.clone();
                if let Err(left) = upload.abort().await {
                    log.warn(format_args!("an upload is left ({left}); gc finds it"));
                }
                Err(error)
            }
        }
    }

    /// Sees to it that an object of known length fits into the parts that the service allows.
    async fn plan(&mut self, length: Length, exact: Option<u64>) -> Result<(), Error> {
        if self.asks_at == Some(0) {
            let most = self.ask_for_limit().await?;
            self.sizes = PartSizes::new(length, self.terms.part_bytes, most);
        }
        let largest = self.sizes.most().saturating_mul(crate::parts::LARGEST_PART_BYTES);
        if matches!(self.way, Way::Parts { .. }) && exact.is_some_and(|bytes| bytes > largest) {
            let cause = format!(
                "does not fit into the {} parts that the service allows",
                self.sizes.most()
            );
            return Err(Error::new(ErrorKind::Full, self.bucket.subject(&self.key), cause));
        }
        Ok(())
    }

    async fn ask_for_limit(&mut self) -> Result<u64, Error> {
        self.asks_at = None;
        let Terms { headers, stop, log, .. } = &self.terms;
        let own = if let Way::Parts { id, .. } = &self.way { id.as_str() } else { "" };
        let most = most_parts(&self.bucket, &self.key, headers, own, stop, log).await?;
        if most < self.sizes.most() {
            self.terms.log.info(format_args!("the service allows {most} parts of an upload"));
        }
        Ok(most)
    }

    pub(crate) fn error(&self, failure: S3Error) -> Error {
        error(&self.bucket, &self.key, failure)
    }

    /// The size of the part that is being filled.
    fn size(&self) -> Result<u64, Error> {
        if let Way::Whole(_) = self.way {
            return Ok(LARGEST_WHOLE_BYTES);
        }
        self.sizes.bytes(self.begun).ok_or_else(|| {
            let cause =
                format!("has more than the {} parts that the service allows", self.sizes.most());
            Error::new(ErrorKind::Full, self.bucket.subject(&self.key), cause)
                .remedy("set READ_LENGTH to a larger size")
        })
    }

    /// Appends a piece.
    pub(crate) async fn write(&mut self, mut piece: Piece) -> Result<(), Error> {
        while !piece.is_empty() {
            if self.asks_at == Some(self.begun) {
                let most = self.ask_for_limit().await?;
                self.sizes = self.sizes.at_most(most);
            }
            let size = self.size()?;
            let room = size - self.filled;
            if room == 0 {
                return Err(too_large_for_one_request(&self.bucket, &self.key));
            }
            match &mut piece {
                Piece::Data(data) => {
                    let taken = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
                    self.filled += taken as u64;
                    let data = data.split_to(taken);
                    // A little piece of a large buffer would keep all of it.
                    let data =
                        if taken < LITTLE_BYTES { Bytes::copy_from_slice(&data) } else { data };
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
            if self.filled == size && matches!(self.way, Way::Parts { .. }) {
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
        let (bytes, number) = (std::mem::take(&mut self.filled), self.begun + 1);
        let pieces = std::mem::take(&mut self.filling);
        let Way::Parts { id, listed } = &self.way else { return Ok(()) };
        let part = Outgoing {
            bucket: Arc::clone(&self.bucket),
            key: self.key.clone(),
            id: id.clone(),
            number,
            listed: *listed,
        };
        self.begun += 1;
        self.in_flight += bytes;
        self.sending.spawn(part.send(pieces));
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

    fn took(
        &mut self,
        ended: Result<Result<Sent, Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        let sent = ended.map_err(|_| {
            Error::new(ErrorKind::Failed, self.bucket.subject(&self.key), "a part was given up")
        })??;
        self.in_flight -= sent.bytes;
        self.sent.push(sent);
        Ok(())
    }

    /// Sends what is left, and waits until the service has taken everything.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        if let Way::Whole(payload) = &mut self.way {
            *payload = Some(Payload::of(std::mem::take(&mut self.filling)).await);
            return Ok(());
        }
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
        match &self.way {
            // The service compares it with its MD5 before it becomes an object.
            Way::Whole(payload) => Ok(payload.as_ref().map_or(0, Payload::bytes)),
            // The service has told the MD5 of each part.
            Way::Parts { listed: false, .. } => Ok(self.bytes()),
            Way::Parts { id, listed: true } => {
                // Until it is completed, it can still be given up.
                let listed = self.terms.stop.or(async {
                    let listed = listing::parts(&self.bucket, &self.key, id).await;
                    listed.map_err(|failure| self.error(failure))
                });
                self.compare(&listed.await?)?;
                Ok(self.bytes())
            }
        }
    }

    /// The bytes that were sent.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.way {
            Way::Whole(payload) => payload.as_ref().map_or(0, Payload::bytes),
            Way::Parts { .. } => self.sent.iter().map(|part| part.bytes).sum(),
        }
    }

    fn compare(&self, listed: &[listing::Part]) -> Result<(), Error> {
        let mismatch = |cause: String| {
            let error = Error::new(ErrorKind::Mismatch, self.bucket.subject(&self.key), cause);
            Err(error.remedy("nothing was published; import again"))
        };
        if listed.len() != self.sent.len() {
            return mismatch(format!(
                "the service holds {} parts of {}",
                listed.len(),
                self.sent.len()
            ));
        }
        for (held, sent) in listed.iter().zip(&self.sent) {
            let number = sent.number;
            if held.number != number || held.bytes != sent.bytes {
                return mismatch(format!(
                    "the service holds part {number} with another size than was sent"
                ));
            }
            if held.etag.trim_matches('"') != sent.etag.trim_matches('"') {
                return mismatch(format!("the service holds another part {number} than it took"));
            }
        }
        Ok(())
    }

    /// Gives the upload up. One that may be completed at this moment is left alone: not every
    /// service does one of the two.
    pub(crate) async fn abort(mut self) -> Result<(), Error> {
        if matches!(self.completion.get(), Completion::Unknown(_)) {
            let subject = format!("the upload of {}", self.bucket.subject(&self.key));
            return Err(Error::new(ErrorKind::Failed, subject, "may be completed at this moment"));
        }
        let late = !self.sending.is_empty();
        self.sending.shutdown().await;
        let Way::Parts { id, .. } = &self.way else { return Ok(()) };
        abort(&self.bucket, &self.key, id, late, Some(&self.terms.stop)).await.map(drop)
    }
}

/// Begins an upload in parts, and sees whether its parts are listed: what the proof will need in
/// the end is to be known now. `None` when the service knows no such uploads.
async fn begin_parts(
    bucket: &Bucket,
    key: &str,
    headers: &HeaderMap,
    terms: &Terms,
) -> Result<Option<(String, bool)>, Error> {
    let Terms { stop, log, .. } = terms;
    let created = match create(bucket, key, headers, &[], stop, log).await? {
        Err(failure) if is_to_be_made(bucket, &failure) => {
            stop.or(create_bucket(bucket, log)).await?;
            create(bucket, key, headers, &[], stop, log).await?
        }
        created => created,
    };
    let id = match created {
        Err(failure) if failure.is_unknown_request() => {
            log.warn(format_args!(
                "the service takes no uploads in parts ({failure}): the object goes in one request"
            ));
            return Ok(None);
        }
        created => created.map_err(|failure| error(bucket, key, failure))?,
    };
    let listed = stop.or(async {
        match listing::parts(bucket, key, &id).await {
            Ok(_) => Ok(true),
            Err(failure) if lists_no_parts(&failure) && !is_gone(&failure) => Ok(false),
            Err(failure) => {
                let error = error(bucket, key, failure);
                {
                    let subject = format!("the parts of {}", error.subject);
                    Err(error.with_subject(subject))
                }
            }
        }
    });
    match listed.await {
        Ok(listed) => {
            if !listed {
                log.warn(
                    "the service does not list the parts of uploads: it must tell the MD5 of each",
                );
            }
            Ok(Some((id, listed)))
        }
        Err(error) => {
            if let Err(left) = abort(bucket, key, &id, false, Some(stop)).await {
                log.warn(format_args!("an upload is left ({left}); gc finds it"));
            }
            Err(error)
        }
    }
}

fn too_large_for_one_request(bucket: &Bucket, key: &str) -> Error {
    let cause = "the service takes no uploads in parts, and what has more than 64 MiB is not sent in one request";
    Error::new(ErrorKind::Unsupported, bucket.subject(key), cause)
}

/// A part on its way.
struct Outgoing {
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    number: u64,
    listed: bool,
}

impl Outgoing {
    async fn send(self, pieces: Vec<Bytes>) -> Result<Sent, Error> {
        let Self { bucket, key, id, number, listed } = self;
        let payload = Payload::of(pieces).await;
        let fail = |failure| {
            let error = error(&bucket, &key, failure);
            let subject = format!("part {number} of {}", error.subject);
            error.with_subject(subject)
        };
        let digits = number.to_string();
        let query = [("partNumber", digits.as_str()), ("uploadId", &id)];
        let stored = bucket
            .retried(|| bucket.put(&key, &query, HeaderMap::new(), &payload))
            .await
            .map_err(fail)?;
        let etag =
            stored.headers.get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let etag =
            etag.ok_or_else(|| fail(S3Error::garbled("the service took it without an ETag")))?;
        if !listed && !etag.trim_matches('"').eq_ignore_ascii_case(&payload.md5()) {
            let cause = "the service lists no parts of uploads and tells no MD5 of them: what it holds cannot be proven";
            return Err(fail(S3Error::garbled(cause)).with_kind(ErrorKind::Unsupported));
        }
        Ok(Sent { number, etag, bytes: payload.bytes() })
    }
}
