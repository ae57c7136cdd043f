//! The attributes of the datastore's template.

use market_core::action::CopyAction;
use market_core::attributes::{S3Attributes, TransferAttributes};
use market_core::bridges::hosts;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::{Datastore, DatastoreType, ImageType};
use market_core::template::serde::from_template;
use market_core::transfer::s3::Access;
use market_core::transfer::ssh::Host;
use market_core::transfer::{Options, redacted};
use serde::Deserialize;
use std::fmt::Display;
use std::path::PathBuf;

/// What `cp` and `export` read from the datastore's template (docs/datastore-fs.md).
#[derive(Clone, Debug, Deserialize)]
pub struct FsConfig {
    /// Directories that images may not be copied from, blank-separated.
    pub restricted_dirs: Option<String>,
    /// Directories that images may be copied from even so, blank-separated.
    pub safe_dirs: Option<String>,
    /// Where images are kept on a bridge before they are moved into place; `/var/tmp` by default.
    pub staging_dir: Option<PathBuf>,
    /// Whether compressed images are stored as they are.
    pub no_decompress: Option<bool>,
    /// Whether images are converted to `driver`.
    pub convert: Option<bool>,
    /// The format that the datastore wants.
    pub driver: Option<String>,
    /// Whether an NFS share must be mounted first.
    #[serde(default)]
    pub nfs_auto_enable: bool,
    /// Whether holes are kept; yes by default.
    pub sparse: Option<bool>,
    /// Whether `FROM_APP_MD5` is verified; yes by default.
    pub verify_app_md5: Option<bool>,
    /// How bytes are moved; what the datastore does not say, the app's marketplace may.
    #[serde(skip)]
    pub transfer: TransferAttributes,
}

fn own_options(defaults: &Options) -> Options {
    defaults.clone().with_user_agent(concat!("datastore-fs/", env!("CARGO_PKG_VERSION")))
}

/// How bytes of a datastore's images are moved.
pub(crate) fn options_of(
    datastore: &Datastore,
    defaults: &Options,
    log: &Log,
) -> Result<Options, Error> {
    let transfer: TransferAttributes = from_template(&datastore.template).map_err(|error| {
        wrong("datastore", "onedatastore", datastore.id, &datastore.name, &error)
    })?;
    transfer.apply(own_options(defaults), log)
}

/// The hosts that hold a datastore; none when it is on this one.
pub(crate) fn bridges_of(datastore: &Datastore) -> Result<Vec<Host>, Error> {
    let list = datastore.template.text("BRIDGE_LIST");
    let list = list.map_err(|error| {
        wrong("datastore", "onedatastore", datastore.id, &datastore.name, &error)
    })?;
    hosts(list.unwrap_or_default())
}

/// An attribute of a template that cannot be used.
fn wrong(kind: &str, tool: &str, id: i64, name: &str, error: &dyn Display) -> Error {
    let error = Error::new(ErrorKind::Config, format!("{kind} {id} ({name})"), error.to_string());
    error.remedy(format!("correct it with \"{tool} update {id}\""))
}

/// The service that has an `s3://` app, and the keys for it: those of the app's marketplace.
pub(crate) fn s3_access(action: &CopyAction) -> Result<Access, Error> {
    let marketplace = action.marketplace.as_ref().ok_or_else(|| {
        let error = Error::new(
            ErrorKind::Unsupported,
            format!("PATH {}", redacted(action.image.path.as_str())),
            "is no app's: only the marketplace of an app has the keys for S3",
        );
        error.remedy("import the image into an S3 marketplace, or fetch it by another URL")
    })?;
    let of_marketplace = |error: &dyn Display| {
        wrong("marketplace", "onemarket", marketplace.id, &marketplace.name, error)
    };
    let attributes: S3Attributes =
        from_template(&marketplace.template).map_err(|error| of_marketplace(&error))?;
    attributes.access().map_err(|error| of_marketplace(&error))
}

impl FsConfig {
    /// Reads the datastore's template and, for an app, what its marketplace says of transfers.
    ///
    /// # Errors
    /// Names the attribute that is wrong, or that asks for what is not supported.
    pub fn of(action: &CopyAction) -> Result<Self, Error> {
        let datastore = &action.datastore;
        let of_datastore = |error: &dyn Display| {
            wrong("datastore", "onedatastore", datastore.id, &datastore.name, error)
        };
        let mut config: Self =
            from_template(&datastore.template).map_err(|error| of_datastore(&error))?;
        config.transfer =
            from_template(&datastore.template).map_err(|error| of_datastore(&error))?;
        if config.nfs_auto_enable {
            let cause = "mounting an NFS share before the copy is left to the stock driver";
            let error = Error::new(ErrorKind::Unsupported, "attribute NFS_AUTO_ENABLE", cause);
            return Err(
                error.remedy("keep the stock driver for this datastore (see docs/datastore-fs.md)")
            );
        }
        if let Some(marketplace) = &action.marketplace {
            let of_marketplace: TransferAttributes =
                from_template(&marketplace.template).map_err(|error| {
                    wrong("marketplace", "onemarket", marketplace.id, &marketplace.name, &error)
                })?;
            config.transfer = config.transfer.or(of_marketplace);
        }
        Ok(config)
    }

    /// How bytes are moved.
    pub(crate) fn options(&self, defaults: &Options, log: &Log) -> Result<Options, Error> {
        self.transfer.clone().apply(own_options(defaults), log)
    }

    /// Whether a compressed image is to be unpacked.
    pub(crate) fn decompresses(&self, action: &CopyAction) -> bool {
        !self.no_decompress.unwrap_or(action.datastore.datastore_type == DatastoreType::File)
    }

    /// The format that an image of this format must be converted to, if it must.
    pub(crate) fn converts_to(&self, action: &CopyAction, format: &str) -> Option<&str> {
        let off = action.image.image_type == ImageType::Cdrom
            || action.datastore.datastore_type == DatastoreType::File;
        let wanted = self
            .driver
            .as_deref()
            .map(str::trim)
            .filter(|driver| matches!(*driver, "raw" | "qcow2"))?;
        (self.convert.unwrap_or(true) && !off && format != wanted && format != "luks")
            .then_some(wanted)
    }
}
