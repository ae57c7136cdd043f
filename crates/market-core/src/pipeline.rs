//! The actions of a marketplace over any backend.
//!
//! The order of an import is decided here and nowhere else: bytes are counted, hashed and compared
//! before anything becomes visible, and on every other outcome the upload is discarded. The methods
//! that are called are those of [`StorageBackend`], in the order that
//! [its module](crate::backend) shows.

use crate::action::{DeleteAction, DumpError, ImportAction, ImportInfo};
use crate::backend::{
    Capabilities, Context, Deleted, Length, ObjectState, Proof, ProofKind, Published, Staging,
    StorageBackend, StoredObject,
};
use crate::container::{Container, refuse_other_content, refuse_references};
use crate::error::{Error, ErrorKind};
use crate::model::{AppId, AppType, ImageType, MiB, SourceUrl};
use crate::readiness;
use crate::report::{ImportedApp, ReportError};
use market_checksum::{Expected, Md5, Sha256};
use market_transfer::{
    DigestSet, FileSink, HEAD_BYTES, Options, Piece, Sink, Source, SparseFile, Transfer,
    Transferred, redacted,
};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// How often the backend is asked what became of a `publish` whose answer was lost.
const RESOLVE_TRIES: u32 = 5;
/// The pause before it is asked again.
const RESOLVE_PAUSE: Duration = Duration::from_secs(1);

/// The checksums of an app that are told: its MD5 in the answer; its SHA-256, for which `oned` has
/// no attribute, in the log.
const RECORDED: DigestSet = DigestSet::MD5.and(DigestSet::SHA256);

/// Imports an app: after a success it is published, whole and verified; after a failure nothing is.
///
/// # Errors
/// The kind tells what failed: [`ErrorKind::Dump`] for a message that cannot be answered,
/// [`ErrorKind::Full`] when there is no room, [`ErrorKind::Mismatch`] when the bytes are not those
/// that were announced, [`ErrorKind::Unsupported`] for an image that must not become an app,
/// [`ErrorKind::Exists`] when its place is taken, [`ErrorKind::Cancelled`] when told to stop before
/// it was published; else the kind of the source's or the backend's error.
pub async fn import<B: StorageBackend>(
    backend: &B,
    action: &ImportAction,
    context: &Context,
) -> Result<ImportedApp, Error> {
    let info = action.info.as_ref().map_err(|error| Error::from(DumpError::from(error.clone())))?;
    if info.source.is_empty() {
        return Err(Error::new(
            ErrorKind::Dump,
            "IMPORT_SOURCE",
            "is empty: the datastore's export named no source",
        ));
    }
    let announced = Announced { action, info };
    announced.check_answer()?;
    let mut source = context.stop.or(Source::open(info.source.as_str(), &context.options)).await?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let container = Container::sniff(&head);
    announced.refuse_unfit(&head, source.subject())?;
    note_format(&info.format, container.format.name(), context);
    let needed_bytes = check_room(backend, &source, context).await?;

    let mut verified = None;
    if backend.capabilities().staging == Staging::Visible {
        let (spooled, transferred) = spool(source, &announced, context).await?;
        source = spooled;
        verified = Some(transferred);
    }
    readiness::check(action, info, &source, &head, context).await?;
    // Not interrupted by a signal: what it creates could not be discarded.
    let mut upload = backend.stage(action.app.id, length(&source, info.size), needed_bytes).await?;
    let outcome = match transfer(backend, &mut upload, source, &announced, verified, context).await
    {
        Ok(transferred) => publish(backend, &mut upload, &transferred, info, context).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(app) => {
            let (id, bytes) = (action.app.id, app.bytes);
            let source = redacted(app.source.as_str());
            let sha256 = app.sha256.map(|sha256| format!(", SHA-256 {sha256}")).unwrap_or_default();
            context.log.info(format_args!("app {id}: {bytes} bytes published as {source}{sha256}"));
            Ok(ImportedApp {
                source: app.source,
                md5: app.md5,
                size: announced.size(bytes),
                format: if info.format.is_empty() {
                    container.format.to_string()
                } else {
                    info.format.clone()
                },
            })
        }
        Err(error) => match backend.discard(upload).await {
            Ok(()) if error.remedy.is_none() => Err(error.remedy("nothing was published")),
            Ok(()) => Err(error),
            Err(left) => {
                context.log.warn(format_args!(
                    "what was staged could not be discarded ({left}); delete app {} or remove it by hand",
                    action.app.id
                ));
                Err(error)
            }
        },
    }
}

/// What the driver message says of the bytes that follow.
struct Announced<'a> {
    action: &'a ImportAction,
    info: &'a ImportInfo,
}

impl Announced<'_> {
    /// Refuses what could not be answered after the import: the size and the format are known
    /// before the first byte.
    fn check_answer(&self) -> Result<(), Error> {
        let format = if self.info.format.is_empty() { "raw" } else { &self.info.format };
        let probe = ImportedApp {
            source: SourceUrl::new("http://x"),
            md5: Md5::from([0; 16]),
            size: self.size(0),
            format: format.to_owned(),
        };
        let refused = |error: ReportError| {
            Error::new(ErrorKind::Dump, "the driver message", error.to_string())
        };
        probe.write().map(drop).map_err(refused)
    }

    /// SIZE goes back as it came: from the export, else the image's, else what the bytes take.
    fn size(&self, bytes: u64) -> MiB {
        let of_image = self.action.image.as_ref().map(|image| image.size).filter(|size| size.0 > 0);
        self.info.size.or(of_image).unwrap_or_else(|| MiB::containing(bytes))
    }

    /// Refuses what must not become an app: an image that needs another file, and what is no image
    /// where one is wanted. Kernels, RAM disks and files for the contextualization are whatever
    /// they are.
    fn refuse_unfit(&self, head: &[u8], subject: &str) -> Result<(), Error> {
        refuse_references(&Container::sniff(head), subject, &self.info.format)?;
        match self.action.image.as_ref().map(|image| image.image_type) {
            Some(ImageType::Kernel | ImageType::Ramdisk | ImageType::Context) => Ok(()),
            _ => refuse_other_content(head, subject),
        }
    }

    /// Compares what was transferred with what was announced. The content was checked before the
    /// transfer; it is checked again in what was transferred, as the source may have changed.
    fn verify(
        &self,
        subject: &str,
        transferred: &Transferred,
        length: Option<u64>,
    ) -> Result<(), Error> {
        let mismatch = |cause: String| {
            let error = Error::new(ErrorKind::Mismatch, subject, cause);
            Err(error.remedy("nothing was published; check the source and import again"))
        };
        let bytes = transferred.bytes;
        if let Some(announced) = length.filter(|&announced| announced != bytes) {
            return mismatch(format!("delivered {bytes} bytes instead of {announced}"));
        }
        self.refuse_unfit(&transferred.head, subject)?;
        if bytes == 0 {
            return mismatch("holds no bytes: that is no image".to_owned());
        }
        // Where it was not computed, what the store proves is compared with what was declared.
        let declared = self.info.md5.filter(|_| transferred.digests.md5.is_some());
        Expected::new()
            .and_maybe("the datastore", declared)
            .verify(&transferred.digests)
            .or_else(|differs| mismatch(differs.to_string()))
    }
}

fn note_format(declared: &str, sniffed: &str, context: &Context) {
    // An image without a known header may be of any format; another header is worth a warning.
    if sniffed != "raw" && !declared.is_empty() && !declared.eq_ignore_ascii_case(sniffed) {
        context.log.warn(format_args!(
            "the image is declared as {} and begins like {sniffed}",
            redacted(declared)
        ));
    }
}

fn length(source: &Source, size: Option<MiB>) -> Length {
    match (source.length(), size) {
        (Some(bytes), _) => Length::Exact(bytes),
        (None, Some(size)) if size.0 > 0 => Length::Hint(size.bytes()),
        (None, _) => Length::Unknown,
    }
}

/// The bytes that the image takes in the store, when that is known. Fails before the first byte
/// when it is too large for one object, or the store has no room.
async fn check_room<B: StorageBackend>(
    backend: &B,
    source: &Source,
    context: &Context,
) -> Result<Option<u64>, Error> {
    let Some(bytes) = source.length() else { return Ok(None) };
    let Capabilities { keeps_holes, largest_object_bytes, .. } = backend.capabilities();
    let full = |cause: String| Err(Error::new(ErrorKind::Full, source.subject(), cause));
    if let Some(largest) = largest_object_bytes.filter(|&largest| bytes > largest) {
        return full(format!(
            "has {bytes} bytes, the marketplace stores at most {largest} in one object"
        ));
    }
    let needed =
        source.allocated().filter(|_| keeps_holes).map_or(bytes, |allocated| allocated.min(bytes));
    match context.stop.or(backend.available_bytes()).await? {
        Some(free) if needed > free => {
            let (needed, free) = (MiB::containing(needed), MiB::within(free));
            full(format!("needs {needed}, the marketplace has {free} free"))
                .map_err(|error| error.remedy("free some space"))
        }
        _ => Ok(Some(needed)),
    }
}

/// Moves the bytes into the upload and compares them with what was announced.
async fn transfer<B: StorageBackend>(
    backend: &B,
    upload: &mut B::Upload,
    mut source: Source,
    announced: &Announced<'_>,
    verified: Option<Transferred>,
    context: &Context,
) -> Result<Transferred, Error> {
    let (subject, length) = (source.subject().to_owned(), source.length());
    // Where the store computes an MD5 and the datastore has declared one, these two are compared:
    // a third computation is not needed.
    let proven = backend.capabilities().proof == ProofKind::Digest
        && announced.info.md5.is_some()
        && verified.is_none();
    let how = Transfer::hashed(if proven { DigestSet::SHA256 } else { RECORDED });
    let mut sink = BackendSink { backend, upload };
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    announced.verify(&subject, &transferred, length)?;
    match verified {
        Some(earlier) if earlier != transferred => {
            Err(Error::new(ErrorKind::Mismatch, subject, "the local temporary changed"))
        }
        _ => Ok(transferred),
    }
}

/// An upload as the sink of a transfer.
struct BackendSink<'a, B: StorageBackend> {
    backend: &'a B,
    upload: &'a mut B::Upload,
}

impl<B: StorageBackend> Sink for BackendSink<'_, B> {
    type Error = Error;

    fn read_back(&self) -> Result<Option<File>, Error> {
        self.backend.read_back(self.upload)
    }

    async fn copy_range(&mut self, source: &File, range: Range<u64>) -> Result<(), Error> {
        self.backend.copy_range(self.upload, source, range).await
    }

    async fn write(&mut self, piece: Piece) -> Result<(), Error> {
        self.backend.write(self.upload, piece).await
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.backend.finish(self.upload).await
    }
}

/// What was published.
struct App {
    source: SourceUrl,
    bytes: u64,
    md5: Md5,
    sha256: Option<Sha256>,
}

/// Seals and publishes. A signal does not interrupt either: it is looked at between them.
async fn publish<B: StorageBackend>(
    backend: &B,
    upload: &mut B::Upload,
    transferred: &Transferred,
    info: &ImportInfo,
    context: &Context,
) -> Result<App, Error> {
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    let proof = backend.seal(upload, &transferred.digests).await?;
    let bytes = transferred.bytes;
    let md5 = transferred.digests.md5.or(info.md5).ok_or_else(|| {
        Error::new(ErrorKind::Failed, "the import", "neither computed an MD5 nor was told one")
    })?;
    check_proof(&proof, backend.capabilities().proof, bytes, md5)?;
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    let mut outcome = backend.publish(upload).await;
    for _ in 0..RESOLVE_TRIES {
        let Published::Unknown(error) = &outcome else { break };
        context
            .log
            .warn(format_args!("the outcome of publishing is unknown ({error}); asking the store"));
        outcome = backend.resolve(upload).await;
        if matches!(outcome, Published::Unknown(_)) {
            // The pause ends when told to stop; the store is asked again all the same.
            let pause = async {
                tokio::time::sleep(RESOLVE_PAUSE).await;
                Ok::<(), Error>(())
            };
            let _ = context.stop.or(pause).await;
        }
    }
    match outcome {
        Published::At(source) => Ok(App { source, bytes, md5, sha256: transferred.digests.sha256 }),
        Published::NotPublished(error) => Err(error),
        Published::Exists(name) => Err(Error::new(
            ErrorKind::Exists,
            redacted(name.as_str()),
            "already exists in the marketplace; nothing was replaced",
        )),
        Published::Unknown(error) => {
            let cause =
                format!("{}: whether the app was published could not be found out", error.cause);
            Err(error
                .with_cause(cause)
                .remedy("look for it in the marketplace before importing again"))
        }
    }
}

/// Compares what the store proves with the bytes that were sent, or with the MD5 that was declared.
fn check_proof(proof: &Proof, promised: ProofKind, bytes: u64, md5: Md5) -> Result<(), Error> {
    let mismatch = |cause: String| {
        let error = Error::new(ErrorKind::Mismatch, "the marketplace's store", cause);
        Err(error.remedy("nothing was published; check the source and import again"))
    };
    match proof {
        Proof::Bytes(_) if promised == ProofKind::Digest => {
            mismatch("proved the size of what it holds where it promises a digest".to_owned())
        }
        Proof::Md5(held) if *held != md5 => mismatch(format!(
            "holds bytes of MD5 {held}, and {bytes} bytes of MD5 {md5} were to be stored"
        )),
        Proof::Bytes(held) if *held != bytes => {
            mismatch(format!("holds {held} bytes after {bytes} bytes of MD5 {md5} were sent"))
        }
        _ => Ok(()),
    }
}

/// Collects the bytes in a local temporary file without a name, and verifies them there.
async fn spool(
    mut source: Source,
    announced: &Announced<'_>,
    context: &Context,
) -> Result<(Source, Transferred), Error> {
    let directory = std::env::temp_dir();
    let path = directory.to_string_lossy().into_owned();
    let fail = |error: &io::Error| {
        Error::io(&*path, error)
            .remedy("set TMPDIR of oned to a directory of a local disk with room for the image")
    };
    let space = rustix::fs::statvfs(&directory).map_err(|errno| fail(&errno.into()))?;
    if source
        .allocated()
        .or(source.length())
        .is_some_and(|needed| needed > space.f_bavail.saturating_mul(space.f_frsize))
    {
        return Err(fail(&io::ErrorKind::StorageFull.into()));
    }
    let file = tempfile::tempfile_in(&directory).map_err(|error| fail(&error))?;
    let reader = file.try_clone().map_err(|error| Error::io(&path, &error))?;
    let length = source.length();
    let mut target = SparseFile::new(file, true);
    let mut sink = FileSink::temporary(&mut target, &path);
    let transferred =
        context.stop.or(source.transfer(&mut sink, Transfer::hashed(RECORDED))).await?;
    announced.verify(source.subject(), &transferred, length)?;
    target.file().set_len(target.len()).map_err(|error| Error::io(&path, &error))?;
    Ok((Source::from_file(reader, source.subject(), &Options::default())?, transferred))
}

/// Deletes an app. One that is gone already is a success with a warning. An app without a SOURCE is
/// still being imported, or its import was interrupted: what that import has staged is removed.
///
/// # Errors
/// When the app may still be there; [`ErrorKind::Denied`] when its SOURCE is none of this
/// marketplace.
pub async fn delete<B: StorageBackend>(
    backend: &B,
    action: &DeleteAction,
    context: &Context,
) -> Result<(), Error> {
    let app = &action.app;
    if matches!(app.app_type, AppType::VmTemplate | AppType::ServiceTemplate) {
        context.log.info(format_args!("app {} holds no image: there is nothing to remove", app.id));
        return Ok(());
    }
    if app.source.is_empty() {
        return discard_staged(backend, action, context).await;
    }
    let (id, source) = (app.id, redacted(app.source.as_str()));
    match context.stop.or(delete_source(backend, id, &app.source)).await? {
        Deleted::Removed => context.log.info(format_args!("app {id}: {source} removed")),
        Deleted::Absent => context.log.warn(format_args!("app {id}: {source} was already gone")),
    }
    Ok(())
}

/// Removes what an app's SOURCE names.
///
/// # Errors
/// When it may still be there; [`ErrorKind::Denied`] when the SOURCE is none of this marketplace.
pub(crate) async fn delete_source<B: StorageBackend>(
    backend: &B,
    app: AppId,
    source: &SourceUrl,
) -> Result<Deleted, Error> {
    backend.delete(&backend.locate(source, Some(app))?).await
}

async fn discard_staged<B: StorageBackend>(
    backend: &B,
    action: &DeleteAction,
    context: &Context,
) -> Result<(), Error> {
    let id = action.app.id;
    let mut staged: Vec<StoredObject<B::Key>> = Vec::new();
    let mut listed = Ok(());
    if backend.capabilities().lists_staged {
        let mut keep = |object: StoredObject<B::Key>| {
            if object.state == ObjectState::Staged && object.app == Some(id) {
                staged.push(object);
            }
        };
        listed = context.stop.or(backend.list(&mut keep)).await;
    }
    for object in &staged {
        if backend.remove(object).await? == Deleted::Removed {
            context
                .log
                .info(format_args!("app {id}: the unfinished import {} was discarded", object.key));
        }
    }
    match listed {
        // An account that may import need not be allowed to list unfinished imports, and not every
        // service can list them.
        Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Denied) => {
            context
                .log
                .warn(format_args!("app {id}: unfinished imports cannot be looked for ({error})"));
        }
        listed => listed?,
    }
    if staged.is_empty() {
        context.log.info(format_args!("app {id} has no SOURCE yet: there is nothing to remove"));
    }
    Ok(())
}
