//! The attributes of an http marketplace.

use market_core::error::{Error, ErrorKind};
use market_core::template::{Rules, Writer};
use serde::Deserialize;
use std::path::PathBuf;
use url::Url;

/// What the driver reads from the marketplace's template (docs/driver-contract.md section 5).
#[derive(Clone, Deserialize)]
pub struct HttpConfig {
    /// The URL under which the web server publishes the directory.
    pub base_url: String,
    /// The directory, an absolute path.
    pub public_dir: PathBuf,
    /// Hosts that hold the directory instead of this one.
    pub bridge_list: Option<String>,
}

impl HttpConfig {
    /// Checks every attribute.
    ///
    /// # Errors
    /// Names the attribute that cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let base = Url::parse(self.base_url.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if base.is_none_or(|url| !url.has_host() || url.query().is_some() || url.fragment().is_some()) {
            return Err(Error::config("BASE_URL", "is no http:// or https:// URL of a directory"));
        }
        // What cannot be answered must not be imported.
        Writer::new(Rules::Oned)
            .single("SOURCE", self.source(""))
            .map_err(|error| Error::config("BASE_URL", error.reason.to_string()))?;
        if !self.public_dir.is_absolute() {
            return Err(Error::config("PUBLIC_DIR", "is not an absolute path"));
        }
        if self.bridge_list.as_ref().is_some_and(|list| !list.trim().is_empty()) {
            let cause = "marketplaces on bridges are not supported yet";
            return Err(Error::new(ErrorKind::Unsupported, "attribute BRIDGE_LIST", cause).remedy(
                "keep the stock driver for it, and install this one under another name (see docs/run-the-drivers.md)",
            ));
        }
        Ok(())
    }

    /// The URL of a published file: BASE_URL and the name, joined by one slash.
    pub(crate) fn source(&self, name: &str) -> String {
        format!("{}/{name}", self.base_url.trim().trim_end_matches('/'))
    }
}
