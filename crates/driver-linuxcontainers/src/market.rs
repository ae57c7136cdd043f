//! The backend: one request for the index, one app for each product of it.

use crate::config::{LinuxContainersConfig, Settings, checked};
use crate::image::Image;
use market_core::backend::{Context, MarketBackend};
use market_core::catalogue::{Entry, Json, unique_names};
use market_core::discovery::{DiscoveryBackend, Sink, collect};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::report::MonitorReport;
use market_core::shim::remotes;
use market_core::transfer::{Document, Options, shown};

/// Where the index is, below the endpoint.
const INDEX: &str = "streams/v1/images.json";

/// The largest index that is read.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The container images of a simplestreams server.
pub struct LinuxContainersMarket {
    settings: Settings,
    options: Options,
    log: Log,
}

impl MarketBackend for LinuxContainersMarket {
    type Config = LinuxContainersConfig;

    const MAD: &'static str = "linuxcontainers";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "OpenNebula marketplace driver for linuxcontainers.org.";

    async fn open(config: LinuxContainersConfig, context: &Context) -> Result<Self, Error> {
        let version = std::fs::read_to_string(remotes().join("VERSION")).unwrap_or_default();
        let version: String = version.trim().chars().filter(char::is_ascii_graphic).take(64).collect();
        let user_agent = format!("OpenNebula {version}").trim_end().to_owned();
        let options = Options { user_agent, ..context.options.clone() };
        Ok(Self { settings: config.settings()?, options, log: context.log.clone() })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        collect(self).await
    }
}

impl DiscoveryBackend for LinuxContainersMarket {
    const PLACE: &'static str = "linuxcontainers.org marketplace";

    async fn discover(&self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let index =
            Document::fetch(&format!("{}{INDEX}", self.settings.endpoint), MAX_INDEX_BYTES, &self.options).await?;
        // Where a redirect has led is where the images are.
        let reached = index.url.strip_suffix(INDEX).unwrap_or(&self.settings.endpoint);
        self.report(&index.bytes, &checked(reached)?, sink)
    }
}

impl LinuxContainersMarket {
    /// Reports an index that is at hand, of a server at `endpoint` (with a slash at its end).
    ///
    /// # Errors
    /// When it is none, and what `sink` returns.
    pub fn report(&self, index: &[u8], endpoint: &str, sink: &mut Sink<'_>) -> Result<(), Error> {
        let wrong = |cause: &str| {
            let error = Error::new(ErrorKind::Mismatch, shown(endpoint), cause);
            error.remedy("nothing was reported; check ENDPOINT, or try again later")
        };
        let json = Json::parse(index).ok_or_else(|| wrong("its index is no JSON"))?;
        let products = json.object().and_then(|index| index.get("products")?.object());
        let products = products.ok_or_else(|| wrong("its index holds no products"))?;
        let mut images = Vec::new();
        for (key, product) in products.iter() {
            match Image::read(key, product, &self.settings) {
                Ok(image) => images.extend(image),
                Err(cause) => self.log.warn(format_args!("product {} is skipped: {cause}", shown(key))),
            }
        }
        let entries: Vec<_> =
            images.iter().map(|image| Entry { id: &image.version, name: &image.name, created: image.built }).collect();
        let settings = Settings { endpoint: endpoint.to_owned(), ..self.settings };
        for (image, name) in images.iter().zip(unique_names(&entries)) {
            // Two products of one name differ in nothing else that could tell them apart.
            if name.as_ref() != Some(&image.name) {
                self.log.warn(format_args!("product {} is skipped: another one has its name", image.name));
                continue;
            }
            match image.render(&settings) {
                Ok(app) => sink(app)?,
                Err(error) => self.log.warn(format_args!("product {} is skipped: {error}", image.name)),
            }
        }
        Ok(())
    }
}
