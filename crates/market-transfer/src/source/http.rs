//! `http://` and `https://`: a URL as the origin of a stream.
//!
//! A transfer that breaks is resumed with `Range` and `If-Range` where the answer proves that it is
//! a part of the same object; otherwise it begins again.

use super::origin::{Opened, Origin};
use crate::client::{client, failure};
use crate::retry::{RetryableError, of_http_status, parse_retry_after};
use crate::{Error, HttpStatus, Location, Options, Scheme, Source};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use std::time::{Duration, SystemTime};

/// `http://` and `https://`.
pub(crate) struct HttpScheme;

impl Scheme for HttpScheme {
    fn names(&self) -> &[&str] {
        &["http", "https"]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let subject = location.to_string();
        let origin = HttpOrigin::new(location.as_str(), &subject, options)?;
        Source::from_origin(origin, &subject, options).await
    }
}

struct HttpOrigin {
    client: Client,
    url: String,
    subject: String,
    response: Option<Response>,
    /// What a part of this object must prove.
    identity: Option<Identity>,
}

impl HttpOrigin {
    fn new(url: &str, subject: &str, options: &Options) -> Result<Self, Error> {
        let client =
            client(options, subject, |builder| builder.read_timeout(options.idle_timeout))?;
        let (url, subject) = (url.to_owned(), subject.to_owned());
        Ok(Self { client, url, subject, response: None, identity: None })
    }

    /// Asks for all of it, or for what follows an offset.
    async fn ask(&self, from: Option<(u64, &Identity)>) -> Result<Response, RetryableError> {
        // Bytes are stored as they are: nothing may be encoded on the way.
        let mut request = self.client.get(&self.url).header(ACCEPT_ENCODING, "identity");
        if let Some((at, identity)) = from {
            request = request
                .header(RANGE, format!("bytes={at}-"))
                .header(IF_RANGE, identity.validator.value().clone());
        }
        request.send().await.map_err(|error| failure(&self.subject, &error))
    }

    /// The whole object, as an answer to whatever was asked.
    fn whole(&mut self, response: Response) -> Opened {
        self.identity = Identity::of_whole(&response);
        let total = response.content_length();
        self.response = Some(response);
        Opened::new(0, total)
    }
}

impl Origin for HttpOrigin {
    async fn open(&mut self, at: u64) -> Result<Opened, RetryableError> {
        self.response = None;
        if let (true, Some(identity)) = (at > 0, &self.identity) {
            let response = self.ask(Some((at, identity))).await?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    if let Some(total) = identity.continued_by(&response, at) {
                        self.response = Some(response);
                        return Ok(Opened::new(at, total));
                    }
                }
                StatusCode::OK => return Ok(self.whole(response)),
                // Nothing is there: another object, or one that was complete already when the
                // connection broke.
                StatusCode::RANGE_NOT_SATISFIABLE => {}
                _ => return Err(refusal(&self.subject, &self.url, &response, at)),
            }
        }
        // What proves nothing is not used: all of it is read again, and compared as far as it is
        // known.
        let response = self.ask(None).await?;
        if response.status() == StatusCode::OK {
            return Ok(self.whole(response));
        }
        Err(refusal(&self.subject, &self.url, &response, at))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        let Some(response) = &mut self.response else { return Ok(None) };
        response.chunk().await.map_err(|error| {
            // Whatever went wrong in the middle may pass.
            RetryableError { again: true, ..failure(&self.subject, &error) }
        })
    }
}

/// What tells an object from any other. A part of an object with an equal one is a part of the same
/// bytes.
struct Identity {
    validator: Validator,
    /// ETags and times are those of one URL: another mirror's tell nothing.
    place: Url,
    encoding: Option<HeaderValue>,
    total: Option<u64>,
}

#[derive(PartialEq, Eq)]
enum Validator {
    /// A strong ETag.
    Etag(HeaderValue),
    /// A modification time, where there is no ETag.
    Modified(HeaderValue),
}

impl Validator {
    fn of(headers: &HeaderMap) -> Option<Self> {
        match headers.get(ETAG) {
            Some(_) => only(headers, &ETAG).filter(is_strong).map(Self::Etag),
            None => only(headers, &LAST_MODIFIED).map(Self::Modified),
        }
    }

    fn value(&self) -> &HeaderValue {
        match self {
            Self::Etag(value) | Self::Modified(value) => value,
        }
    }

    /// Whether two versions of an object cannot share it: two that were made within a second, or by
    /// clocks that differ, may have one modification time.
    fn is_proof(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Etag(_) => true,
            Self::Modified(modified) => {
                let time =
                    |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
                let age = only(headers, &DATE)
                    .and_then(|date| time(&date)?.duration_since(time(modified)?).ok());
                age.is_some_and(|age| age >= SETTLED)
            }
        }
    }
}

/// What was modified so long before it was sent has no other version of that time (RFC 9110,
/// 8.8.2.2, asks for one second).
const SETTLED: Duration = Duration::from_secs(60);

impl Identity {
    fn of_whole(response: &Response) -> Option<Self> {
        let headers = response.headers();
        let validator = Validator::of(headers).filter(|validator| validator.is_proof(headers))?;
        let total = response.content_length();
        // A time alone says little: the length must agree as well.
        if total.is_none() && matches!(validator, Validator::Modified(_)) {
            return None;
        }
        Some(Self {
            validator,
            place: place(response.url().clone()),
            encoding: encoding(headers),
            total,
        })
    }

    /// The length of the whole object, when an answer is the part of it that begins at an offset.
    fn continued_by(&self, response: &Response, at: u64) -> Option<u64> {
        let headers = response.headers();
        let same = Validator::of(headers).as_ref() == Some(&self.validator)
            && place(response.url().clone()) == self.place
            && encoding(headers) == self.encoding
            && !is_multipart(headers);
        let (start, end, total) = content_range(headers)?;
        let fits = start == at
            && (start..total).contains(&end)
            && self.total.is_none_or(|before| before == total)
            && response.content_length().is_none_or(|length| length == end - start + 1);
        (same && fits).then_some(total)
    }
}

/// A header that stands there once.
fn only(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).cloned()
}

fn is_strong(etag: &HeaderValue) -> bool {
    matches!(etag.as_bytes(), [b'"', .., b'"'])
}

/// A URL without what changes from one signature to the next.
fn place(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    // Only a URL without a host has neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn encoding(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get(CONTENT_ENCODING)
        .filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        .cloned()
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
}

/// The first byte, the last one, and the total length of `bytes 5-9/10`. Without a total, a server
/// that sends less than the rest would pass for the end.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = only(headers, &CONTENT_RANGE)?;
    let (range, total) = text.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, end.trim().parse().ok()?, total.trim().parse().ok()?))
}

/// The failure that a response stands for which is no answer to a request for `url`. The refusal of
/// one mirror says nothing about the next, and what was there a moment ago (`at` bytes of it were
/// read) should be there again: both are tried again, as `curl --retry-all-errors` does.
pub(crate) fn refusal(subject: &str, url: &str, response: &Response, at: u64) -> RetryableError {
    let status = response.status();
    let redirected =
        Url::parse(url).map(place).ok().as_ref() != Some(&place(response.url().clone()));
    let (kind, temporary) = of_http_status(status.as_u16());
    let pause = response.headers().get(RETRY_AFTER);
    let pause = pause.and_then(|value| parse_retry_after(value.to_str().ok()?, SystemTime::now()));
    let who = if redirected { "the server that it redirects to" } else { "the server" };
    let error = Error::new(kind, subject, format!("{who} answered {status}"))
        .with_source(HttpStatus(status.as_u16()));
    RetryableError { error, again: temporary || redirected || at > 0, pause }
}
