//! One way to read bytes, wherever they are.

mod command;
mod file;
mod http;
mod origin;
mod rbd;
mod resume;
mod ssh;
mod standard;
mod stream;

pub use command::CommandOutput;
pub(crate) use file::Extent;
pub(crate) use http::refusal;
pub use origin::{Opened, Origin};

use crate::host::Host;
use crate::rate::Pacer;
use crate::{Error, Location, Options, Piece, redacted};
use bytes::Bytes;
use file::FileSource;
use resume::Resumable;
use ssh::RemoteFile;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use stream::Stream;

/// Bytes to be read, in pieces. Every byte is delivered once and in order: a transfer that breaks
/// is resumed at the byte that it had reached, or read again and compared up to that byte, or
/// fails.
pub struct Source {
    kind: Kind,
    /// Pieces read ahead by [`peek`](Self::peek).
    pending: VecDeque<Piece>,
    subject: String,
    built: bool,
    may_be_packed: bool,
    max_bytes: Option<u64>,
}

enum Kind {
    File(Box<FileSource>, Option<Pacer>),
    Stream(Box<Resumable>),
}

impl Source {
    /// Opens a path or a URL of a scheme that [`Options::schemes`] has: by default `file://`,
    /// `http://`, `https://`, `ssh://[user@]host:path` and `rbd://[user@]host/pool/image`.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read; other schemes are
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    pub async fn open(location: &str, options: &Options) -> Result<Self, Error> {
        Self::open_location(&Location::parse(location)?, options).await
    }

    /// Opens what was parsed before.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_location(location: &Location, options: &Options) -> Result<Self, Error> {
        options.schemes.open(location, options).await
    }

    /// Opens a file or block device of another host, over ssh. A relative path is below the user's
    /// home.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_on(host: &Host, path: &str, options: &Options) -> Result<Self, Error> {
        let subject = redacted(&format!("ssh://{host}:{path}"));
        let origin = RemoteFile::new(host.clone(), path.to_owned(), subject.clone(), options).await;
        Self::from_origin(origin, &subject, options).await
    }

    /// Opens a stream that can be opened again: when it breaks, it is resumed as
    /// [`Options::retry`] says, and what had to be read twice is compared. `subject` names it in
    /// messages and must hold no secret, as [`redacted`] texts do.
    ///
    /// # Errors
    /// Those of [`Origin::open`], after its retries.
    pub async fn from_origin(
        origin: impl Origin + 'static,
        subject: &str,
        options: &Options,
    ) -> Result<Self, Error> {
        let stream = Resumable::open(origin, subject, options).await?;
        Ok(Self::new(Kind::Stream(Box::new(stream)), subject, options))
    }

    /// A stream that is open already and cannot be opened again: when it breaks, the source fails.
    /// `next_chunk` returns the next bytes, in chunks of any size, and `None` at the end. With a
    /// `length` in bytes, a stream that ends before or goes on after it is an error. `subject` names
    /// it in messages and must hold no secret.
    ///
    /// ```
    /// use market_transfer::{Bytes, Options, Source};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mut chunks = vec!["one, ", "two"].into_iter();
    /// let stream = async move || Ok(chunks.next().map(|text| Bytes::from_static(text.as_bytes())));
    /// let mut source = Source::from_stream(stream, Some(8), "the words", &Options::default());
    /// assert_eq!(source.peek(100).await?, b"one, two");
    /// # Ok::<(), market_transfer::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_stream(
        next_chunk: impl AsyncFnMut() -> io::Result<Option<Bytes>> + 'static,
        length: Option<u64>,
        subject: &str,
        options: &Options,
    ) -> Self {
        let stream = Stream::new(next_chunk, length, subject);
        let stream = Resumable::new(stream, length, subject, options);
        Self::new(Kind::Stream(Box::new(stream)), subject, options)
    }

    /// Reads an open file from its start; `subject` names it in messages.
    ///
    /// # Errors
    /// When it is neither a file nor a block device.
    pub fn from_file(file: File, subject: &str, options: &Options) -> Result<Self, Error> {
        Ok(Self::of_file(FileSource::of(file, subject.to_owned())?, subject, options))
    }

    /// Opens a local file or block device.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_path(path: &Path, options: &Options) -> Result<Self, Error> {
        let subject = redacted(&path.to_string_lossy());
        Ok(Self::of_file(FileSource::open(path)?, &subject, options))
    }

    fn of_file(file: FileSource, subject: &str, options: &Options) -> Self {
        Self::new(Kind::File(Box::new(file), options.limit.map(Pacer::new)), subject, options)
    }

    fn new(kind: Kind, subject: &str, options: &Options) -> Self {
        Self {
            kind,
            pending: VecDeque::new(),
            subject: subject.to_owned(),
            built: false,
            may_be_packed: true,
            max_bytes: options.max_unpacked_bytes,
        }
    }

    /// Marks a source whose bytes are built while they are read, such as an image that is converted
    /// on the way: no digest that was recorded before is one of them.
    #[must_use]
    pub fn built(mut self) -> Self {
        self.built = true;
        self
    }

    /// Marks a source that is never a compressed file to be unpacked.
    #[must_use]
    pub fn never_packed(mut self) -> Self {
        self.may_be_packed = false;
        self
    }

    /// Sets the most bytes that a transfer of it may store, unless
    /// [`Options::max_unpacked_bytes`] was set when it was opened.
    pub fn allow_at_most(&mut self, bytes: u64) {
        self.max_bytes.get_or_insert(bytes);
    }

    /// The most bytes that may be stored of it.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// The path or URL as messages show it, [`redacted`].
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The number of bytes that the source has announced; that many are delivered, or an error.
    /// `None` when it is not known before the end.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::File(source, _) => Some(source.length),
            Kind::Stream(source) => source.length(),
        }
    }

    /// How many bytes of disk space a local file takes: less than its length when it has holes.
    /// `None` when unknown.
    pub fn allocated(&self) -> Option<u64> {
        let metadata = self.file()?.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.blocks().saturating_mul(512))
    }

    /// The file, when the source is a local file or block device.
    pub fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(source, _) => Some(&source.file),
            Kind::Stream(_) => None,
        }
    }

    /// Whether its bytes are built while they are read, so that no digest that was recorded before
    /// applies to them.
    pub fn is_built(&self) -> bool {
        self.built
    }

    /// Whether it may be a compressed file that is to be unpacked; not when it was marked as
    /// [`never_packed`](Self::never_packed).
    pub fn may_be_packed(&self) -> bool {
        self.may_be_packed
    }

    /// The next piece; `None` when all bytes have been delivered and the source was whole and
    /// unchanged.
    ///
    /// # Errors
    /// When the source fails for good, or turns out to be another than it was.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        match self.pending.pop_front() {
            Some(piece) => Ok(Some(piece)),
            None => self.read().await,
        }
    }

    /// Ends a source of which no more is read, though it has not ended: what was made for it
    /// elsewhere is removed, such as an export that a command has set up. Dropping it does not.
    pub async fn close(self) {
        if let Kind::Stream(stream) = self.kind {
            stream.close().await;
        }
    }

    async fn read(&mut self) -> Result<Option<Piece>, Error> {
        match &mut self.kind {
            Kind::File(source, pacer) => {
                let piece = source.next().await?;
                if let (Some(pacer), Some(Piece::Data(data))) = (pacer, &piece) {
                    pacer.throttle(data.len() as u64).await;
                }
                Ok(piece)
            }
            Kind::Stream(source) => source.next().await,
        }
    }

    /// The first `count` bytes, or all when there are fewer; they are still delivered by
    /// [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn peek(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        if let Kind::File(source, _) = &self.kind {
            return source.head(count);
        }
        while self.pending.iter().map(Piece::len).sum::<u64>() < count as u64 {
            let Some(piece) = self.read().await? else { break };
            self.pending.push_back(piece);
        }
        let mut head = Vec::with_capacity(count);
        for piece in &self.pending {
            piece.copy_into(&mut head, count);
        }
        Ok(head)
    }

    /// The next range of a local file, at most `most` bytes, without reading it; `None` when pieces
    /// have to be read.
    pub(crate) fn extent(&self, most: u64) -> Result<Option<Extent>, Error> {
        match &self.kind {
            Kind::File(source, _) => source.extent(most).map(Some),
            _ => Ok(None),
        }
    }

    /// Skips what [`extent`](Self::extent) returned; `copied` bytes of it count for the rate.
    pub(crate) async fn skip(&mut self, bytes: u64, copied: u64) {
        if let Kind::File(source, pacer) = &mut self.kind {
            source.skip(bytes);
            if let Some(pacer) = pacer {
                pacer.throttle(copied).await;
            }
        }
    }

    /// How many bytes to copy at once, so that the rate is kept evenly.
    pub(crate) fn stride(&self, most: u64) -> u64 {
        match &self.kind {
            Kind::File(_, Some(pacer)) => pacer.stride().min(most),
            _ => most,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        shown.field("subject", &self.subject).field("length", &self.length());
        shown.finish_non_exhaustive()
    }
}
