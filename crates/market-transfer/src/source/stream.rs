//! A stream that can be read once.

use super::origin::{Opened, Origin};
use crate::retry::RetryableError;
use crate::{Error, ErrorKind};
use bytes::Bytes;
use market_redact::without_secrets_of_urls;
use std::io;

pub(crate) struct Stream<F> {
    next: F,
    subject: String,
    length: Option<u64>,
    received: u64,
}

impl<F: AsyncFnMut() -> io::Result<Option<Bytes>>> Stream<F> {
    pub(crate) fn new(next: F, length: Option<u64>, subject: &str) -> Self {
        Self { next, subject: subject.to_owned(), length, received: 0 }
    }

    /// The failure of somebody else's stream: its text may hold URLs.
    fn failure(&self, error: &io::Error) -> Error {
        let known = Error::io(&self.subject, error);
        let cause = without_secrets_of_urls(&known.cause).into_owned();
        known.with_cause(cause)
    }
}

impl<F: AsyncFnMut() -> io::Result<Option<Bytes>>> Origin for Stream<F> {
    /// It is open from the start, and never again.
    async fn open(&mut self, offset: u64) -> Result<Opened, RetryableError> {
        if offset == 0 && self.received == 0 {
            return Ok(Opened::new(0, self.length));
        }
        let error = Error::new(ErrorKind::Unreachable, &self.subject, "cannot be read again");
        Err(RetryableError::permanent(error))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        let data = (self.next)().await.map_err(|error| self.failure(&error))?;
        self.received += data.as_ref().map_or(0, |data| data.len() as u64);
        match self.length {
            Some(length) if data.is_none() && self.received < length => {
                let cause = format!("ended before the {length} bytes that it has,");
                Err(Error::new(ErrorKind::Unreachable, &self.subject, cause).into())
            }
            _ => Ok(data),
        }
    }
}
