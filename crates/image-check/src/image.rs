//! An image that is looked into.

use crate::checks::{self, CHECKS, Subject};
use crate::container::{Container, Format, HEAD_BYTES};
use crate::deadline::Deadline;
use crate::declared::Declared;
use crate::error::{Error, ErrorKind};
use crate::inspection::Inspection;
use crate::options::Options;
use crate::page_cache::read_padded;
use crate::policy::Policy;
use crate::report::{Report, SPARSE, Severity};
use crate::summary::Summary;
use crate::unavailable::Unavailable;
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

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
    file_bytes: u64,
    allocated_bytes: u64,
    head: Vec<u8>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Image");
        debug.field("name", &self.name).field("file_bytes", &self.file_bytes);
        debug.field("format", &self.format()).finish_non_exhaustive()
    }
}

impl Image {
    /// Opens a file or a block device.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it is not there or cannot be read, [`ErrorKind::NotAFile`] when it is
    /// something else. A pipe is refused without waiting for its other end.
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
    /// [`ErrorKind::NotAFile`] when it is neither a file nor a block device, [`ErrorKind::Io`] when
    /// it cannot be read.
    pub fn from_file(mut file: File, name: &str) -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::io(name, error);
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            let cause = "is neither a file nor a block device";
            return Err(Error::new(ErrorKind::NotAFile, name, cause));
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

    /// Another handle on the file. Both share its position.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the process has too many files open.
    pub fn file(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(|error| Error::io(&self.name, error))
    }

    /// Makes the checks of the options' policy. It blocks: for as long as the time limit, and once
    /// more when the check `sparse` is among them.
    ///
    /// # Errors
    /// None at present; what is wrong with the image, and what could not be read of it, is in the
    /// report.
    pub fn check(&self, options: &Options) -> Result<Report, Error> {
        let mut inspection = self.inspect(options.time_limit);
        let (declared, checksums) = (&options.declared, options.checksums.as_ref());
        let subject = Subject { inspection: &inspection, declared, checksums };
        let mut report = report(&self.name, &subject, &options.policy);
        // Reads everything that is stored: it must not take the time of the other checks, which
        // read from the guest while they are made.
        let sparse = report.findings.iter_mut().find(|finding| finding.id == SPARSE);
        if let (Some(finding), Some(check)) = (sparse, checks::find(SPARSE)) {
            let deadline = Deadline::after(options.time_limit);
            inspection.count_stored(deadline, || self.handle());
            let subject = Subject { inspection: &inspection, declared, checksums };
            *finding = checks::run(check, &subject, options.policy.severity(SPARSE));
        }
        Ok(report)
    }

    /// What the image is and what is in it, as far as a look of `time_limit` can tell. It blocks.
    ///
    /// # Errors
    /// None at present; the summary's notes say what could not be read.
    pub fn summary(&self, time_limit: Duration) -> Result<Summary, Error> {
        let inspection = self.inspect(time_limit);
        Ok(Summary::new(&inspection, self.file_bytes, self.allocated_bytes))
    }

    fn inspect(&self, time_limit: Duration) -> Inspection {
        let mut inspection = Inspection::of_head(&self.head, Some(self.file_bytes));
        inspection.inspect(Deadline::after(time_limit), || self.handle());
        inspection
    }

    fn handle(&self) -> Result<File, Unavailable> {
        Ok(self.file.try_clone()?)
    }
}

/// Makes the checks that the first bytes of an image can answer, at most [`HEAD_BYTES`] of them;
/// the others are skips for the reason [`HeadOnly`](crate::SkipReason::HeadOnly). `name` is the
/// report's [`image`](Report::image).
///
/// ```
/// use image_check::{Declared, Policy, check_head};
///
/// let head = b"QFI\xfb\0\0\0\x09 a header of no version that exists";
/// let report = check_head(head, "stream", &Policy::opennebula(), &Declared::default());
/// assert!(!report.is_ready());
/// ```
pub fn check_head(head: &[u8], name: &str, policy: &Policy, declared: &Declared) -> Report {
    let inspection = Inspection::of_head(&head[..head.len().min(HEAD_BYTES)], None);
    report(name, &Subject { inspection: &inspection, declared, checksums: None }, policy)
}

fn report(name: &str, subject: &Subject<'_>, policy: &Policy) -> Report {
    let made = CHECKS.iter().filter(|check| policy.severity(check.id) != Severity::Off);
    let findings = made.map(|check| checks::run(check, subject, policy.severity(check.id)));
    Report {
        image: name.to_owned(),
        format: subject.inspection.container.format,
        refers: subject.inspection.names_other_file(),
        policy: policy.name().to_owned(),
        findings: findings.collect(),
    }
}
