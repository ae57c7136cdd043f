//! Attributes that several parts understand: how bytes are moved.

use crate::error::Error;
use crate::log::Log;
use market_transfer::{Options, Rate};
use serde::Deserialize;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// The attributes of a marketplace's or datastore's template that say how bytes are fetched. All are
/// optional; the defaults are those of [`Options`] (docs/sources.md).
///
/// ```
/// use market_core::attributes::TransferAttributes;
/// use market_core::log::Log;
/// use market_core::template::{Template, serde::from_template};
/// use market_core::transfer::Options;
///
/// let template = Template::parse(b"IDLE_TIMEOUT = 60\nLIMIT_TRANSFER_BW = 10M\nMAX_UNPACKED_MB = 100")?;
/// let attributes: TransferAttributes = from_template(&template)?;
/// let options = attributes.apply(Options::default(), &Log::memory("import"))?;
/// assert_eq!(options.idle_timeout.as_secs(), 60);
/// assert_eq!(options.limit.unwrap().bytes_per_second(), 10 << 20);
/// assert_eq!(options.max_unpacked_bytes, Some(100 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct TransferAttributes {
    /// `CONNECT_TIMEOUT`: how long a connection may take to be made, in seconds.
    pub connect_timeout: Option<NonZeroU64>,
    /// `IDLE_TIMEOUT`: how long the other side may be silent, in seconds.
    pub idle_timeout: Option<NonZeroU64>,
    /// `TLS_CA`: a file of PEM certificates of authorities that are trusted beside those of the
    /// system.
    pub tls_ca: Option<PathBuf>,
    /// `TLS_INSECURE`: whether certificates of https servers are not verified.
    pub tls_insecure: Option<bool>,
    /// `REDIRECT_TO_HTTP`: whether a redirect from `https://` to `http://` is followed.
    pub redirect_to_http: Option<bool>,
    /// `MAX_UNPACKED_MB`: the most that a source may have after decompression, in MiB.
    pub max_unpacked_mb: Option<NonZeroU64>,
    /// `LIMIT_TRANSFER_BW`: the most bytes a second, as `curl` writes it: `500k`, `10M`.
    pub limit_transfer_bw: Option<String>,
}

impl TransferAttributes {
    /// These attributes, and those of another template where these are not set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_insecure: self.tls_insecure.or(other.tls_insecure),
            redirect_to_http: self.redirect_to_http.or(other.redirect_to_http),
            max_unpacked_mb: self.max_unpacked_mb.or(other.max_unpacked_mb),
            limit_transfer_bw: self.limit_transfer_bw.or(other.limit_transfer_bw),
        }
    }

    /// The options with these attributes applied. A limit of the rate that the options have already
    /// stays. Attributes that make a transfer less safe are logged as warnings.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) names an attribute that cannot be used.
    pub fn apply(self, mut options: Options, log: &Log) -> Result<Options, Error> {
        let seconds = |number: NonZeroU64| Duration::from_secs(number.get());
        options.connect_timeout = self.connect_timeout.map_or(options.connect_timeout, seconds);
        options.idle_timeout = self.idle_timeout.map_or(options.idle_timeout, seconds);
        options.tls_ca = self.tls_ca.or(options.tls_ca);
        options.tls_insecure = self.tls_insecure.unwrap_or(options.tls_insecure);
        if options.tls_insecure {
            log.warn("TLS_INSECURE: the certificates of https servers are not verified");
        }
        options.redirect_to_http = self.redirect_to_http.unwrap_or(options.redirect_to_http);
        if options.redirect_to_http {
            log.warn(
                "REDIRECT_TO_HTTP: redirects from https:// to http:// are followed, \
                 where nothing proves who answers",
            );
        }
        let max_unpacked_bytes = self.max_unpacked_mb.map(|mib| mib.get().saturating_mul(1 << 20));
        options.max_unpacked_bytes = max_unpacked_bytes.or(options.max_unpacked_bytes);
        let limit = self.limit_transfer_bw.filter(|limit| !limit.trim().is_empty());
        if let Some(limit) = limit {
            let rate = limit.parse::<Rate>();
            let rate =
                rate.map_err(|error| Error::config("LIMIT_TRANSFER_BW", error.to_string()))?;
            options.limit = options.limit.or(Some(rate));
        }
        Ok(options)
    }
}
