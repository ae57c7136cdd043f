//! Fetches a source and writes it to its destination.

use crate::archive::Archive;
use crate::destination::Destination;
use crate::drv_action::DrvAction;
use crate::options::options;
use crate::stream_sink::StreamSink;
use crate::{Arguments, Target};
use market_core::backend::Context;
use market_core::container::refuse_other_content;
use market_core::error::{Error, ErrorKind};
use market_core::runtime::open_output;
use market_core::transfer::{
    Compression, Content, ErrorKind as TransferErrorKind, FileSink, Packing, Source, SparseFile,
    StagedFile, Transfer, Transferred, redacted, run_on_thread,
};
use std::fs::File;
use std::path::Path;

/// How many first bytes of a source are looked at: enough to recognise any packing.
const HEAD_BYTES: usize = 64 << 10;

/// Fetches what the arguments say. The driver message is read from the environment variable
/// `DRV_ACTION`.
///
/// # Errors
/// Whatever keeps the bytes from being delivered whole and verified: an attribute that is wrong, a
/// broken source, a checksum that differs, content that is no image where an image is expected, a
/// destination that cannot be written. Then a file at the destination is what it was before, or is
/// not there; only a file whose directory is not writable is empty.
pub async fn download(arguments: &Arguments, context: &Context) -> Result<(), Error> {
    let action = DrvAction::of_environment();
    let options = options(arguments, &action, context)?;
    let max_unpacked_bytes = options
        .max_unpacked_bytes
        .unwrap_or_else(|| action.size.unwrap_or_default().max_unpacked_bytes());
    let mut source = context.stop.or(Source::open(&arguments.source, &options)).await?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let unpack = compression(arguments, &source, &head);
    match unpack {
        Some(_) => source.allow_at_most(max_unpacked_bytes),
        None => check_content(arguments, &action, &source, &head)?,
    }
    let wanted = arguments.expected.digests();
    let transfer = Transfer::hashed(wanted).unpacking(unpack).max_bytes(arguments.max_bytes);
    let download = Download { arguments, action: &action, transfer, max_unpacked_bytes, context };
    let outcome = download.run(&mut source).await;
    if outcome.is_ok() && arguments.max_bytes.is_some() {
        source.close().await;
    }
    outcome
}

/// The compression from which the source is unpacked; `None`: it is not.
fn compression(arguments: &Arguments, source: &Source, head: &[u8]) -> Option<Compression> {
    match Packing::sniff(head)? {
        Packing::Compressed(compression) if arguments.unpack && source.may_be_packed() => {
            Some(compression)
        }
        _ => None,
    }
}

/// A download of an open source.
struct Download<'a> {
    arguments: &'a Arguments,
    action: &'a DrvAction,
    transfer: Transfer,
    /// How many bytes an unpacked image or archive may have.
    max_unpacked_bytes: u64,
    context: &'a Context,
}

impl Download<'_> {
    /// Writes the source to its destination.
    async fn run(&self, source: &mut Source) -> Result<(), Error> {
        let mut sink = match &self.arguments.target {
            Target::StandardOutput => {
                open_output()?;
                StreamSink::open(&std::io::stdout())?
            }
            Target::Path(path) => match Destination::of(path)? {
                Destination::Special(file) => StreamSink::open(&file)?,
                Destination::File(path) => return self.to_file(source, &path).await,
            },
        };
        let transferred = self.context.stop.or(source.transfer(&mut sink, self.transfer)).await?;
        self.check(source, &transferred)
    }

    /// Verifies the checksums of the transferred bytes, and checks what they are.
    fn check(&self, source: &Source, transferred: &Transferred) -> Result<(), Error> {
        verify(self.arguments, source.subject(), transferred)?;
        check_content(self.arguments, self.action, source, &transferred.head)
    }

    /// Writes a file beside the destination, which replaces it when it is whole and verified.
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
        let mut sink = FileSink::durable(&mut file, &subject);
        let transferred = self.context.stop.or(source.transfer(&mut sink, self.transfer)).await?;
        self.check(source, &transferred)?;
        let format = self.archive(source, &transferred);
        self.sync(file, path).await?;
        let finished = match format {
            Some(format) => self.unpack(format, staged, source.subject(), path).await?,
            None => staged,
        };
        match self.context.stop.reason() {
            Some(reason) => Err(reason.into()),
            None => Ok(finished.replace(path)?),
        }
    }

    /// Waits until a file is on the disk, unless the download is to stop.
    async fn sync(&self, mut file: SparseFile, path: &Path) -> Result<(), Error> {
        let finished = run_on_thread("sync", move || file.finish());
        let fail = |error| Error::io(redacted(&path.to_string_lossy()), &error);
        self.context.stop.or(async { finished.await.flatten().map_err(fail) }).await
    }

    /// Unpacks an archive into a directory beside the destination.
    async fn unpack(
        &self,
        format: &'static str,
        file: StagedFile,
        subject: &str,
        path: &Path,
    ) -> Result<StagedFile, Error> {
        let (stop, max_bytes) = (self.context.stop.clone(), self.max_unpacked_bytes);
        let (destination, name) = (path.to_owned(), subject.to_owned());
        let unpacked = run_on_thread("unpack", move || {
            let archive = Archive { format, file, subject: &name, max_bytes, stop: &stop };
            archive.unpack_beside(&destination)
        });
        // The thread itself notices a request to stop, and removes what it has written.
        unpacked.await.map_err(|error| Error::io(subject, &error))?
    }

    /// The format of the archive that the transferred bytes are, when it is to be unpacked.
    fn archive(&self, source: &Source, transferred: &Transferred) -> Option<&'static str> {
        match Packing::sniff(&transferred.head) {
            Some(Packing::Archive(format))
                if self.arguments.unpack
                    && source.may_be_packed()
                    && self.transfer.max_bytes.is_none() =>
            {
                Some(format)
            }
            _ => None,
        }
    }

    /// Writes into the destination itself, where no file can be made beside it; `refused` is the
    /// error that says so. Its former content is lost with the first byte. After a failure it is
    /// empty, so that it never holds a part of an image.
    async fn in_place(
        &self,
        source: &mut Source,
        path: &Path,
        refused: Error,
    ) -> Result<(), Error> {
        let fail = |error: &std::io::Error| Error::io(redacted(&path.to_string_lossy()), error);
        let Ok(destination) = File::options().write(true).read(true).open(path) else {
            return Err(
                refused.remedy("the directory must be writable, or the file be there and writable")
            );
        };
        let subject = path.display().to_string();
        self.context.log.info(format_args!(
            "{subject} is written where it is: its directory cannot be written to"
        ));
        destination.set_len(0).map_err(|error| fail(&error))?;
        let mut file =
            SparseFile::new(destination.try_clone().map_err(|error| fail(&error))?, true);
        let mut sink = FileSink::durable(&mut file, &subject);
        let written = async {
            let transferred =
                self.context.stop.or(source.transfer(&mut sink, self.transfer)).await?;
            self.check(source, &transferred)?;
            if self.archive(source, &transferred).is_some() {
                let cause = "is an archive, and no directory can be made in place of the file";
                return Err(Error::new(ErrorKind::Unsupported, source.subject(), cause)
                    .remedy("see --nodecomp"));
            }
            Ok(())
        };
        let finished = match written.await {
            Ok(()) => self.sync(file, path).await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            let _ = destination.set_len(0);
        }
        finished
    }
}

/// Refuses content that is recognised as no image where an image is expected, and packings that
/// cannot be unpacked where they should be.
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

/// Verifies the checksums of the command line.
fn verify(arguments: &Arguments, subject: &str, transferred: &Transferred) -> Result<(), Error> {
    arguments.expected.verify(&transferred.digests).map_err(|mismatch| {
        Error::new(ErrorKind::Mismatch, subject, format!("Hash does not match: {mismatch}"))
    })
}
