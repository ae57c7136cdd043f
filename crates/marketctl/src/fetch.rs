//! Images by a path or by a URL: what is behind a URL is fetched into a temporary file without a
//! name first.

use image_check::{Declared, Group, Image, Options as CheckOptions, Outcome, Policy, Severity};
use indicatif::{ProgressBar, ProgressStyle};
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use market_core::transfer::{
    DigestSet, Digester, Digests, Piece, Sink, Source, SparseFile, redacted, run_on_thread,
};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The checksums that people compare.
pub(crate) const BOTH: DigestSet = DigestSet::MD5.and(DigestSet::SHA256);

/// An image that can be looked into.
pub(crate) struct Fetched {
    pub(crate) image: Arc<Image>,
    pub(crate) file: File,
    /// Its path or URL for messages: on one line, without passwords.
    pub(crate) name: String,
    /// `None` when they were not asked for.
    pub(crate) digests: Option<Digests>,
    /// What the file was when it was opened.
    state: State,
}

/// What changes with a file's content: its length and its times.
type State = (u64, i64, i64, i64, i64);

fn state(file: &File, name: &str) -> Result<State, Error> {
    let metadata = file.metadata().map_err(|error| Error::io(name, &error))?;
    Ok((
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

impl Fetched {
    /// Whether somebody has written to it since it was opened.
    pub(crate) fn has_changed(&self) -> Result<bool, Error> {
        Ok(state(&self.file, &self.name)? != self.state)
    }
}

/// Looks into an image on a thread of its own, so that a signal ends the wait.
pub(crate) async fn inspect<T: Send + 'static>(
    image: Arc<Image>,
    context: &Context,
    inspect: impl FnOnce(&Image) -> Result<T, image_check::Error> + Send + 'static,
) -> Result<T, Error> {
    let outcome = run_on_thread("image-check", move || inspect(&image));
    let lost = |error: std::io::Error| Error::io("the image", &error);
    context.stop.or(async { outcome.await.map_err(lost)?.map_err(unreadable) }).await
}

/// Refuses what no app can be made of: what is packed, broken, encrypted, no disk, needs other
/// files, or is not what was declared.
pub(crate) async fn refuse_unfit(
    fetched: &Fetched,
    declared: Declared,
    context: &Context,
) -> Result<(), Error> {
    let mut policy = Policy::opennebula();
    policy.keep(|check| check.group == Group::Container && check.severity == Severity::Fail);
    let options = CheckOptions::default()
        .with_policy(policy)
        .with_declared(declared)
        .with_checksums(fetched.digests.clone());
    let report =
        inspect(fetched.image.clone(), context, move |image| image.check(&options)).await?;
    let failed: Vec<String> = report
        .with(Outcome::Fail)
        .map(|finding| format!("{} ({})", finding.id, finding.found))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        &fetched.name,
        format!("cannot be published: {}", failed.join(", ")),
    ))
}

/// What is wrong with an image, in the words of the other commands.
pub(crate) fn unreadable(error: image_check::Error) -> Error {
    Error::new(ErrorKind::Failed, error.subject(), error.cause())
}

/// Opens a file, or brings a URL here; with its checksums when they are wanted.
pub(crate) async fn fetch(
    location: &str,
    checksums: bool,
    context: &Context,
) -> Result<Fetched, Error> {
    if !location.contains("://") {
        let image = Image::open(Path::new(location)).map_err(unreadable)?;
        let file = image.file().map_err(unreadable)?;
        let name = one_line(location);
        let state = state(&file, &name)?;
        let digests =
            if checksums { Some(digests_of(&file, location, context).await?) } else { None };
        return Ok(Fetched { image: image.into(), file, name, digests, state });
    }
    let name = redacted(location);
    let user_agent = concat!("marketctl/", env!("CARGO_PKG_VERSION")).to_owned();
    let options = context.options.clone().with_user_agent(user_agent);
    let mut source = context.stop.or(Source::open(location, &options)).await?;
    let directory = std::env::temp_dir();
    let fail = |error: std::io::Error| {
        Error::io(directory.to_string_lossy(), &error).remedy("set TMPDIR to a place with room")
    };
    let file = tempfile::tempfile_in(&directory).map_err(fail)?;
    let mut sink = Spool {
        file: SparseFile::new(file.try_clone().map_err(fail)?, true),
        bar: bar(source.length()),
    };
    let how = market_core::transfer::Transfer::hashed(BOTH);
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    sink.bar.finish_and_clear();
    sink.file.file().set_len(sink.file.len()).map_err(fail)?;
    let image = Image::from_file(file.try_clone().map_err(fail)?, &name).map_err(unreadable)?;
    let state = state(&file, &name)?;
    Ok(Fetched { image: image.into(), file, name, digests: Some(transferred.digests), state })
}

/// The checksums of a file.
pub(crate) async fn digests_of(
    file: &File,
    name: &str,
    context: &Context,
) -> Result<Digests, Error> {
    let fail = |error: std::io::Error| Error::io(name, &error);
    // A handle of its own: reading moves the position.
    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut source = Source::open_path(Path::new(&own), &context.options)?;
    let bar = bar(source.length());
    let mut digester = Digester::start(BOTH);
    while let Some(piece) = context.stop.or(source.next()).await? {
        bar.inc(piece.len());
        digester.update(piece).await;
    }
    bar.finish_and_clear();
    digester.finish().await.map_err(fail)
}

/// A bar on a terminal, nothing elsewhere.
fn bar(bytes: Option<u64>) -> ProgressBar {
    let style = |template| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    match bytes {
        Some(bytes) => ProgressBar::new(bytes)
            .with_style(style("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {bytes} {bytes_per_sec}")),
    }
}

/// A temporary that shows how far it is.
struct Spool {
    file: SparseFile,
    bar: ProgressBar,
}

impl Sink for Spool {
    type Error = market_core::transfer::Error;

    async fn write(&mut self, piece: Piece) -> Result<(), Self::Error> {
        self.bar.inc(piece.len());
        self.file.write(&piece).map_err(|error| Self::Error::io("the temporary", &error))
    }

    async fn finish(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
