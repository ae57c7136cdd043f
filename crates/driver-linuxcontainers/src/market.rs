//! The backend: one request for the index, one app for each product of it.

use crate::config::{LinuxContainersConfig, Settings, checked};
use crate::image::Image;
use market_core::backend::{Context, MarketBackend};
use market_core::catalogue::{Complaints, Entry, Json, Server, unique_names};
use market_core::discovery::{DiscoveryBackend, Sink, collect, read_apart};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::opennebula::Installation;
use market_core::report::MonitorReport;
use market_core::transfer::{Document, Options, redacted};

/// Where the index is, below the endpoint.
const INDEX: &str = "streams/v1/images.json";

/// Where linuxcontainers.org and its mirrors redirect that to; the images stay where they are.
const MOVED_INDEX: &str = "meta/simplestreams/v1/images.json";

/// The largest index that is read.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The container images of a simplestreams server.
#[derive(Clone)]
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

    async fn connect(config: LinuxContainersConfig, context: &Context) -> Result<Self, Error> {
        let version = Installation::from_environment().version();
        let user_agent =
            version.map_or("OpenNebula".to_owned(), |version| format!("OpenNebula {version}"));
        let options = context.options.clone().with_user_agent(user_agent);
        Ok(Self { settings: config.settings()?, options, log: context.log.clone() })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        collect(self).await
    }
}

impl DiscoveryBackend for LinuxContainersMarket {
    const PLACE: &'static str = "linuxcontainers.org marketplace";

    const WHEN_EMPTY: &'static str = "look at ENDPOINT, and whether SKIP_UNTESTED=\"no\" finds any";

    async fn discover(&self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let index =
            Document::fetch(&self.settings.server.request(INDEX), MAX_INDEX_BYTES, &self.options)
                .await?;
        let images =
            checked(images_of(&index.url).unwrap_or_else(|| self.settings.server.clone()))?;
        let market = self.clone();
        read_apart(move |sink| market.report(&index.bytes, &images, sink), sink).await
    }
}

/// The server of the images, by where redirects have led to the index; `None` when that says
/// nothing of them.
fn images_of(index: &str) -> Option<Server> {
    [INDEX, MOVED_INDEX].iter().find_map(|path| Server::holding(index, path))
}

impl LinuxContainersMarket {
    /// Reports an index that is at hand, of a server that has its images at `images`.
    ///
    /// # Errors
    /// When it is none, and what `sink` returns.
    pub fn report(&self, index: &[u8], images: &Server, sink: &mut Sink<'_>) -> Result<(), Error> {
        let wrong = |cause: &str| {
            let error = Error::new(ErrorKind::Mismatch, images.as_str(), cause);
            error.remedy("nothing was reported; check ENDPOINT, or try again later")
        };
        let json = Json::parse(index).ok_or_else(|| wrong("its index is no JSON"))?;
        let products = json.object().and_then(|index| index.get("products")?.object());
        let products =
            products.ok_or_else(|| wrong("its index holds no products, or more than 50,000"))?;
        let complaints = Complaints::new(&self.log);
        let mut found = Vec::new();
        let (mut is_any, mut is_one) = (false, false);
        for (key, product) in products.iter() {
            is_any = true;
            match Image::read(key, product, &self.settings) {
                Ok(image) => {
                    is_one = true;
                    found.extend(image);
                }
                Err(cause) => {
                    complaints.warn(format_args!("product {} is skipped: {cause}", redacted(key)))
                }
            }
        }
        if is_any && !is_one {
            return Err(wrong("its index holds no product that is one"));
        }
        let entries: Vec<_> = found
            .iter()
            .map(|image| Entry { id: &image.version, name: &image.name, created: image.built })
            .collect();
        for (image, name) in found.iter().zip(unique_names(&entries)) {
            // Two products of one name differ in nothing else that could tell them apart.
            if name.as_ref() != Some(&image.name) {
                complaints.warn(format_args!(
                    "product {} is skipped: another one has its name",
                    image.name
                ));
                continue;
            }
            match image.render(images, &self.settings) {
                Ok(app) => sink(app)?,
                Err(cause) => {
                    complaints.warn(format_args!("product {} is skipped: {cause}", image.name))
                }
            }
        }
        Ok(())
    }
}
