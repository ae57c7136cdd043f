//! The backend: one request for the catalogue, then its apps one after the other.

use crate::appliance::{Appliance, Rendering, Skipped};
use market_core::backend::{Context, MarketBackend};
use market_core::catalogue::{Entry, Json, NamePrefix, Server, Warnings, unique_names};
use market_core::discovery::{AppSink, DiscoveryBackend, collect_report, read_on_thread};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::opennebula::{Installation, NEWEST_SERIES};
use market_core::report::MonitorReport;
use market_core::transfer::{Document, Options};
use serde::Deserialize;
use std::collections::HashSet;

/// The public marketplace.
const ENDPOINT: &str = "https://marketplace.opennebula.io/";

/// The largest catalogue that is read, in bytes: some 20,000 entries.
const MAX_CATALOGUE_BYTES: u64 = 64 << 20;

/// The attributes of the marketplace's template (docs/public-marketplaces.md).
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct OneConfig {
    /// `ENDPOINT`: the URL of the marketplace, with or without a slash at its end;
    /// `https://marketplace.opennebula.io/` when it is not set.
    pub endpoint: Option<String>,
    /// `APP_NAME_PREFIX`: what the names of its apps begin with; nothing when it is not set.
    #[serde(default)]
    pub app_name_prefix: NamePrefix,
}

/// A public OpenNebula marketplace.
#[derive(Clone, Debug)]
pub struct OneMarket {
    server: Server,
    prefix: NamePrefix,
    options: Options,
    log: Log,
}

impl MarketBackend for OneMarket {
    type Config = OneConfig;

    const MAD: &'static str = "one";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str =
        "OpenNebula marketplace driver for the public OpenNebula marketplace.";

    async fn connect(config: OneConfig, context: &Context) -> Result<Self, Error> {
        let endpoint = config
            .endpoint
            .as_deref()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .unwrap_or(ENDPOINT);
        let server = Server::parse(endpoint)
            .map_err(|cause| Error::config("ENDPOINT", cause.to_string()))?;
        let options = context.options.clone().with_user_agent(user_agent(&context.log));
        Ok(Self { server, prefix: config.app_name_prefix, options, log: context.log.clone() })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        collect_report(self).await
    }
}

/// The User-Agent of the stock driver, by which the server chooses the apps for this OpenNebula's
/// release series.
fn user_agent(log: &Log) -> String {
    let installation = Installation::from_environment();
    let version = installation.version().unwrap_or_else(|| {
        log.warn(format_args!(
            "{} cannot be read: the newest release is asked for",
            installation.remotes().join("VERSION").display()
        ));
        NEWEST_SERIES.to_owned()
    });
    match installation.edition() {
        Some(edition) => format!("OpenNebula {version} {edition} (Market Driver)"),
        None => format!("OpenNebula {version} (Market Driver)"),
    }
}

impl DiscoveryBackend for OneMarket {
    const PLACE: &'static str = "OpenNebula marketplace";

    const WHEN_EMPTY: &'static str = "look at ENDPOINT, and at the VERSION in the remotes directory, by which the server chooses";

    async fn discover(&self, sink: &mut AppSink<'_>) -> Result<(), Error> {
        let catalogue =
            Document::fetch(&self.server.request("appliance"), MAX_CATALOGUE_BYTES, &self.options)
                .await?;
        let market = self.clone();
        read_on_thread(move |sink| market.report(&catalogue.bytes, sink), sink).await
    }
}

impl OneMarket {
    /// Gives the apps of a catalogue that was fetched to `sink`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when the document is no catalogue, and what `sink` returns.
    pub fn report(&self, catalogue: &[u8], sink: &mut AppSink<'_>) -> Result<(), Error> {
        let no_catalogue = |cause: &str| {
            let error = Error::new(ErrorKind::Mismatch, self.server.as_str(), cause);
            error.remedy("nothing was reported; check ENDPOINT, or try again later")
        };
        let entries = Json::list_in(catalogue, "appliances");
        let entries =
            entries.map_err(|cause| no_catalogue(&format!("its list of appliances {cause}")))?;
        let warnings = Warnings::new(&self.log);
        let appliances = appliances(&entries, &warnings);
        if appliances.is_empty() && !entries.is_empty() {
            return Err(no_catalogue("its list of appliances holds no appliance"));
        }
        for (appliance, name) in self.named(appliances, &warnings) {
            let rendering = Rendering {
                name: &name,
                server: &self.server,
                prefix: &self.prefix,
                warnings: &warnings,
            };
            match appliance.render(&rendering) {
                Ok(app) => sink(app)?,
                // A type that this release does not know, which is no reason to warn.
                Err(Skipped::OtherType) => {}
                Err(Skipped::Refused(error)) => {
                    warnings.warn(format_args!("appliance {} is skipped: {error}", appliance.id));
                }
            }
        }
        Ok(())
    }

    /// The appliances that can be reported, each with a name that no other one has.
    fn named<'a>(
        &self,
        appliances: Vec<Appliance<'a>>,
        warnings: &Warnings<'_>,
    ) -> Vec<(Appliance<'a>, String)> {
        let valid: Vec<Option<String>> =
            appliances.iter().map(|appliance| self.prefix.name(&appliance.name)).collect();
        let entries: Vec<Entry<'_>> = appliances
            .iter()
            .zip(&valid)
            .map(|(appliance, name)| {
                Entry::new(&appliance.id, name.as_deref().unwrap_or_default(), appliance.created)
            })
            .collect();
        let names = unique_names(&entries);
        drop(entries);
        let mut named = Vec::with_capacity(appliances.len());
        for ((appliance, valid), name) in appliances.into_iter().zip(valid).zip(names) {
            match valid.and(name) {
                Some(name) => named.push((appliance, name)),
                None => warnings.warn(format_args!(
                    "appliance {} is skipped: its name cannot be made valid and unique",
                    appliance.id
                )),
            }
        }
        named
    }
}

/// The entries that are appliances. Of those with the same id the first one counts.
fn appliances<'a>(entries: &[Json<'a>], warnings: &Warnings<'_>) -> Vec<Appliance<'a>> {
    let mut ids = HashSet::new();
    let mut appliances = Vec::with_capacity(entries.len());
    for (entry, number) in entries.iter().zip(1..) {
        match Appliance::read(*entry) {
            Ok(appliance) if !ids.insert(appliance.id.clone()) => {
                warnings.warn(format_args!(
                    "appliance {} is skipped: another one has its _id",
                    appliance.id
                ));
            }
            Ok(appliance) => appliances.push(appliance),
            Err(cause) => {
                warnings.warn(format_args!("appliance number {number} is skipped: {cause}"))
            }
        }
    }
    appliances
}
