//! Image conversion with `qemu-img`, which knows every format of QEMU.
//!
//! It is never given an image that names another file (a backing file, an external data file):
//! [`container`](crate::container) refuses those before.
//!
//! `qemu-img` can exit with 0 although a write has failed. A converted image is therefore used only
//! after it was read again and [compared](Conversion::verify) with its source, and only if
//! `qemu-img` has written nothing to its standard error.

use crate::backend::Context;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use market_transfer::Process;
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Command;
use std::process::ExitStatus;
use std::time::Duration;

/// How long it may take: it writes nothing while it works.
const TIMEOUT: Duration = Duration::from_secs(12 * 3_600);

/// The most that is kept of its standard output.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// The size of a sector, in bytes: QEMU rounds the sizes of disks up to it.
const SECTOR_BYTES: u64 = 512;

/// An image, and the same image in another format. Paths must be absolute: others may be taken for
/// the names of protocols.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// What is read.
    pub source: &'a Path,
    /// Its format, as `qemu-img` calls it.
    pub from: &'a str,
    /// What is written.
    pub target: &'a Path,
    /// The format that it gets.
    pub to: &'a str,
}

impl Conversion<'_> {
    /// Writes the target; `options` are further ones of `qemu-img convert`. It must not be used
    /// before it was [verified](Self::verify).
    ///
    /// # Errors
    /// Those of [`qemu_img`].
    pub async fn write(&self, options: &[&str], context: &Context) -> Result<(), Error> {
        let mut arguments = arguments_of(&["convert", "-q", "-f", self.from, "-O", self.to]);
        arguments.extend(arguments_of(options));
        arguments.extend([self.source.into(), self.target.into()]);
        qemu_img(&arguments, context).await
    }

    /// Compares the target with its source: every byte that a guest can see, the size of the disk,
    /// and of a qcow2 the tables. The size is that of the source, rounded up to a multiple of so
    /// many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when they differ, those of [`qemu_img`].
    pub async fn verify(&self, size_multiple: u64, context: &Context) -> Result<(), Error> {
        let mut arguments = arguments_of(&["compare", "-f", self.from, "-F", self.to]);
        arguments.extend([self.source.into(), self.target.into()]);
        let run = run(&arguments, context).await?;
        match run.status.code() {
            Some(0) => run.without_complaint()?,
            Some(1) => return Err(self.differs(&run.cause())),
            _ => return Err(run.failure()),
        }
        let expected =
            disk_bytes(self.source, self.from, context).await?.next_multiple_of(size_multiple);
        let written = disk_bytes(self.target, self.to, context).await?;
        if written != expected {
            return Err(self
                .differs(&format!("its disk has {written} bytes, and {expected} were expected")));
        }
        if self.to == "qcow2" {
            let mut arguments = arguments_of(&["check", "-q", "-f", "qcow2"]);
            arguments.push(self.target.into());
            qemu_img(&arguments, context).await?;
        }
        Ok(())
    }

    fn differs(&self, cause: &str) -> Error {
        let subject = format!("qemu-img convert -f {} -O {}", self.from, self.to);
        let error = Error::new(
            ErrorKind::Mismatch,
            subject,
            format!("what it wrote is not what it read: {cause}"),
        );
        error.remedy("nothing was kept; check the disk")
    }

    /// The `size_multiple` of [`verify`](Self::verify) for a disk that is not resized: one sector,
    /// in bytes.
    pub const SECTOR: u64 = SECTOR_BYTES;
}

fn arguments_of(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Runs `qemu-img` and waits for it; it is killed when the context asks to stop.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when it is not installed; [`ErrorKind::Failed`] with the last line of
/// its standard error when it fails, or when it has written any.
pub async fn qemu_img<S: AsRef<OsStr>>(arguments: &[S], context: &Context) -> Result<(), Error> {
    let run = run(arguments, context).await?;
    if run.status.success() { run.without_complaint() } else { Err(run.failure()) }
}

/// The size of the disk that an image holds.
async fn disk_bytes(path: &Path, format: &str, context: &Context) -> Result<u64, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Info {
        virtual_size: u64,
    }
    let mut arguments = arguments_of(&["info", "--output=json", "-f", format]);
    arguments.push(path.into());
    let run = run(&arguments, context).await?;
    if !run.status.success() {
        return Err(run.failure());
    }
    let info: Info = serde_json::from_slice(&run.output).map_err(|_| {
        Error::new(ErrorKind::Failed, run.subject, "its answer does not name the size of the disk")
    })?;
    Ok(info.virtual_size.next_multiple_of(SECTOR_BYTES))
}

/// How a run has ended, and what it has written.
struct Run {
    subject: String,
    status: ExitStatus,
    output: Vec<u8>,
    stderr: String,
}

impl Run {
    /// The last line that it has written, on standard error before standard output, or else how it
    /// ended.
    fn cause(&self) -> String {
        let output = String::from_utf8_lossy(&self.output);
        let last =
            |text: &str| text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(one_line);
        last(&self.stderr)
            .or_else(|| last(&output))
            .unwrap_or_else(|| format!("ended with {}", self.status))
    }

    fn failure(&self) -> Error {
        Error::new(ErrorKind::Failed, &self.subject, self.cause())
    }

    /// Text on standard error is a failure whatever the exit code: a flush that fails is reported
    /// only there.
    fn without_complaint(&self) -> Result<(), Error> {
        if self.stderr.trim().is_empty() {
            return Ok(());
        }
        let cause = format!("it ended well, but complained: {}", self.cause());
        Err(Error::new(ErrorKind::Failed, &self.subject, cause)
            .remedy("nothing was kept; see to the complaint"))
    }
}

async fn run<S: AsRef<OsStr>>(arguments: &[S], context: &Context) -> Result<Run, Error> {
    // The command without its paths: they are temporary files.
    let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
    let words: Vec<_> = words.filter(|word| !word.starts_with('/') && word != "-q").collect();
    let subject = format!("qemu-img {}", words.join(" "));
    let mut command = Command::new("qemu-img");
    command.args(arguments);
    let fail = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(ErrorKind::Unsupported, &subject, "qemu-img is not installed")
                .remedy("install qemu-utils")
        }
        _ => Error::io(subject.as_str(), error),
    };
    let run = async {
        let mut process = Process::start(command, TIMEOUT).map_err(|error| fail(&error))?;
        process.close_input();
        let mut output = Vec::new();
        while let Some(bytes) = process.read().await.map_err(|error| fail(&error))? {
            let room = MAX_OUTPUT_BYTES.saturating_sub(output.len());
            output.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let ended = process.wait().await.map_err(|error| fail(&error))?;
        Ok::<_, Error>((ended, output))
    };
    let (ended, output) = context.stop.or(run).await?;
    Ok(Run { subject, status: ended.status, output, stderr: ended.stderr })
}
