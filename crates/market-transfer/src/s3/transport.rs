//! The one way in which requests leave for an S3 service, those of the client library too.
//!
//! Here silence is bounded in both directions, answers that are read at once are bounded in size,
//! nothing is redirected, and every refusal becomes a [`S3Error`].

use super::error::Reason;
use super::told::Secrets;
use super::{Access, S3Error};
use crate::client::{client, failure};
use crate::retry::RetryableError;
use crate::{ErrorKind, Options};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use reqwest::{Client, redirect};
use rustls::CertificateError;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// The longest answer that is read at once: a page of a thousand keys of a thousand characters,
/// encoded.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The longest refusal that is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// An answer that is read at once may take so many times as long as the service may be silent.
const ANSWER_PATIENCE: u32 = 4;

#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client,
    idle: Duration,
    pub(super) secrets: Arc<Secrets>,
}

impl Transport {
    pub(super) fn new(
        access: &Access,
        options: &Options,
        subject: &str,
    ) -> Result<Self, crate::Error> {
        // Silence is watched here: a client's own limit would count the time that a body takes to
        // be sent.
        let client =
            client(options, subject, |builder| builder.redirect(redirect::Policy::none()))?;
        Ok(Self { client, idle: options.idle_timeout, secrets: Arc::new(Secrets::of(access)) })
    }

    async fn pass(&self, request: HttpRequest) -> Result<HttpResponse, S3Error> {
        let streamed = request.method() == http::Method::GET;
        let sent = Progress::default();
        let seen = sent.clone();
        let (mut parts, body) = request.into_parts();
        if matches!(parts.method, http::Method::PUT | http::Method::POST) {
            // Services refuse what comes in chunks.
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.content_length()));
        }
        let body = body.map_frame(move |frame| {
            seen.touch();
            frame
        });
        let request = http::Request::from_parts(parts, reqwest::Body::wrap(body));
        let request = request.try_into().map_err(|error| untold(&error))?;
        let response = sent
            .watch(self.idle, self.client.execute(request))
            .await?
            .map_err(|error| untold(&error))?;
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let body = HttpResponseBody::new(
            body.map_err(|error| HttpError::new(HttpErrorKind::Unknown, in_transfer(&error))),
        );
        if !parts.status.is_success() {
            let told = self.read(body, MAX_REFUSAL_BYTES).await.unwrap_or_default();
            return Err(S3Error::refused(parts.status, &parts.headers, &told, &self.secrets));
        }
        let body = if streamed { body } else { self.read(body, MAX_ANSWER_BYTES).await?.into() };
        Ok(HttpResponse::from_parts(parts, body))
    }

    /// A whole answer, or an error when it is too long, or stops, or never ends.
    async fn read(&self, body: HttpResponseBody, most: usize) -> Result<Bytes, S3Error> {
        timeout(self.idle * ANSWER_PATIENCE, self.read_on(body, most))
            .await
            .map_err(|_| silent())?
    }

    async fn read_on(&self, mut body: HttpResponseBody, most: usize) -> Result<Bytes, S3Error> {
        let mut answer = Vec::new();
        while let Some(frame) = timeout(self.idle, body.frame()).await.map_err(|_| silent())? {
            let frame = frame.map_err(|error| S3Error::inside(&error))?;
            if let Ok(data) = frame.into_data() {
                if answer.len() + data.len() > most {
                    return Err(S3Error::new(
                        ErrorKind::Unreachable,
                        "the service's answer is too long",
                    ));
                }
                answer.extend_from_slice(&data);
            }
        }
        Ok(answer.into())
    }

    /// The whole body of an answer that was let through as a stream.
    pub(super) async fn whole(&self, response: HttpResponse) -> Result<Bytes, S3Error> {
        self.read(response.into_body(), MAX_ANSWER_BYTES).await
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.pass(request).await.map_err(|failure| HttpError::new(HttpErrorKind::Unknown, failure))
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// When the last bytes of a request were taken.
#[derive(Clone)]
struct Progress(Arc<Mutex<Instant>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Progress {
    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a request as long as something moves.
    async fn watch<T>(
        &self,
        idle: Duration,
        request: impl Future<Output = T>,
    ) -> Result<T, S3Error> {
        let mut request = pin!(request);
        loop {
            let deadline = self.last() + idle;
            tokio::select! {
                biased;
                outcome = &mut request => return Ok(outcome),
                () = sleep_until(deadline) => {
                    if self.last() + idle <= Instant::now() {
                        return Err(silent());
                    }
                }
            }
        }
    }
}

pub(super) fn silent() -> S3Error {
    S3Error::passing("was silent for too long")
}

/// A request that was not answered.
fn untold(error: &reqwest::Error) -> S3Error {
    if let Some(certificate) = certificate(error) {
        return distrusted(certificate);
    }
    let RetryableError { error: told, again, .. } = failure("", error);
    let reason = if error.is_connect() { Reason::NoConnection } else { Reason::Other };
    S3Error { again, reason, ..S3Error::new(told.kind, told.cause) }
}

/// What is wrong with the certificate of the other side.
fn certificate(error: &reqwest::Error) -> Option<&CertificateError> {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        // What an error of the system wraps is not told as its source.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        if let Some(inner) = inner.map(|inner| inner as &(dyn std::error::Error + 'static)) {
            cause = inner;
            continue;
        }
        if let Some(rustls::Error::InvalidCertificate(certificate)) = cause.downcast_ref() {
            return Some(certificate);
        }
        cause = cause.source()?;
    }
}

fn distrusted(certificate: &CertificateError) -> S3Error {
    let (kind, reason, cause) = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (ErrorKind::Unreachable, Reason::Expiry, "its certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (ErrorKind::Unreachable, Reason::Expiry, "its certificate is not valid yet")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (ErrorKind::Malformed, Reason::OtherHost, "its certificate is for another host name")
        }
        CertificateError::UnknownIssuer => (
            ErrorKind::Untrusted,
            Reason::UnknownIssuer,
            "its certificate is of an authority that is unknown here",
        ),
        _ => (ErrorKind::Untrusted, Reason::UnknownIssuer, "its certificate cannot be verified"),
    };
    let detail = match certificate {
        CertificateError::Expired
        | CertificateError::NotValidYet
        | CertificateError::UnknownIssuer => String::new(),
        other => format!(" ({})", crate::location::redacted_line(&other.to_string())),
    };
    S3Error { reason, ..S3Error::new(kind, format!("{cause}{detail}")) }
}

/// An answer that broke off: whatever it was may pass.
fn in_transfer(error: &reqwest::Error) -> S3Error {
    S3Error { again: true, ..untold(error) }
}
