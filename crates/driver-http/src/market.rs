//! The backend: a file for each app, staged beside its place and renamed into it.

use crate::config::HttpConfig;
use crate::directory::Directory;
use crate::name;
use market_core::backend::{
    Context, Create, Deleted, Guarantees, Length, MarketBackend, ObjectState, Proof, ProofKind, Published, Staging,
    StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, MiB};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, Piece, SparseFile, shown};
use rustix::fs::{Mode, Stat, fchmod};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A marketplace in a local directory.
pub struct HttpMarket {
    config: HttpConfig,
    public: Directory,
}

/// An import under way: a file in the staging directory, and the name that it will have.
pub struct Staged {
    staging: Directory,
    name: String,
    published_name: String,
    file: Option<SparseFile>,
    /// The directory could not be put on the disk after publishing, which the system tells only once: no success any more.
    unsynced: bool,
}

impl Staged {
    fn file(&mut self) -> Result<&mut SparseFile, Error> {
        let name = &self.name;
        self.file.as_mut().ok_or_else(|| Error::new(ErrorKind::Failed, name, "is not open for writing"))
    }
}

impl MarketBackend for HttpMarket {
    type Config = HttpConfig;

    const MAD: &'static str = "http";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "OpenNebula marketplace driver for a directory behind a web server.";

    async fn open(config: HttpConfig, _: &Context) -> Result<Self, Error> {
        config.check()?;
        let public = Directory::public(&config.public_dir)?;
        Ok(Self { config, public })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        let space = self.public.space()?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(MonitorReport::of_space(
            MiB::containing(bytes(space.f_blocks.saturating_sub(space.f_bfree))),
            MiB::within(bytes(space.f_bavail)),
            MiB::containing(bytes(space.f_blocks)),
        ))
    }
}

impl StorageBackend for HttpMarket {
    type Staged = Staged;

    const GUARANTEES: Guarantees = Guarantees {
        staging: Staging::Invisible,
        create: Create::Atomic,
        proof: ProofKind::Size,
        keeps_holes: true,
        largest_object_bytes: None,
        lists_staged: true,
    };

    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        let space = self.public.space()?;
        Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
    }

    async fn stage(&self, app: AppId, _: Length) -> Result<Staged, Error> {
        let staging = self.public.create_staging()?;
        let name = name::staged(app)?;
        let file = SparseFile::new(staging.create(&name)?, true);
        Ok(Staged { staging, name, published_name: name::published()?, file: Some(file), unsynced: false })
    }

    async fn copy_range(&self, staged: &mut Staged, source: &File, range: Range<u64>) -> Result<Option<File>, Error> {
        let copied = staged.file()?.copy_range(source, range);
        copied.map(Some).map_err(|error| self.write_error(staged, &error))
    }

    async fn write(&self, staged: &mut Staged, piece: Piece) -> Result<(), Error> {
        let written = staged.file()?.write(&piece);
        written.map_err(|error| self.write_error(staged, &error))
    }

    async fn written(&self, staged: &mut Staged) -> Result<(), Error> {
        staged.file()?.begin_sync();
        Ok(())
    }

    async fn seal(&self, staged: &mut Staged, _: &Digests) -> Result<Proof, Error> {
        let path = self.path_of(staged);
        let mut file = staged.file.take().ok_or_else(|| Error::new(ErrorKind::Failed, &path, "is sealed already"))?;
        // Readable for the web server from the moment of publishing; the directory keeps it closed until then.
        let sealed = tokio::task::spawn_blocking(move || {
            fchmod(file.file(), Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
            file.finish()?;
            file.file().metadata().map(|metadata| metadata.size())
        });
        match sealed.await {
            Ok(Ok(bytes)) => Ok(Proof::Bytes(bytes)),
            Ok(Err(error)) => Err(self.write_error(staged, &error)),
            Err(_) => Err(Error::new(ErrorKind::Failed, path, "the syncing thread died")),
        }
    }

    async fn publish(&self, staged: &mut Staged) -> Published {
        let Staged { staging, name, published_name, .. } = staged;
        match staging.publish(name, &self.public, published_name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Published::Exists(self.config.source(published_name));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let cause = "is gone: the app was deleted, or the marketplace cleaned, while it was imported";
                return Published::NotPublished(Error::new(ErrorKind::Absent, self.path_of(staged), cause));
            }
            Err(error) => {
                // A network file system may have done it and lost the answer.
                let lost = matches!(Errno::from_io_error(&error), Some(Errno::IO | Errno::TIMEDOUT | Errno::STALE));
                let error = self.public.failed_on(published_name, &error);
                return if lost { Published::Unknown(error) } else { Published::NotPublished(error) };
            }
        }
        self.make_durable(staged)
    }

    async fn resolve(&self, staged: &mut Staged) -> Published {
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
            (Ok(Some(_)), Ok(Some(_))) => Published::Exists(self.config.source(&staged.published_name)),
            (Err(error), _) | (_, Err(error)) => Published::Unknown(error),
        }
    }

    async fn discard(&self, staged: Staged) -> Result<(), Error> {
        staged.staging.remove(&staged.name).map(drop)
    }

    async fn delete(&self, _: AppId, source: &str) -> Result<Deleted, Error> {
        let Some(name) = name::of_source(source) else {
            let error =
                Error::new(ErrorKind::Denied, format!("SOURCE {}", shown(source)), "names no file of this marketplace");
            return Err(error.remedy("nothing was removed"));
        };
        self.remove_published(&name)
    }

    async fn objects(&self, sink: &mut dyn FnMut(StoredObject)) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut tell = |files: Vec<(String, Stat)>, state| {
            for (key, stat) in files {
                let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
                let app = name::app_of_staged(&key);
                let known = if state == ObjectState::Staged { app.is_some() } else { name::is_published(&key) };
                if known {
                    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                    sink(StoredObject { key, state, app, bytes, age: now.saturating_sub(written) });
                }
            }
        };
        tell(self.public.files()?, ObjectState::Published);
        if let Some(staging) = self.public.staging()? {
            tell(staging.files()?, ObjectState::Staged);
        }
        Ok(())
    }

    async fn remove(&self, object: &StoredObject) -> Result<Deleted, Error> {
        let known = match object.state {
            ObjectState::Published => name::is_published(&object.key),
            ObjectState::Staged => name::app_of_staged(&object.key).is_some(),
        };
        if !known {
            return Err(Error::new(ErrorKind::Denied, shown(&object.key), "is no object of this marketplace"));
        }
        match (object.state, self.public.staging()?) {
            (ObjectState::Published, _) => self.remove_published(&object.key),
            (ObjectState::Staged, Some(staging)) if staging.remove(&object.key)? => Ok(Deleted::Removed),
            (ObjectState::Staged, _) => Ok(Deleted::Absent),
        }
    }
}

impl HttpMarket {
    fn path_of(&self, staged: &Staged) -> String {
        let directory = self.config.public_dir.join(crate::directory::STAGING);
        directory.join(&staged.name).display().to_string()
    }

    fn write_error(&self, staged: &Staged, error: &std::io::Error) -> Error {
        Error::io(self.path_of(staged), error).remedy("nothing was published; check PUBLIC_DIR and import again")
    }

    /// After the rename the app is there; it counts once the directory is on the disk too.
    fn make_durable(&self, staged: &mut Staged) -> Published {
        let synced = if staged.unsynced { Err(self.not_durable()) } else { self.public.sync() };
        let Err(error) = synced else { return Published::At(self.config.source(&staged.published_name)) };
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

    fn remove_published(&self, name: &str) -> Result<Deleted, Error> {
        let removed = self.public.remove(name)?;
        self.public.sync()?;
        Ok(if removed { Deleted::Removed } else { Deleted::Absent })
    }
}
