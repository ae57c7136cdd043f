//! An image that is looked into, and everything that the checks ask.

use crate::checks::{self, CHECKS, Subject};
use crate::container::{Container, Format, HEAD_BYTES};
use crate::disk::{Disk, Stored};
use crate::error::{Error, ErrorKind};
use crate::guest::{Guest, Layout};
use crate::pages::read_padded;
use crate::policy::Policy;
use crate::qcow2::{Compression, Examined, Header, Qcow2};
use crate::report::{Finding, Report};
use crate::summary::Summary;
use crate::time::Deadline;
use market_checksum::{Digests, Expected, Md5, Sha256};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// The check that needs everything that is stored.
const SPARSE: &str = "sparse";

/// What somebody has said of an image, to be compared with what it is. What is `None` is not
/// compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declared {
    /// `qcow2`, `raw` or another word of QEMU's, in any letter case.
    pub format: Option<String>,
    /// The size of the disk that a guest sees, in bytes.
    pub virtual_bytes: Option<u64>,
    /// The same in MiB, rounded up, as SIZE of an app has it.
    pub size_mib: Option<u64>,
    /// MD5 of the file.
    pub md5: Option<Md5>,
    /// SHA-256 of the file.
    pub sha256: Option<Sha256>,
}

impl Declared {
    /// Compares the format: `qcow2`, `raw` or another of [`Format`]'s names, in any letter case.
    #[must_use]
    pub fn with_format(self, format: impl Into<String>) -> Self {
        Self { format: Some(format.into()), ..self }
    }

    /// Compares the size of the disk that a guest sees, in bytes.
    #[must_use]
    pub fn with_virtual_bytes(self, bytes: u64) -> Self {
        Self { virtual_bytes: Some(bytes), ..self }
    }

    /// Compares the same size in MiB, rounded up. Not looked at beside a size in bytes.
    #[must_use]
    pub fn with_size_mib(self, mib: u64) -> Self {
        Self { size_mib: Some(mib), ..self }
    }

    /// Whether a checksum is to be compared.
    pub fn has_checksum(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }

    /// The checksums, to be compared with those that are computed.
    pub(crate) fn checksums(&self) -> Expected {
        let by = "its description";
        Expected::new().and_maybe(by, self.md5).and_maybe(by, self.sha256)
    }
}

/// How to look.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What matters.
    pub policy: Policy,
    /// What is compared with the image.
    pub declared: Declared,
    /// The checksums of the image's file, computed by whoever has read it (this crate hashes
    /// nothing): what those of `declared` are compared with.
    pub checksums: Option<Digests>,
    /// How long a look may take; what has not been looked at by then is a SKIP. Counting zeros
    /// comes last and may take as long again. A minute, unless it is set.
    pub time_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            declared: Declared::default(),
            checksums: None,
            time_limit: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Makes the checks of this policy.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Compares the image with what was declared of it.
    #[must_use]
    pub fn with_declared(self, declared: Declared) -> Self {
        Self { declared, ..self }
    }

    /// Gives the checksums that declared ones are compared with; `None` when nobody has computed
    /// any.
    #[must_use]
    pub fn with_checksums(self, checksums: Option<Digests>) -> Self {
        Self { checksums, ..self }
    }

    /// Ends a look after this time.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }
}

/// An image file. Nothing is ever written to it, and no file that it names is opened.
///
/// ```
/// use image_check::{Image, Options, Outcome};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("disk.img");
/// std::fs::write(&path, [0; 4096])?;
/// let report = Image::open(&path)?.check(&Options::default())?;
/// let format = report.with(Outcome::Fail).next().unwrap();
/// assert_eq!(format.id, "format-known");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Image {
    file: File,
    name: String,
    pub(crate) file_bytes: u64,
    pub(crate) allocated_bytes: u64,
    head: Vec<u8>,
}

impl Image {
    /// Opens a file or a block device.
    ///
    /// # Errors
    /// When it is not there, is something else, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.to_string_lossy().into_owned();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::io(&name, errno))?;
        Self::from_file(file.into(), &name)
    }

    /// Looks into a file that is open; `name` stands in messages. The file's position does not
    /// matter, and may change.
    ///
    /// # Errors
    /// When it is neither a file nor a block device, or cannot be read.
    pub fn from_file(mut file: File, name: &str) -> Result<Self, Error> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let fail = |error: io::Error| Error::io(name, error);
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            return Err(Error::new(
                ErrorKind::NotAFile,
                name,
                "is neither a file nor a block device",
            ));
        }
        let file_bytes = file.seek(SeekFrom::End(0)).map_err(fail)?;
        let mut head = vec![0; usize::try_from(file_bytes).unwrap_or(HEAD_BYTES).min(HEAD_BYTES)];
        read_padded(&file, 0, &mut head).map_err(fail)?;
        let allocated_bytes =
            if metadata.is_file() { metadata.blocks().saturating_mul(512) } else { file_bytes };
        Ok(Self { file, name: name.to_owned(), file_bytes, allocated_bytes, head })
    }

    /// The container's format; [`Format::Raw`] for anything that is not known.
    pub fn format(&self) -> Format {
        Container::sniff(&self.head).format
    }

    /// Another handle on the file.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn file(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|error| Error::io(&self.name, error))
    }

    /// Makes the checks that the options' policy has.
    ///
    /// # Errors
    /// When the file cannot be read at all; what is wrong with the image is in the report.
    pub fn check(&self, options: &Options) -> Result<Report, Error> {
        let mut looked = self.look(options.time_limit)?;
        let (declared, checksums) = (&options.declared, options.checksums.as_ref());
        let mut report =
            report(&self.name, &Subject { looked: &looked, declared, checksums }, &options.policy);
        // Reads everything that is stored: it must not take the time of the others.
        let is_sparse = |finding: &&mut Finding| finding.id == SPARSE;
        if let Some(finding) = report.findings.iter_mut().find(is_sparse)
            && let Some(check) = CHECKS.iter().find(|check| check.id == SPARSE)
        {
            looked.stored = self.count_stored(&looked, Deadline::after(options.time_limit));
            let subject = Subject { looked: &looked, declared, checksums };
            *finding = checks::run(check, &subject, options.policy.severity(SPARSE));
        }
        Ok(report)
    }

    fn count_stored(&self, looked: &Inspection, deadline: Deadline) -> Result<Stored, String> {
        self.disk(looked)?.count_stored(&deadline).map_err(|error| error.to_string())
    }

    /// What the image is and what is in it.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn summary(&self, limit: Duration) -> Result<Summary, Error> {
        Ok(Summary::of(self, &self.look(limit)?))
    }

    fn look(&self, limit: Duration) -> Result<Inspection, Error> {
        let deadline = Deadline::after(limit);
        let mut looked = Inspection::at_head(&self.head, Some(self.file_bytes));
        match self.disk(&looked) {
            Ok(disk) => looked.look_into(disk, deadline),
            Err(reason) => looked.give_up(&reason),
        }
        Ok(looked)
    }

    /// The disk in the image, or why it is not read.
    fn disk(&self, looked: &Inspection) -> Result<Disk, String> {
        let file = || self.file().map_err(|error| error.cause().to_owned());
        match (&looked.header, looked.container.format) {
            (Some(Err(flaw)), _) => Err(flaw.clone()),
            (Some(Ok(header)), _) => match unreadable(header) {
                Some(reason) => Err(reason.to_owned()),
                None => Qcow2::new(file()?, header.clone())
                    .map(Disk::qcow2)
                    .map_err(|error| format!("cannot be read: {error}")),
            },
            (None, Format::Raw) if looked.packing.is_none() => {
                Ok(Disk::raw(file()?, self.file_bytes))
            }
            (None, format) => {
                Err(format!("{} is not read here", looked.packing.unwrap_or(format.name())))
            }
        }
    }
}

/// Makes the checks that the first bytes of an image can answer, at most [`HEAD_BYTES`] of them;
/// the others are SKIPs.
pub fn check_head(head: &[u8], name: &str, policy: &Policy, declared: &Declared) -> Report {
    let mut looked = Inspection::at_head(&head[..head.len().min(HEAD_BYTES)], None);
    looked.give_up("only the first 64 KiB of a stream are looked at");
    report(name, &Subject { looked: &looked, declared, checksums: None }, policy)
}

fn report(name: &str, subject: &Subject<'_>, policy: &Policy) -> Report {
    let wanted = CHECKS.iter().filter(|check| policy.wants(check));
    let findings =
        wanted.map(|check| checks::run(check, subject, policy.severity(check.id))).collect();
    let format = subject.looked.container.format;
    let refers = subject.looked.refers();
    Report { image: name.to_owned(), format, refers, policy: policy.name.clone(), findings }
}

/// Why a qcow2 image's disk is not read.
fn unreadable(header: &Header) -> Option<&'static str> {
    match () {
        () if header.encryption != 0 => Some("the image is encrypted"),
        () if header.external_data() => {
            Some("the image's data are in another file, which is never opened")
        }
        () if header.backed => Some("the image needs its backing file, which is never opened"),
        () => None,
    }
}

/// What was found by looking.
pub(crate) struct Inspection {
    pub(crate) container: Container,
    pub(crate) header: Option<Result<Header, String>>,
    /// What the file is packed in, if it is.
    pub(crate) packing: Option<&'static str>,
    /// `None` for a stream.
    pub(crate) file_bytes: Option<u64>,
    pub(crate) tables: Result<Option<Result<Examined, String>>, String>,
    pub(crate) stored: Result<Stored, String>,
    pub(crate) layout: Result<Layout, String>,
    pub(crate) guest: Result<Guest, String>,
}

impl Inspection {
    fn at_head(head: &[u8], file_bytes: Option<u64>) -> Self {
        let container = Container::sniff(head);
        let header = (container.format == Format::Qcow2).then(|| Header::parse(head));
        let unseen = || "was not looked at".to_owned();
        Self {
            container,
            header,
            packing: packing(head),
            file_bytes,
            tables: Err(unseen()),
            stored: Err(unseen()),
            layout: Err(unseen()),
            guest: Err(unseen()),
        }
    }

    /// It names another file.
    pub(crate) fn refers(&self) -> bool {
        let external = matches!(&self.header, Some(Ok(header)) if header.external_data());
        external || self.container.reference.is_some()
    }

    fn give_up(&mut self, reason: &str) {
        self.tables = Err(reason.to_owned());
        self.stored = Err(reason.to_owned());
        self.layout = Err(reason.to_owned());
        self.guest = Err(reason.to_owned());
    }

    fn look_into(&mut self, mut disk: Disk, deadline: Deadline) {
        let said = |error: io::Error| error.to_string();
        self.tables =
            disk.as_qcow2().map(|image| image.examine(&deadline)).transpose().map_err(said);
        self.layout = Layout::read(&mut disk).map_err(said);
        self.guest = match &self.layout {
            Ok(layout) => Guest::find(disk, layout, deadline),
            Err(reason) => Err(reason.clone()),
        };
    }

    /// The size of the disk that a guest would see.
    pub(crate) fn virtual_bytes(&self) -> Option<u64> {
        match (&self.header, self.container.format) {
            (Some(Ok(header)), _) => Some(header.virtual_bytes),
            (None, Format::Raw) => self.file_bytes,
            _ => None,
        }
    }

    /// How its clusters are compressed, where some are.
    pub(crate) fn compression(&self) -> Option<&'static str> {
        let header = self.header.as_ref()?.as_ref().ok()?;
        let Ok(Some(Ok(Examined { compressed_clusters: 1.., .. }))) = self.tables else {
            return None;
        };
        Some(match header.compression {
            Compression::Zlib => "zlib",
            Compression::Zstd => "zstd",
        })
    }
}

/// Packings by their first bytes: what is packed is no disk.
fn packing(head: &[u8]) -> Option<&'static str> {
    let is = |magic: &[u8]| head.starts_with(magic);
    match () {
        () if is(&[0x1f, 0x8b]) => Some("gzip"),
        () if is(b"BZh") => Some("bzip2"),
        () if is(&[0xfd, b'7', b'z', b'X', b'Z', 0]) => Some("xz"),
        () if is(&[0x28, 0xb5, 0x2f, 0xfd]) => Some("zstd"),
        () if is(b"PK\x03\x04") => Some("zip"),
        () if head.get(257..262) == Some(b"ustar") => Some("tar"),
        () => None,
    }
}
