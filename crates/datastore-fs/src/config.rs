//! The attributes of the datastore's template, and of the marketplace of an app.

use market_bridge::hosts;
use market_core::action::CopyAction;
use market_core::attributes::TransferAttributes;
use market_core::container::Format;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::{Datastore, DatastoreType, ImageType};
use market_core::template::serde::from_template;
use market_core::transfer::ssh::Host;
use market_core::transfer::{Options, redacted};
use market_s3::{Access, S3Attributes};
use serde::Deserialize;
use std::fmt::Display;
use std::path::PathBuf;

/// The attributes of the datastore's template that `cp` reads; `docs/datastore-fs.md` lists them.
/// The stock driver has the same, apart from VERIFY_APP_MD5.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct FsConfig {
    /// RESTRICTED_DIRS: directories that images may not be copied from, blank-separated.
    /// OpenNebula's own directories are always restricted.
    pub restricted_dirs: Option<String>,
    /// SAFE_DIRS: directories that images may be copied from although they are in a restricted one,
    /// blank-separated.
    pub safe_dirs: Option<String>,
    /// STAGING_DIR: where images are kept on a bridge before they are moved into place. `/var/tmp`
    /// when it is not set.
    pub staging_dir: Option<PathBuf>,
    /// NO_DECOMPRESS: whether compressed images are stored as they are. When it is not set, a file
    /// datastore does, and an image datastore does not.
    pub no_decompress: Option<bool>,
    /// CONVERT: whether images are converted to the format of DRIVER. Yes when it is not set.
    pub convert: Option<bool>,
    /// DRIVER: the format of the datastore's images. Only `raw` and `qcow2` are converted to.
    pub driver: Option<String>,
    /// NFS_AUTO_ENABLE: whether an NFS share must be mounted first, which is not supported.
    #[serde(default)]
    pub nfs_auto_enable: bool,
    /// SPARSE: whether holes of an image stay holes on this host. Yes when it is not set.
    pub sparse: Option<bool>,
    /// VERIFY_APP_MD5: whether FROM_APP_MD5 is verified. Yes when it is not set.
    pub verify_app_md5: Option<bool>,
    /// The attributes of transfers (time-outs, TLS, bandwidth). Those that the datastore does not
    /// have are taken from the app's marketplace.
    #[serde(skip)]
    pub transfer: TransferAttributes,
}

/// The options of this executable.
fn own_options(defaults: &Options) -> Options {
    defaults.clone().with_user_agent(concat!("datastore-fs/", env!("CARGO_PKG_VERSION")))
}

/// The options for reading the images of a datastore.
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

/// The hosts of BRIDGE_LIST, which hold the datastore; none when it is on this host.
pub(crate) fn bridges_of(datastore: &Datastore) -> Result<Vec<Host>, Error> {
    let list = datastore.template.text("BRIDGE_LIST");
    let list = list.map_err(|error| {
        wrong("datastore", "onedatastore", datastore.id, &datastore.name, &error)
    })?;
    hosts(list.unwrap_or_default())
}

/// The error for an attribute of a template that cannot be used.
fn wrong(kind: &str, tool: &str, id: i64, name: &str, error: &dyn Display) -> Error {
    let error = Error::new(ErrorKind::Config, format!("{kind} {id} ({name})"), error.to_string());
    error.remedy(format!("correct it with \"{tool} update {id}\""))
}

/// The S3 service and the keys for an `s3://` app: those of the app's marketplace.
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
    /// Reads the datastore's template and, for an image of an app, the attributes of transfers of
    /// its marketplace.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an attribute that is wrong, [`ErrorKind::Unsupported`] for
    /// NFS_AUTO_ENABLE.
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

    /// The options for fetching the image.
    pub(crate) fn options(&self, defaults: &Options, log: &Log) -> Result<Options, Error> {
        self.transfer.clone().apply(own_options(defaults), log)
    }

    /// Whether a compressed image is unpacked.
    pub(crate) fn decompresses(&self, action: &CopyAction) -> bool {
        !self.no_decompress.unwrap_or(action.datastore.datastore_type == DatastoreType::File)
    }

    /// The format that an image of this format must be converted to, if it must.
    pub(crate) fn converts_to(&self, action: &CopyAction, format: Format) -> Option<Format> {
        let is_disk = action.image.image_type != ImageType::Cdrom
            && action.datastore.datastore_type != DatastoreType::File;
        let target = match self.driver.as_deref().map(str::trim)? {
            "raw" => Format::Raw,
            "qcow2" => Format::Qcow2,
            _ => return None,
        };
        let is_other = format != target && format != Format::Luks;
        (self.convert.unwrap_or(true) && is_disk && is_other).then_some(target)
    }
}
