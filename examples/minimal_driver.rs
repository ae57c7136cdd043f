//! A complete market driver in one file: apps are files in a directory that the datastores can
//! read, SOURCE is their path.
//!
//! This is all that a third party writes. The message, the configuration, the transfer, the
//! digests, the comparison, the order of the steps, signals, log lines and exit codes are the
//! core's. docs/write-a-driver.md goes through it step by step.

use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, Proof, ProofKind, Published,
    Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, MiB, SourceUrl};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, Options, Piece, Source, SparseFile, redacted};
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
    /// The name of a file in the directory.
    type Key = String;

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Staging::Invisible, Create::Atomic, ProofKind::Size)
            .with_holes()
            .with_staged_listed()
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

    async fn write(&self, upload: &mut Upload, piece: Piece) -> Result<(), Error> {
        upload.file.write(&piece).map_err(at(&upload.part))
    }

    async fn seal(&self, upload: &mut Upload, _: &Digests) -> Result<Proof, Error> {
        upload.file.finish().map_err(at(&upload.part))?;
        Ok(Proof::Bytes(upload.file.file().metadata().map_err(at(&upload.part))?.len()))
    }

    async fn publish(&self, upload: &mut Upload) -> Published {
        // A link, unlike a rename, never replaces a file of that name.
        if let Err(error) = fs::hard_link(&upload.part, &upload.app) {
            return Published::NotPublished(at(&upload.app)(error));
        }
        // The app is there now, and counts once the directory is on the disk; its first name,
        // should it stay, is found by `list`.
        let _ = fs::remove_file(&upload.part);
        match File::open(&self.directory).and_then(|directory| directory.sync_all()) {
            Ok(()) => Published::At(SourceUrl::new(upload.app.display().to_string())),
            Err(error) => match remove(&upload.app) {
                Ok(_) => Published::NotPublished(at(&self.directory)(error)),
                Err(_) => Published::Unknown(at(&self.directory)(error)),
            },
        }
    }

    async fn discard(&self, upload: Upload) -> Result<(), Error> {
        remove(&upload.part).map(drop)
    }

    fn locate(&self, source: &SourceUrl, _: Option<AppId>) -> Result<String, Error> {
        let path = Path::new(source.as_str());
        let name = path.file_name().and_then(|name| name.to_str());
        match name.filter(|name| app_of(name).is_some()) {
            Some(name) if path.parent() == Some(&self.directory) => Ok(name.to_owned()),
            _ => {
                let subject = format!("SOURCE {}", redacted(source.as_str()));
                Err(Error::new(ErrorKind::Denied, subject, "is no app of this marketplace"))
            }
        }
    }

    async fn delete(&self, key: &String) -> Result<Deleted, Error> {
        remove(&self.directory.join(key))
    }

    async fn open(&self, key: &String) -> Result<Option<Source>, Error> {
        let path = self.directory.join(key);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Source::open_path(&path, &self.options)?))
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<String>)) -> Result<(), Error> {
        for entry in fs::read_dir(&self.directory).map_err(at(&self.directory))? {
            let entry = entry.map_err(at(&self.directory))?;
            let Ok(key) = entry.file_name().into_string() else { continue };
            // Other files are not ours, and one of ours may be gone by now.
            let Some(app) = app_of(key.trim_start_matches('.')) else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let written = metadata.modified().map_err(at(&entry.path()))?;
            let (bytes, age) = (metadata.len(), written.elapsed().unwrap_or_default());
            let object = if key.starts_with('.') {
                StoredObject::staged(key, bytes, age)
            } else {
                StoredObject::published(key, bytes, age)
            };
            sink(object.of_app(app));
        }
        Ok(())
    }

    async fn remove(&self, object: &StoredObject<String>) -> Result<Deleted, Error> {
        remove(&self.directory.join(&object.key))
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
