//! Where a stream of bytes comes from, for those who bring a stream of their own.

use crate::retry::RetryableError;
use bytes::Bytes;
use std::pin::Pin;

/// Where the bytes of a source come from: a stream that can be opened again after it broke.
///
/// [`Source::from_origin`](crate::Source::from_origin) makes a [`Source`](crate::Source) of it,
/// which resumes, compares what is read a second time, limits the rate and waits between retries;
/// an origin does none of that. Futures run on one thread and need not be `Send`; they may be
/// dropped at any `await`, and then the origin is dropped too.
#[allow(async_fn_in_trait, reason = "sources are read on one thread; futures need not be Send")]
pub trait Origin {
    /// Opens the stream, or opens it again to continue at byte `offset` of the object. It may begin
    /// at the object's start instead: when it cannot continue in the middle, or cannot prove that
    /// the object is still the same. Then the bytes before the offset are read again and compared.
    ///
    /// # Errors
    /// A [temporary](RetryableError::temporary) one when another try may help; a permanent one
    /// ends the transfer, such as [`Changed`](crate::ErrorKind::Changed) for another object of the
    /// same name.
    async fn open(&mut self, offset: u64) -> Result<Opened, RetryableError>;

    /// The next bytes, in chunks of any size; `None` at the end of a stream that is whole as far as
    /// the origin can tell. Only called after [`open`](Self::open) has succeeded.
    ///
    /// # Errors
    /// After a temporary one, the stream is opened again.
    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError>;

    /// No more is read, whether or not the stream has ended: what was made for it elsewhere can be
    /// removed. By default nothing. Not called when the source is dropped without
    /// [`close`](crate::Source::close).
    async fn close(&mut self) {}
}

/// How a stream was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The offset in the object of the first byte that comes: what was asked for, or 0.
    pub start: u64,
    /// The length of the whole object in bytes, when it is known.
    pub total: Option<u64>,
}

impl Opened {
    /// A stream that begins at an offset of an object, whose whole length may be known.
    pub fn new(start: u64, total: impl Into<Option<u64>>) -> Self {
        Self { start, total: total.into() }
    }
}

type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An [`Origin`] of any type.
pub(crate) trait AnyOrigin {
    fn open(&mut self, offset: u64) -> Pending<'_, Result<Opened, RetryableError>>;
    fn chunk(&mut self) -> Pending<'_, Result<Option<Bytes>, RetryableError>>;
    fn close(&mut self) -> Pending<'_, ()>;
}

impl<O: Origin> AnyOrigin for O {
    fn open(&mut self, offset: u64) -> Pending<'_, Result<Opened, RetryableError>> {
        Box::pin(Origin::open(self, offset))
    }

    fn chunk(&mut self) -> Pending<'_, Result<Option<Bytes>, RetryableError>> {
        Box::pin(Origin::chunk(self))
    }

    fn close(&mut self) -> Pending<'_, ()> {
        Box::pin(Origin::close(self))
    }
}
