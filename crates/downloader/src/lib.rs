#![doc = include_str!("../README.md")]
//!
//! ```
//! use downloader::{Arguments, Request, Target};
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

use drv_action::DrvAction;
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::shim::{end, print, run_until_stopped};
use market_core::transfer::{
    FileSink, Location, Options, Packing, Source, SparseFile, Staged, Transfer, Transferred, Wanted, shown,
};
use standard_output::StandardOutput;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of every failure: that of the stock one.
const FAILURE: u8 = 255;

/// Runs the downloader: the whole main of it.
pub fn run() -> ExitCode {
    end(
        |_| FAILURE,
        || match Arguments::parse(std::env::args_os().skip(1))? {
            Request::Print(text) => print(text.as_bytes()),
            Request::Download(arguments) => {
                run_until_stopped("downloader", async |context| download(&arguments, &context).await)
            }
        },
    )
}

/// Fetches what the arguments say.
///
/// # Errors
/// Everything that stands in the way; then a file that was to be written is not there, or is what it was.
pub async fn download(arguments: &Arguments, context: &Context) -> Result<(), Error> {
    let options = options(arguments, context)?;
    let mut source = context.stop.or(Source::open(&arguments.source, &options)).await?;
    let head = context.stop.or(source.peek(SNIFFED_BYTES)).await?;
    let unpack = match Packing::sniff(&head) {
        Some(Packing::Compressed(compression)) if arguments.unpack && source.may_be_packed() => Some(compression),
        _ => None,
    };
    let wanted = Wanted { md5: arguments.md5.is_some(), sha1: arguments.sha1.is_some(), sha256: false };
    let how = Transfer { wanted, unpack, max_bytes: arguments.max_bytes };
    let outcome = deliver(arguments, &mut source, how, context).await;
    if outcome.is_ok() && arguments.max_bytes.is_some() {
        source.leave().await;
    }
    outcome
}

async fn deliver(arguments: &Arguments, source: &mut Source, how: Transfer, context: &Context) -> Result<(), Error> {
    let mut sink = match &arguments.target {
        Target::StandardOutput => StandardOutput::open(&std::io::stdout())?,
        Target::Path(path) => match Place::of(path)? {
            Place::Special(file) => StandardOutput::open(&file)?,
            Place::File(path) => return to_file(arguments, source, how, &path, context).await,
        },
    };
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    compare(arguments, source.subject(), &transferred)
}

/// Enough to tell any packing.
const SNIFFED_BYTES: usize = 512;

/// How to fetch it: as the action's templates say, and the command line.
fn options(arguments: &Arguments, context: &Context) -> Result<Options, Error> {
    let action = DrvAction::of_environment();
    let mut options = Options {
        user_agent: concat!("downloader/", env!("CARGO_PKG_VERSION")).to_owned(),
        limit: arguments.limit,
        ..context.options.clone()
    };
    if !arguments.retry {
        options.retries = 0;
    }
    options = action.transfer()?.apply(options, &context.log)?;
    if let Some(helpers) = &mut options.helpers {
        helpers.dump = action.dump();
    }
    match Location::parse(&arguments.source)? {
        Location::S3 { .. } => options.s3 = Some(action.s3_access(&shown(&arguments.source))?),
        Location::Other(scheme) if scheme == "onebex" && (arguments.md5.is_some() || arguments.sha1.is_some()) => {
            let cause = "Hash check not supported for interactive downloads";
            return Err(Error::new(ErrorKind::Unsupported, shown(&arguments.source), cause));
        }
        _ => {}
    }
    Ok(options)
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
        let fail = |error: &std::io::Error| Error::io(shown(&path.to_string_lossy()), error);
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                Err(Error::new(ErrorKind::Exists, shown(&path.to_string_lossy()), "is a directory"))
            }
            Ok(metadata) if metadata.is_file() => Ok(Self::File(path.canonicalize().map_err(|error| fail(&error))?)),
            Ok(_) => Ok(Self::Special(File::options().write(true).open(path).map_err(|error| fail(&error))?)),
            Err(_) => Ok(Self::File(path.to_owned())),
        }
    }
}

/// Writes beside the place, and gives it its name in the end.
async fn to_file(
    arguments: &Arguments,
    source: &mut Source,
    how: Transfer,
    path: &Path,
    context: &Context,
) -> Result<(), Error> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Staged::sweep(directory);
    let staged = Staged::file(directory)?;
    let mut file = SparseFile::new(staged.open()?, true);
    let subject = path.display().to_string();
    let mut sink = FileSink { file: &mut file, subject: &subject, durable: true };
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    compare(arguments, source.subject(), &transferred)?;
    let archive = match Packing::sniff(&transferred.head) {
        Some(Packing::Archive(format))
            if arguments.unpack && source.may_be_packed() && arguments.max_bytes.is_none() =>
        {
            Some(format)
        }
        _ => None,
    };
    let stop = context.stop.clone();
    let (place, name) = (path.to_owned(), source.subject().to_owned());
    let finished = tokio::task::spawn_blocking(move || {
        file.finish().map_err(|error| Error::io(&subject, &error))?;
        let finished = match archive {
            Some(format) => archive::extract(format, staged, &place, &name, &stop)?,
            None => staged,
        };
        match stop.reason() {
            Some(reason) => Err(reason.into()),
            None => finished.replace(&place).map_err(Error::from),
        }
    });
    finished
        .await
        .map_err(|_| Error::new(ErrorKind::Failed, shown(&path.to_string_lossy()), "the writing thread died"))?
}

/// Both checksums count, in any letter case.
fn compare(arguments: &Arguments, subject: &str, transferred: &Transferred) -> Result<(), Error> {
    let digests = &transferred.digests;
    for (name, declared, computed) in [("MD5", &arguments.md5, &digests.md5), ("SHA-1", &arguments.sha1, &digests.sha1)]
    {
        if let Some(declared) = declared
            && computed.as_ref() != Some(declared)
        {
            let computed = computed.as_deref().unwrap_or_default();
            let cause = format!("Hash does not match: the {name} of what came is {computed}, {declared} was expected");
            return Err(Error::new(ErrorKind::Mismatch, subject, cause));
        }
    }
    Ok(())
}
