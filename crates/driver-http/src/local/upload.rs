//! An import into the local directory: a file in the staging directory until it is published.

use super::directory::Directory;
use crate::name;
use market_core::backend::Proof;
use market_core::error::{Error, ErrorKind};
use market_core::model::AppId;
use market_core::transfer::{Piece, SparseFile, run_on_thread};
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// A file in the staging directory, and the name that it will have.
pub(crate) struct LocalUpload {
    pub(super) staging: Directory,
    pub(super) name: String,
    pub(super) published_name: String,
    /// `None` once it is sealed.
    file: Option<SparseFile>,
    /// Locked until the end of the import: `gc` sees by it that the import still runs.
    _lock: Option<File>,
    /// Whether the public directory could not be synchronized after publishing. The system reports
    /// that only once, so a later success proves nothing.
    pub(super) unsynced: bool,
}

impl LocalUpload {
    pub(super) fn create(staging: Directory, app: AppId) -> Result<Self, Error> {
        let (name, published_name) = (name::staged(app)?, name::published()?);
        let file = staging.create(&name)?;
        // A file system without locks: then gc goes by the file's age.
        let lock = file
            .try_clone()
            .ok()
            .filter(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok());
        let file = Some(SparseFile::new(file, true));
        Ok(Self { staging, name, published_name, file, _lock: lock, unsynced: false })
    }

    /// The path of the staged file, for messages.
    pub(super) fn path(&self) -> String {
        self.staging.path(&self.name)
    }

    pub(crate) fn read_back(&self) -> Result<Option<File>, Error> {
        let handle = self.file.as_ref().map(SparseFile::read_back).transpose();
        handle.map_err(|error| self.failed(&error))
    }

    pub(crate) fn copy_range(&mut self, source: &File, range: Range<u64>) -> Result<(), Error> {
        let copied = self.file()?.copy_range(source, range);
        copied.map_err(|error| self.failed(&error))
    }

    pub(crate) fn write(&mut self, piece: &Piece) -> Result<(), Error> {
        let written = self.file()?.write(piece);
        written.map_err(|error| self.failed(&error))
    }

    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.file()?.begin_sync();
        Ok(())
    }

    pub(crate) async fn seal(&mut self) -> Result<Proof, Error> {
        let mut file = self.file.take().ok_or_else(|| sealed(self.path()))?;
        // Readable for the web server from the moment of publishing. Until then the mode of the
        // staging directory keeps others out.
        let sealed = run_on_thread("sync", move || -> io::Result<u64> {
            fchmod(file.file(), Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
            file.finish()?;
            file.file().metadata().map(|metadata| metadata.size())
        });
        match sealed.await {
            Ok(Ok(bytes)) => Ok(Proof::Bytes(bytes)),
            Ok(Err(error)) | Err(error) => Err(self.failed(&error)),
        }
    }

    pub(crate) fn discard(self) -> Result<(), Error> {
        self.staging.remove(&self.name).map(drop)
    }

    fn file(&mut self) -> Result<&mut SparseFile, Error> {
        let path = || self.staging.path(&self.name);
        self.file.as_mut().ok_or_else(|| sealed(path()))
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::io(self.path(), error)
            .remedy("nothing was published; check PUBLIC_DIR and import again")
    }
}

/// The core seals an upload once, and writes nothing to it afterwards.
fn sealed(path: String) -> Error {
    Error::new(ErrorKind::Failed, path, "is sealed already")
}
