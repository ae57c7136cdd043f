//! The one way in which requests leave for an S3 service.
//!
//! Requests are signed here. Silence is bounded in both directions, answers that are read at once
//! are bounded in size and time, nothing is redirected, and every refusal becomes an [`S3Error`].

use crate::access::Access;
use crate::error::{Reason, S3Error};
use crate::payload::Payload;
use crate::progress::{Progress, TimedOut};
use crate::redactor::Redactor;
use crate::sign::Signer;
use bytes::Bytes;
use market_transfer::{Error, ErrorKind, Options, client, find_cause, redacted_line};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, redirect};
use rustls::CertificateError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;
use url::Url;

/// The longest answer that is read at once: a page of a thousand keys of a thousand characters,
/// encoded.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The longest refusal that is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// An answer that is read at once may take so many times the idle time-out.
const ANSWER_IDLE_TIMEOUTS: u32 = 4;

/// A request before it is signed. The query of its URL is sorted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// An answer of success, read to its end: at most 16 MiB.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer of success whose body has not been read.
pub(crate) struct Response {
    response: reqwest::Response,
    idle_timeout: Duration,
}

#[derive(Clone)]
pub(crate) struct Transport {
    client: Client,
    signer: Signer,
    idle_timeout: Duration,
    redactor: Arc<Redactor>,
}

impl Transport {
    pub(crate) fn new(access: &Access, options: &Options, subject: &str) -> Result<Self, Error> {
        // Silence is watched here: a client's own limit would count the time that a body takes to
        // be sent.
        let client =
            client::client(options, subject, |builder| builder.redirect(redirect::Policy::none()))?;
        Ok(Self {
            client,
            signer: Signer::new(access),
            idle_timeout: options.idle_timeout,
            redactor: Arc::new(Redactor::of(access)),
        })
    }

    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Sends a request once, and reads the whole answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Answer, S3Error> {
        let response = self.send(request).await?;
        let headers = response.headers().clone();
        Ok(Answer { headers, body: response.read(MAX_ANSWER_BYTES).await? })
    }

    /// Sends a request once; the body of the answer is still to be read.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, S3Error> {
        let Request { method, url, mut headers, payload } = request;
        self.signer
            .sign(&method, &url, &mut headers, payload.sha256(), SystemTime::now())
            .map_err(|error| {
                S3Error::new(ErrorKind::Malformed, "the request cannot be signed")
                    .with_source(error)
            })?;
        if matches!(method, Method::PUT | Method::POST) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.bytes()));
        }
        let progress = Progress::new();
        let body = reqwest::Body::wrap(payload.into_body(progress.clone()));
        let sent = self.client.request(method, url).headers(headers).body(body).send();
        let response = progress
            .watch(self.idle_timeout, sent)
            .await
            .map_err(|TimedOut| silent())?
            .map_err(unanswered)?;
        let response = Response { response, idle_timeout: self.idle_timeout };
        let status = response.response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(self.refusal(status, response).await)
    }

    async fn refusal(&self, status: StatusCode, response: Response) -> S3Error {
        let headers = response.headers().clone();
        let body = response.read(MAX_REFUSAL_BYTES).await.unwrap_or_default();
        S3Error::refused(status, &headers, &body, &self.redactor)
    }
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next bytes of the body; whatever goes wrong in the middle of it may pass.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, S3Error> {
        match timeout(self.idle_timeout, self.response.chunk()).await {
            Err(_) => Err(silent()),
            Ok(chunk) => chunk.map_err(|error| unanswered(error).retryable()),
        }
    }

    /// The whole body, or an error when it is too long, or stops, or never ends.
    async fn read(mut self, max_bytes: usize) -> Result<Bytes, S3Error> {
        let limit = self.idle_timeout * ANSWER_IDLE_TIMEOUTS;
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk().await? {
                if body.len() + chunk.len() > max_bytes {
                    return Err(S3Error::malformed_response("the service's answer is too long"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body.into())
        };
        timeout(limit, read).await.unwrap_or_else(|_| Err(silent()))
    }
}

fn silent() -> S3Error {
    S3Error::indeterminate("was silent for too long")
}

/// A request without an answer.
fn unanswered(error: reqwest::Error) -> S3Error {
    let failure = match find_cause(&error) {
        Some(rustls::Error::InvalidCertificate(certificate)) => untrusted(certificate),
        _ => {
            let retryable = client::failure("", &error);
            let reason = if error.is_connect() { Reason::NoConnection } else { Reason::Other };
            let temporary = retryable.is_temporary();
            let Error { kind, cause, .. } = retryable.into_error();
            let failure = S3Error::new(kind, cause).with_reason(reason);
            if temporary { failure.retryable() } else { failure }
        }
    };
    // The URL is the subject's matter, which shows it without secrets.
    failure.with_source(error.without_url())
}

fn untrusted(certificate: &CertificateError) -> S3Error {
    let (kind, reason, cause) = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (ErrorKind::Unreachable, Reason::ExpiredCertificate, "its certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (ErrorKind::Unreachable, Reason::ExpiredCertificate, "its certificate is not valid yet")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            ErrorKind::Malformed,
            Reason::CertificateOfOtherHost,
            "its certificate is for another host name",
        ),
        CertificateError::UnknownIssuer => (
            ErrorKind::Untrusted,
            Reason::UntrustedCertificate,
            "its certificate is of an authority that is unknown here",
        ),
        _ => (
            ErrorKind::Untrusted,
            Reason::UntrustedCertificate,
            "its certificate cannot be verified",
        ),
    };
    let detail = match certificate {
        CertificateError::Expired
        | CertificateError::NotValidYet
        | CertificateError::UnknownIssuer => String::new(),
        other => format!(" ({})", redacted_line(&other.to_string())),
    };
    S3Error::new(kind, format!("{cause}{detail}")).with_reason(reason)
}
