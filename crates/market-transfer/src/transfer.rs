//! Copies all bytes of a source into a sink and hashes them on the way.

use crate::file::fill;
use crate::source::Extent;
use crate::{
    Compression, DigestSet, Digester, Digests, Error, ErrorKind, Piece, Source, SparseFile, unpack,
};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many of the first bytes [`Transferred`] keeps: 64 KiB.
pub const HEAD_BYTES: usize = 64 << 10;

/// How much of a local file a sink copies at once: little enough to stay in the system's cache until
/// it is hashed, and to be copied within a second by a slow disk when the transfer is cancelled.
const STRETCH_BYTES: u64 = 16 << 20;

/// What was copied is hashed in ranges of this size. So many of them may wait that the copy ends, and
/// its way to the disk begins, long before the digests are done.
const HASHED_BYTES: u64 = 64 << 20;

/// What was written piece by piece is read back in ranges of this size.
const READ_BACK_BYTES: u64 = 16 << 20;

/// How a source is copied. By default all bytes as they are, without digests.
///
/// ```
/// use market_transfer::{Compression, DigestSet, Transfer};
///
/// let transfer = Transfer::hashed(DigestSet::MD5).unpacking(Compression::Xz).max_bytes(1 << 20);
/// assert_eq!((transfer.unpack, transfer.max_bytes), (Some(Compression::Xz), Some(1 << 20)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// The digests to compute, of the bytes as they are fetched. By default none.
    pub wanted: DigestSet,
    /// The format that the bytes are unpacked from on the way. By default they stay packed.
    pub unpack: Option<Compression>,
    /// The most bytes that are written, after unpacking; a source that has more is not read to its
    /// end, and the digests cover what was fetched. By default all.
    pub max_bytes: Option<u64>,
}

impl Transfer {
    /// All bytes as they are, with these digests.
    pub fn hashed(wanted: DigestSet) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Sets [`unpack`](Self::unpack).
    #[must_use]
    pub fn unpacking(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.unpack = compression.into();
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn max_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_bytes = bytes.into();
        self
    }
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred {
    /// The digests that were asked for, of the bytes as they were fetched.
    pub digests: Digests,
    /// Bytes written, holes included.
    pub bytes: u64,
    /// The first [`HEAD_BYTES`] of what was written, or all of it when it is less: enough to tell
    /// its format.
    pub head: Vec<u8>,
}

/// Where a [`Source`] is copied to. [`FileSink`] is one.
///
/// Futures run on one thread and need not be `Send`.
pub trait Sink {
    /// What can go wrong: failures of the source, and the sink's own.
    type Error: From<Error>;

    /// A handle to read back what the sink has stored, at the offsets it has there, while more is
    /// written. With it, what was stored is hashed, and not what was sent; and ranges of local
    /// files are [copied](Self::copy_range). `None`, as here, when it cannot be read.
    ///
    /// # Errors
    /// What stands in the way.
    fn read_back(&self) -> Result<Option<File>, Self::Error> {
        Ok(None)
    }

    /// Takes a range of a local file by itself. Ranges follow what was taken before without gaps.
    /// The position of `source` is not the sink's to use. Only called when there is something to
    /// [read back](Self::read_back).
    fn copy_range(
        &mut self,
        source: &File,
        range: Range<u64>,
    ) -> impl Future<Output = Result<(), Self::Error>> {
        let _ = (source, range);
        async {
            Err(Error::new(ErrorKind::Unsupported, "the copy", "takes no ranges of files").into())
        }
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// What stands in the way; it ends the transfer.
    fn write(&mut self, piece: Piece) -> impl Future<Output = Result<(), Self::Error>>;

    /// Everything has been written. Digests may still be computed: a sink that is slow to make data
    /// durable begins here, and need not wait for it.
    ///
    /// # Errors
    /// What stands in the way; it ends the transfer.
    fn finish(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

impl Source {
    /// Copies all bytes into a sink and computes their digests.
    ///
    /// May be dropped at any `await`; then the sink holds a part.
    ///
    /// # Errors
    /// Those of the source as in [`next`](Self::next), and those of the sink.
    pub async fn transfer<S: Sink>(
        &mut self,
        sink: &mut S,
        how: Transfer,
    ) -> Result<Transferred, S::Error> {
        let mut digester = Digester::start(how.wanted);
        digester.started().map_err(|error| self.copy_error(&error))?;
        let mut writer = Writer::new(sink, how.max_bytes, Allowance::of(self))?;
        writer.allowance.check_length(self, &how)?;
        match how.unpack {
            None => self.store(&mut writer, &mut digester).await?,
            Some(compression) => self.unpack(compression, &mut writer, &mut digester).await?,
        }
        let (bytes, head) = writer.finish().await?;
        let digests = digester.finish().await.map_err(|error| self.copy_error(&error))?;
        Ok(Transferred { digests, bytes, head })
    }

    fn copy_error(&self, error: &io::Error) -> Error {
        Error::io(format!("the copy of {}", self.subject()), error)
    }

    /// Stores the bytes as they are. What can be read back is hashed there.
    async fn store<S: Sink>(
        &mut self,
        writer: &mut Writer<'_, S>,
        digester: &mut Digester,
    ) -> Result<(), S::Error> {
        let Some(stored) = writer.stored.clone() else {
            while let Some(piece) = writer.wanted(self).await? {
                digester.update(piece.clone()).await;
                writer.write(piece).await?;
            }
            return Ok(());
        };
        self.copy(writer, &stored, digester).await?;
        let mut hashed = writer.written;
        while let Some(piece) = writer.wanted(self).await? {
            let hole = matches!(piece, Piece::Hole(_)).then_some(piece.len());
            if hole.is_some() || writer.written - hashed >= READ_BACK_BYTES {
                digester.update_stretch(Arc::clone(&stored), hashed..writer.written).await;
                hashed = writer.written;
            }
            if let Some(length) = hole {
                // A hole at the end is not there to be read before the sink has its length.
                digester.update(Piece::Hole(length)).await;
                hashed += length;
            }
            writer.write(piece).await?;
        }
        digester.update_stretch(stored, hashed..writer.written).await;
        Ok(())
    }

    /// Lets the sink copy the ranges of a local file.
    async fn copy<S: Sink>(
        &mut self,
        writer: &mut Writer<'_, S>,
        stored: &Arc<File>,
        digester: &mut Digester,
    ) -> Result<(), S::Error> {
        let mut hashed = writer.written;
        while writer.left > 0 {
            match self.extent(self.stride(STRETCH_BYTES).min(writer.left))? {
                None | Some(Extent::End) => break,
                Some(Extent::Hole(length)) => {
                    let length = length.min(writer.left);
                    digester.update_stretch(Arc::clone(stored), hashed..writer.written).await;
                    digester.update(Piece::Hole(length)).await;
                    writer.write(Piece::Hole(length)).await?;
                    hashed = writer.written;
                    self.skip(length, 0).await;
                }
                Some(Extent::Data(range)) => {
                    let length = range.end - range.start;
                    let Some(file) = self.file() else { break };
                    writer.copy_range(file, range).await?;
                    if writer.written - hashed >= HASHED_BYTES {
                        digester.update_stretch(Arc::clone(stored), hashed..writer.written).await;
                        hashed = writer.written;
                    }
                    self.skip(length, length).await;
                    // The sink may not have waited for anything: others get their turn here.
                    tokio::task::yield_now().await;
                }
            }
        }
        digester.update_stretch(Arc::clone(stored), hashed..writer.written).await;
        Ok(())
    }

    /// Sends the bytes through a thread that unpacks them; hashed is what was fetched.
    async fn unpack<S: Sink>(
        &mut self,
        compression: Compression,
        writer: &mut Writer<'_, S>,
        digester: &mut Digester,
    ) -> Result<(), S::Error> {
        let (packed, mut unpacked) = unpack::start(compression, self.subject())?;
        let fetched = Arc::clone(&writer.allowance.fetched);
        let feed = async {
            let mut packed = packed;
            while let Some(piece) = self.next().await? {
                digester.update(piece.clone()).await;
                fetched.fetch_add(piece.len(), Ordering::Relaxed);
                packed.push(piece).await;
            }
            Ok::<_, Error>(())
        };
        let drain = async {
            while writer.left > 0 {
                let Some(piece) = unpacked.next().await? else { return Ok(true) };
                let piece = piece.cut_to(writer.left);
                writer.write(piece).await?;
            }
            Ok::<_, S::Error>(false)
        };
        let (mut feed, mut drain) = (pin!(feed), pin!(drain));
        let mut fed = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut feed, if !fed => {
                    outcome?;
                    fed = true;
                }
                outcome = &mut drain => {
                    // What follows the compressed stream still belongs to the digests.
                    if outcome? && !fed {
                        feed.await?;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// How much of a source may be stored.
struct Allowance {
    subject: String,
    most: Option<u64>,
    /// Packed bytes that came, where they are unpacked.
    fetched: Arc<AtomicU64>,
    /// Bytes that are no holes.
    data: u64,
}

/// No image, zeros not counted, is so many times as large as its packed form.
const MAX_TIMES: u64 = 1_000;

/// This much may be unpacked from a source of any size.
const UNSUSPICIOUS_BYTES: u64 = 1 << 30;

impl Allowance {
    fn of(source: &Source) -> Self {
        let (subject, most) = (source.subject().to_owned(), source.max_bytes());
        Self { subject, most, fetched: Arc::default(), data: 0 }
    }

    /// What says that it is too large need not be fetched.
    fn check_length(&self, source: &Source, how: &Transfer) -> Result<(), Error> {
        let stored = source
            .length()
            .filter(|_| how.unpack.is_none())
            .map(|length| length.min(how.max_bytes.unwrap_or(length)));
        stored.map_or(Ok(()), |length| self.check_total(length))
    }

    fn check(&mut self, written: u64, piece: &Piece) -> Result<(), Error> {
        self.check_total(written)?;
        self.data += if matches!(piece, Piece::Data(_)) { piece.len() } else { 0 };
        let packed = self.fetched.load(Ordering::Relaxed);
        let most = packed.saturating_mul(MAX_TIMES).max(UNSUSPICIOUS_BYTES);
        if self.most.is_none() && packed > 0 && self.data > most {
            return Err(
                self.too_large(&format!("unpacks to more than {MAX_TIMES} times of its size"))
            );
        }
        Ok(())
    }

    fn check_total(&self, total: u64) -> Result<(), Error> {
        match self.most {
            Some(most) if total > most => {
                Err(self.too_large(&format!("is larger than the {most} bytes that it may have")))
            }
            _ => Ok(()),
        }
    }

    fn too_large(&self, cause: &str) -> Error {
        Error::new(ErrorKind::TooLarge, &self.subject, cause)
    }
}

/// Writes into a sink, counts, and knows when it is enough.
struct Writer<'a, S> {
    sink: &'a mut S,
    /// To read back what the sink holds.
    stored: Option<Arc<File>>,
    written: u64,
    left: u64,
    allowance: Allowance,
    /// The first bytes, when they cannot be read back.
    head: Vec<u8>,
}

impl<'a, S: Sink> Writer<'a, S> {
    fn new(
        sink: &'a mut S,
        max_bytes: Option<u64>,
        allowance: Allowance,
    ) -> Result<Self, S::Error> {
        let stored = sink.read_back()?.map(Arc::new);
        Ok(Self {
            sink,
            stored,
            written: 0,
            left: max_bytes.unwrap_or(u64::MAX),
            allowance,
            head: Vec::new(),
        })
    }

    /// The next piece of a source, as much of it as is wanted.
    async fn wanted(&self, source: &mut Source) -> Result<Option<Piece>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        Ok(source.next().await?.map(|piece| piece.cut_to(self.left)))
    }

    async fn write(&mut self, piece: Piece) -> Result<(), S::Error> {
        self.took(piece.len());
        self.allowance.check(self.written, &piece)?;
        if self.stored.is_none() && self.head.len() < HEAD_BYTES {
            piece.copy_into(&mut self.head, HEAD_BYTES);
        }
        self.sink.write(piece).await
    }

    async fn copy_range(&mut self, source: &File, range: Range<u64>) -> Result<(), S::Error> {
        self.took(range.end - range.start);
        self.allowance.check(self.written, &Piece::Hole(0))?;
        self.sink.copy_range(source, range).await
    }

    fn took(&mut self, bytes: u64) {
        self.written += bytes;
        self.left -= bytes;
    }

    async fn finish(self) -> Result<(u64, Vec<u8>), S::Error> {
        let head = match &self.stored {
            None => self.head,
            Some(stored) => read_head(stored, self.written)
                .map_err(|error| Error::io("what was stored", &error))?,
        };
        self.sink.finish().await?;
        Ok((self.written, head))
    }
}

/// The first bytes of what was stored; a hole at its end is not there yet.
fn read_head(stored: &File, written: u64) -> io::Result<Vec<u8>> {
    let mut head = vec![0; usize::try_from(written).unwrap_or(HEAD_BYTES).min(HEAD_BYTES)];
    fill(stored, &mut head, 0)?;
    Ok(head)
}

/// A new file as a [`Sink`].
#[derive(Debug)]
pub struct FileSink<'a> {
    file: &'a mut SparseFile,
    subject: &'a str,
    durable: bool,
}

impl<'a> FileSink<'a> {
    /// A file that is kept: what was written begins to go to the disk at the end of the transfer.
    /// `subject` is its path as messages show it.
    pub fn durable(file: &'a mut SparseFile, subject: &'a str) -> Self {
        Self { file, subject, durable: true }
    }

    /// A file that is removed before long, and need not go to the disk.
    pub fn temporary(file: &'a mut SparseFile, subject: &'a str) -> Self {
        Self { file, subject, durable: false }
    }
}

impl Sink for FileSink<'_> {
    type Error = Error;

    fn read_back(&self) -> Result<Option<File>, Error> {
        self.file.read_back().map(Some).map_err(|error| Error::io(self.subject, &error))
    }

    async fn copy_range(&mut self, source: &File, range: Range<u64>) -> Result<(), Error> {
        self.file.copy_range(source, range).map_err(|error| Error::io(self.subject, &error))
    }

    async fn write(&mut self, piece: Piece) -> Result<(), Error> {
        self.file.write(&piece).map_err(|error| Error::io(self.subject, &error))
    }

    async fn finish(&mut self) -> Result<(), Error> {
        if self.durable {
            self.file.begin_sync();
        }
        Ok(())
    }
}
