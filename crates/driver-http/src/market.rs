//! The backend: a directory, here or on bridges.

use crate::bridges::{BridgeUpload, Bridges};
use crate::config::HttpConfig;
use crate::local::{self, LocalMarket};
use crate::name::HttpKey;
use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, Proof, ProofKind, Published,
    Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, MiB, SourceUrl};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, Piece, Source};
use std::fs::File;
use std::ops::Range;

/// A marketplace in a directory that a web server publishes.
pub struct HttpMarket {
    place: Place,
}

enum Place {
    Local(Box<LocalMarket>),
    Bridges(Box<Bridges>),
}

/// An import under way.
pub struct HttpUpload(Kind);

enum Kind {
    Local(local::LocalUpload),
    Bridge(Box<BridgeUpload>),
}

/// A stage comes from the market that it is given back to.
fn foreign() -> Error {
    Error::new(ErrorKind::Failed, "the stage", "belongs to another marketplace")
}

impl MarketBackend for HttpMarket {
    type Config = HttpConfig;

    const MAD: &'static str = "http";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str =
        "OpenNebula marketplace driver for a directory behind a web server.";

    async fn connect(config: HttpConfig, context: &Context) -> Result<Self, Error> {
        config.check()?;
        let hosts = config.bridges()?;
        let place = if hosts.is_empty() {
            Place::Local(Box::new(LocalMarket::connect(config, context)?))
        } else {
            Place::Bridges(Box::new(Bridges::connect(config, hosts, context).await))
        };
        Ok(Self { place })
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        match &self.place {
            Place::Local(market) => market.monitor(),
            Place::Bridges(market) => market.monitor().await,
        }
    }
}

/// What a file system tells of itself, as a report: blocks, and their size in bytes.
pub(crate) fn report(block: u64, blocks: u64, free: u64, available: u64) -> MonitorReport {
    let bytes = |count: u64| count.saturating_mul(block);
    MonitorReport::of_space(
        MiB::containing(bytes(blocks.saturating_sub(free))),
        MiB::within(bytes(available)),
        MiB::containing(bytes(blocks)),
    )
}

impl StorageBackend for HttpMarket {
    type Upload = HttpUpload;
    type Key = HttpKey;

    fn capabilities(&self) -> Capabilities {
        let proof = match self.place {
            Place::Local(_) => ProofKind::Size,
            Place::Bridges(_) => ProofKind::Digest,
        };
        Capabilities::new(Staging::Invisible, Create::Atomic, proof)
            .with_holes()
            .with_staged_listed()
    }

    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        match &self.place {
            Place::Local(market) => market.available_bytes(),
            // Each has its own: the stage looks for one with enough.
            Place::Bridges(_) => Ok(None),
        }
    }

    async fn stage(
        &self,
        app: AppId,
        _: Length,
        needed_bytes: Option<u64>,
    ) -> Result<HttpUpload, Error> {
        match &self.place {
            Place::Local(market) => market.stage(app).map(Kind::Local).map(HttpUpload),
            Place::Bridges(market) => market
                .stage(app, needed_bytes)
                .await
                .map(Box::new)
                .map(Kind::Bridge)
                .map(HttpUpload),
        }
    }

    fn read_back(&self, staged: &HttpUpload) -> Result<Option<File>, Error> {
        match (&self.place, &staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.read_back(staged),
            _ => Ok(None),
        }
    }

    async fn copy_range(
        &self,
        staged: &mut HttpUpload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        match (&self.place, &mut staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.copy_range(staged, source, range),
            _ => Err(foreign()),
        }
    }

    async fn write(&self, staged: &mut HttpUpload, piece: Piece) -> Result<(), Error> {
        match (&self.place, &mut staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.write(staged, &piece),
            (Place::Bridges(_), Kind::Bridge(stage)) => stage.upload.write(&piece).await,
            _ => Err(foreign()),
        }
    }

    async fn finish(&self, staged: &mut HttpUpload) -> Result<(), Error> {
        match (&self.place, &mut staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.finish(staged),
            (Place::Bridges(_), Kind::Bridge(stage)) => {
                stage.upload.finish();
                Ok(())
            }
            _ => Err(foreign()),
        }
    }

    async fn seal(&self, staged: &mut HttpUpload, _: &Digests) -> Result<Proof, Error> {
        match (&self.place, &mut staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.seal(staged).await,
            (Place::Bridges(_), Kind::Bridge(stage)) => stage.upload.seal().await.map(Proof::Md5),
            _ => Err(foreign()),
        }
    }

    async fn publish(&self, staged: &mut HttpUpload) -> Published {
        match (&self.place, &mut staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.publish(staged),
            (Place::Bridges(market), Kind::Bridge(stage)) => market.publish(stage).await,
            _ => Published::NotPublished(foreign()),
        }
    }

    async fn resolve(&self, staged: &mut HttpUpload) -> Published {
        match (&self.place, &mut staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.resolve(staged),
            (Place::Bridges(market), Kind::Bridge(stage)) => market.resolve(stage).await,
            _ => Published::NotPublished(foreign()),
        }
    }

    async fn discard(&self, staged: HttpUpload) -> Result<(), Error> {
        match (&self.place, staged.0) {
            (Place::Local(market), Kind::Local(staged)) => market.discard(staged),
            (Place::Bridges(_), Kind::Bridge(stage)) => stage.upload.discard().await,
            _ => Err(foreign()),
        }
    }

    fn locate(&self, source: &SourceUrl, app: Option<AppId>) -> Result<HttpKey, Error> {
        HttpKey::locate(source, app)
    }

    async fn delete(&self, key: &HttpKey) -> Result<Deleted, Error> {
        match &self.place {
            Place::Local(market) => market.remove_published(key.name()),
            Place::Bridges(market) => market.delete(key).await,
        }
    }

    async fn open(&self, key: &HttpKey) -> Result<Option<Source>, Error> {
        match &self.place {
            Place::Local(market) => market.open(key.name()),
            Place::Bridges(market) => market.open(key).await,
        }
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<HttpKey>)) -> Result<(), Error> {
        match &self.place {
            Place::Local(market) => market.list(sink),
            Place::Bridges(market) => market.list(sink).await,
        }
    }

    async fn remove(&self, object: &StoredObject<HttpKey>) -> Result<Deleted, Error> {
        match &self.place {
            Place::Local(market) => market.remove(object),
            Place::Bridges(market) => market.remove(object).await,
        }
    }
}
