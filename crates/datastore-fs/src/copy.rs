//! `cp`: fetches an image into the datastore. The image gets its name when all of it is there,
//! verified and on the disk.

use crate::config::bridges_of;
use crate::expected::expected;
use crate::request::CopyRequest;
use crate::{Directories, FsConfig, bridge, config, local};
use market_bridge::Bridge;
use market_core::action::CopyAction;
use market_core::backend::Context;
use market_core::container::{Format, HEAD_BYTES};
use market_core::error::{Error, ErrorKind};
use market_core::report::CopiedImage;
use market_core::transfer::{
    Compression, Location, Options, Packing, Source, random_name, redacted,
};
use market_s3::{ObjectUrl, S3Scheme};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// How long removing an image from a bridge may take.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// An image in the datastore, with its name.
#[derive(Debug)]
pub struct StoredImage {
    image: CopiedImage,
    /// The bridge that holds it; `None`: it is on this host.
    bridge: Option<Bridge>,
}

impl StoredImage {
    /// What `cp` answers: the path and the format of the image.
    pub fn answer(&self) -> &CopiedImage {
        &self.image
    }

    /// Removes the image again, when its answer could not be delivered: OpenNebula will never know
    /// of it. On a bridge that may take 10 seconds.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when a bridge does not answer, and what the system reports.
    pub async fn remove(self) -> Result<(), Error> {
        let path = Path::new(&self.image.path);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.bridge {
            Some(bridge) => match timeout(REMOVE_TIMEOUT, bridge.remove(name)).await {
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

/// Copies IMAGE/PATH into the datastore, under a random name.
///
/// # Errors
/// Whatever keeps the image from being stored whole and verified: an attribute that is wrong, a
/// PATH that may not be read, a broken source, a checksum that differs, content that is no image,
/// no room. Then nothing is left in the datastore.
pub async fn copy(action: &CopyAction, context: &Context) -> Result<StoredImage, Error> {
    let config = FsConfig::of(action)?;
    let options = config.options(&context.options, &context.log)?;
    let mut source = open(action, &config, options.clone(), context).await?;
    let expected = expected(action, &config, source.is_built(), context)?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let compression = compression(action, &config, &source, &head);
    let request = CopyRequest {
        action,
        config: &config,
        context,
        options,
        expected,
        compression,
        directory: base_path(action)?,
        name: random_name::<16>()
            .map_err(|error| Error::io("the system's random numbers", &error))?,
    };
    match compression {
        Some(_) => source.allow_at_most(action.image.size.max_unpacked_bytes()),
        None => drop(request.check_format(&head, source.subject())?),
    }
    let bridges = bridges_of(&action.datastore)?;
    let copied = if bridges.is_empty() {
        local::copy(&request, &mut source).await?
    } else {
        bridge::copy(&request, &mut source, bridges).await?
    };
    let unpacked = compression
        .map_or_else(String::new, |compression| format!(", unpacked from {}", compression.name()));
    context.log.info(format_args!("{} copied, {} bytes{unpacked}", source.subject(), copied.bytes));
    let directory = action.datastore.base_path.trim_end_matches('/');
    // For the core an encrypted image is a raw one.
    let format = if copied.format == Format::Luks { Format::Raw } else { copied.format };
    let path = format!("{directory}/{}", request.name);
    let image = CopiedImage { path, format: format.to_string() };
    Ok(StoredImage { image, bridge: copied.bridge })
}

fn base_path(action: &CopyAction) -> Result<PathBuf, Error> {
    let path = PathBuf::from(&action.datastore.base_path);
    if !path.is_absolute() {
        return Err(Error::new(ErrorKind::Dump, "DATASTORE/BASE_PATH", "is not an absolute path"));
    }
    Ok(path)
}

/// Opens PATH. A local file is opened only where the datastore allows it.
async fn open(
    action: &CopyAction,
    config: &FsConfig,
    mut options: Options,
    context: &Context,
) -> Result<Source, Error> {
    let path = action.image.path.as_str();
    let location = Location::parse(path)?;
    if location.scheme() == "s3" {
        // What names no object needs no keys.
        path.parse::<ObjectUrl>()?;
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

/// The compression from which the image is unpacked while it is copied; `None`: it is not.
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
