//! A marketplace in a directory of this machine: a file for each app, staged beside its place and
//! renamed into it.

use crate::config::HttpConfig;
use crate::directory::Directory;
use crate::market::report;
use crate::name::{self, HttpKey};
use market_core::backend::{Context, Deleted, ObjectState, Proof, Published, StoredObject};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::AppId;
use market_core::report::MonitorReport;
use market_core::transfer::{Options, Piece, Source, SparseFile, run_on_thread};
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A marketplace in a local directory.
pub(crate) struct LocalMarket {
    config: HttpConfig,
    public: Directory,
    options: Options,
    log: Log,
}

/// An import under way: a file in the staging directory, and the name that it will have.
pub(crate) struct LocalUpload {
    staging: Directory,
    name: String,
    published_name: String,
    file: Option<SparseFile>,
    /// Locked until the end of the import: `gc` sees by it that the import still runs.
    _lock: Option<File>,
    /// The directory could not be put on the disk after publishing, which the system tells only
    /// once: no success any more.
    unsynced: bool,
}

impl LocalUpload {
    fn file(&mut self) -> Result<&mut SparseFile, Error> {
        let name = &self.name;
        self.file
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Failed, name, "is not open for writing"))
    }
}

impl LocalMarket {
    pub(crate) fn connect(config: HttpConfig, context: &Context) -> Result<Self, Error> {
        let public = Directory::public(&config.public_dir)?;
        Ok(Self { config, public, options: context.options.clone(), log: context.log.clone() })
    }

    pub(crate) fn monitor(&self) -> Result<MonitorReport, Error> {
        let space = self.public.space()?;
        Ok(report(space.f_frsize, space.f_blocks, space.f_bfree, space.f_bavail))
    }

    pub(crate) fn available_bytes(&self) -> Result<Option<u64>, Error> {
        let space = self.public.space()?;
        Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
    }

    pub(crate) fn stage(&self, app: AppId) -> Result<LocalUpload, Error> {
        let staging = self.public.create_staging()?;
        let (name, published_name) = (name::staged(app)?, name::published()?);
        let file = staging.create(&name)?;
        // A file system without locks: then the file's age has to do.
        let lock = file
            .try_clone()
            .ok()
            .filter(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok());
        let file = Some(SparseFile::new(file, true));
        Ok(LocalUpload { staging, name, published_name, file, _lock: lock, unsynced: false })
    }

    pub(crate) fn read_back(&self, staged: &LocalUpload) -> Result<Option<File>, Error> {
        let handle = staged.file.as_ref().map(SparseFile::read_back).transpose();
        handle.map_err(|error| self.write_error(staged, &error))
    }

    pub(crate) fn copy_range(
        &self,
        staged: &mut LocalUpload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        let copied = staged.file()?.copy_range(source, range);
        copied.map_err(|error| self.write_error(staged, &error))
    }

    pub(crate) fn write(&self, staged: &mut LocalUpload, piece: &Piece) -> Result<(), Error> {
        let written = staged.file()?.write(piece);
        written.map_err(|error| self.write_error(staged, &error))
    }

    pub(crate) fn finish(&self, staged: &mut LocalUpload) -> Result<(), Error> {
        staged.file()?.begin_sync();
        Ok(())
    }

    pub(crate) async fn seal(&self, staged: &mut LocalUpload) -> Result<Proof, Error> {
        let path = self.path_of(staged);
        let mut file = staged
            .file
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Failed, &path, "is sealed already"))?;
        // Readable for the web server from the moment of publishing; the directory keeps it closed
        // until then.
        let sealed = run_on_thread("sync", move || -> io::Result<u64> {
            fchmod(file.file(), Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
            file.finish()?;
            file.file().metadata().map(|metadata| metadata.size())
        });
        match sealed.await {
            Ok(Ok(bytes)) => Ok(Proof::Bytes(bytes)),
            Ok(Err(error)) | Err(error) => Err(self.write_error(staged, &error)),
        }
    }

    pub(crate) fn publish(&self, staged: &mut LocalUpload) -> Published {
        let LocalUpload { staging, name, published_name, .. } = staged;
        match staging.publish(name, &self.public, published_name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Published::Exists(self.config.source(published_name));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let cause = "is gone: the app was deleted, or the marketplace cleaned, while it was imported";
                return Published::NotPublished(Error::new(
                    ErrorKind::Absent,
                    self.path_of(staged),
                    cause,
                ));
            }
            Err(error) => {
                // A network file system may have done it and lost the answer.
                let lost = matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::IO | Errno::TIMEDOUT | Errno::STALE)
                );
                let error = self.public.failed_on(published_name, &error);
                return if lost {
                    Published::Unknown(error)
                } else {
                    Published::NotPublished(error)
                };
            }
        }
        self.make_durable(staged)
    }

    pub(crate) fn resolve(&self, staged: &mut LocalUpload) -> Published {
        match (self.public.stat(&staged.published_name), staged.staging.stat(&staged.name)) {
            (Ok(Some(_)), Ok(None)) => self.make_durable(staged),
            (Ok(None), Ok(_)) => {
                let cause = "the file system did not take it";
                Published::NotPublished(Error::new(ErrorKind::Failed, self.path_of(staged), cause))
            }
            // Two names of one file: published by a link whose answer was lost.
            (Ok(Some(_)), Ok(Some(_)))
                if staged.staging.same_file(&staged.name, &self.public, &staged.published_name) =>
            {
                match staged.staging.remove(&staged.name) {
                    Ok(_) => self.make_durable(staged),
                    Err(error) => Published::Unknown(error),
                }
            }
            (Ok(Some(_)), Ok(Some(_))) => {
                Published::Exists(self.config.source(&staged.published_name))
            }
            (Err(error), _) | (_, Err(error)) => Published::Unknown(error),
        }
    }

    pub(crate) fn discard(&self, staged: LocalUpload) -> Result<(), Error> {
        staged.staging.remove(&staged.name).map(drop)
    }

    pub(crate) fn open(&self, name: &str) -> Result<Option<Source>, Error> {
        match self.public.open(name)? {
            Some(file) => {
                let path = self.config.public_dir.join(name).display().to_string();
                Ok(Some(Source::from_file(file, &path, &self.options)?))
            }
            None => {
                self.warn_when_empty()?;
                Ok(None)
            }
        }
    }

    pub(crate) fn list(&self, sink: &mut dyn FnMut(StoredObject<HttpKey>)) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut tell = |directory: &Directory, state| -> Result<(), Error> {
            for (name, stat) in directory.files()? {
                let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
                let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                let age = now.saturating_sub(written);
                match state {
                    ObjectState::Published => {
                        if let Some(key) = HttpKey::published(&name) {
                            sink(StoredObject::published(key, bytes, age));
                        }
                    }
                    ObjectState::Staged => {
                        if let Some((key, app)) = HttpKey::staged(&name) {
                            let object = StoredObject::staged(key, bytes, age).of_app(app);
                            sink(object.with_busy(directory.is_locked(&name)));
                        }
                    }
                }
            }
            Ok(())
        };
        tell(&self.public, ObjectState::Published)?;
        self.public.staging()?.iter().try_for_each(|staging| tell(staging, ObjectState::Staged))
    }

    pub(crate) fn remove(&self, object: &StoredObject<HttpKey>) -> Result<Deleted, Error> {
        if object.state == ObjectState::Published {
            return self.remove_published(object.key.name());
        }
        for staging in self.public.staging()? {
            if staging.remove(object.key.name())? {
                return Ok(Deleted::Removed);
            }
        }
        Ok(Deleted::Absent)
    }

    fn path_of(&self, staged: &LocalUpload) -> String {
        staged.staging.path(&staged.name)
    }

    fn write_error(&self, staged: &LocalUpload, error: &std::io::Error) -> Error {
        Error::io(self.path_of(staged), error)
            .remedy("nothing was published; check PUBLIC_DIR and import again")
    }

    /// After the rename the app is there; it counts once the directory is on the disk too.
    fn make_durable(&self, staged: &mut LocalUpload) -> Published {
        let synced = if staged.unsynced { Err(self.not_durable()) } else { self.public.sync() };
        let Err(error) = synced else {
            return Published::At(self.config.source(&staged.published_name));
        };
        staged.unsynced = true;
        match self.public.remove(&staged.published_name) {
            Ok(_) => Published::NotPublished(error),
            Err(_) => Published::Unknown(error),
        }
    }

    fn not_durable(&self) -> Error {
        let path = self.config.public_dir.display().to_string();
        Error::new(ErrorKind::Failed, path, "could not be put on the disk").remedy("check the disk")
    }

    pub(crate) fn remove_published(&self, name: &str) -> Result<Deleted, Error> {
        if !self.public.remove(name)? {
            self.warn_when_empty()?;
            return Ok(Deleted::Absent);
        }
        self.public.sync()?;
        Ok(Deleted::Removed)
    }

    /// A directory without anything in it, where there should be an app, may be a mount point whose
    /// file system is not there.
    fn warn_when_empty(&self) -> Result<(), Error> {
        if self.public.is_empty()? {
            let path = self.config.public_dir.display();
            self.log.warn(format_args!(
                "PUBLIC_DIR {path} is empty: check that its file system is mounted"
            ));
        }
        Ok(())
    }
}
