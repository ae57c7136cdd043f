//! A copy into a directory of this host.

use crate::copy::{Copied, Copying};
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::transfer::{FileSink, Process, Source, SparseFile, Staged, Transfer};
use rustix::fs::statvfs;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// How long `qemu-img` may be silent: it says nothing while it converts.
const PATIENCE: Duration = Duration::from_secs(12 * 3_600);

pub(crate) async fn copy(copying: &Copying<'_>, source: &mut Source) -> Result<Copied, Error> {
    let Copying { context, base, .. } = copying;
    std::fs::create_dir_all(base).map_err(|error| Error::io(base.display().to_string(), &error))?;
    let swept = Staged::sweep(base);
    if swept > 0 {
        context.log.info(format_args!("{swept} unfinished copies of processes that were killed are removed"));
    }
    check_room(source, base)?;
    let staged = Staged::file(base)?;
    let path = staged.path().display().to_string();
    let sparse = copying.config.sparse.unwrap_or(true);
    let mut file = SparseFile::new(staged.open()?, sparse);
    let mut sink = FileSink { file: &mut file, subject: &path, durable: true };
    let how = Transfer { wanted: copying.expected.wanted(), unpack: copying.unpack, max_bytes: None };
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    let (format, wanted) = copying.check(source.subject(), &transferred)?;
    // Only a local file may hold zeros that are no holes yet: from elsewhere they have come as such.
    let dig = sparse && source.file().is_some();
    let finished = tokio::task::spawn_blocking(move || {
        if dig {
            file.dig_holes()?;
        }
        file.finish()
    });
    written(finished.await, &path)?;
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

fn written(outcome: Result<std::io::Result<()>, tokio::task::JoinError>, path: &str) -> Result<(), Error> {
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::io(path, &error)),
        Err(_) => Err(Error::new(ErrorKind::Failed, path, "the writing thread died")),
    }
}

/// The same image in another format. What it was converted from holds no reference to another file: that was refused.
async fn convert(copying: &Copying<'_>, staged: &Staged, from: &str, to: &str) -> Result<Staged, Error> {
    let target = Staged::file(&copying.base)?;
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-f", from, "-O", to]);
    if !copying.config.sparse.unwrap_or(true) {
        command.args(["-S", "0"]);
    }
    command.arg(staged.path()).arg(target.path());
    let subject = format!("qemu-img convert -f {from} -O {to}");
    let fail = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(ErrorKind::Unsupported, &subject, "qemu-img is not installed")
            .remedy("install qemu-utils, or set CONVERT=\"no\" in the datastore"),
        _ => Error::io(subject.as_str(), error),
    };
    let convert = async {
        let mut process = Process::start(command, PATIENCE).map_err(|error| fail(&error))?;
        process.close_input();
        while process.read().await.map_err(|error| fail(&error))?.is_some() {}
        let ended = process.wait().await.map_err(|error| fail(&error))?;
        if ended.status.success() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Failed, &subject, market_core::line::one_line(&ended.cause())))
    };
    copying.context.stop.or(convert).await?;
    let (file, path) = (target.open()?, target.path().display().to_string());
    written(tokio::task::spawn_blocking(move || file.sync_all()).await, &path)?;
    copying.context.log.info(format_args!("converted from {from} to {to}"));
    Ok(target)
}

fn check_room(source: &Source, base: &Path) -> Result<(), Error> {
    let Some(length) = source.length() else { return Ok(()) };
    let needed = source.allocated().unwrap_or(length).min(length);
    let space = statvfs(base).map_err(|errno| Error::io(base.display().to_string(), &errno.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let cause =
        format!("needs {}, the datastore {} has {} free", MiB::containing(needed), base.display(), MiB::within(free));
    Err(Error::new(ErrorKind::Full, source.subject(), cause).remedy("free some space"))
}
