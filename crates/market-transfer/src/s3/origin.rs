//! An object as the origin of a stream: a transfer that breaks is resumed within the same object,
//! told by its ETag.

use super::transport::silent;
use super::{Bucket, S3Error};
use crate::{Error, ErrorKind, Opened, Options, Origin, RetryableError};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore};
use std::time::Duration;
use tokio::time::timeout;

pub(crate) struct S3Origin {
    bucket: Bucket,
    path: Path,
    subject: String,
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// What tells this object from another of the same key.
    etag: Option<String>,
    idle: Duration,
}

impl S3Origin {
    pub(crate) fn new(bucket: Bucket, key: &str, options: &Options) -> Result<Self, Error> {
        let (path, subject) = (bucket.path(key)?, bucket.subject(key));
        Ok(Self { bucket, path, subject, stream: None, etag: None, idle: options.idle_timeout })
    }

    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// What was not found is absent when the bucket says so, and something else otherwise.
    async fn missing(&self, failure: S3Error) -> RetryableError {
        match self.bucket.prove_absence(self.path.as_ref()).await {
            Ok(()) => self.attempt(S3Error { kind: ErrorKind::Absent, ..failure }),
            Err(other) => self.attempt(other),
        }
    }

    async fn get(&self, options: GetOptions) -> Result<GetResult, S3Error> {
        self.bucket.store().get_opts(&self.path, options).await.map_err(S3Error::from)
    }

    /// What follows an offset, when it is proven to be of the same object. `None` when nothing is
    /// proven: not every service knows ranges and conditions. Then the object is read from its
    /// start, and what was delivered already is compared.
    async fn rest(&self, at: u64, etag: &str) -> Result<Option<GetResult>, RetryableError> {
        let (range, if_match) = (Some(GetRange::Offset(at)), Some(etag.to_owned()));
        match self.get(GetOptions { range, if_match, ..GetOptions::default() }).await {
            Ok(result) if result.meta.e_tag.as_deref() == Some(etag) => Ok(Some(result)),
            Ok(result) if strong(&result).is_some() => Err(self.changed()),
            Ok(_) => Ok(None),
            Err(failure) if failure.status == Some(412) => Err(self.changed()),
            // An answer that is not the range which was asked for.
            Err(failure) if failure.status.is_none() && !failure.again => Ok(None),
            Err(failure) => Err(self.failed(failure).await),
        }
    }

    fn opened(&mut self, result: GetResult) -> Opened {
        let opened = Opened::new(result.range.start, result.meta.size);
        self.stream = Some(result.into_stream());
        opened
    }

    fn changed(&self) -> RetryableError {
        Error::new(ErrorKind::Changed, &self.subject, "changed between two requests").into()
    }

    async fn failed(&self, failure: S3Error) -> RetryableError {
        if failure.status == Some(404) {
            self.missing(failure).await
        } else {
            self.attempt(failure)
        }
    }

    fn attempt(&self, failure: S3Error) -> RetryableError {
        let (again, pause) = (failure.again, failure.pause);
        RetryableError { error: failure.about(&self.subject), again, pause }
    }
}

/// The ETag, unless it may be the same for two objects.
fn strong(result: &GetResult) -> Option<String> {
    result.meta.e_tag.clone().filter(|etag| !etag.starts_with("W/"))
}

impl Origin for S3Origin {
    async fn open(&mut self, at: u64) -> Result<Opened, RetryableError> {
        self.stream = None;
        let known = self.etag.clone().filter(|_| at > 0);
        if let Some(etag) = &known
            && let Some(rest) = self.rest(at, etag).await?
        {
            return Ok(self.opened(rest));
        }
        let result = match self.get(GetOptions::default()).await {
            Ok(result) => result,
            Err(failure) => return Err(self.failed(failure).await),
        };
        let etag = strong(&result);
        if known.is_some() && etag.is_some() && etag != known {
            return Err(self.changed());
        }
        self.etag = etag;
        Ok(self.opened(result))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match timeout(self.idle, stream.next()).await {
            Err(_) => Err(self.attempt(silent())),
            Ok(None) => Ok(None),
            Ok(Some(Ok(data))) => Ok(Some(data)),
            // Whatever went wrong in the middle may pass.
            Ok(Some(Err(error))) => {
                Err(RetryableError { again: true, ..self.attempt(error.into()) })
            }
        }
    }
}
