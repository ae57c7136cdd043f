//! The bytes of an import on their way to the service, in parts: nobody sees them before the upload
//! is completed, and it is completed only when the service holds what was sent.
//!
//! Every part is signed with its SHA-256 and goes with its MD5, which services verify; when all are
//! there, the service's own list of parts is compared with what was sent. A service that lists no
//! parts must tell the MD5 of each. One that knows no multipart uploads gets the object in one
//! request, from memory.

use crate::config::UploadConfig;
use crate::failure::{error, is_bucket_missing};
use crate::uploads::{Uploads, abort};
use bytes::Bytes;
use market_core::backend::Length;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::transfer::{Piece, ZEROS, random_name};
use market_s3::{
    Bucket, ListedPart, MAX_PART_BYTES, ObjectOptions, Part, PartSizes, Payload, S3Error,
};
use tokio::task::{JoinError, JoinSet};

/// What the parts that are filled or on their way may take together, in bytes of memory; a part
/// that is larger takes what it takes, alone.
const MAX_IN_FLIGHT_BYTES: u64 = 64 << 20;

/// The largest object that goes in one request: it is in memory.
const MAX_WHOLE_BYTES: u64 = 64 << 20;

/// Data of fewer bytes is copied: it may be a part of a buffer that is several times as large, all
/// of which it would keep.
const MIN_SHARED_BYTES: usize = 128 << 10;

/// The metadata by which it is known which import made an object (`x-amz-meta-market-import`).
pub(crate) const IMPORT_MARK: &str = "market-import";

/// How the bytes go to the service.
pub(crate) enum Method {
    /// In parts of the upload of this id; whether the service lists them.
    Parts { id: String, listed: bool },
    /// In one request, once they are all here.
    Whole(Option<Payload>),
}

/// An object that is being sent.
pub(crate) struct Writer {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
    pub(crate) config: UploadConfig,
    /// What the object is stored with, its mark too.
    pub(crate) object: ObjectOptions,
    /// The value of [`IMPORT_MARK`].
    pub(crate) mark: String,
    pub(crate) method: Method,
    /// The parts that the service has taken.
    pub(crate) parts: Vec<Part>,
    sizes: PartSizes,
    /// The part before which it must be known how many the service allows.
    limit_needed_at: Option<u64>,
    /// The part that is being filled.
    filling: Vec<Bytes>,
    filled_bytes: u64,
    /// How many parts have been filled, and those on their way.
    filled_parts: u64,
    sending: JoinSet<Result<Part, Error>>,
    in_flight_bytes: u64,
}

impl Writer {
    /// Creates the upload; makes the bucket when it is missing.
    pub(crate) async fn new(
        bucket: Bucket,
        key: String,
        length: Length,
        config: UploadConfig,
    ) -> Result<Self, Error> {
        let mark = random_name::<16>()
            .map_err(|error| Error::io("the system's random numbers", &error))?;
        let object = config.object.clone().with_metadata(IMPORT_MARK, &mark).map_err(|error| {
            Error::new(ErrorKind::Failed, "the mark of the import", error.to_string())
        })?;
        let UploadConfig { part_bytes, max_parts, stop, log, .. } = config.clone();
        let uploads =
            Uploads { bucket: &bucket, key: &key, object: &object, stop: &stop, log: &log };
        let method = match create_upload(&uploads).await? {
            Some((id, listed)) => Method::Parts { id, listed },
            None => Method::Whole(None),
        };
        let in_parts = matches!(method, Method::Parts { .. });
        if !in_parts && exact(length).is_some_and(|bytes| bytes > MAX_WHOLE_BYTES) {
            return Err(too_large_for_one_request(&bucket, &key));
        }
        let sizes = PartSizes::new(length, part_bytes, max_parts.unwrap_or(u64::MAX));
        let limit_needed_at =
            sizes.limit_needed_at(expected(length)).filter(|_| in_parts && max_parts.is_none());
        let mut writer = Self {
            bucket,
            key,
            config,
            object,
            mark,
            method,
            parts: Vec::new(),
            sizes,
            limit_needed_at,
            filling: Vec::new(),
            filled_bytes: 0,
            filled_parts: 0,
            sending: JoinSet::new(),
            in_flight_bytes: 0,
        };
        match writer.plan(length).await {
            Ok(()) => Ok(writer),
            Err(error) => {
                if let Err(left) = writer.abort().await {
                    log.warn(format_args!("an upload is left ({left}); gc finds it"));
                }
                Err(error)
            }
        }
    }

    /// Sees to it that an object of known length fits into the parts that the service allows.
    async fn plan(&mut self, length: Length) -> Result<(), Error> {
        if self.limit_needed_at == Some(0) {
            let max_parts = self.find_max_parts().await?;
            self.sizes = PartSizes::new(length, self.config.part_bytes, max_parts);
        }
        let max_parts = self.sizes.max_parts();
        let largest = max_parts.saturating_mul(MAX_PART_BYTES);
        let in_parts = matches!(self.method, Method::Parts { .. });
        if in_parts && exact(length).is_some_and(|bytes| bytes > largest) {
            let cause = format!("does not fit into the {max_parts} parts that the service allows");
            return Err(Error::new(ErrorKind::Full, self.bucket.subject(&self.key), cause));
        }
        Ok(())
    }

    async fn find_max_parts(&mut self) -> Result<u64, Error> {
        self.limit_needed_at = None;
        let own = if let Method::Parts { id, .. } = &self.method { id.as_str() } else { "" };
        let Self { bucket, key, object, config, .. } = &*self;
        let uploads = Uploads { bucket, key, object, stop: &config.stop, log: &config.log };
        let max_parts = uploads.find_max_parts(own).await?;
        if max_parts < self.sizes.max_parts() {
            config.log.info(format_args!("the service allows {max_parts} parts of an upload"));
        }
        Ok(max_parts)
    }

    pub(crate) fn error(&self, failure: S3Error) -> Error {
        error(&self.bucket, &self.key, failure)
    }

    /// The size of the part that is being filled.
    fn part_bytes(&self) -> Result<u64, Error> {
        if let Method::Whole(_) = self.method {
            return Ok(MAX_WHOLE_BYTES);
        }
        self.sizes.bytes(self.filled_parts).ok_or_else(|| {
            let max_parts = self.sizes.max_parts();
            let cause = format!("has more than the {max_parts} parts that the service allows");
            Error::new(ErrorKind::Full, self.bucket.subject(&self.key), cause)
                .remedy("set READ_LENGTH to a larger size")
        })
    }

    /// Appends a piece.
    pub(crate) async fn write(&mut self, mut piece: Piece) -> Result<(), Error> {
        while !piece.is_empty() {
            if self.limit_needed_at == Some(self.filled_parts) {
                let max_parts = self.find_max_parts().await?;
                self.sizes = self.sizes.with_max_parts(max_parts);
            }
            let part_bytes = self.part_bytes()?;
            let room = part_bytes - self.filled_bytes;
            if room == 0 {
                return Err(too_large_for_one_request(&self.bucket, &self.key));
            }
            let taken = take(&mut piece, room);
            self.filled_bytes += taken.len() as u64;
            self.filling.push(taken);
            let full = self.filled_bytes == part_bytes;
            if full && matches!(self.method, Method::Parts { .. }) {
                self.send().await?;
            }
        }
        // What has failed is to be known at once.
        while let Some(ended) = self.sending.try_join_next() {
            self.add_part(ended)?;
        }
        Ok(())
    }

    /// Sends the part that is filled, and waits until there is memory for the next one.
    async fn send(&mut self) -> Result<(), Error> {
        let (bytes, number) = (std::mem::take(&mut self.filled_bytes), self.filled_parts + 1);
        let pieces = std::mem::take(&mut self.filling);
        let Method::Parts { id, listed } = &self.method else { return Ok(()) };
        let part = OutgoingPart {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            id: id.clone(),
            number,
            listed: *listed,
        };
        self.filled_parts += 1;
        self.in_flight_bytes += bytes;
        self.sending.spawn(part.send(pieces));
        let next = self.sizes.bytes(self.filled_parts).unwrap_or_default();
        let max_bytes = MAX_IN_FLIGHT_BYTES.max(next);
        while self.in_flight_bytes > 0 && self.in_flight_bytes + next > max_bytes {
            self.wait_for_part().await?;
        }
        Ok(())
    }

    async fn wait_for_part(&mut self) -> Result<(), Error> {
        match self.sending.join_next().await {
            Some(ended) => self.add_part(ended),
            None => Ok(()),
        }
    }

    fn add_part(&mut self, ended: Result<Result<Part, Error>, JoinError>) -> Result<(), Error> {
        let part = ended.map_err(|_| {
            Error::new(ErrorKind::Failed, self.bucket.subject(&self.key), "a part was given up")
        })??;
        self.in_flight_bytes -= part.bytes;
        self.parts.push(part);
        Ok(())
    }

    /// Sends what is left, and waits until the service has taken everything.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        if let Method::Whole(payload) = &mut self.method {
            *payload = Some(Payload::new(std::mem::take(&mut self.filling)).await);
            return Ok(());
        }
        if self.filled_bytes > 0 {
            self.send().await?;
        }
        while !self.sending.is_empty() {
            self.wait_for_part().await?;
        }
        self.parts.sort_by_key(|part| part.number);
        Ok(())
    }

    /// Compares what the service says that it holds with what was sent; the bytes that it holds.
    pub(crate) async fn prove(&self) -> Result<u64, Error> {
        match &self.method {
            // The service compares it with its MD5 before it becomes an object.
            Method::Whole(_) => {}
            // The service has told the MD5 of each part.
            Method::Parts { listed: false, .. } => {}
            Method::Parts { id, listed: true } => {
                // Until it is completed, it can still be given up.
                let listed = self.config.stop.or(async {
                    let listed = self.bucket.list_parts(&self.key, id).await;
                    listed.map_err(|failure| self.error(failure))
                });
                self.compare(&listed.await?)?;
            }
        }
        Ok(self.bytes())
    }

    /// The bytes that were sent.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.method {
            Method::Whole(payload) => payload.as_ref().map_or(0, Payload::bytes),
            Method::Parts { .. } => self.parts.iter().map(|part| part.bytes).sum(),
        }
    }

    fn compare(&self, listed: &[ListedPart]) -> Result<(), Error> {
        let mismatch = |cause: String| {
            let error = Error::new(ErrorKind::Mismatch, self.bucket.subject(&self.key), cause);
            Err(error.remedy("nothing was published; import again"))
        };
        let (held, sent) = (listed.len(), self.parts.len());
        if held != sent {
            return mismatch(format!("the service holds {held} parts of {sent}"));
        }
        for (held, sent) in listed.iter().zip(&self.parts) {
            let number = sent.number;
            if held.number != number || held.bytes != sent.bytes {
                return mismatch(format!(
                    "the service holds part {number} with another size than was sent"
                ));
            }
            if held.etag != sent.etag {
                return mismatch(format!("the service holds another part {number} than it took"));
            }
        }
        Ok(())
    }

    /// Gives the upload up.
    pub(crate) async fn abort(mut self) -> Result<(), Error> {
        let parts_on_their_way = !self.sending.is_empty();
        self.sending.shutdown().await;
        let Method::Parts { id, .. } = &self.method else { return Ok(()) };
        abort(&self.bucket, &self.key, id, parts_on_their_way, Some(&self.config.stop))
            .await
            .map(drop)
    }
}

fn exact(length: Length) -> Option<u64> {
    if let Length::Exact(bytes) = length { Some(bytes) } else { None }
}

fn expected(length: Length) -> Option<u64> {
    if let Length::Hint(bytes) = length { Some(bytes) } else { exact(length) }
}

/// Takes at most so many bytes of a piece.
fn take(piece: &mut Piece, max_bytes: u64) -> Bytes {
    match piece {
        Piece::Data(data) => {
            let taken = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(data.len());
            let data = data.split_to(taken);
            if taken < MIN_SHARED_BYTES { Bytes::copy_from_slice(&data) } else { data }
        }
        Piece::Hole(length) => {
            // Zeros of one place in memory, however many.
            let taken = max_bytes.min(*length).min(ZEROS.len() as u64);
            *length -= taken;
            let zeros = Bytes::from_static(&ZEROS);
            zeros.slice(..usize::try_from(taken).unwrap_or(zeros.len()))
        }
    }
}

/// Creates a multipart upload, and sees whether its parts are listed: what the proof will need in
/// the end is to be known now. `None` when the service knows no such uploads.
async fn create_upload(uploads: &Uploads<'_>) -> Result<Option<(String, bool)>, Error> {
    let Uploads { bucket, key, stop, log, .. } = uploads;
    let created = match uploads.create(&[]).await? {
        Err(failure) if is_bucket_missing(bucket, &failure) => {
            stop.or(create_bucket(bucket, log)).await?;
            uploads.create(&[]).await?
        }
        created => created,
    };
    let id = match created {
        Err(failure) if failure.is_unsupported_request() => {
            log.warn(format_args!(
                "the service takes no uploads in parts ({failure}): the object goes in one request"
            ));
            return Ok(None);
        }
        created => created.map_err(|failure| error(bucket, key, failure))?,
    };
    match stop.or(lists_parts(bucket, key, &id)).await {
        Ok(listed) => {
            if !listed {
                log.warn(
                    "the service does not list the parts of uploads: it must tell the MD5 of each",
                );
            }
            Ok(Some((id, listed)))
        }
        Err(error) => {
            uploads.abort_or_warn(&id, false).await;
            Err(error)
        }
    }
}

/// Whether the service lists the parts of an upload.
async fn lists_parts(bucket: &Bucket, key: &str, id: &str) -> Result<bool, Error> {
    match bucket.list_parts(key, id).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_no_such_upload() || !failure.is_unsupported_list_of_parts() => {
            let error = error(bucket, key, failure);
            let subject = format!("the parts of {}", error.subject);
            Err(error.with_subject(subject))
        }
        Err(_) => Ok(false),
    }
}

async fn create_bucket(bucket: &Bucket, log: &Log) -> Result<(), Error> {
    match bucket.create_bucket().await {
        Ok(()) => log.info(format_args!("the bucket {} was made", bucket.name())),
        // Somebody was faster, or an answer was lost. Whether it can be used shows next.
        Err(failure) if failure.status() == Some(409) => {}
        Err(failure) => return Err(error(bucket, "", failure)),
    }
    Ok(())
}

fn too_large_for_one_request(bucket: &Bucket, key: &str) -> Error {
    let cause = "the service takes no uploads in parts, and what has more than 64 MiB is not sent in one request";
    Error::new(ErrorKind::Unsupported, bucket.subject(key), cause)
}

/// A part on its way.
struct OutgoingPart {
    bucket: Bucket,
    key: String,
    id: String,
    number: u64,
    listed: bool,
}

impl OutgoingPart {
    async fn send(self, pieces: Vec<Bytes>) -> Result<Part, Error> {
        let Self { bucket, key, id, number, listed } = self;
        let payload = Payload::new(pieces).await;
        let fail = |failure| {
            let error = error(&bucket, &key, failure);
            let subject = format!("part {number} of {}", error.subject);
            error.with_subject(subject)
        };
        let part = bucket
            .retried(|| bucket.upload_part(&key, &id, number, &payload))
            .await
            .map_err(fail)?;
        if !listed && !part.etag.is_md5_of(&payload) {
            let cause = "the service lists no parts of uploads and tells no MD5 of them: what it holds cannot be proven";
            let error = fail(S3Error::malformed_response(cause));
            return Err(error.with_kind(ErrorKind::Unsupported));
        }
        Ok(part)
    }
}
