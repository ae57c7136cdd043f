//! The attributes of the datastore's template.

use market_core::action::CopyAction;
use market_core::error::{Error, ErrorKind};
use market_core::model::{Datastore, DatastoreType, ImageType};
use market_core::template::serde::from_template;
use serde::Deserialize;

/// What `cp` and `export` read from the datastore's template (docs/datastore-fs.md).
#[derive(Clone, Debug, Deserialize)]
pub struct FsConfig {
    /// Directories that images may not be copied from, blank-separated.
    pub restricted_dirs: Option<String>,
    /// Directories that images may be copied from even so, blank-separated.
    pub safe_dirs: Option<String>,
    /// Hosts that hold the datastore instead of this one.
    pub bridge_list: Option<String>,
    /// Whether compressed images are stored as they are.
    pub no_decompress: Option<bool>,
    /// Bandwidth limit of a transfer.
    pub limit_transfer_bw: Option<String>,
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
    /// Seconds that a connection may take.
    pub connect_timeout: Option<u64>,
    /// Seconds that the other side may be silent.
    pub idle_timeout: Option<u64>,
}

impl FsConfig {
    /// Reads the template.
    ///
    /// # Errors
    /// Names the attribute that is wrong, or that asks for what is not supported.
    pub fn of(datastore: &Datastore) -> Result<Self, Error> {
        let config: Self = from_template(&datastore.template).map_err(|error| {
            let subject = format!("datastore {} ({})", datastore.id, datastore.name);
            let remedy = format!("correct it with \"onedatastore update {}\"", datastore.id);
            Error::new(ErrorKind::Config, subject, error.to_string()).remedy(remedy)
        })?;
        let set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.trim().is_empty());
        for (attribute, asked, what) in [
            ("BRIDGE_LIST", set(&config.bridge_list), "datastores on bridges are"),
            ("LIMIT_TRANSFER_BW", set(&config.limit_transfer_bw), "a bandwidth limit is"),
            ("NFS_AUTO_ENABLE", config.nfs_auto_enable, "mounting an NFS share before the copy is"),
        ] {
            if asked {
                let error = Error::new(
                    ErrorKind::Unsupported,
                    format!("attribute {attribute}"),
                    format!("{what} not supported yet"),
                );
                return Err(error.remedy("use the stock driver for this datastore"));
            }
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
