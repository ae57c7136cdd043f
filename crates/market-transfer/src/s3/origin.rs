//! An object as the origin of a stream: a transfer that breaks is resumed within the same object, told by its ETag.

use super::gate::silent;
use super::{Bucket, Failure};
use crate::resume::{Attempt, Opened, Origin};
use crate::{Error, ErrorKind, Options};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
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
    async fn missing(&self, failure: Failure) -> Attempt {
        match self.bucket.prove_absence(self.path.as_ref()).await {
            Ok(()) => self.attempt(Failure { kind: ErrorKind::Absent, ..failure }),
            Err(other) => self.attempt(other),
        }
    }

    fn attempt(&self, failure: Failure) -> Attempt {
        let (again, pause) = (failure.again, failure.pause);
        Attempt { error: failure.about(&self.subject), again, pause }
    }
}

impl Origin for S3Origin {
    async fn open(&mut self, at: u64) -> Result<Opened, Attempt> {
        self.stream = None;
        let resumed = self.etag.clone().filter(|_| at > 0);
        let range = resumed.is_some().then_some(GetRange::Offset(at));
        let options = GetOptions { range, if_match: resumed.clone(), ..GetOptions::default() };
        let changed = || Attempt::from(Error::new(ErrorKind::Changed, &self.subject, "changed between two requests"));
        let result = match self.bucket.store().get_opts(&self.path, options).await.map_err(Failure::from) {
            Ok(result) => result,
            Err(failure) if failure.status == Some(412) => return Err(changed()),
            Err(failure) if failure.status == Some(404) => return Err(self.missing(failure).await),
            Err(failure) => return Err(self.attempt(failure)),
        };
        // A service may know no conditions.
        if resumed.is_some() && result.meta.e_tag != resumed {
            return Err(changed());
        }
        // A weak one may be the same for two objects.
        self.etag = result.meta.e_tag.clone().filter(|etag| !etag.starts_with("W/"));
        let opened = Opened { start: result.range.start, total: Some(result.meta.size) };
        self.stream = Some(result.into_stream());
        Ok(opened)
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Attempt> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match timeout(self.idle, stream.next()).await {
            Err(_) => Err(self.attempt(silent())),
            Ok(None) => Ok(None),
            Ok(Some(Ok(data))) => Ok(Some(data)),
            // Whatever went wrong in the middle may pass.
            Ok(Some(Err(error))) => Err(Attempt { again: true, ..self.attempt(error.into()) }),
        }
    }
}
