//! `cp` into a directory of this host.

use crate::request::{Copied, CopyRequest};
use market_core::container::Format;
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::qemu_img::Conversion;
use market_core::transfer::{FileSink, Source, SparseFile, StagedFile, run_on_thread};
use rustix::fs::statvfs;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Writes a file beside the image's place, checks it, converts it when it has to be, and gives it
/// the image's name.
pub(crate) async fn copy(request: &CopyRequest<'_>, source: &mut Source) -> Result<Copied, Error> {
    let CopyRequest { context, directory, .. } = request;
    make_directory(directory)
        .map_err(|error| Error::io(directory.display().to_string(), &error))?;
    let removed = StagedFile::sweep(directory);
    if removed > 0 {
        context.log.info(format_args!(
            "{removed} unfinished copies of processes that were killed are removed"
        ));
    }
    check_room(source, directory)?;
    let staged = StagedFile::file(directory)?;
    let path = staged.path().display().to_string();
    let sparse = request.is_sparse();
    let mut file = SparseFile::new(staged.open()?, sparse);
    let mut sink = FileSink::durable(&mut file, &path);
    let transfer = request.transfer(request.expected.digests());
    let transferred = context.stop.or(source.transfer(&mut sink, transfer)).await?;
    let (format, conversion) = request.check(source.subject(), &transferred)?;
    // A local file is copied by the kernel, zeros included; from any other source zeros have come
    // as holes.
    let punches_holes = sparse && source.file().is_some();
    let sync = run_on_thread("sync", move || {
        if punches_holes {
            file.punch_holes()?;
        }
        file.finish()
    });
    finish_sync(request, sync, &path).await?;
    let (image, format) = match conversion {
        Some(target) => (convert(request, &staged, format, target).await?, target),
        None => (staged, format),
    };
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    image.publish(&directory.join(&request.name))?;
    Ok(Copied { bytes: transferred.bytes, format, bridge: None })
}

/// Creates a directory with its missing parents, and syncs the directories that got a new entry.
fn make_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|ancestor| !ancestor.exists()).count();
    if missing > 0 {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    }
    path.ancestors().skip(1).take(missing).try_for_each(|parent| File::open(parent)?.sync_all())
}

/// Waits until a file is on the disk, unless the action is to stop.
async fn finish_sync(
    request: &CopyRequest<'_>,
    sync: impl Future<Output = io::Result<io::Result<()>>>,
    path: &str,
) -> Result<(), Error> {
    let synced = async { sync.await.flatten().map_err(|error| Error::io(path, &error)) };
    request.context.stop.or(synced).await
}

/// Converts the image, and compares the result with it. The image holds no reference to another
/// file: such an image was refused.
async fn convert(
    request: &CopyRequest<'_>,
    image: &StagedFile,
    from: Format,
    to: Format,
) -> Result<StagedFile, Error> {
    let converted = StagedFile::file(&request.directory)?;
    let (source, target) = (absolute(image)?, absolute(&converted)?);
    let conversion =
        Conversion { source: &source, from: from.name(), target: &target, to: to.name() };
    let options: &[&str] = if request.is_sparse() { &[] } else { &["-S", "0"] };
    let written = async {
        conversion.write(options, request.context).await?;
        conversion.verify(Conversion::SECTOR, request.context).await
    };
    written.await.map_err(|error| match error.kind {
        ErrorKind::Unsupported => {
            error.remedy("install qemu-utils, or set CONVERT=\"no\" in the datastore")
        }
        _ => error,
    })?;
    let (file, path) = (converted.open()?, converted.path().display().to_string());
    finish_sync(request, run_on_thread("sync", move || file.sync_all()), &path).await?;
    request.context.log.info(format_args!("converted from {from} to {to}"));
    Ok(converted)
}

/// The absolute path, which `qemu-img` cannot take for an option or a protocol.
fn absolute(staged: &StagedFile) -> Result<PathBuf, Error> {
    std::path::absolute(staged.path())
        .map_err(|error| Error::io(staged.path().display().to_string(), &error))
}

/// Refuses an image that is larger than the free space, when its size is known.
fn check_room(source: &Source, directory: &Path) -> Result<(), Error> {
    let Some(length) = source.length() else { return Ok(()) };
    let needed = source.allocated().unwrap_or(length).min(length);
    let space = statvfs(directory)
        .map_err(|errno| Error::io(directory.display().to_string(), &errno.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let cause = format!(
        "needs {}, the datastore {} has {} free",
        MiB::containing(needed),
        directory.display(),
        MiB::within(free)
    );
    Err(Error::new(ErrorKind::Full, source.subject(), cause).remedy("free some space"))
}
