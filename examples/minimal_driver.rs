//! A complete market driver in one file: apps are files in a directory that the datastores can
//! read, SOURCE is their path.
//!
//! This is all that a third party writes. The message, the configuration, the transfer, the
//! digests, the comparison, the order of the steps, signals, log lines and exit codes are the
//! core's. docs/write-a-driver.md goes through it step by step.

use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, ObjectState, Proof, ProofKind,
    Published, Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, MiB};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, Options, Piece, Source, SparseFile};
use serde::Deserialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

fn main() -> ExitCode {
    market_core::runtime::run::<DirectoryMarket>()
}

/// The attributes that the driver reads from the marketplace's template.
#[derive(Deserialize)]
struct Config {
    directory: PathBuf,
}

struct DirectoryMarket {
    directory: PathBuf,
    options: Options,
}

struct Upload {
    part: PathBuf,
    app: PathBuf,
    file: SparseFile,
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let shown = path.display().to_string();
    move |error| Error::io(&shown, &error)
}

impl MarketBackend for DirectoryMarket {
    type Config = Config;

    const MAD: &'static str = "directory";
    const VERSION: &'static str = "1.0.0";
    const ABOUT: &'static str = "A marketplace in a directory that every datastore can read.";

    async fn connect(config: Config, context: &Context) -> Result<Self, Error> {
        if !config.directory.is_dir() {
            return Err(Error::config(
                "DIRECTORY",
                format!("{} is no directory", config.directory.display()),
            ));
        }
        Ok(Self { directory: config.directory, options: context.options.clone() })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        let mut used = 0;
        self.list(&mut |object| used += object.bytes).await?;
        Ok(MonitorReport::of_space(MiB::containing(used), MiB(1_048_576), MiB(1_048_576)))
    }
}

impl StorageBackend for DirectoryMarket {
    type Upload = Upload;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            staging: Staging::Invisible,
            create: Create::Atomic,
            proof: ProofKind::Size,
            keeps_holes: true,
            largest_object_bytes: None,
            lists_staged: true,
        }
    }

    async fn stage(&self, app: AppId, _: Length, _: Option<u64>) -> Result<Upload, Error> {
        let nanoseconds = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let name = format!("{app}-{nanoseconds}-{}", std::process::id());
        let (part, app) = (self.directory.join(format!(".{name}")), self.directory.join(&name));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)
            .map_err(at(&part))?;
        Ok(Upload { part, app, file: SparseFile::new(file, true) })
    }

    async fn write(&self, staged: &mut Upload, piece: Piece) -> Result<(), Error> {
        staged.file.write(&piece).map_err(at(&staged.part))
    }

    async fn seal(&self, staged: &mut Upload, _: &Digests) -> Result<Proof, Error> {
        staged.file.finish().map_err(at(&staged.part))?;
        Ok(Proof::Bytes(staged.file.file().metadata().map_err(at(&staged.part))?.len()))
    }

    async fn publish(&self, staged: &mut Upload) -> Published {
        // A link, unlike a rename, never replaces a file of that name.
        if let Err(error) = fs::hard_link(&staged.part, &staged.app) {
            return Published::NotPublished(at(&staged.app)(error));
        }
        // The app is there now, and counts once the directory is on the disk; its first name,
        // should it stay, is found by `objects`.
        let _ = fs::remove_file(&staged.part);
        match File::open(&self.directory).and_then(|directory| directory.sync_all()) {
            Ok(()) => Published::At(staged.app.display().to_string()),
            Err(error) => match remove(&staged.app) {
                Ok(_) => Published::NotPublished(at(&self.directory)(error)),
                Err(_) => Published::Unknown(at(&self.directory)(error)),
            },
        }
    }

    async fn discard(&self, staged: Upload) -> Result<(), Error> {
        remove(&staged.part).map(drop)
    }

    async fn delete(&self, _: AppId, source: &str) -> Result<Deleted, Error> {
        remove(&self.path_of(source)?)
    }

    async fn open(&self, _: AppId, source: &str) -> Result<Option<Source>, Error> {
        let path = self.path_of(source)?;
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Source::open_path(&path, &self.options)?))
    }

    fn locate(&self, source: &str) -> Option<String> {
        let path = Path::new(source);
        let name = path.file_name()?.to_str().filter(|name| app_of(name).is_some())?;
        (path.parent() == Some(&self.directory)).then(|| name.to_owned())
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject)) -> Result<(), Error> {
        for entry in fs::read_dir(&self.directory).map_err(at(&self.directory))? {
            let entry = entry.map_err(at(&self.directory))?;
            let Ok(key) = entry.file_name().into_string() else { continue };
            // Other files are not ours, and one of ours may be gone by now.
            let Some(app) = app_of(key.trim_start_matches('.')) else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let state =
                if key.starts_with('.') { ObjectState::Staged } else { ObjectState::Published };
            let age = metadata
                .modified()
                .ok()
                .and_then(|written| written.elapsed().ok())
                .unwrap_or_default();
            let (place, bytes) = (String::new(), metadata.len());
            sink(StoredObject { key, place, state, app: Some(app), bytes, age, busy: false });
        }
        Ok(())
    }

    async fn remove(&self, object: &StoredObject) -> Result<Deleted, Error> {
        remove(&self.directory.join(&object.key))
    }
}

impl DirectoryMarket {
    /// The file of a SOURCE. Nothing else is touched.
    fn path_of(&self, source: &str) -> Result<PathBuf, Error> {
        let key = self.locate(source).map(|key| self.directory.join(key));
        key.ok_or_else(|| Error::new(ErrorKind::Denied, source, "is no app of this marketplace"))
    }
}

/// The app of a name that `stage` made: `<app>-<nanoseconds>-<process>`.
fn app_of(name: &str) -> Option<AppId> {
    let mut parts = name.splitn(3, '-');
    let mut number = || parts.next()?.parse::<i128>().ok();
    let (app, _, _) = (number()?, number()?, number()?);
    i64::try_from(app).ok().map(AppId)
}

fn remove(path: &Path) -> Result<Deleted, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(Deleted::Removed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Deleted::Absent),
        Err(error) => Err(at(path)(error)),
    }
}
