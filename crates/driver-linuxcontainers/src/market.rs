//! The backend: one request for the index, then an app for each product of it.

use crate::config::{LinuxContainersConfig, Settings, checked};
use crate::image::Image;
use market_core::backend::{Context, MarketBackend};
use market_core::catalogue::{Entry, Json, Server, Warnings, unique_names};
use market_core::discovery::{AppSink, DiscoveryBackend, collect_report, read_on_thread};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::opennebula::Installation;
use market_core::report::MonitorReport;
use market_core::transfer::{Document, Options, redacted};

/// The path of the index, below the endpoint.
const INDEX: &str = "streams/v1/images.json";

/// The path that linuxcontainers.org and its mirrors redirect it to. The paths of images are below the
/// endpoint all the same.
const MOVED_INDEX: &str = "meta/simplestreams/v1/images.json";

/// The largest index that is read, in bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The container images of a simplestreams server.
#[derive(Clone, Debug)]
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
        collect_report(self).await
    }
}

impl DiscoveryBackend for LinuxContainersMarket {
    const PLACE: &'static str = "linuxcontainers.org marketplace";

    const WHEN_EMPTY: &'static str = "look at ENDPOINT, and whether SKIP_UNTESTED=\"no\" finds any";

    async fn discover(&self, sink: &mut AppSink<'_>) -> Result<(), Error> {
        let index =
            Document::fetch(&self.settings.server.request(INDEX), MAX_INDEX_BYTES, &self.options)
                .await?;
        let images =
            checked(image_server(&index.url).unwrap_or_else(|| self.settings.server.clone()))?;
        let market = self.clone();
        read_on_thread(move |sink| market.report(&index.bytes, &images, sink), sink).await
    }
}

/// The server of the images, by the URL of the index after redirects; `None` when the index is at
/// neither of the known paths.
fn image_server(index: &str) -> Option<Server> {
    [INDEX, MOVED_INDEX].iter().find_map(|path| Server::holding(index, path))
}

impl LinuxContainersMarket {
    /// Gives the apps of an index that was fetched to `sink`; their images are on the server `images`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when the document is no index, and what `sink` returns.
    pub fn report(
        &self,
        index: &[u8],
        images: &Server,
        sink: &mut AppSink<'_>,
    ) -> Result<(), Error> {
        let no_index = |cause: &str| {
            let error = Error::new(ErrorKind::Mismatch, images.as_str(), cause);
            error.remedy("nothing was reported; check ENDPOINT, or try again later")
        };
        let json = Json::parse(index).ok_or_else(|| no_index("its index is no JSON"))?;
        let products = json.object().and_then(|index| index.get("products")?.object());
        let products =
            products.ok_or_else(|| no_index("its index holds no products, or more than 50,000"))?;
        let warnings = Warnings::new(&self.log);
        let mut found = Vec::new();
        let (mut has_products, mut has_valid) = (false, false);
        for (key, product) in products.iter() {
            has_products = true;
            match Image::read(key, product, &self.settings) {
                Ok(image) => {
                    has_valid = true;
                    found.extend(image);
                }
                Err(cause) => {
                    warnings.warn(format_args!("product {} is skipped: {cause}", redacted(key)))
                }
            }
        }
        if has_products && !has_valid {
            return Err(no_index("its index holds no valid product"));
        }
        let entries: Vec<_> = found
            .iter()
            .map(|image| Entry::new(&image.version, &image.name, image.built))
            .collect();
        for (image, name) in found.iter().zip(unique_names(&entries)) {
            // Nothing else of two products with one name would tell a user which is which.
            if name.as_ref() != Some(&image.name) {
                warnings.warn(format_args!(
                    "product {} is skipped: another one has its name",
                    image.name
                ));
                continue;
            }
            match image.render(images, &self.settings) {
                Ok(app) => sink(app)?,
                Err(cause) => {
                    warnings.warn(format_args!("product {} is skipped: {cause}", image.name))
                }
            }
        }
        Ok(())
    }
}
