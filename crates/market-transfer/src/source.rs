//! One way to read bytes, wherever they are.

use crate::command::{CommandOutput, CommandSpec};
use crate::file::{Extent, FileSource};
use crate::helper::{self, Helpers, SourceTraits};
use crate::http::HttpOrigin;
use crate::rate::{Pacer, Rate};
use crate::remote_file::RemoteFile;
use crate::resume::Resumable;
#[cfg(feature = "s3")]
use crate::s3;
use crate::ssh::{Host, Ssh};
use crate::{Error, ErrorKind, Location, Piece, redacted};
use std::collections::VecDeque;
use std::fs::File;
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
    /// The pause before the first retry; each further one takes twice as long. A server's
    /// `Retry-After` counts instead.
    pub backoff: Duration,
    /// What this program calls itself to HTTP servers.
    pub user_agent: String,
    /// A file of PEM certificates that https servers may be signed with, beside those of the
    /// machine.
    pub tls_ca: Option<PathBuf>,
    /// Takes any certificate of an https server: nobody knows who is on the other side.
    pub tls_insecure: bool,
    /// Follows a redirect from `https://` to `http://`, where anybody on the way could change the
    /// bytes.
    pub redirect_to_http: bool,
    /// The most bytes that a [`transfer`](Source::transfer) may store; more is an error,
    /// [`TooLarge`](crate::ErrorKind::TooLarge). A caller that knows how large the content should
    /// be sets it for that source. `None`: what is unpacked may be a thousand times of what was
    /// fetched when it is more than 1 GiB, zeros not counted.
    pub max_unpacked_bytes: Option<u64>,
    /// How fast bytes may move.
    pub limit: Option<Rate>,
    /// The `ssh` command, its words separated by blanks.
    pub ssh: String,
    /// Whether `ssh://` must lead to another machine than this one, under whatever name.
    pub ssh_elsewhere: bool,
    /// The service that has `s3://` objects, and the keys for it.
    #[cfg(feature = "s3")]
    pub s3: Option<s3::Access>,
    /// The executables for further schemes.
    pub helpers: Option<Helpers>,
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
            redirect_to_http: false,
            max_unpacked_bytes: None,
            limit: None,
            ssh: "ssh".to_owned(),
            ssh_elsewhere: false,
            #[cfg(feature = "s3")]
            s3: None,
            helpers: None,
        }
    }
}

impl Options {
    /// The same for a source of which at most so many bytes may be stored, such as the size that
    /// was declared for it; fewer when fewer are allowed already.
    ///
    /// ```
    /// use market_transfer::Options;
    ///
    /// assert_eq!(Options::default().at_most(7).at_most(9).max_unpacked_bytes, Some(7));
    /// ```
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.max_unpacked_bytes =
            Some(self.max_unpacked_bytes.map_or(bytes, |before| before.min(bytes)));
        self
    }
}

/// Bytes to be read, in pieces. Every byte is delivered once and in order: a transfer that breaks
/// is resumed at the byte that it had reached, or read again and compared up to that byte, or
/// fails.
pub struct Source {
    kind: Kind,
    /// Pieces read ahead by [`peek`](Self::peek).
    pending: VecDeque<Piece>,
    subject: String,
    nature: SourceTraits,
    max_bytes: Option<u64>,
}

enum Kind {
    File(Box<FileSource>, Option<Pacer>),
    Http(Box<Resumable<HttpOrigin>>),
    Ssh(Box<Resumable<RemoteFile>>),
    #[cfg(feature = "s3")]
    S3(Box<Resumable<s3::S3Origin>>),
    Command(Box<Resumable<CommandOutput>>),
}

/// Bytes as they were stored.
const STORED: SourceTraits = SourceTraits { built: false, may_be_packed: true };

impl Source {
    /// Opens a path, or a URL: `file://`, `http://`, `https://`, `ssh://[user@]host:path`,
    /// `rbd://[user@]host/pool/image`, `s3://bucket/key` (with the feature `s3`, and the service
    /// that [`Options::s3`] names), and those that [`Options::helpers`] understand.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read; other schemes are refused by name.
    pub async fn open(location: &str, options: &Options) -> Result<Self, Error> {
        let subject = redacted(location);
        let (kind, nature) = match Location::parse(location)? {
            Location::Path(path) => (file(FileSource::open(&path)?, options), STORED),
            Location::Http(url) => {
                let origin = HttpOrigin::new(url, subject.clone(), options)?;
                (
                    Kind::Http(Box::new(Resumable::open(origin, subject.clone(), options).await?)),
                    STORED,
                )
            }
            Location::Ssh { host, path } => return Self::open_on(&host, &path, options).await,
            Location::Rbd { host, arguments } => {
                let ssh = Ssh::new(options).for_bulk(&host).await;
                let spec = CommandSpec::Rbd { ssh, host, arguments };
                let origin = CommandOutput::new(spec, location, subject.clone(), options);
                (
                    Kind::Command(Box::new(
                        Resumable::open(origin, subject.clone(), options).await?,
                    )),
                    STORED,
                )
            }
            Location::S3 { bucket, key } => {
                return Self::open_s3(&bucket, &key, &subject, options).await;
            }
            Location::Other(scheme) => {
                let (origin, nature) = helper::open(&scheme, location, &subject, options).await?;
                (
                    Kind::Command(Box::new(
                        Resumable::open(origin, subject.clone(), options).await?,
                    )),
                    nature,
                )
            }
        };
        Ok(Self::new(kind, subject, nature, options))
    }

    #[cfg(feature = "s3")]
    async fn open_s3(
        bucket: &str,
        key: &str,
        subject: &str,
        options: &Options,
    ) -> Result<Self, Error> {
        let access = options.s3.as_ref().ok_or_else(|| {
            let cause = "is an object of an S3 service, and the service and the keys for it are not known here";
            Error::new(ErrorKind::Unsupported, subject, cause)
        })?;
        let origin = s3::S3Origin::new(s3::Bucket::open(access, bucket, options)?, key, options)?;
        let subject = origin.subject().to_owned();
        let kind = Kind::S3(Box::new(Resumable::open(origin, subject.clone(), options).await?));
        Ok(Self::new(kind, subject, STORED, options))
    }

    #[cfg(not(feature = "s3"))]
    async fn open_s3(_: &str, _: &str, subject: &str, _: &Options) -> Result<Self, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            subject,
            "is an object of an S3 service: this program reads none",
        ))
    }

    /// Opens a file or block device of another host, over ssh.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_on(host: &Host, path: &str, options: &Options) -> Result<Self, Error> {
        let subject = redacted(&format!("ssh://{host}:{path}"));
        let origin = RemoteFile::new(host.clone(), path.to_owned(), subject.clone(), options).await;
        let kind = Kind::Ssh(Box::new(Resumable::open(origin, subject.clone(), options).await?));
        Ok(Self::new(kind, subject, STORED, options))
    }

    /// Reads an open file from its start; `subject` names it in messages.
    ///
    /// # Errors
    /// When it is neither a file nor a block device.
    pub fn from_file(file: File, subject: &str, options: &Options) -> Result<Self, Error> {
        let kind = self::file(FileSource::of(file, subject.to_owned())?, options);
        Ok(Self::new(kind, subject.to_owned(), STORED, options))
    }

    /// Opens a local file or block device.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_path(path: &Path, options: &Options) -> Result<Self, Error> {
        let kind = file(FileSource::open(path)?, options);
        Ok(Self::new(kind, redacted(&path.to_string_lossy()), STORED, options))
    }

    fn new(kind: Kind, subject: String, nature: SourceTraits, options: &Options) -> Self {
        Self {
            kind,
            pending: VecDeque::new(),
            subject,
            nature,
            max_bytes: options.max_unpacked_bytes,
        }
    }

    /// The most bytes that a transfer of it may store, unless [`Options::max_unpacked_bytes`] has
    /// said it already.
    pub fn allow_at_most(&mut self, bytes: u64) {
        self.max_bytes.get_or_insert(bytes);
    }

    /// The most bytes that may be stored of it.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// The path or URL as it may be shown.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The number of bytes that the source says it has; that many are delivered, or an error.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::File(source, _) => Some(source.length),
            Kind::Http(source) => source.length(),
            Kind::Ssh(source) => source.length(),
            #[cfg(feature = "s3")]
            Kind::S3(source) => source.length(),
            Kind::Command(source) => source.length(),
        }
    }

    /// How many bytes it takes on the disk where it is: less than its length when it has holes.
    /// `None` when unknown.
    pub fn allocated(&self) -> Option<u64> {
        let metadata = self.file()?.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.blocks().saturating_mul(512))
    }

    /// The file, when the source is a local one.
    pub fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(source, _) => Some(&source.file),
            _ => None,
        }
    }

    /// Whether its bytes are built while they are read: no digest that was recorded before is one
    /// of them.
    pub fn is_built(&self) -> bool {
        self.nature.built
    }

    /// Whether it may be a compressed file that is to be unpacked. Some helpers write nothing but
    /// images.
    pub fn may_be_packed(&self) -> bool {
        self.nature.may_be_packed
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

    /// No more of it is wanted, though it has not ended: what a helper has made for it is removed.
    pub async fn leave(self) {
        if let Kind::Command(source) = self.kind {
            source.into_origin().clean().await;
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
            Kind::Http(source) => source.next().await,
            Kind::Ssh(source) => source.next().await,
            #[cfg(feature = "s3")]
            Kind::S3(source) => source.next().await,
            Kind::Command(source) => source.next().await,
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

    /// What comes next of a local file, at most `most` bytes of it, without reading it; `None` when
    /// pieces have to be read.
    pub(crate) fn extent(&self, most: u64) -> Result<Option<Extent>, Error> {
        match &self.kind {
            Kind::File(source, _) => source.extent(most).map(Some),
            _ => Ok(None),
        }
    }

    /// Passes over what [`extent`](Self::extent) told; `moved` bytes of it took somebody time.
    pub(crate) async fn skip(&mut self, bytes: u64, moved: u64) {
        if let Kind::File(source, pacer) = &mut self.kind {
            source.skip(bytes);
            if let Some(pacer) = pacer {
                pacer.throttle(moved).await;
            }
        }
    }

    /// How much may be taken at once, so that a limit is kept evenly.
    pub(crate) fn stride(&self, most: u64) -> u64 {
        match &self.kind {
            Kind::File(_, Some(pacer)) => pacer.stride().min(most),
            _ => most,
        }
    }
}

fn file(source: FileSource, options: &Options) -> Kind {
    Kind::File(Box::new(source), options.limit.map(Pacer::new))
}
