//! A marketplace in a directory of this machine: a file for each app, staged beside its place and
//! renamed into it.

mod directory;
mod upload;

pub(crate) use upload::LocalUpload;

use crate::config::HttpConfig;
use crate::name::HttpKey;
use crate::space::Space;
use directory::Directory;
use market_core::backend::{Context, Deleted, ObjectState, Published, StoredObject};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::AppId;
use market_core::transfer::{Options, Source};
use rustix::io::Errno;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// A marketplace in a local directory.
#[derive(Debug)]
pub(crate) struct LocalMarket {
    config: HttpConfig,
    public: Directory,
    options: Options,
    log: Log,
}

impl LocalMarket {
    pub(crate) fn connect(config: HttpConfig, context: &Context) -> Result<Self, Error> {
        let public = Directory::public(&config.public_dir)?;
        Ok(Self { config, public, options: context.options.clone(), log: context.log.clone() })
    }

    pub(crate) fn space(&self) -> Result<Space, Error> {
        self.public.space()
    }

    pub(crate) fn stage(&self, app: AppId) -> Result<LocalUpload, Error> {
        LocalUpload::create(self.public.create_staging()?, app)
    }

    pub(crate) fn publish(&self, upload: &mut LocalUpload) -> Published {
        match upload.staging.publish(&upload.name, &self.public, &upload.published_name) {
            Ok(()) => self.make_durable(upload),
            Err(error) => self.not_moved(upload, &error),
        }
    }

    /// What has become of an app whose file could not be moved to its place.
    fn not_moved(&self, upload: &LocalUpload, error: &io::Error) -> Published {
        // A network file system may have done it and lost the answer.
        let lost =
            matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::TIMEDOUT | Errno::STALE));
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Published::Exists(self.config.source(&upload.published_name))
            }
            io::ErrorKind::NotFound => {
                let cause = "is gone: the app was deleted, or the marketplace cleaned, while it was imported";
                Published::NotPublished(Error::new(ErrorKind::Absent, upload.path(), cause))
            }
            _ if lost => Published::Unknown(self.public.failed_on(&upload.published_name, error)),
            _ => Published::NotPublished(self.public.failed_on(&upload.published_name, error)),
        }
    }

    pub(crate) fn resolve(&self, upload: &mut LocalUpload) -> Published {
        match (self.public.stat(&upload.published_name), upload.staging.stat(&upload.name)) {
            (Ok(Some(_)), Ok(None)) => self.make_durable(upload),
            (Ok(None), Ok(_)) => {
                let cause = "the file system did not take it";
                Published::NotPublished(Error::new(ErrorKind::Failed, upload.path(), cause))
            }
            // Two names of one file: published by a link whose answer was lost.
            (Ok(Some(_)), Ok(Some(_)))
                if upload.staging.same_file(&upload.name, &self.public, &upload.published_name) =>
            {
                match upload.staging.remove(&upload.name) {
                    Ok(_) => self.make_durable(upload),
                    Err(error) => Published::Unknown(error),
                }
            }
            (Ok(Some(_)), Ok(Some(_))) => {
                Published::Exists(self.config.source(&upload.published_name))
            }
            (Err(error), _) | (_, Err(error)) => Published::Unknown(error),
        }
    }

    pub(crate) fn delete(&self, key: &HttpKey) -> Result<Deleted, Error> {
        if !self.public.remove(key.name())? {
            self.warn_when_empty()?;
            return Ok(Deleted::Absent);
        }
        self.public.sync()?;
        Ok(Deleted::Removed)
    }

    pub(crate) fn open(&self, key: &HttpKey) -> Result<Option<Source>, Error> {
        let name = key.name();
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
        for file in self.public.files()? {
            if let Some(key) = HttpKey::published(&file.name) {
                sink(StoredObject::published(key, file.bytes, now.saturating_sub(file.written)));
            }
        }
        for staging in self.public.staging()? {
            for file in staging.files()? {
                if let Some((key, app)) = HttpKey::staged(&file.name) {
                    let age = now.saturating_sub(file.written);
                    let object = StoredObject::staged(key, file.bytes, age).of_app(app);
                    sink(object.with_busy(staging.is_locked(&file.name)));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self, object: &StoredObject<HttpKey>) -> Result<Deleted, Error> {
        if object.state == ObjectState::Published {
            return self.delete(&object.key);
        }
        for staging in self.public.staging()? {
            if staging.remove(object.key.name())? {
                return Ok(Deleted::Removed);
            }
        }
        Ok(Deleted::Absent)
    }

    /// After the rename the app is there; it counts once the directory is on the disk too.
    fn make_durable(&self, upload: &mut LocalUpload) -> Published {
        let synced = if upload.unsynced { Err(self.not_durable()) } else { self.public.sync() };
        let Err(error) = synced else {
            return Published::At(self.config.source(&upload.published_name));
        };
        upload.unsynced = true;
        match self.public.remove(&upload.published_name) {
            Ok(_) => Published::NotPublished(error),
            Err(_) => Published::Unknown(error),
        }
    }

    fn not_durable(&self) -> Error {
        let path = self.config.public_dir.display().to_string();
        Error::new(ErrorKind::Failed, path, "could not be written to the disk")
            .remedy("check the disk")
    }

    /// A directory without anything in it, where there should be an app, may be a mount point whose
    /// file system is not mounted.
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
