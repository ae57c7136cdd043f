//! One way to read bytes, wherever they are.

use crate::file::{Extent, FileSource};
use crate::http::HttpSource;
use crate::{Digester, Digests, Error, ErrorKind, Location, Piece, SparseFile, Wanted, shown};
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much of a local file a sink takes at once: little enough to stay in the system's cache until it is hashed.
const STRETCH_BYTES: u64 = 64 << 20;

/// How patiently a source is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long the other side may be silent. There is no limit on the whole transfer.
    pub idle_timeout: Duration,
    /// How often a transfer that broke is taken up again.
    pub retries: u32,
    /// The pause before the first retry; each further one takes twice as long. A server's `Retry-After` counts instead.
    pub backoff: Duration,
    /// What this program calls itself to HTTP servers.
    pub user_agent: String,
    /// A file of PEM certificates that https servers may be signed with, beside those of the machine.
    pub tls_ca: Option<PathBuf>,
    /// Takes any certificate of an https server: nobody knows who is on the other side.
    pub tls_insecure: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            retries: 3,
            backoff: Duration::from_secs(1),
            user_agent: concat!("market-transfer/", env!("CARGO_PKG_VERSION")).to_owned(),
            tls_ca: None,
            tls_insecure: false,
        }
    }
}

/// Bytes to be read, in pieces. Every byte is delivered once and in order: a transfer that breaks is resumed at the byte that
/// it had reached, or read again and compared up to that byte, or fails.
pub struct Source {
    kind: Kind,
    /// Pieces read ahead by [`peek`](Self::peek).
    pending: VecDeque<Piece>,
    subject: String,
}

enum Kind {
    File(Box<FileSource>),
    Http(Box<HttpSource>),
}

impl Source {
    /// Opens a path, or a `file://`, `http://` or `https://` URL.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read; other schemes are refused by name.
    pub async fn open(location: &str, options: &Options) -> Result<Self, Error> {
        let kind = match Location::parse(location)? {
            Location::Path(path) => return Self::open_path(&path),
            Location::Http(url) => Kind::Http(Box::new(HttpSource::open(url, options).await?)),
            Location::Other(scheme) => {
                let cause =
                    format!("{scheme}:// sources are not supported yet, only paths, file://, http:// and https://");
                return Err(Error::new(ErrorKind::Unsupported, shown(location), cause));
            }
        };
        Ok(Self { kind, pending: VecDeque::new(), subject: shown(location) })
    }

    /// Opens a local file or block device.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_path(path: &Path) -> Result<Self, Error> {
        let subject = shown(&path.to_string_lossy());
        let kind = Kind::File(Box::new(FileSource::open(path)?));
        Ok(Self { kind, pending: VecDeque::new(), subject })
    }

    /// Reads an open file from its start; `subject` names it in messages.
    ///
    /// # Errors
    /// When it is neither a file nor a block device.
    pub fn from_file(file: File, subject: &str) -> Result<Self, Error> {
        let kind = Kind::File(Box::new(FileSource::of(file, subject.to_owned())?));
        Ok(Self { kind, pending: VecDeque::new(), subject: subject.to_owned() })
    }

    /// The path or URL as it may be shown.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The number of bytes that the source says it has; that many are delivered, or an error.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::File(source) => Some(source.length),
            Kind::Http(source) => source.length(),
        }
    }

    /// How many bytes it takes on the disk where it is: less than its length when it has holes. `None` when unknown.
    pub fn allocated(&self) -> Option<u64> {
        let metadata = self.file()?.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.blocks().saturating_mul(512))
    }

    /// The file, when the source is a local one.
    pub fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(source) => Some(&source.file),
            Kind::Http(_) => None,
        }
    }

    /// The next piece; `None` when all bytes have been delivered and the source was whole and unchanged.
    ///
    /// # Errors
    /// When the source fails for good, or turns out to be another than it was.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        match self.pending.pop_front() {
            Some(piece) => Ok(Some(piece)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Option<Piece>, Error> {
        match &mut self.kind {
            Kind::File(source) => source.next().await,
            Kind::Http(source) => source.next().await,
        }
    }

    /// The first `count` bytes, or all when there are fewer; they are still delivered by [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn peek(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        if let Kind::File(source) = &self.kind {
            return source.head(count);
        }
        while self.pending.iter().map(Piece::len).sum::<u64>() < count as u64 {
            let Some(piece) = self.read().await? else { break };
            self.pending.push_back(piece);
        }
        let mut head = Vec::with_capacity(count);
        for piece in &self.pending {
            let left = count - head.len();
            match piece {
                Piece::Data(data) => head.extend_from_slice(&data[..data.len().min(left)]),
                Piece::Hole(length) => head.resize(head.len() + usize::try_from(*length).unwrap_or(left).min(left), 0),
            }
        }
        Ok(head)
    }

    /// Moves all bytes into a sink and computes their digests. Of a local source the sink may take ranges by itself; then what
    /// it has taken is hashed, not what was there.
    ///
    /// May be dropped at any time; then the sink holds a part.
    ///
    /// # Errors
    /// Those of the source as in [`next`](Self::next), and those of the sink.
    pub async fn transfer<S: Sink>(&mut self, sink: &mut S, wanted: Wanted) -> Result<Digests, S::Error> {
        let mut digester = Digester::start(wanted);
        while let Kind::File(source) = &mut self.kind {
            match source.extent(STRETCH_BYTES)? {
                Extent::Hole(length) => {
                    digester.update(Piece::Hole(length)).await;
                    sink.write(Piece::Hole(length)).await?;
                    source.skip(length);
                }
                Extent::Data(range) => {
                    let Some(copy) = sink.copy_range(&source.file, range.clone()).await? else { break };
                    source.skip(range.end - range.start);
                    digester.update_stretch(copy, range).await;
                    // The sink may not have waited for anything: others get their turn here.
                    tokio::task::yield_now().await;
                }
                Extent::End => break,
            }
        }
        while let Some(piece) = self.next().await? {
            digester.update(piece.clone()).await;
            sink.write(piece).await?;
        }
        sink.written().await?;
        Ok(digester.finish().await.map_err(|error| Error::io(format!("the copy of {}", self.subject), &error))?)
    }
}

/// Where a [`Source`] is transferred to.
pub trait Sink {
    /// What can go wrong.
    type Error: From<Error>;

    /// Takes a range of a local file by itself, and returns a handle to read it back at the same offsets; `None` when it can
    /// only be [written](Self::write). Ranges follow what was taken before without gaps. The position of `source` is not the
    /// sink's to use.
    fn copy_range(
        &mut self,
        source: &File,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Option<File>, Self::Error>>;

    /// Takes a piece.
    fn write(&mut self, piece: Piece) -> impl Future<Output = Result<(), Self::Error>>;

    /// All has been taken. Digests may still be computed: a sink that is slow to make things durable begins here.
    fn written(&mut self) -> impl Future<Output = Result<(), Self::Error>>;
}

/// A new file as a sink; `subject` names it in messages.
pub struct FileSink<'a> {
    /// The file.
    pub file: &'a mut SparseFile,
    /// Its path, as it may be shown.
    pub subject: &'a str,
    /// Whether it is to be durable in the end; a temporary need not go to the disk.
    pub durable: bool,
}

impl Sink for FileSink<'_> {
    type Error = Error;

    async fn copy_range(&mut self, source: &File, range: Range<u64>) -> Result<Option<File>, Error> {
        self.file.copy_range(source, range).map(Some).map_err(|error| Error::io(self.subject, &error))
    }

    async fn write(&mut self, piece: Piece) -> Result<(), Error> {
        self.file.write(&piece).map_err(|error| Error::io(self.subject, &error))
    }

    async fn written(&mut self) -> Result<(), Error> {
        if self.durable {
            self.file.begin_sync();
        }
        Ok(())
    }
}
