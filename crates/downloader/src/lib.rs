#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_downloader::{Arguments, Request, Target};
//!
//! let words = ["--md5", "d41d8cd98f00b204e9800998ecf8427e", "http://market/app", "-"];
//! let Request::Download(arguments) = Arguments::parse(words)? else { unreachable!() };
//! assert_eq!(arguments.target, Target::StandardOutput);
//! # Ok::<(), market_core::error::Error>(())
//! ```

mod archive;
mod arguments;
mod drv_action;
mod standard_output;

pub use arguments::{Arguments, Request, Target};

use archive::Archive;
use drv_action::DrvAction;
use market_core::backend::Context;
use market_core::container::refuse_other_content;
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::opennebula::Helpers;
use market_core::runtime::{open_output, print, run_main, run_until_stopped};
use market_core::transfer::s3::S3Scheme;
use market_core::transfer::{
    Content, ErrorKind as TransferErrorKind, FileSink, Location, Options, Packing, Source,
    SparseFile, StagedFile, Transfer, Transferred, redacted, run_on_thread,
};
use standard_output::StandardOutput;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of every failure: that of the stock one.
const FAILURE: u8 = 255;

/// Runs the downloader: the whole main of it.
pub fn run() -> ExitCode {
    run_main(
        |_| FAILURE,
        || match Arguments::parse(std::env::args_os().skip(1))? {
            Request::Print(text) => print(text.as_bytes()),
            Request::Download(arguments) => run_until_stopped("downloader", async |context| {
                download(&arguments, &context).await
            }),
        },
    )
}

/// Fetches what the arguments say.
///
/// # Errors
/// Everything that stands in the way; then a file that was to be written is not there, or is what
/// it was.
pub async fn download(arguments: &Arguments, context: &Context) -> Result<(), Error> {
    let (options, action) = options(arguments, context)?;
    let most_unpacked = options.max_unpacked_bytes;
    let most_unpacked =
        most_unpacked.unwrap_or(action.size.unwrap_or_default().max_unpacked_bytes());
    let mut source = context.stop.or(Source::open(&arguments.source, &options)).await?;
    let head = context.stop.or(source.peek(SNIFFED_BYTES)).await?;
    let unpack = match Packing::sniff(&head) {
        Some(Packing::Compressed(compression)) if arguments.unpack && source.may_be_packed() => {
            Some(compression)
        }
        _ => None,
    };
    match unpack {
        Some(_) => source.allow_at_most(most_unpacked),
        None => check_content(arguments, &action, &source, &head)?,
    }
    let wanted = arguments.expected.digests();
    let how = Transfer { wanted, unpack, max_bytes: arguments.max_bytes };
    let download = Download { arguments, action, how, most_unpacked, context };
    let outcome = download.deliver(&mut source).await;
    if outcome.is_ok() && arguments.max_bytes.is_some() {
        source.close().await;
    }
    outcome
}

/// What is fetched, and how.
struct Download<'a> {
    arguments: &'a Arguments,
    action: DrvAction,
    how: Transfer,
    /// The most bytes that may be unpacked.
    most_unpacked: u64,
    context: &'a Context,
}

impl Download<'_> {
    async fn deliver(&self, source: &mut Source) -> Result<(), Error> {
        let mut sink = match &self.arguments.target {
            Target::StandardOutput => {
                open_output()?;
                StandardOutput::open(&std::io::stdout())?
            }
            Target::Path(path) => match Place::of(path)? {
                Place::Special(file) => StandardOutput::open(&file)?,
                Place::File(path) => return self.to_file(source, &path).await,
            },
        };
        let transferred = self.context.stop.or(source.transfer(&mut sink, self.how)).await?;
        self.check(source, &transferred)
    }

    /// What came, looked at as a whole.
    fn check(&self, source: &Source, transferred: &Transferred) -> Result<(), Error> {
        compare(self.arguments, source.subject(), transferred)?;
        check_content(self.arguments, &self.action, source, &transferred.head)
    }

    /// Writes beside the place, and gives it its name in the end.
    async fn to_file(&self, source: &mut Source, path: &Path) -> Result<(), Error> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        StagedFile::sweep(directory);
        let staged = match StagedFile::file(directory) {
            Ok(staged) => staged,
            Err(error) if error.kind == TransferErrorKind::Denied => {
                return self.in_place(source, path, error.into()).await;
            }
            Err(error) => return Err(error.into()),
        };
        let mut file = SparseFile::new(staged.open()?, true);
        let subject = path.display().to_string();
        let mut sink = FileSink { file: &mut file, subject: &subject, durable: true };
        let transferred = self.context.stop.or(source.transfer(&mut sink, self.how)).await?;
        self.check(source, &transferred)?;
        let format = self.archive(source, &transferred);
        self.finish(file, path).await?;
        let finished = match format {
            Some(format) => self.unpack(format, staged, source.subject(), path).await?,
            None => staged,
        };
        match self.context.stop.reason() {
            Some(reason) => Err(reason.into()),
            None => Ok(finished.replace(path)?),
        }
    }

    /// Puts a file on the disk; a signal does not wait for that.
    async fn finish(&self, mut file: SparseFile, path: &Path) -> Result<(), Error> {
        let finished = run_on_thread("sync", move || file.finish());
        let fail = |error| Error::io(redacted(&path.to_string_lossy()), &error);
        self.context.stop.or(async { finished.await.flatten().map_err(fail) }).await
    }

    /// Makes a directory of an archive, beside its place.
    async fn unpack(
        &self,
        format: &'static str,
        file: StagedFile,
        subject: &str,
        path: &Path,
    ) -> Result<StagedFile, Error> {
        let (stop, most_bytes) = (self.context.stop.clone(), self.most_unpacked);
        let (place, name) = (path.to_owned(), subject.to_owned());
        let unpacked = run_on_thread("unpack", move || {
            Archive { format, file, subject: &name, most_bytes, stop: &stop }.extract(&place)
        });
        // It hears itself of what asks to stop, and removes what it has made.
        unpacked.await.map_err(|error| Error::io(subject, &error))?
    }

    /// The kind of archive that what came is to be unpacked from, if it is.
    fn archive(&self, source: &Source, transferred: &Transferred) -> Option<&'static str> {
        match Packing::sniff(&transferred.head) {
            Some(Packing::Archive(format))
                if self.arguments.unpack
                    && source.may_be_packed()
                    && self.how.max_bytes.is_none() =>
            {
                Some(format)
            }
            _ => None,
        }
    }

    /// Writes into a file that is there, where nothing may stand beside it; `refused` says so. What
    /// it held is lost with the first byte, and after a failure it is empty: never a part of
    /// something.
    async fn in_place(
        &self,
        source: &mut Source,
        path: &Path,
        refused: Error,
    ) -> Result<(), Error> {
        let fail = |error: &std::io::Error| Error::io(redacted(&path.to_string_lossy()), error);
        let Ok(place) = File::options().write(true).read(true).open(path) else {
            return Err(
                refused.remedy("the directory must be writable, or the file be there and writable")
            );
        };
        let subject = path.display().to_string();
        self.context.log.info(format_args!(
            "{subject} is written where it is: its directory cannot be written to"
        ));
        place.set_len(0).map_err(|error| fail(&error))?;
        let mut file = SparseFile::new(place.try_clone().map_err(|error| fail(&error))?, true);
        let mut sink = FileSink { file: &mut file, subject: &subject, durable: true };
        let written = async {
            let transferred = self.context.stop.or(source.transfer(&mut sink, self.how)).await?;
            self.check(source, &transferred)?;
            if self.archive(source, &transferred).is_some() {
                let cause = "is an archive, and no directory can be made in place of the file";
                return Err(Error::new(ErrorKind::Unsupported, source.subject(), cause)
                    .remedy("see --nodecomp"));
            }
            Ok(())
        };
        let finished = match written.await {
            Ok(()) => self.finish(file, path).await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            let _ = place.set_len(0);
        }
        finished
    }
}

/// Enough to tell any packing.
const SNIFFED_BYTES: usize = 64 << 10;

/// How to fetch it: as the action's templates say, and the command line.
fn options(arguments: &Arguments, context: &Context) -> Result<(Options, DrvAction), Error> {
    let action = DrvAction::of_environment();
    let mut options = context
        .options
        .clone()
        .with_user_agent(concat!("downloader/", env!("CARGO_PKG_VERSION")))
        .with_limit(arguments.limit);
    if !arguments.retry {
        options.retry.retries = 0;
    }
    options = action.transfer()?.apply(options, &context.log)?;
    options.max_unpacked_bytes =
        arguments.max_unpacked.map(MiB::bytes).or(options.max_unpacked_bytes);
    if let Some(message) = action.dump() {
        options = Helpers::give_message(options, message);
    }
    match Location::parse(&arguments.source)?.scheme() {
        "s3" => {
            let access = action.s3_access(&redacted(&arguments.source))?;
            options = options.with_scheme(S3Scheme::new(access));
        }
        "onebex" if !arguments.expected.is_empty() => {
            let cause = "Hash check not supported for interactive downloads";
            return Err(Error::new(ErrorKind::Unsupported, redacted(&arguments.source), cause));
        }
        _ => {}
    }
    Ok((options, action))
}

/// What stands where the bytes go.
enum Place {
    /// A file, or nothing yet: links are followed.
    File(std::path::PathBuf),
    /// A device or a pipe, which cannot be replaced by a file.
    Special(File),
}

impl Place {
    fn of(path: &Path) -> Result<Self, Error> {
        let fail = |error: &std::io::Error| Error::io(redacted(&path.to_string_lossy()), error);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => Err(Error::new(
                ErrorKind::Exists,
                redacted(&path.to_string_lossy()),
                "is a directory",
            )),
            Ok(metadata) if metadata.is_file() => {
                Ok(Self::File(path.canonicalize().map_err(|error| fail(&error))?))
            }
            Ok(_) => Ok(Self::Special(
                File::options().write(true).open(path).map_err(|error| fail(&error))?,
            )),
            Err(_) => Ok(Self::File(path.to_owned())),
        }
    }
}

/// Refuses what is recognised, and would be stored as something that it is not.
fn check_content(
    arguments: &Arguments,
    action: &DrvAction,
    source: &Source,
    head: &[u8],
) -> Result<(), Error> {
    match Content::sniff(head) {
        Content::Packed(Packing::Foreign(_)) if arguments.unpack && source.may_be_packed() => {
            let refused = refuse_other_content(head, source.subject());
            refused.map_err(|error| {
                error.remedy("unpack it first, or take it as it is with --nodecomp")
            })
        }
        Content::Packed(_) => Ok(()),
        _ if action.is_for_image() => refuse_other_content(head, source.subject()),
        _ => Ok(()),
    }
}

fn compare(arguments: &Arguments, subject: &str, transferred: &Transferred) -> Result<(), Error> {
    arguments.expected.verify(&transferred.digests).map_err(|mismatch| {
        Error::new(ErrorKind::Mismatch, subject, format!("Hash does not match: {mismatch}"))
    })
}
