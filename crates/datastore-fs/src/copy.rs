//! `cp`: fetches an image into the datastore. It gets its name when all of it is there, verified and on the disk.

use crate::{Directories, FsConfig, config};
use market_core::action::CopyAction;
use market_core::backend::Context;
use market_core::container::{Container, HEAD_BYTES};
use market_core::error::{Error, ErrorKind};
use market_core::model::{DatastoreType, MiB};
use market_core::report::CopiedImage;
use market_core::transfer::{
    Compression, FileSink, Location, Options, Packing, Source, SparseFile, Transfer, Transferred, Wanted, random_name,
    rename_new, shown,
};
use rustix::fs::statvfs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Copies IMAGE/PATH into the datastore.
///
/// # Errors
/// Everything that stands in the way; then nothing is left in the datastore.
pub async fn copy(action: &CopyAction, context: &Context) -> Result<CopiedImage, Error> {
    let config = FsConfig::of(action)?;
    let mut source = open(action, &config, context).await?;
    let expected = Expected::of(action, &config, source.is_built(), context)?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let unpack = compression(action, &config, &source, &head);
    if unpack.is_none() {
        check_format(action, &config, &head, source.subject())?;
    }

    let base = base_path(action)?;
    check_room(&source, &base)?;
    let name = random_name::<16>().map_err(|error| Error::io("the system's random numbers", &error))?;
    let staged = Staged::create(&base, &name)?;
    let mut file = SparseFile::new(staged.open()?, config.sparse.unwrap_or(true));
    let path = staged.shown();
    let mut sink = FileSink { file: &mut file, subject: &path, durable: true };
    let how = Transfer { wanted: expected.wanted(), unpack, max_bytes: None };
    let transferred = context.stop.or(source.transfer(&mut sink, how)).await?;
    expected.compare(source.subject(), &transferred)?;
    // What it is was looked at before, as far as it could be; it is looked at again in what was stored.
    let format = check_format(action, &config, &transferred.head, source.subject())?;
    let finished = tokio::task::spawn_blocking(move || file.finish()).await;
    match finished {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Error::io(path, &error)),
        Err(_) => return Err(Error::new(ErrorKind::Failed, path, "the syncing thread died")),
    }
    if let Some(reason) = context.stop.reason() {
        return Err(reason.into());
    }
    staged.publish()?;
    let unpacked = unpack.map_or_else(String::new, |compression| format!(", unpacked from {}", compression.name()));
    context.log.info(format_args!("{} copied, {} bytes{unpacked}", source.subject(), transferred.bytes));
    let directory = action.datastore.base_path.trim_end_matches('/');
    Ok(CopiedImage { path: format!("{directory}/{name}"), format: format.to_owned() })
}

/// Opens PATH; a local one only where the datastore allows it.
async fn open(action: &CopyAction, config: &FsConfig, context: &Context) -> Result<Source, Error> {
    let path = action.image.path.as_str();
    let defaults = Options {
        user_agent: concat!("datastore-fs/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..context.options.clone()
    };
    let mut options = config.transfer.clone().apply(defaults, &context.log)?;
    let location = Location::parse(path)?;
    if matches!(location, Location::S3 { .. }) {
        options.s3 = Some(config::s3_access(action)?);
    }
    let Location::Path(local) = location else {
        return context.stop.or(Source::open(path, &options)).await;
    };
    let directories = Directories::of(config);
    let resolved = local.canonicalize().map_err(|error| Error::io(format!("PATH {}", shown(path)), &error))?;
    directories.check(&resolved)?;
    let source = Source::open_path(&resolved, &options)?;
    // A link may have been put in the way between the check and the opening: what counts is what was opened.
    if let Some(file) = source.file() {
        directories.check(&path_of(file)?)?;
    }
    Ok(source)
}

fn path_of(file: &File) -> Result<PathBuf, Error> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(&link).map_err(|error| Error::io(link, &error))
}

/// The format that the image is to be unpacked from on its way, if it is.
fn compression(action: &CopyAction, config: &FsConfig, source: &Source, head: &[u8]) -> Option<Compression> {
    match Packing::sniff(head)? {
        Packing::Compressed(compression) if config.decompresses(action) && source.may_be_packed() => Some(compression),
        _ => None,
    }
}

/// Refuses what cannot become an image of this datastore; the format otherwise.
fn check_format(action: &CopyAction, config: &FsConfig, head: &[u8], subject: &str) -> Result<&'static str, Error> {
    let unsupported = |cause: String| Error::new(ErrorKind::Unsupported, subject, cause);
    if let (Some(Packing::Archive(format)), false) =
        (Packing::sniff(head), action.datastore.datastore_type == DatastoreType::File)
    {
        return Err(unsupported(format!("is a {format} archive, not an image")));
    }
    let container = Container::sniff(head);
    container.refuse_references(subject, "")?;
    if let Some(wanted) = config.converts_to(action, container.format) {
        let error = unsupported(format!("is {}, and converting it to {wanted} is not supported yet", container.format));
        return Err(error.remedy("convert it first with qemu-img, or set CONVERT=\"no\" in the datastore"));
    }
    Ok(if container.format == "luks" { "raw" } else { container.format })
}

/// The checksums that the image must have.
struct Expected {
    md5: Vec<(&'static str, String)>,
    sha1: Option<String>,
}

impl Expected {
    /// `built`: the bytes are made while they are read, and no app was recorded with them.
    fn of(action: &CopyAction, config: &FsConfig, built: bool, context: &Context) -> Result<Self, Error> {
        let checksum = |name: &'static str, digits: usize| {
            let value =
                action.checksum(name).map_err(|error| Error::new(ErrorKind::Config, "the image", error.to_string()))?;
            match value {
                Some(value) if value.len() != digits || !value.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    Err(Error::config(name, format!("is not {digits} hexadecimal digits")))
                }
                value => Ok(value),
            }
        };
        let mut md5 = Vec::new();
        md5.extend(checksum("MD5", 32)?.map(|value| ("MD5", value)));
        if built {
            context.log.debug("the image is built on the fly: FROM_APP_MD5 does not count");
        } else if config.verify_app_md5.unwrap_or(true) {
            md5.extend(checksum("FROM_APP_MD5", 32)?.map(|value| ("FROM_APP_MD5", value)));
        } else {
            context.log.warn("VERIFY_APP_MD5 is off: what comes is not compared with the app's MD5");
        }
        Ok(Self { md5, sha1: checksum("SHA1", 40)? })
    }

    fn wanted(&self) -> Wanted {
        Wanted { md5: !self.md5.is_empty(), sha1: self.sha1.is_some(), sha256: false }
    }

    fn compare(&self, subject: &str, transferred: &Transferred) -> Result<(), Error> {
        let digests = &transferred.digests;
        let md5 = self.md5.iter().map(|(name, declared)| (*name, declared, &digests.md5));
        let sha1 = self.sha1.iter().map(|declared| ("SHA1", declared, &digests.sha1));
        for (name, declared, computed) in md5.chain(sha1) {
            if computed.as_ref() != Some(declared) {
                let computed = computed.as_deref().unwrap_or_default();
                let cause = format!("what came has the checksum {computed}, {name} says {declared}");
                let error = Error::new(ErrorKind::Mismatch, subject, cause);
                return Err(error.remedy(match name {
                    "FROM_APP_MD5" => "nothing was kept; check the app, or set VERIFY_APP_MD5=\"no\" in the datastore if it is known to be good",
                    _ => "nothing was kept; check the source",
                }));
            }
        }
        if transferred.bytes == 0 {
            return Err(Error::new(ErrorKind::Mismatch, subject, "holds no bytes: that is no image"));
        }
        Ok(())
    }
}

fn base_path(action: &CopyAction) -> Result<PathBuf, Error> {
    let base = PathBuf::from(&action.datastore.base_path);
    if !base.is_absolute() {
        return Err(Error::new(ErrorKind::Dump, "DATASTORE/BASE_PATH", "is not an absolute path"));
    }
    std::fs::create_dir_all(&base).map_err(|error| Error::io(base.display().to_string(), &error))?;
    Ok(base)
}

fn check_room(source: &Source, base: &Path) -> Result<(), Error> {
    let Some(length) = source.length() else { return Ok(()) };
    let needed = source.allocated().unwrap_or(length).min(length);
    let space = statvfs(base).map_err(|errno| Error::io(base.display().to_string(), &errno.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let cause =
        format!("needs {}, the datastore {} has {} free", MiB::containing(needed), base.display(), MiB::within(free));
    Err(Error::new(ErrorKind::Full, source.subject(), cause).remedy("free some space"))
}

/// The copy under a name that is no image's, beside its place; removed unless it is published.
struct Staged {
    directory: File,
    base: PathBuf,
    name: String,
    final_name: String,
}

impl Staged {
    fn create(base: &Path, final_name: &str) -> Result<Self, Error> {
        let directory = File::open(base).map_err(|error| Error::io(base.display().to_string(), &error))?;
        Ok(Self {
            directory,
            base: base.to_owned(),
            name: format!(".{final_name}.part"),
            final_name: final_name.to_owned(),
        })
    }

    fn path(&self) -> PathBuf {
        self.base.join(&self.name)
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    fn open(&self) -> Result<File, Error> {
        let file = File::options().read(true).write(true).create_new(true).open(self.path());
        file.map_err(|error| Error::io(self.shown(), &error))
    }

    fn publish(mut self) -> Result<(), Error> {
        let fail = |error: io::Error| Error::io(self.base.join(&self.final_name).display().to_string(), &error);
        rename_new(&self.directory, &self.name, &self.directory, &self.final_name).map_err(fail)?;
        self.directory.sync_all().map_err(|error| {
            let _ = std::fs::remove_file(self.base.join(&self.final_name));
            fail(error)
        })?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = std::fs::remove_file(self.path());
        }
    }
}
