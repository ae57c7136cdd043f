//! Objects as sources: a transfer that breaks is resumed within the same object, told by its ETag.

use crate::access::Access;
use crate::bucket::Bucket;
use crate::error::S3Error;
use crate::object::ETag;
use crate::object_url::ObjectUrl;
use crate::transport::Response;
use market_transfer::{
    Bytes, Error, ErrorKind, Location, Opened, Options, Origin, RetryableError, Scheme, Source,
};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_MATCH, RANGE,
};

/// The scheme `s3` of sources: `s3://bucket/key` at one service.
///
/// ```no_run
/// use market_core::model::Secret;
/// use market_s3::{Access, S3Scheme};
/// use market_transfer::{Options, Source};
///
/// # async fn example() -> Result<(), market_transfer::Error> {
/// let access = Access::new("eu-north-1", "AKIA..", Secret::new("hunter2"));
/// let options = Options::default().with_scheme(S3Scheme::new(access));
/// let source = Source::open("s3://apps/marketapp-30", &options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct S3Scheme(Access);

impl S3Scheme {
    /// Objects of this service.
    pub fn new(access: Access) -> Self {
        Self(access)
    }
}

impl Scheme for S3Scheme {
    fn names(&self) -> &[&str] {
        &["s3"]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let url: ObjectUrl = location.as_str().parse()?;
        Bucket::new(&self.0, url.bucket(), options)?.open_object(url.key(), options).await
    }
}

impl Bucket {
    /// Opens an object as a source (`GetObject`).
    ///
    /// # Errors
    /// [`ErrorKind::Absent`] when the bucket itself says that it has no object of that key; whatever
    /// stands in the way otherwise.
    pub async fn open_object(&self, key: &str, options: &Options) -> Result<Source, Error> {
        let subject = self.subject(key);
        let origin = ObjectOrigin {
            bucket: self.clone(),
            key: key.to_owned(),
            subject: subject.clone(),
            response: None,
            etag: None,
        };
        Source::from_origin(origin, &subject, options).await
    }
}

struct ObjectOrigin {
    bucket: Bucket,
    key: String,
    subject: String,
    response: Option<Response>,
    /// What tells this object from another of the same key.
    etag: Option<ETag>,
}

/// What is there to read: an answer, where it begins, and the length of the whole object.
struct Answered {
    response: Response,
    start: u64,
    total: Option<u64>,
}

impl ObjectOrigin {
    /// What follows an offset, when it is proven to be of the same object. `None` when nothing is
    /// proven: not every service knows ranges and conditions. Then the object is read from its
    /// start, and what was delivered already is compared.
    async fn rest(&self, at: u64, etag: &ETag) -> Result<Option<Answered>, RetryableError> {
        let mut headers = HeaderMap::new();
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let (Some(range), Some(tag)) = (text(&format!("bytes={at}-")), text(etag.as_str())) else {
            return Ok(None);
        };
        headers.insert(RANGE, range);
        headers.insert(IF_MATCH, tag);
        let response = match self.bucket.get(&self.key, headers).await {
            Ok(response) => response,
            Err(failure) if failure.status() == Some(412) => return Err(self.changed()),
            Err(failure) => return Err(self.failed(failure).await),
        };
        match strong_etag(response.headers()) {
            Some(other) if other != *etag => Err(self.changed()),
            Some(_) => Ok(range_of(response.headers(), at)
                .filter(|_| response.status() == 206)
                .map(|total| Answered { response, start: at, total: Some(total) })),
            None => Ok(None),
        }
    }

    fn opened(&mut self, answered: Answered) -> Opened {
        let Answered { response, start, total } = answered;
        self.response = Some(response);
        Opened::new(start, total)
    }

    fn changed(&self) -> RetryableError {
        let cause = "changed between two requests";
        RetryableError::permanent(Error::new(ErrorKind::Changed, &self.subject, cause))
    }

    /// A failure; what was not found is absent when the bucket says so, and something else
    /// otherwise.
    async fn failed(&self, failure: S3Error) -> RetryableError {
        if failure.status() != Some(404) {
            return self.retryable(failure);
        }
        self.retryable(match self.bucket.prove_absence(&self.key).await {
            Ok(()) => failure.with_kind(ErrorKind::Absent),
            Err(other) => other,
        })
    }

    fn retryable(&self, failure: S3Error) -> RetryableError {
        let (retryable, pause) = (failure.is_retryable(), failure.retry_after());
        let error = failure.about(&self.subject);
        if retryable {
            RetryableError::temporary(error).with_pause(pause)
        } else {
            RetryableError::permanent(error)
        }
    }
}

impl Origin for ObjectOrigin {
    async fn open(&mut self, at: u64) -> Result<Opened, RetryableError> {
        self.response = None;
        let known = self.etag.clone().filter(|_| at > 0);
        if let Some(etag) = &known
            && let Some(rest) = self.rest(at, etag).await?
        {
            return Ok(self.opened(rest));
        }
        let response = match self.bucket.get(&self.key, HeaderMap::new()).await {
            Ok(response) => response,
            Err(failure) => return Err(self.failed(failure).await),
        };
        // Without a length a body that was cut off would pass for the whole object.
        let total = number(response.headers().get(CONTENT_LENGTH));
        if response.status() != 200 || total.is_none() {
            let cause = "the service does not tell how long the object is";
            return Err(self.retryable(S3Error::malformed_response(cause)));
        }
        let etag = strong_etag(response.headers());
        if known.is_some() && etag.is_some() && etag != known {
            return Err(self.changed());
        }
        self.etag = etag;
        Ok(self.opened(Answered { response, start: 0, total }))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        let Some(response) = &mut self.response else { return Ok(None) };
        response.chunk().await.map_err(|failure| self.retryable(failure))
    }
}

/// The ETag, unless it may be the same for two objects.
fn strong_etag(headers: &HeaderMap) -> Option<ETag> {
    headers.get(ETAG)?.to_str().ok().map(ETag::new).filter(|etag| !etag.is_weak())
}

/// The length of the whole object, when the answer is the rest of it from an offset on:
/// `bytes 5-9/10`.
fn range_of(headers: &HeaderMap, at: u64) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.trim().parse::<u64>().ok()?, end.trim().parse::<u64>().ok()?);
    let total = total.trim().parse::<u64>().ok()?;
    (start == at && end.checked_add(1) == Some(total)).then_some(total)
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_of_an_object_is_taken_for_it() {
        let total = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, HeaderValue::from_static(text));
            range_of(&headers, 5)
        };
        assert_eq!(total("bytes 5-9/10"), Some(10));
        for other in ["bytes 4-9/10", "bytes 5-8/10", "bytes 5-9/*", "bytes */10", "5-9/10", ""] {
            assert_eq!(total(other), None, "{other}");
        }
        assert_eq!(total("bytes 5-18446744073709551615/0"), None);
    }
}
