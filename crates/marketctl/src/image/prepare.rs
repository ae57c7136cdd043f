//! `marketctl image prepare`: a copy that is fit to be published, or none.

use super::{LOOK_LIMIT, policy, problems};
use crate::cli::Prepare;
use crate::fetch::{BOTH, digests_of, fetch, inspect, refuse_unfit, unreadable};
use image_check::{Format, Image, Options, Outcome};
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use market_core::qemu_img::{Conversion, qemu_img};
use market_core::runtime::print;
use market_core::transfer::{
    DigestSet, FileSink, Source, SparseFile, StagedFile, Transfer, run_on_thread,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

pub(super) async fn prepare(arguments: Prepare, context: &Context) -> Result<bool, Error> {
    let policy = policy(&arguments.policy)?;
    let declared = arguments.expected.declared();
    if arguments.target.exists() {
        let shown = arguments.target.display().to_string();
        return Err(Error::new(ErrorKind::Exists, shown, "is there already; nothing was replaced"));
    }
    let source = fetch(&arguments.source, declared.has_checksum(), context).await?;
    refuse_unfit(&source, declared.clone(), context).await?;
    let format = source.image.format();

    let directory = arguments
        .target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    StagedFile::sweep(directory);
    let staged = StagedFile::file(directory)?;
    let copy = Copy { source: &source.file, format, staged: &staged, context };
    let format = match copy.convert(arguments.compress).await {
        Err(error) if error.kind == ErrorKind::Unsupported && format == Format::Raw => {
            context.log.warn("qemu-img is not installed: the copy stays raw");
            copy.raw(&source.name).await?
        }
        converted => converted?,
    };
    // Whoever writes to it meanwhile may have made it name another file.
    if source.has_changed()? {
        let error = Error::new(ErrorKind::Mismatch, &source.name, "changed while it was copied");
        return Err(error.remedy("nothing was made; try again when it is at rest"));
    }
    // A device has no times that would tell.
    refuse_unfit(&source, declared, context).await?;
    let shown = one_line(&arguments.target.display().to_string());
    let file = staged.open()?;
    let durable = file.try_clone().map_err(|error| Error::io(&*shown, &error))?;
    on_thread(&shown, context, move || durable.sync_all()).await?;
    let digests = digests_of(&file, &shown, context).await?;
    let image = Image::from_file(file, &shown).map_err(unreadable)?;
    let options = Options::default().with_policy(policy);
    let report = inspect(image.into(), context, move |image| image.check(&options)).await?;
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    staged.publish(&arguments.target)?;
    let mut text = format!("{shown}: {format}, {} bytes\n", digests.bytes);
    for checksum in BOTH.iter().filter_map(|algorithm| digests.get(algorithm)) {
        text.push_str(&format!("  {:8} {checksum}\n", checksum.algorithm()));
    }
    problems(&report).for_each(|line| text.push_str(&format!("  {line}\n")));
    if report.count(Outcome::Fail) > 0 {
        let line = format!(
            "  the copy is there, and not ready; \
             marketctl image check {shown} says how to repair it\n"
        );
        text.push_str(&line);
    }
    print(text.as_bytes())?;
    Ok(report.is_ready())
}

/// What takes long and cannot be interrupted; a signal ends the wait.
async fn on_thread<T: Send + 'static>(
    subject: &str,
    context: &Context,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = run_on_thread("prepare", work);
    context
        .stop
        .or(async { done.await.flatten().map_err(|error| Error::io(subject, &error)) })
        .await
}

struct Copy<'a> {
    source: &'a File,
    format: Format,
    staged: &'a StagedFile,
    context: &'a Context,
}

impl Copy<'_> {
    /// By `qemu-img`: zeros become holes, and what it writes is compared with what it read.
    async fn convert(&self, compress: bool) -> Result<Format, Error> {
        // The file that was checked, whatever its path leads to by now.
        let source =
            PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.source.as_raw_fd()));
        let place = self.staged.path();
        let target = std::path::absolute(&place)
            .map_err(|error| Error::io(place.display().to_string(), &error))?;
        let conversion =
            Conversion { source: &source, from: self.format.name(), target: &target, to: "qcow2" };
        conversion.write(if compress { &["-c"] } else { &[] }, self.context).await?;
        let image = Image::open(&target).map_err(unreadable)?;
        let summary =
            inspect(image.into(), self.context, |image| image.summary(LOOK_LIMIT)).await?;
        if let Some(bytes) = summary.virtual_bytes.filter(|bytes| !bytes.is_multiple_of(MIB)) {
            let whole = bytes.next_multiple_of(MIB).to_string();
            let words = ["resize", "-q", "-f", "qcow2"].map(OsStr::new);
            let arguments = [&words[..], &[target.as_os_str(), OsStr::new(&whole)]].concat();
            qemu_img(&arguments, self.context).await?;
        }
        conversion.verify(MIB, self.context).await?;
        Ok(Format::Qcow2)
    }

    /// Byte by byte, with holes.
    async fn raw(&self, name: &str) -> Result<Format, Error> {
        let own = format!("/proc/self/fd/{}", self.source.as_raw_fd());
        let mut source = Source::open_path(Path::new(&own), &self.context.options)?;
        let mut file = SparseFile::new(self.staged.open()?, true);
        let mut sink = FileSink::temporary(&mut file, name);
        let how = Transfer::hashed(DigestSet::MD5);
        self.context.stop.or(source.transfer(&mut sink, how)).await?;
        on_thread(name, self.context, move || {
            file.punch_holes()?;
            let whole = file.len().next_multiple_of(MIB);
            file.finish()?;
            file.file().set_len(whole)
        })
        .await?;
        Ok(Format::Raw)
    }
}
