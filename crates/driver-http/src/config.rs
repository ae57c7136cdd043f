//! The attributes of an http marketplace.

use market_bridge::hosts;
use market_core::error::Error;
use market_core::model::SourceUrl;
use market_core::template::{Rules, Writer};
use market_core::transfer::ssh::Host;
use serde::Deserialize;
use std::path::PathBuf;
use url::Url;

/// What the driver reads from the marketplace's template (docs/driver-contract.md section 5).
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct HttpConfig {
    /// `BASE_URL`: the http:// or https:// URL under which the web server publishes the directory.
    pub base_url: String,
    /// `PUBLIC_DIR`: the directory, an absolute path.
    pub public_dir: PathBuf,
    /// `BRIDGE_LIST`: hosts that hold the directory instead of this one, separated by blanks. The
    /// directory is on this machine when there is none.
    pub bridge_list: Option<String>,
}

impl HttpConfig {
    /// A directory of this machine (an absolute path), and the URL under which it is published.
    pub fn new(base_url: impl Into<String>, public_dir: impl Into<PathBuf>) -> Self {
        Self { base_url: base_url.into(), public_dir: public_dir.into(), bridge_list: None }
    }

    /// Checks every attribute.
    ///
    /// # Errors
    /// Names the attribute that cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let base = Url::parse(self.base_url.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        if base
            .is_none_or(|url| !url.has_host() || url.query().is_some() || url.fragment().is_some())
        {
            return Err(Error::config("BASE_URL", "is no http:// or https:// URL of a directory"));
        }
        // What cannot be answered must not be imported.
        Writer::new(Rules::Oned)
            .single("SOURCE", self.source("").as_str())
            .map_err(|error| Error::config("BASE_URL", error.reason.to_string()))?;
        if !self.public_dir.is_absolute() {
            return Err(Error::config("PUBLIC_DIR", "is not an absolute path"));
        }
        if self.public_dir.to_str().is_none() {
            return Err(Error::config("PUBLIC_DIR", "is not UTF-8"));
        }
        Ok(())
    }

    /// The hosts of BRIDGE_LIST; none when the directory is on this one.
    ///
    /// # Errors
    /// When one of them is no host.
    pub(crate) fn bridges(&self) -> Result<Vec<Host>, Error> {
        hosts(self.bridge_list.as_deref().unwrap_or_default())
    }

    /// The SOURCE of a published file: BASE_URL and the name, joined by one slash.
    pub(crate) fn source(&self, name: &str) -> SourceUrl {
        SourceUrl::new(format!("{}/{name}", self.base_url.trim().trim_end_matches('/')))
    }
}
