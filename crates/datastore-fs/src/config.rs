//! The attributes of the datastore's template.

use market_core::action::CopyAction;
use market_core::attributes::{S3Attributes, TransferAttributes};
use market_core::error::{Error, ErrorKind};
use market_core::model::{Datastore, DatastoreType, ImageType};
use market_core::template::serde::from_template;
use market_core::transfer::s3::Access;
use market_core::transfer::shown;
use serde::Deserialize;
use std::fmt::Display;

/// What `cp` and `export` read from the datastore's template (docs/datastore-fs.md).
#[derive(Clone, Debug, Deserialize)]
pub struct FsConfig {
    /// Directories that images may not be copied from, blank-separated.
    pub restricted_dirs: Option<String>,
    /// Directories that images may be copied from even so, blank-separated.
    pub safe_dirs: Option<String>,
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

/// Refuses a datastore on other hosts.
pub(crate) fn refuse_bridges(datastore: &Datastore) -> Result<(), Error> {
    let bridges = datastore.template.text("BRIDGE_LIST");
    let bridges = bridges.map_err(|error| Error::new(ErrorKind::Config, "the datastore", error.to_string()))?;
    refuse("BRIDGE_LIST", bridges.is_some_and(|list| !list.trim().is_empty()), "datastores on bridges are")
}

fn refuse(attribute: &str, asked: bool, what: &str) -> Result<(), Error> {
    if !asked {
        return Ok(());
    }
    let error =
        Error::new(ErrorKind::Unsupported, format!("attribute {attribute}"), format!("{what} not supported yet"));
    Err(error.remedy("keep the stock driver where datastores use it (see docs/run-the-drivers.md)"))
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
            format!("PATH {}", shown(action.image.path.as_str())),
            "is no app's: only the marketplace of an app has the keys for S3",
        );
        error.remedy("import the image into an S3 marketplace, or fetch it by another URL")
    })?;
    let of_marketplace =
        |error: &dyn Display| wrong("marketplace", "onemarket", marketplace.id, &marketplace.name, error);
    let attributes: S3Attributes = from_template(&marketplace.template).map_err(|error| of_marketplace(&error))?;
    attributes.access().map_err(|error| of_marketplace(&error))
}

impl FsConfig {
    /// Reads the datastore's template and, for an app, what its marketplace says of transfers.
    ///
    /// # Errors
    /// Names the attribute that is wrong, or that asks for what is not supported.
    pub fn of(action: &CopyAction) -> Result<Self, Error> {
        let datastore = &action.datastore;
        let of_datastore =
            |error: &dyn Display| wrong("datastore", "onedatastore", datastore.id, &datastore.name, error);
        let mut config: Self = from_template(&datastore.template).map_err(|error| of_datastore(&error))?;
        config.transfer = from_template(&datastore.template).map_err(|error| of_datastore(&error))?;
        refuse_bridges(datastore)?;
        refuse("NFS_AUTO_ENABLE", config.nfs_auto_enable, "mounting an NFS share before the copy is")?;
        if let Some(marketplace) = &action.marketplace {
            let of_marketplace: TransferAttributes = from_template(&marketplace.template)
                .map_err(|error| wrong("marketplace", "onemarket", marketplace.id, &marketplace.name, &error))?;
            config.transfer = config.transfer.or(of_marketplace);
        }
        Ok(config)
    }

    /// Whether a compressed image is to be unpacked.
    pub(crate) fn decompresses(&self, action: &CopyAction) -> bool {
        !self.no_decompress.unwrap_or(action.datastore.datastore_type == DatastoreType::File)
    }

    /// The format that an image of this format must be converted to, if it must.
    pub(crate) fn converts_to(&self, action: &CopyAction, format: &str) -> Option<&str> {
        let off = action.image.image_type == ImageType::Cdrom || action.datastore.datastore_type == DatastoreType::File;
        let wanted = self.driver.as_deref().map(str::trim).filter(|driver| matches!(*driver, "raw" | "qcow2"))?;
        (self.convert.unwrap_or(true) && !off && format != wanted && format != "luks").then_some(wanted)
    }
}
