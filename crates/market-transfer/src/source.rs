//! One way to read bytes, wherever they are.

use crate::file::FileSource;
use crate::http::HttpSource;
use crate::{Digester, Digests, Error, ErrorKind, Location, Piece, SparseFile, Wanted, shown};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    File(FileSource),
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
                let cause = format!("{scheme}:// sources are not supported yet");
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
        let kind = Kind::File(FileSource::open(path)?);
        Ok(Self { kind, pending: VecDeque::new(), subject })
    }

    /// Reads an open file from its start; `subject` names it in messages.
    ///
    /// # Errors
    /// When it is neither a file nor a block device.
    pub fn from_file(file: File, subject: &str) -> Result<Self, Error> {
        let kind = Kind::File(FileSource::of(file, subject.to_owned())?);
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

    /// Moves all bytes into a new file and computes their digests: by a clone of a local source where the file system makes
    /// one (then the clone is what is hashed), else piece by piece. The file is not finished.
    ///
    /// May be dropped at any time; then the file holds a part.
    ///
    /// # Errors
    /// Those of the source as in [`next`](Self::next), those of the file with `target` as their subject.
    pub async fn receive(&mut self, file: &mut SparseFile, target: &str, wanted: Wanted) -> Result<Digests, Error> {
        let fail = |error: io::Error| Error::io(target, &error);
        let mut digester = Digester::start(wanted);
        let cloned = match self.file() {
            Some(source) => file.clone_from(source).map_err(fail)?,
            None => None,
        };
        if let Some(copy) = cloned {
            let mut copy = Self::from_file(copy, target)?;
            while let Some(piece) = copy.next().await? {
                digester.update(piece).await;
            }
            self.at_rest().await?;
        } else {
            while let Some(piece) = self.next().await? {
                file.write(&piece).map_err(fail)?;
                digester.update(piece).await;
            }
        }
        Ok(digester.finish().await)
    }

    /// Reads what is left, for the check at the end that the source was whole and unchanged.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn at_rest(&mut self) -> Result<(), Error> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}
