//! A stream that is opened again when it breaks, and never repeats a byte.
//!
//! An [`Origin`](super::origin::Origin) says where it continues after a break: at the byte that was
//! reached, when it can prove that the object is still the same one, or at its start. Then the
//! bytes that were delivered already are read again and must have the same checksum.

use super::origin::{AnyOrigin, Opened, Origin};
use crate::buffers::Buffers;
use crate::rate::Pacer;
use crate::retry::{Retries, RetryableError};
use crate::{Error, ErrorKind, Options, Piece, split_zeros};
use bytes::BytesMut;
use std::collections::VecDeque;
use xxhash_rust::xxh3::Xxh3;

/// A stream as a source.
pub(crate) struct Resumable {
    origin: Box<dyn AnyOrigin>,
    subject: String,
    state: State,
    total: Option<u64>,
    /// Bytes received, and their checksum.
    delivered: u64,
    checksum: Xxh3,
    retries: Retries,
    renewal_bytes: u64,
    /// Bytes delivered since the transfer last broke, and whether it ever had to be read from its
    /// start again.
    since_break: u64,
    reread: bool,
    /// Whether what was delivered is known to be the beginning of the object that the origin has
    /// now.
    proven: bool,
    pacer: Option<Pacer>,
    gathering: Gathering,
}

enum State {
    Open,
    /// The transfer broke and must be resumed; why.
    Broken(RetryableError),
    Finished,
}

impl Resumable {
    /// A stream that is opened already.
    pub(crate) fn new(
        origin: impl Origin + 'static,
        total: Option<u64>,
        subject: &str,
        options: &Options,
    ) -> Self {
        Self {
            origin: Box::new(origin),
            subject: subject.to_owned(),
            state: State::Open,
            total,
            delivered: 0,
            checksum: Xxh3::new(),
            retries: options.retry.start(),
            renewal_bytes: options.retry.renewal_bytes,
            since_break: 0,
            reread: false,
            proven: true,
            pacer: options.limit.map(Pacer::new),
            gathering: Gathering::default(),
        }
    }

    /// Opens the stream for the first time.
    pub(crate) async fn open(
        origin: impl Origin + 'static,
        subject: &str,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut source = Self::new(origin, None, subject, options);
        loop {
            match source.origin.open(0).await {
                Ok(Opened { start: 0, total }) => {
                    source.total = total;
                    return Ok(source);
                }
                Ok(_) => return Err(source.changed("began at another place than asked for")),
                Err(failure) => source.retries.wait_after(failure).await?,
            }
        }
    }

    /// No more of it is read.
    pub(crate) async fn close(mut self) {
        self.origin.close().await;
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.total
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(piece) = self.gathering.pieces.pop_front() {
                return Ok(Some(piece));
            }
            match &self.state {
                State::Finished => return Ok(None),
                State::Broken(failure) => {
                    let failure = failure.clone();
                    self.since_break = 0;
                    self.retries.wait_after(failure).await?;
                    self.resume().await?;
                }
                State::Open => match self.origin.chunk().await {
                    Ok(Some(data)) => self.deliver(&data).await?,
                    Ok(None) => self.end(),
                    Err(failure) if self.delivered > 0 => {
                        let place = format!(" after {} bytes", self.delivered);
                        self.broken(failure.with_note(&place));
                    }
                    Err(failure) => self.broken(failure),
                },
            }
        }
    }

    fn broken(&mut self, failure: RetryableError) {
        self.state = State::Broken(failure);
    }

    async fn deliver(&mut self, data: &[u8]) -> Result<(), Error> {
        self.delivered += data.len() as u64;
        if self.total.is_some_and(|total| self.delivered > total) {
            let cause = format!(
                "sends more than the {} bytes it announced",
                self.total.unwrap_or_default()
            );
            return Err(self.changed(&cause));
        }
        self.since_break += data.len() as u64;
        if self.since_break >= self.renewal_bytes && !self.reread {
            self.retries.renew();
        }
        self.checksum.update(data);
        self.gathering.take(data);
        if let Some(pacer) = &mut self.pacer {
            pacer.throttle(data.len() as u64).await;
        }
        Ok(())
    }

    fn end(&mut self) {
        match self.total {
            Some(total) if self.delivered < total => {
                let cause = format!("ended after {} of {total} bytes", self.delivered);
                self.broken(RetryableError::temporary(Error::new(
                    ErrorKind::Unreachable,
                    &self.subject,
                    cause,
                )));
            }
            _ => {
                self.gathering.hand_over();
                self.state = State::Finished;
            }
        }
    }

    fn changed(&self, cause: &str) -> Error {
        Error::new(ErrorKind::Changed, &self.subject, cause)
    }

    /// Opens again and brings the new stream to the byte that was reached.
    async fn resume(&mut self) -> Result<(), Error> {
        // A comparison that broke off leaves open which object the origin has: it is read from its
        // start once more.
        let at = if self.proven { self.delivered } else { 0 };
        let opened = match self.origin.open(at).await {
            Ok(opened) => opened,
            Err(failure) => {
                self.broken(failure);
                return Ok(());
            }
        };
        if opened.start != self.delivered && opened.start != 0 {
            return Err(self.changed("resumed at another place than asked for"));
        }
        if self.total.zip(opened.total).is_some_and(|(before, now)| before != now) {
            return Err(self.changed("has another length than at first"));
        }
        self.total = self.total.or(opened.total);
        self.state = State::Open;
        if opened.start == self.delivered { Ok(()) } else { self.compare_prefix().await }
    }

    /// Reads what was delivered already a second time: it must be the same.
    async fn compare_prefix(&mut self) -> Result<(), Error> {
        let mut checksum = Xxh3::new();
        let mut left = self.delivered;
        self.reread |= left > 0;
        self.proven = left == 0;
        while left > 0 {
            match self.origin.chunk().await {
                Ok(Some(data)) => {
                    let known = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                    checksum.update(&data[..known]);
                    left -= known as u64;
                    if let Some(pacer) = &mut self.pacer {
                        pacer.throttle(known as u64).await;
                    }
                    if left == 0 && checksum.digest128() != self.checksum.digest128() {
                        return Err(self.changed("changed between two readings"));
                    }
                    self.proven = left == 0;
                    if known < data.len() {
                        self.deliver(&data[known..]).await?;
                    }
                }
                Ok(None) => return Err(self.changed("is shorter than at first")),
                Err(failure) => {
                    self.broken(failure);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Gathers chunks into whole aligned pieces, in which runs of zeros are found.
#[derive(Default)]
struct Gathering {
    buffers: Buffers,
    /// A piece that is being filled, how much of it is, and where it begins in the object.
    buffer: Option<BytesMut>,
    filled: usize,
    position: u64,
    pieces: VecDeque<Piece>,
}

impl Gathering {
    fn take(&mut self, data: &[u8]) {
        let mut rest = data;
        while !rest.is_empty() {
            let buffer = self.buffer.get_or_insert_with(|| self.buffers.take());
            let taken = rest.len().min(buffer.len() - self.filled);
            buffer[self.filled..self.filled + taken].copy_from_slice(&rest[..taken]);
            self.filled += taken;
            rest = &rest[taken..];
            if self.filled == buffer.len() {
                self.hand_over();
            }
        }
    }

    fn hand_over(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let data = self.buffers.give_out(buffer, self.filled);
            let position = self.position;
            self.position += data.len() as u64;
            self.filled = 0;
            self.pieces.extend(split_zeros(position, data));
        }
    }
}
