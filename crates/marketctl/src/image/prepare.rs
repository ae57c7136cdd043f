//! `marketctl image prepare`: a copy that is fit to be published, or none.

use super::info::LIMIT;
use super::{policy, wanting};
use crate::cli::Prepare;
use crate::fetch::{digests_of, fetch, looking, unreadable};
use image_check::{Container, HEAD_BYTES, Image, Options, Outcome};
use market_core::backend::Context;
use market_core::container::refuse_references;
use market_core::error::{Error, ErrorKind};
use market_core::qemu_img::qemu_img;
use market_core::shim::print;
use market_core::transfer::{FileSink, Source, SparseFile, Staged, Transfer, Wanted};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
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
    let container = container_of(&source.file, &source.name)?;
    refuse_references(&container, &source.name, "")?;
    compare(&declared, source.checksums().as_ref(), &source.name)?;

    let directory = arguments.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Staged::sweep(directory);
    let staged = Staged::file(directory)?;
    let copy = Copy { source: &source.file, format: container.format, staged: &staged, context };
    let format = match copy.convert(arguments.compress).await {
        Err(error) if error.kind == ErrorKind::Unsupported && container.format == "raw" => {
            context.log.warn("qemu-img is not installed: the copy stays raw");
            copy.raw(&source.name).await?
        }
        converted => converted?,
    };
    let shown = arguments.target.display().to_string();
    let file = staged.open()?;
    file.sync_all().map_err(|error| Error::io(&*shown, &error))?;
    let digests = digests_of(&file, &shown, context).await?;
    let image = Image::from_file(file, &shown).map_err(unreadable)?;
    let options = Options { policy, ..Options::default() };
    let report = looking(image, context, move |image| image.check(&options)).await?;
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    staged.publish(&arguments.target)?;
    let mut text = format!("{shown}: {format}, {} bytes\n", digests.bytes);
    for (name, digest) in [("MD5", digests.md5), ("SHA-256", digests.sha256)] {
        text.push_str(&format!("  {name:8} {}\n", digest.unwrap_or_default()));
    }
    wanting(&report).for_each(|line| text.push_str(&format!("  {line}\n")));
    if report.count(Outcome::Fail) > 0 {
        let target = &arguments.target;
        text.push_str(&format!(
            "  the copy is there, and not ready; marketctl image check {} says how to repair it\n",
            target.display()
        ));
    }
    print(text.as_bytes())?;
    Ok(report.is_ready())
}

fn container_of(file: &File, name: &str) -> Result<Container, Error> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64).map_err(|error| Error::io(name, &error))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(Container::sniff(&head[..filled]))
}

fn compare(
    declared: &image_check::Declared,
    computed: Option<&image_check::Checksums>,
    name: &str,
) -> Result<(), Error> {
    let Some(computed) = computed else { return Ok(()) };
    for (what, declared, computed) in
        [("MD5", &declared.md5, &computed.md5), ("SHA-256", &declared.sha256, &computed.sha256)]
    {
        if let (Some(declared), Some(computed)) = (declared, computed)
            && !declared.eq_ignore_ascii_case(computed)
        {
            let cause = format!("its {what} is {computed}, {} was declared", declared.escape_debug());
            return Err(Error::new(ErrorKind::Mismatch, name, cause).remedy("get the image anew"));
        }
    }
    Ok(())
}

struct Copy<'a> {
    source: &'a File,
    format: &'a str,
    staged: &'a Staged,
    context: &'a Context,
}

impl Copy<'_> {
    /// By `qemu-img`: zeros become holes, and what it writes is compared with what it read.
    async fn convert(&self, compress: bool) -> Result<&'static str, Error> {
        // The very file that was looked at, whatever its path leads to by now.
        let source = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.source.as_raw_fd()));
        let place = self.staged.path();
        let target = std::path::absolute(&place).map_err(|error| Error::io(place.display().to_string(), &error))?;
        let words = |words: &[&str], paths: &[&Path]| -> Vec<OsString> {
            words.iter().map(OsString::from).chain(paths.iter().map(|path| path.as_os_str().to_owned())).collect()
        };
        let mut convert = words(&["convert", "-q", "-f", self.format, "-O", "qcow2"], &[]);
        if compress {
            convert.push("-c".into());
        }
        convert.extend(words(&[], &[&source, &target]));
        qemu_img(&convert, self.context).await?;
        qemu_img(&words(&["compare", "-q", "-f", self.format, "-F", "qcow2"], &[&source, &target]), self.context)
            .await
            .map_err(|error| Error {
                cause: format!("the copy is not what its source is: {}", error.cause),
                ..error
            })?;
        let image = Image::open(&target).map_err(unreadable)?;
        let summary = looking(image, self.context, |image| image.summary(LIMIT)).await?;
        if let Some(bytes) = summary.virtual_bytes.filter(|bytes| !bytes.is_multiple_of(MIB)) {
            let whole = bytes.next_multiple_of(MIB).to_string();
            let mut resize = words(&["resize", "-q", "-f", "qcow2"], &[&target]);
            resize.push(whole.into());
            qemu_img(&resize, self.context).await?;
        }
        Ok("qcow2")
    }

    /// Byte by byte, with holes.
    async fn raw(&self, name: &str) -> Result<&'static str, Error> {
        let own = format!("/proc/self/fd/{}", self.source.as_raw_fd());
        let mut source = Source::open_path(Path::new(&own), &self.context.options)?;
        let mut file = SparseFile::new(self.staged.open()?, true);
        let mut sink = FileSink { file: &mut file, subject: name, durable: false };
        let how = Transfer::hashed(Wanted::MD5);
        self.context.stop.or(source.transfer(&mut sink, how)).await?;
        let fail = |error: std::io::Error| Error::io(name, &error);
        file.dig_holes().map_err(fail)?;
        let whole = file.len().next_multiple_of(MIB);
        file.finish().map_err(fail)?;
        file.file().set_len(whole).map_err(fail)?;
        Ok("raw")
    }
}
