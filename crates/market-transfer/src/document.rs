//! Documents of web servers, such as lists of images: fetched as a whole in one request, compressed
//! when the server can, and no larger than allowed.

use crate::client::{client, failure};
use crate::retry::RetryableError;
use crate::source::refusal;
use crate::{Error, ErrorKind, Options, redacted};
use flate2::write::MultiGzDecoder;
use reqwest::Client;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use std::fmt;
use std::io::{self, Write};
use tokio::time::timeout;

/// A document may take so many times as long as its server may be silent.
const DOCUMENT_TIMEOUTS: u32 = 2;

/// A document of a web server.
///
/// ```no_run
/// use market_transfer::{Document, Options};
///
/// # async fn fetch() -> Result<(), market_transfer::Error> {
/// let list = Document::fetch("https://images.example/list", 1 << 20, &Options::default()).await?;
/// println!("{} bytes from {}", list.bytes.len(), list.url);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Document {
    /// The bytes, without the encoding of the transfer.
    pub bytes: Vec<u8>,
    /// Where they were in the end, after redirects: with user, password and query.
    pub url: String,
}

impl fmt::Debug for Document {
    /// The URL as it may be shown, and how many bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Document");
        shown.field("url", &redacted(&self.url)).field("bytes", &self.bytes.len()).finish()
    }
}

impl Document {
    /// Fetches a document of at most `max_bytes` bytes. A transfer that breaks begins again, as
    /// often as [`Options::retry`] says; one may take twice the [`Options::idle_timeout`].
    ///
    /// # Errors
    /// When it is not there ([`Absent`](ErrorKind::Absent)), not whole or too large
    /// ([`Corrupt`](ErrorKind::Corrupt)), or does not come in time
    /// ([`Unreachable`](ErrorKind::Unreachable)).
    pub async fn fetch(url: &str, max_bytes: u64, options: &Options) -> Result<Self, Error> {
        let subject = redacted(url);
        let client =
            client(options, &subject, |builder| builder.read_timeout(options.idle_timeout))?;
        let time_limit = options.idle_timeout.saturating_mul(DOCUMENT_TIMEOUTS);
        let fetch =
            async || match timeout(time_limit, try_once(&client, url, &subject, max_bytes)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let cause = "does not come to an end in time";
                    Err(Error::new(ErrorKind::Unreachable, &subject, cause).into())
                }
            };
        options.retry.run(fetch).await
    }
}

async fn try_once(
    client: &Client,
    url: &str,
    subject: &str,
    max_bytes: u64,
) -> Result<Document, RetryableError> {
    let response = client.get(url).header(ACCEPT_ENCODING, "gzip").send().await;
    let mut response = response.map_err(|error| failure(subject, &error))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(refusal(subject, url, &response, 0));
    }
    let encoding =
        response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    let capped = Capped { bytes: Vec::new(), left: max_bytes };
    let mut body = match encoding.as_deref() {
        None | Some(b"identity" | b"") => Body::Plain(capped),
        Some(b"gzip" | b"x-gzip") => Body::Gzip(Box::new(MultiGzDecoder::new(capped))),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                subject,
                "comes in an encoding that was not asked for",
            )
            .into());
        }
    };
    let place = response.url().to_string();
    let mut fetched = 0;
    while let Some(data) = response
        .chunk()
        .await
        .map_err(|error| RetryableError { again: true, ..failure(subject, &error) })?
    {
        fetched += data.len() as u64;
        body.take(&data)
            .and_then(|()| if fetched > max_bytes { Err(too_large()) } else { Ok(()) })
            .map_err(|error| {
                let cause = if error.kind() == io::ErrorKind::FileTooLarge {
                    format!("is larger than {} MiB", max_bytes >> 20)
                } else {
                    "is no whole gzip stream".to_owned()
                };
                RetryableError::from(Error::new(ErrorKind::Corrupt, subject, cause))
            })?;
    }
    let bytes = body
        .finish()
        .map_err(|_| Error::new(ErrorKind::Corrupt, subject, "is no whole gzip stream"))?;
    Ok(Document { bytes, url: place })
}

enum Body {
    Plain(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
}

impl Body {
    fn take(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(capped) => capped.write_all(data),
            Self::Gzip(decoder) => decoder.write_all(data),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(capped) => Ok(capped.bytes),
            Self::Gzip(decoder) => decoder.finish().map(|capped| capped.bytes),
        }
    }
}

/// Bytes that are not allowed to become too many.
struct Capped {
    bytes: Vec<u8>,
    left: u64,
}

fn too_large() -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(data.len() as u64).ok_or_else(too_large)?;
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
