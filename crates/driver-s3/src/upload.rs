//! An upload in parts: nobody sees it before it is completed, and it is completed only when the service holds what was sent.
//!
//! Every part is signed with its SHA-256, which services check; when all are there, the service's own list of parts is compared
//! with what was sent.

use crate::completion::Completion;
use crate::listing;
use crate::market::error;
use crate::parts::PartSizes;
use crate::unfinished::{abort, create, create_bucket};
use bytes::Bytes;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::transfer::s3::{Bucket, Failure};
use market_core::transfer::{Piece, ZEROS, random_name};
use object_store::PutPayload;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use std::cell::Cell;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What the parts that are filled or under way may take together; a part that is larger takes what it takes, alone.
const IN_FLIGHT_BYTES: u64 = 64 << 20;

/// Less than this is copied: it may be a part of a buffer that is several times as large.
const LITTLE_BYTES: usize = 128 << 10;

/// An upload under way.
pub(crate) struct Upload {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) key: String,
    path: Path,
    pub(crate) id: String,
    pub(crate) mark: String,
    sizes: PartSizes,
    /// The part that is being filled.
    filling: Vec<Bytes>,
    filled: u64,
    /// Parts that were filled so far, and those under way.
    begun: u64,
    sending: JoinSet<Result<Sent, Error>>,
    in_flight: u64,
    pub(crate) sent: Vec<Sent>,
    pub(crate) completion: Cell<Completion>,
}

/// A part that the service has taken.
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) etag: String,
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

    pub(crate) fn error(&self, failure: Failure) -> Error {
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
