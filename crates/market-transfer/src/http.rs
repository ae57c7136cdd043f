//! An http(s) URL as the origin of a stream.
//!
//! A transfer that breaks is resumed with `Range` and `If-Range` when the server gave a strong validator, so that it continues
//! only within the same object; otherwise it begins again.

use crate::resume::{Attempt, Opened, Origin};
use crate::{Error, ErrorKind, Options};
use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, Response, StatusCode};
use std::time::Duration;

pub(crate) struct HttpOrigin {
    client: Client,
    url: String,
    subject: String,
    response: Option<Response>,
    /// What tells this object from another at the same URL.
    validator: Option<HeaderValue>,
}

impl HttpOrigin {
    pub(crate) fn new(url: String, subject: String, options: &Options) -> Result<Self, Error> {
        let client = client(options, &subject, |builder| builder.read_timeout(options.idle_timeout))?;
        Ok(Self { client, url, subject, response: None, validator: None })
    }

    async fn request(&self, at: u64) -> Result<Response, Attempt> {
        // Bytes are stored as they are: nothing may be encoded on the way.
        let mut request = self.client.get(&self.url).header(ACCEPT_ENCODING, "identity");
        if let (true, Some(validator)) = (at > 0, &self.validator) {
            request = request.header(RANGE, format!("bytes={at}-")).header(IF_RANGE, validator.clone());
        }
        let response = request.send().await.map_err(|error| failure(&self.subject, &error))?;
        let status = response.status();
        if status == StatusCode::OK || (at > 0 && status == StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        Err(refusal(&self.subject, status, response.headers()))
    }

    /// Where a partial answer continues, and how long the object is.
    fn partial(&self, headers: &HeaderMap) -> Result<Opened, Error> {
        let changed = |cause| Error::new(ErrorKind::Changed, &self.subject, cause);
        let (start, total) =
            content_range(headers).ok_or_else(|| changed("resumed with a Content-Range that cannot be read"))?;
        if start == 0 {
            return Err(changed("resumed at another place than asked for"));
        }
        if validator(headers).is_some_and(|now| Some(now) != self.validator) {
            return Err(changed("changed between two requests"));
        }
        // Without a total, a server that sends less than the rest would pass for the end.
        let total = total.ok_or_else(|| changed("resumed without saying how long it is"))?;
        Ok(Opened { start, total: Some(total) })
    }
}

impl Origin for HttpOrigin {
    async fn open(&mut self, at: u64) -> Result<Opened, Attempt> {
        self.response = None;
        let response = self.request(at).await?;
        let opened = if response.status() == StatusCode::PARTIAL_CONTENT {
            self.partial(response.headers())?
        } else {
            self.validator = validator(response.headers());
            Opened { start: 0, total: response.content_length() }
        };
        self.response = Some(response);
        Ok(opened)
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Attempt> {
        let Some(response) = &mut self.response else { return Ok(None) };
        response.chunk().await.map_err(|error| {
            // Whatever went wrong in the middle may pass.
            Attempt { again: true, ..failure(&self.subject, &error) }
        })
    }
}

/// A client with these options, and whatever else the caller needs.
pub(crate) fn client(
    options: &Options,
    subject: &str,
    adjust: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, Error> {
    // Somebody else in the process may have chosen a provider already; theirs is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authorities = match &options.tls_ca {
        None => Vec::new(),
        Some(path) => {
            let shown = path.to_string_lossy();
            let pem = std::fs::read(path).map_err(|error| Error::io(&*shown, &error))?;
            Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| Error::new(ErrorKind::Malformed, &*shown, "holds no PEM certificate"))?
        }
    };
    let builder = || {
        let builder = Client::builder()
            .connect_timeout(options.connect_timeout)
            .user_agent(options.user_agent.as_str())
            .tls_danger_accept_invalid_certs(options.tls_insecure)
            .tls_certs_merge(authorities.clone());
        adjust(builder)
    };
    // Without any certificate on the machine no client can be built that verifies; plain http needs none.
    let client = builder().build().or_else(|_| builder().tls_certs_only(authorities.clone()).build());
    client.map_err(|error| failure(subject, &error).error)
}

/// A strong ETag. A modification time is none: two versions of one second would pass for one.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned()
}

/// The first byte and the total length of `bytes 5-9/10`; the total may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

/// A request that did not get through.
pub(crate) fn failure(subject: &str, error: &reqwest::Error) -> Attempt {
    let untrusted = !error.is_timeout() && root_cause(error).contains("certificate");
    let (kind, again) = if untrusted {
        (ErrorKind::Untrusted, false)
    } else if error.is_builder() {
        (ErrorKind::Malformed, false)
    } else if error.is_redirect() {
        (ErrorKind::Unreachable, false)
    } else {
        (ErrorKind::Unreachable, true)
    };
    let cause = if error.is_redirect() {
        "redirects without end".to_owned()
    } else if error.is_timeout() {
        if error.is_connect() { "did not accept a connection in time" } else { "was silent for too long" }.to_owned()
    } else {
        root_cause(error)
    };
    Attempt { error: Error::new(kind, subject, cause), again, pause: None }
}

/// The innermost cause: the outer ones repeat the URL, which may hold a password.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the transfer failed".to_owned(),
        None => cause.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
    }
}

/// A response that is none.
pub(crate) fn refusal(subject: &str, status: StatusCode, headers: &HeaderMap) -> Attempt {
    let again =
        status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::Absent,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            ErrorKind::Denied
        }
        _ => ErrorKind::Unreachable,
    };
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let cause = format!("the server answered {status}");
    Attempt { error: Error::new(kind, subject, cause), again, pause: seconds.map(Duration::from_secs) }
}
