//! A copy into a directory of this host.

use crate::copy::{Copied, Copying};
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::qemu_img::Conversion;
use market_core::transfer::{FileSink, Source, SparseFile, StagedFile, Transfer, run_on_thread};
use rustix::fs::statvfs;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(crate) async fn copy(copying: &Copying<'_>, source: &mut Source) -> Result<Copied, Error> {
    let Copying { context, base, .. } = copying;
    make_directory(base).map_err(|error| Error::io(base.display().to_string(), &error))?;
    let swept = StagedFile::sweep(base);
    if swept > 0 {
        context.log.info(format_args!(
            "{swept} unfinished copies of processes that were killed are removed"
        ));
    }
    check_room(source, base)?;
    let staged = StagedFile::file(base)?;
    let path = staged.path().display().to_string();
    let sparse = copying.config.sparse.unwrap_or(true);
    let mut file = SparseFile::new(staged.open()?, sparse);
    let mut sink = FileSink { file: &mut file, subject: &path, durable: true };
    let how =
        Transfer { wanted: copying.expected.digests(), unpack: copying.unpack, max_bytes: None };
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    let (format, wanted) = copying.check(source.subject(), &transferred)?;
    // Only a local file may hold zeros that are no holes yet: from elsewhere they have come as
    // such.
    let dig = sparse && source.file().is_some();
    let synced = run_on_thread("sync", move || {
        if dig {
            file.punch_holes()?;
        }
        file.finish()
    });
    // A signal does not wait for the disk.
    context.stop.or(written(synced, &path)).await?;
    let (whole, format) = match wanted {
        Some(wanted) => (convert(copying, &staged, format, wanted).await?, wanted),
        None => (staged, format),
    };
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    whole.publish(&base.join(&copying.name))?;
    Ok(Copied { bytes: transferred.bytes, format: format.to_owned(), bridge: None })
}

/// Makes a directory that is missing, and puts its name on the disk, and those of the directories
/// above it that were missing too.
fn make_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|ancestor| !ancestor.exists()).count();
    if missing > 0 {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    }
    path.ancestors().skip(1).take(missing).try_for_each(|parent| File::open(parent)?.sync_all())
}

async fn written(
    synced: impl Future<Output = io::Result<io::Result<()>>>,
    path: &str,
) -> Result<(), Error> {
    synced.await.flatten().map_err(|error| Error::io(path, &error))
}

/// The same image in another format, compared with what it was made from. That holds no reference
/// to another file: it was refused.
async fn convert(
    copying: &Copying<'_>,
    staged: &StagedFile,
    from: &str,
    to: &str,
) -> Result<StagedFile, Error> {
    let target = StagedFile::file(&copying.base)?;
    let (source, place) = (absolute(staged)?, absolute(&target)?);
    let conversion = Conversion { source: &source, from, target: &place, to };
    let options: &[&str] = if copying.config.sparse.unwrap_or(true) { &[] } else { &["-S", "0"] };
    let written = async {
        conversion.write(options, copying.context).await?;
        conversion.verify(Conversion::SECTOR, copying.context).await
    };
    written.await.map_err(|error| match error.kind {
        ErrorKind::Unsupported => {
            error.remedy("install qemu-utils, or set CONVERT=\"no\" in the datastore")
        }
        _ => error,
    })?;
    let (file, path) = (target.open()?, target.path().display().to_string());
    let synced = run_on_thread("sync", move || file.sync_all());
    copying.context.stop.or(self::written(synced, &path)).await?;
    copying.context.log.info(format_args!("converted from {from} to {to}"));
    Ok(target)
}

/// What `qemu-img` cannot take for anything but a path.
fn absolute(staged: &StagedFile) -> Result<PathBuf, Error> {
    std::path::absolute(staged.path())
        .map_err(|error| Error::io(staged.path().display().to_string(), &error))
}

fn check_room(source: &Source, base: &Path) -> Result<(), Error> {
    let Some(length) = source.length() else { return Ok(()) };
    let needed = source.allocated().unwrap_or(length).min(length);
    let space =
        statvfs(base).map_err(|errno| Error::io(base.display().to_string(), &errno.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let cause = format!(
        "needs {}, the datastore {} has {} free",
        MiB::containing(needed),
        base.display(),
        MiB::within(free)
    );
    Err(Error::new(ErrorKind::Full, source.subject(), cause).remedy("free some space"))
}
