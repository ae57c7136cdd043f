//! An http(s) URL as a source that never repeats a byte.
//!
//! A transfer that breaks is resumed with `Range` and `If-Range` when the server gave a validator, so that it continues only
//! within the same object. Otherwise, and when the server answers with the whole object again, the bytes already delivered are
//! read again and must have the same checksum.

use crate::buffers::Buffers;
use crate::{Error, ErrorKind, Options, Piece, shown, split_zeros};
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode};
use std::collections::VecDeque;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// The longest pause that a server's `Retry-After` is granted.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After so much progress a break counts as a new one; less, and a server could keep a transfer alive for ever.
const PROGRESS_BYTES: u64 = 8 << 20;

pub(crate) struct HttpSource {
    client: Client,
    url: String,
    subject: String,
    body: Body,
    /// What tells this object from another at the same URL.
    validator: Option<HeaderValue>,
    total: Option<u64>,
    /// Bytes received, and their checksum.
    delivered: u64,
    checksum: Xxh3,
    retries_left: u32,
    retries: u32,
    /// Bytes delivered since the transfer last broke, and whether it ever had to be read from its start again.
    since_break: u64,
    reread: bool,
    backoff: Duration,
    buffers: Buffers,
    /// A piece that is being filled, how much of it is, and where it begins in the object.
    gathering: Option<BytesMut>,
    gathered: usize,
    handed_over: u64,
    pieces: VecDeque<Piece>,
}

enum Body {
    /// Bytes come from here.
    Open(Response),
    /// The transfer broke and must be taken up again; why.
    Broken(Error, Option<Duration>),
    Finished,
}

/// A failure, and whether another try may help (after a pause that the server asked for).
struct Attempt {
    error: Error,
    again: bool,
    pause: Option<Duration>,
}

impl HttpSource {
    pub(crate) async fn open(url: String, options: &Options) -> Result<Self, Error> {
        let subject = shown(&url);
        let client = client(options, &subject)?;
        let unopened = Error::new(ErrorKind::Unreachable, &subject, "was not asked yet");
        let mut source = Self {
            client,
            url,
            subject,
            body: Body::Broken(unopened, Some(Duration::ZERO)),
            validator: None,
            total: None,
            delivered: 0,
            checksum: Xxh3::new(),
            retries_left: options.retries,
            retries: options.retries,
            since_break: 0,
            reread: false,
            backoff: options.backoff,
            buffers: Buffers::default(),
            gathering: None,
            gathered: 0,
            handed_over: 0,
            pieces: VecDeque::new(),
        };
        loop {
            match source.request().await {
                Ok(response) => {
                    source.total = response.content_length();
                    source.validator = validator(response.headers());
                    source.body = Body::Open(response);
                    return Ok(source);
                }
                Err(attempt) => source.wait(attempt).await?,
            }
        }
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.total
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            match &mut self.body {
                Body::Finished => return Ok(None),
                Body::Broken(error, pause) => {
                    let attempt = Attempt { error: error.clone(), again: true, pause: *pause };
                    self.wait(attempt).await?;
                    self.resume().await?;
                }
                Body::Open(response) => match response.chunk().await {
                    Ok(Some(data)) => self.deliver(data)?,
                    Ok(None) => self.end()?,
                    Err(error) => {
                        let error = failure(&self.subject, &error).error;
                        let cause = format!("{} after {} bytes", error.cause, self.delivered);
                        self.body = Body::Broken(Error { cause, ..error }, None);
                    }
                },
            }
        }
    }

    /// Gathers what came into whole aligned pieces: zeros are told only there.
    fn deliver(&mut self, data: Bytes) -> Result<(), Error> {
        self.delivered += data.len() as u64;
        if self.total.is_some_and(|total| self.delivered > total) {
            return Err(
                self.changed(&format!("sends more than the {} bytes it announced", self.total.unwrap_or_default()))
            );
        }
        self.since_break += data.len() as u64;
        if self.since_break >= PROGRESS_BYTES && !self.reread {
            self.retries_left = self.retries;
        }
        self.checksum.update(&data);
        let mut rest = &data[..];
        while !rest.is_empty() {
            let buffer = self.gathering.get_or_insert_with(|| self.buffers.take());
            let taken = rest.len().min(buffer.len() - self.gathered);
            buffer[self.gathered..self.gathered + taken].copy_from_slice(&rest[..taken]);
            self.gathered += taken;
            rest = &rest[taken..];
            if self.gathered == buffer.len() {
                self.hand_over();
            }
        }
        Ok(())
    }

    /// Gives out what was gathered.
    fn hand_over(&mut self) {
        if let Some(buffer) = self.gathering.take() {
            let data = self.buffers.give_out(buffer, self.gathered);
            let position = self.handed_over;
            self.handed_over += data.len() as u64;
            self.gathered = 0;
            self.pieces.extend(split_zeros(position, data));
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.total {
            Some(total) if self.delivered < total => {
                let cause = format!("ended after {} of {total} bytes", self.delivered);
                self.body = Body::Broken(Error::new(ErrorKind::Unreachable, &self.subject, cause), None);
            }
            _ => {
                self.hand_over();
                self.body = Body::Finished;
            }
        }
        Ok(())
    }

    fn changed(&self, cause: &str) -> Error {
        Error::new(ErrorKind::Changed, &self.subject, cause)
    }

    /// Asks again and brings the new body to the byte that was reached.
    async fn resume(&mut self) -> Result<(), Error> {
        let response = match self.request().await {
            Ok(response) => response,
            Err(attempt) if attempt.again => {
                self.body = Body::Broken(attempt.error, attempt.pause);
                return Ok(());
            }
            Err(attempt) => return Err(attempt.error),
        };
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let (start, total) = content_range(response.headers())
                .ok_or_else(|| self.changed("resumed with a Content-Range that cannot be read"))?;
            if start != self.delivered || (self.total.is_some() && total.is_some() && total != self.total) {
                return Err(self.changed("resumed at another place, or with another length, than before"));
            }
            if validator(response.headers()).is_some_and(|now| Some(now) != self.validator) {
                return Err(self.changed("changed between two requests"));
            }
            // With an unknown length, a server that sends less than the rest would pass for the end.
            let Some(total) = self.total.or(total) else {
                return Err(self.changed("resumed without saying how long it is"));
            };
            self.total = Some(total);
            self.body = Body::Open(response);
            return Ok(());
        }
        self.compare_prefix(response).await
    }

    /// Reads what was delivered already a second time: it must be the same.
    async fn compare_prefix(&mut self, mut response: Response) -> Result<(), Error> {
        if self.total.is_some() && response.content_length() != self.total {
            return Err(self.changed("has another length than at the first request"));
        }
        let mut checksum = Xxh3::new();
        let mut left = self.delivered;
        self.reread |= left > 0;
        self.validator = validator(response.headers());
        while left > 0 {
            match response.chunk().await {
                Ok(Some(data)) => {
                    let known = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                    checksum.update(&data[..known]);
                    left -= known as u64;
                    if left == 0 {
                        if checksum.digest128() != self.checksum.digest128() {
                            return Err(self.changed("changed between two requests"));
                        }
                        let rest = data.slice(known..);
                        if !rest.is_empty() {
                            self.deliver(rest)?;
                        }
                    }
                }
                Ok(None) => return Err(self.changed("is shorter than at the first request")),
                Err(error) => {
                    self.body = Body::Broken(failure(&self.subject, &error).error, None);
                    return Ok(());
                }
            }
        }
        self.body = Body::Open(response);
        Ok(())
    }

    async fn request(&self) -> Result<Response, Attempt> {
        // Bytes are stored as they are: nothing may be encoded on the way.
        let mut request = self.client.get(&self.url).header(ACCEPT_ENCODING, "identity");
        let resuming = self.delivered > 0;
        if let (true, Some(validator)) = (resuming, &self.validator) {
            request = request.header(RANGE, format!("bytes={}-", self.delivered)).header(IF_RANGE, validator.clone());
        }
        let response = request.send().await.map_err(|error| failure(&self.subject, &error))?;
        let status = response.status();
        if status == StatusCode::OK || (resuming && status == StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        Err(refusal(&self.subject, status, response.headers()))
    }

    /// Waits before another try, or gives up.
    async fn wait(&mut self, attempt: Attempt) -> Result<(), Error> {
        if !attempt.again {
            return Err(attempt.error);
        }
        if self.retries_left == 0 {
            let cause = match self.retries {
                0 => attempt.error.cause,
                retries => format!("{} ({retries} retries did not help)", attempt.error.cause),
            };
            return Err(Error { cause, ..attempt.error });
        }
        self.since_break = 0;
        let round = self.retries - self.retries_left;
        self.retries_left -= 1;
        let pause = attempt.pause.unwrap_or_else(|| self.backoff.saturating_mul(2_u32.saturating_pow(round)));
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        Ok(())
    }
}

fn client(options: &Options, subject: &str) -> Result<Client, Error> {
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
        Client::builder()
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.idle_timeout)
            .user_agent(options.user_agent.as_str())
            .tls_danger_accept_invalid_certs(options.tls_insecure)
            .tls_certs_merge(authorities.clone())
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
fn failure(subject: &str, error: &reqwest::Error) -> Attempt {
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
fn refusal(subject: &str, status: StatusCode, headers: &HeaderMap) -> Attempt {
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
