//! The backend: one request for the catalogue, one app after the other from it.

use crate::appliance::{Appliance, Skipped};
use market_core::backend::{Context, MarketBackend};
use market_core::catalogue::{Entry, Json, server, unique_names, valid_name};
use market_core::discovery::{DiscoveryBackend, Sink, collect};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::report::MonitorReport;
use market_core::shim::remotes;
use market_core::transfer::{Document, Options, shown};
use serde::Deserialize;
use std::collections::HashSet;

/// The public marketplace.
const ENDPOINT: &str = "https://marketplace.opennebula.io/";

/// The largest catalogue that is read: some 20,000 entries.
const MAX_CATALOGUE_BYTES: u64 = 64 << 20;

/// What a server is told when OpenNebula is not installed here: it has an answer for the newest series.
const NO_VERSION: &str = "7.4";

/// The attributes of the marketplace's template.
#[derive(Clone, Debug, Deserialize)]
pub struct OneConfig {
    /// The URL of the marketplace, with or without a slash at its end.
    pub endpoint: Option<String>,
}

/// A public OpenNebula marketplace.
pub struct OneMarket {
    /// With a slash at its end.
    endpoint: String,
    options: Options,
    log: Log,
}

impl MarketBackend for OneMarket {
    type Config = OneConfig;

    const MAD: &'static str = "one";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "OpenNebula marketplace driver for the public OpenNebula marketplace.";

    async fn open(config: OneConfig, context: &Context) -> Result<Self, Error> {
        let endpoint = config.endpoint.as_deref().map(str::trim).filter(|text| !text.is_empty()).unwrap_or(ENDPOINT);
        let endpoint = server(endpoint).filter(|url| !url.contains(['?', '#', '"', ' ']));
        let endpoint =
            endpoint.ok_or_else(|| Error::config("ENDPOINT", "is no http:// or https:// URL of a marketplace"))?;
        let options = Options { user_agent: user_agent(&context.log), ..context.options.clone() };
        Ok(Self { endpoint, options, log: context.log.clone() })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        collect(self).await
    }
}

/// The server tells the apps of this OpenNebula's release series by it.
fn user_agent(log: &Log) -> String {
    let read = |name: &str| std::fs::read_to_string(remotes().join(name)).ok();
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain =
        |text: &String| !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let version = read("VERSION").map(words).filter(plain).unwrap_or_else(|| {
        log.warn(format_args!(
            "{} cannot be read: the newest release is asked for",
            remotes().join("VERSION").display()
        ));
        NO_VERSION.to_owned()
    });
    match read("EDITION").map(words).filter(plain) {
        Some(edition) => format!("OpenNebula {version} {edition} (Market Driver)"),
        None => format!("OpenNebula {version} (Market Driver)"),
    }
}

impl DiscoveryBackend for OneMarket {
    const PLACE: &'static str = "OpenNebula marketplace";

    async fn discover(&self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let url = format!("{}appliance", self.endpoint);
        let catalogue = Document::fetch(&url, MAX_CATALOGUE_BYTES, &self.options).await?;
        self.report(&catalogue.bytes, sink)
    }
}

impl OneMarket {
    /// Reports a catalogue that is at hand.
    ///
    /// # Errors
    /// When it is none, and what `sink` returns.
    pub fn report(&self, catalogue: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        let wrong = |cause: &str| {
            let error = Error::new(ErrorKind::Mismatch, shown(&self.endpoint), cause);
            error.remedy("nothing was reported; check ENDPOINT, or try again later")
        };
        let entries = Json::list_in(catalogue, "appliances");
        let entries = entries.map_err(|cause| wrong(&format!("its list of appliances {cause}")))?;
        for (appliance, name) in self.named(&entries) {
            match appliance.render(&name, &self.endpoint, &self.log) {
                Ok(app) => sink(app)?,
                Err(Skipped::OtherType(kind)) => {
                    self.log.debug(format_args!("appliance {} is skipped: it is of the type {kind}", appliance.id));
                }
                Err(Skipped::Refused(error)) => {
                    self.log.warn(format_args!("appliance {} is skipped: {error}", appliance.id));
                }
            }
        }
        Ok(())
    }

    /// The entries that can be reported, each with a name of its own.
    fn named<'a>(&self, entries: &[Json<'a>]) -> Vec<(Appliance<'a>, String)> {
        let mut ids = HashSet::new();
        let mut appliances = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match Appliance::read(*entry) {
                Ok(appliance) if !ids.insert(appliance.id.clone()) => {
                    self.log.warn(format_args!("appliance {} is skipped: another one has its _id", appliance.id));
                }
                Ok(appliance) => appliances.push(appliance),
                Err(cause) => self.log.warn(format_args!("appliance number {} is skipped: {cause}", index + 1)),
            }
        }
        let valid: Vec<Option<String>> = appliances.iter().map(|appliance| valid_name(&appliance.name)).collect();
        let entries: Vec<Entry<'_>> = appliances
            .iter()
            .zip(&valid)
            .map(|(appliance, name)| Entry {
                id: &appliance.id,
                name: name.as_deref().unwrap_or_default(),
                created: appliance.created,
            })
            .collect();
        let names = unique_names(&entries);
        drop(entries);
        let mut named = Vec::with_capacity(appliances.len());
        for ((appliance, valid), name) in appliances.into_iter().zip(valid).zip(names) {
            match valid.and(name) {
                Some(name) => {
                    if name != appliance.name {
                        self.log.info(format_args!("appliance {} is reported as \"{name}\"", appliance.id));
                    }
                    named.push((appliance, name));
                }
                None => {
                    self.log.warn(format_args!("appliance {} is skipped: no name can be made of its own", appliance.id))
                }
            }
        }
        named
    }
}
