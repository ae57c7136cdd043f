//! A stream that is opened again when it breaks, and never repeats a byte.
//!
//! An [`Origin`] says where it continues after a break: at the byte that was reached, when it can
//! tell that the object is still the same one, or at its start. Then the bytes that were delivered
//! already are read again and must have the same checksum.

use crate::buffers::Buffers;
use crate::rate::Pacer;
use crate::ssh::{Host, connection_error};
use crate::{Error, ErrorKind, Options, Piece, split_zeros};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// The longest pause that a server's own wish is granted.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After so much progress a break counts as a new one; less, and a server could keep a transfer
/// alive for ever.
const PROGRESS_BYTES: u64 = 8 << 20;

/// Where a stream comes from.
pub(crate) trait Origin {
    /// Opens the stream to continue at an offset. [`Opened::start`] is that offset or 0.
    async fn open(&mut self, at: u64) -> Result<Opened, RetryableError>;

    /// The next bytes; `None` at the end of a stream that is known to be whole as far as its origin
    /// can tell.
    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError>;
}

/// An opened stream.
pub(crate) struct Opened {
    /// The offset of its first byte.
    pub(crate) start: u64,
    /// The length of the whole object, when it is known.
    pub(crate) total: Option<u64>,
}

/// A failure, and whether another try may help (after a pause that the other side asked for).
#[derive(Clone)]
pub(crate) struct RetryableError {
    pub(crate) error: Error,
    pub(crate) again: bool,
    pub(crate) pause: Option<Duration>,
}

impl RetryableError {
    /// A failure that may pass.
    pub(crate) fn passing(error: Error) -> Self {
        Self { error, again: true, pause: None }
    }

    /// A connection to a host that failed: one that was refused on purpose stays so.
    pub(crate) fn connection(subject: &str, host: &Host, cause: &str) -> Self {
        let error = connection_error(host, cause);
        let again = error.kind == ErrorKind::Unreachable;
        Self { error: Error::new(error.kind, subject, error.to_string()), again, pause: None }
    }
}

/// A failure that stays.
impl From<Error> for RetryableError {
    fn from(error: Error) -> Self {
        Self { error, again: false, pause: None }
    }
}

/// How often something is tried again, and how long is waited before.
#[derive(Clone)]
pub(crate) struct RetryPolicy {
    left: u32,
    retries: u32,
    backoff: Duration,
}

/// There is no further try; what to add to the reason.
pub(crate) struct GivenUp(u32);

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            retries => write!(f, " ({retries} retries did not help)"),
        }
    }
}

impl RetryPolicy {
    pub(crate) fn new(options: &Options) -> Self {
        Self { left: options.retries, retries: options.retries, backoff: options.backoff }
    }

    /// What was reached counts as a new beginning.
    fn renew(&mut self) {
        self.left = self.retries;
    }

    /// Waits before another try: as long as the other side wishes, or twice as long each time.
    pub(crate) async fn wait(&mut self, wish: Option<Duration>) -> Result<(), GivenUp> {
        if self.left == 0 {
            return Err(GivenUp(self.retries));
        }
        let round = self.retries - self.left;
        self.left -= 1;
        let pause =
            wish.unwrap_or_else(|| self.backoff.saturating_mul(2_u32.saturating_pow(round)));
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        Ok(())
    }
}

/// A stream as a source.
pub(crate) struct Resumable<O> {
    origin: O,
    subject: String,
    state: State,
    total: Option<u64>,
    /// Bytes received, and their checksum.
    delivered: u64,
    checksum: Xxh3,
    patience: RetryPolicy,
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
    /// The transfer broke and must be taken up again; why.
    Broken(RetryableError),
    Finished,
}

impl<O: Origin> Resumable<O> {
    /// Where it comes from, for one who reads no more of it.
    pub(crate) fn into_origin(self) -> O {
        self.origin
    }

    pub(crate) async fn open(origin: O, subject: String, options: &Options) -> Result<Self, Error> {
        let mut source = Self {
            origin,
            subject,
            state: State::Open,
            total: None,
            delivered: 0,
            checksum: Xxh3::new(),
            patience: RetryPolicy::new(options),
            since_break: 0,
            reread: false,
            proven: true,
            pacer: options.limit.map(Pacer::new),
            gathering: Gathering::default(),
        };
        loop {
            match source.origin.open(0).await {
                Ok(opened) => {
                    source.total = opened.total;
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
            if let Some(piece) = self.gathering.pieces.pop_front() {
                return Ok(Some(piece));
            }
            match &self.state {
                State::Finished => return Ok(None),
                State::Broken(attempt) => {
                    let attempt = attempt.clone();
                    self.wait(attempt).await?;
                    self.take_up().await?;
                }
                State::Open => match self.origin.chunk().await {
                    Ok(Some(data)) => self.deliver(&data).await?,
                    Ok(None) => self.end(),
                    Err(mut attempt) => {
                        if self.delivered > 0 {
                            attempt.error.cause =
                                format!("{} after {} bytes", attempt.error.cause, self.delivered);
                        }
                        self.broken(attempt);
                    }
                },
            }
        }
    }

    fn broken(&mut self, attempt: RetryableError) {
        self.state = State::Broken(attempt);
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
        if self.since_break >= PROGRESS_BYTES && !self.reread {
            self.patience.renew();
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
                self.broken(RetryableError::passing(Error::new(
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
    async fn take_up(&mut self) -> Result<(), Error> {
        // A comparison that broke off leaves open which object the origin has: it is read from its
        // start once more.
        let at = if self.proven { self.delivered } else { 0 };
        let opened = match self.origin.open(at).await {
            Ok(opened) => opened,
            Err(attempt) => {
                self.broken(attempt);
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
                Err(attempt) => {
                    self.broken(attempt);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits before another try, or gives up.
    async fn wait(&mut self, attempt: RetryableError) -> Result<(), Error> {
        if !attempt.again {
            return Err(attempt.error);
        }
        self.since_break = 0;
        self.patience.wait(attempt.pause).await.map_err(|given_up| Error {
            cause: format!("{}{given_up}", attempt.error.cause),
            ..attempt.error
        })
    }
}

/// Gathers what comes into whole aligned pieces: zeros are told only there.
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
