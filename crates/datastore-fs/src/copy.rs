//! `cp`: fetches an image into the datastore. It gets its name when all of it is there, verified
//! and on the disk.

use crate::config::bridges_of;
use crate::expected::{expected, verify};
use crate::{Directories, FsConfig, bridge, config, local};
use market_core::action::CopyAction;
use market_core::backend::Context;
use market_core::bridges::Bridge;
use market_core::checksum::Expected;
use market_core::container::{Container, HEAD_BYTES, refuse_other_content, refuse_references};
use market_core::error::{Error, ErrorKind};
use market_core::model::DatastoreType;
use market_core::report::CopiedImage;
use market_core::transfer::s3::S3Scheme;
use market_core::transfer::{
    Compression, Content, Location, Options, Packing, Source, Transferred, random_name, redacted,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long it may take to remove an image of which nobody will know.
const TIDYING: Duration = Duration::from_secs(10);

/// An image that is about to be copied.
pub(crate) struct Copying<'a> {
    pub(crate) action: &'a CopyAction,
    pub(crate) config: &'a FsConfig,
    pub(crate) context: &'a Context,
    pub(crate) options: Options,
    pub(crate) expected: Expected,
    /// What it is to be unpacked from on its way.
    pub(crate) unpack: Option<Compression>,
    /// The datastore's directory.
    pub(crate) base: PathBuf,
    /// The name that the image gets there.
    pub(crate) name: String,
}

/// What was copied.
pub(crate) struct Copied {
    pub(crate) bytes: u64,
    /// The format that it has now.
    pub(crate) format: String,
    /// The datastore's directory on the bridge that took it.
    pub(crate) bridge: Option<Bridge>,
}

/// An image in its place.
pub struct Placed {
    /// What is to be answered.
    pub image: CopiedImage,
    bridge: Option<Bridge>,
}

impl Placed {
    /// Removes it again: nobody will ever know of it.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn take_back(self) -> Result<(), Error> {
        let path = Path::new(&self.image.path);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.bridge {
            Some(bridge) => match timeout(TIDYING, bridge.remove(name)).await {
                Ok(removed) => removed.map(drop),
                Err(_) => Err(Error::new(
                    ErrorKind::Unreachable,
                    self.image.path,
                    "removing it took too long",
                )),
            },
            None => std::fs::remove_file(path)
                .map_err(|error| Error::io(self.image.path.as_str(), &error)),
        }
    }
}

/// Copies IMAGE/PATH into the datastore.
///
/// # Errors
/// Everything that stands in the way; then nothing is left in the datastore.
pub async fn copy(action: &CopyAction, context: &Context) -> Result<Placed, Error> {
    let config = FsConfig::of(action)?;
    let options = config.options(&context.options, &context.log)?;
    let mut source = open(action, &config, options.clone(), context).await?;
    let expected = expected(action, &config, source.is_built(), context)?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let unpack = compression(action, &config, &source, &head);
    let base = PathBuf::from(&action.datastore.base_path);
    if !base.is_absolute() {
        return Err(Error::new(ErrorKind::Dump, "DATASTORE/BASE_PATH", "is not an absolute path"));
    }
    let name =
        random_name::<16>().map_err(|error| Error::io("the system's random numbers", &error))?;
    let copying =
        Copying { action, config: &config, context, options, expected, unpack, base, name };
    match unpack {
        Some(_) => source.allow_at_most(action.image.size.max_unpacked_bytes()),
        None => drop(copying.check_format(&head, source.subject())?),
    }
    let bridges = bridges_of(&action.datastore)?;
    let copied = if bridges.is_empty() {
        local::copy(&copying, &mut source).await?
    } else {
        bridge::copy(&copying, &mut source, bridges).await?
    };
    let unpacked = unpack
        .map_or_else(String::new, |compression| format!(", unpacked from {}", compression.name()));
    context.log.info(format_args!("{} copied, {} bytes{unpacked}", source.subject(), copied.bytes));
    let directory = action.datastore.base_path.trim_end_matches('/');
    let format = if copied.format == "luks" { "raw".to_owned() } else { copied.format };
    let image = CopiedImage { path: format!("{directory}/{}", copying.name), format };
    Ok(Placed { image, bridge: copied.bridge })
}

impl Copying<'_> {
    /// Refuses what cannot become an image of this datastore; the format otherwise.
    pub(crate) fn check_format(&self, head: &[u8], subject: &str) -> Result<&'static str, Error> {
        let container = Container::sniff(head);
        // A file datastore holds any file, and what is not to be unpacked may be packed in any way.
        let foreign = matches!(Content::sniff(head), Content::Packed(Packing::Foreign(_)));
        let as_it_is = self.action.datastore.datastore_type == DatastoreType::File
            || foreign && !self.config.decompresses(self.action);
        if !as_it_is {
            refuse_other_content(head, subject)?;
        }
        refuse_references(&container, subject, "")?;
        Ok(container.format.name())
    }

    /// What came, looked at as a whole: the format that it has, and the one that it must be
    /// converted to.
    pub(crate) fn check(
        &self,
        subject: &str,
        transferred: &Transferred,
    ) -> Result<(&'static str, Option<&str>), Error> {
        verify(&self.expected, subject, transferred)?;
        // What it is was looked at before, as far as it could be; it is looked at again in what was
        // stored.
        let format = self.check_format(&transferred.head, subject)?;
        Ok((format, self.config.converts_to(self.action, format)))
    }
}

/// Opens PATH; a local one only where the datastore allows it.
async fn open(
    action: &CopyAction,
    config: &FsConfig,
    mut options: Options,
    context: &Context,
) -> Result<Source, Error> {
    let path = action.image.path.as_str();
    let location = Location::parse(path)?;
    if location.scheme() == "s3" {
        options = options.with_scheme(S3Scheme::new(config::s3_access(action)?));
    }
    let Some(local) = location.path() else {
        // By ssh to this machine, any file could be read in spite of RESTRICTED_DIRS.
        options.ssh_elsewhere = true;
        return context.stop.or(Source::open_location(&location, &options)).await;
    };
    let (file, resolved) = Directories::of(config)?.open(local)?;
    Ok(Source::from_file(file, &redacted(&resolved.to_string_lossy()), &options)?)
}

/// The format that the image is to be unpacked from on its way, if it is.
fn compression(
    action: &CopyAction,
    config: &FsConfig,
    source: &Source,
    head: &[u8],
) -> Option<Compression> {
    match Packing::sniff(head)? {
        Packing::Compressed(compression)
            if config.decompresses(action) && source.may_be_packed() =>
        {
            Some(compression)
        }
        _ => None,
    }
}
