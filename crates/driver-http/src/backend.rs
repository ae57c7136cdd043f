//! The backend: a directory that a web server publishes, on this machine or on bridges.

use crate::bridges::{BridgeUpload, Bridges};
use crate::config::HttpConfig;
use crate::local::{LocalMarket, LocalUpload};
use crate::name::HttpKey;
use crate::space::Space;
use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, Proof, ProofKind, Published,
    Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, SourceUrl};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, Piece, Source};
use std::fmt;
use std::fs::File;
use std::ops::Range;

/// A marketplace in a directory that a web server publishes.
pub struct HttpMarket(Place);

/// Where the directory is.
enum Place {
    Local(Box<LocalMarket>),
    Bridges(Box<Bridges>),
}

/// An import that has not been published yet.
pub struct HttpUpload(Upload);

/// Where it goes.
enum Upload {
    Local(Box<LocalUpload>),
    Bridge(Box<BridgeUpload>),
}

impl fmt::Debug for HttpMarket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Place::Local(_) => "HttpMarket(local)",
            Place::Bridges(_) => "HttpMarket(bridges)",
        })
    }
}

impl fmt::Debug for HttpUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Upload::Local(_) => "HttpUpload(local)",
            Upload::Bridge(_) => "HttpUpload(bridge)",
        })
    }
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
        Ok(Self(if hosts.is_empty() {
            Place::Local(Box::new(LocalMarket::connect(config, context)?))
        } else {
            Place::Bridges(Box::new(Bridges::connect(config, hosts, context).await))
        }))
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        let space = match &self.0 {
            Place::Local(market) => market.space(),
            Place::Bridges(market) => market.space().await,
        };
        space.map(Space::report)
    }
}

impl StorageBackend for HttpMarket {
    type Upload = HttpUpload;
    type Key = HttpKey;

    fn capabilities(&self) -> Capabilities {
        let proof = match self.0 {
            Place::Local(_) => ProofKind::Size,
            Place::Bridges(_) => ProofKind::Digest,
        };
        Capabilities::new(Staging::Invisible, Create::Atomic, proof)
            .with_holes()
            .with_staged_listed()
    }

    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        match &self.0 {
            Place::Local(market) => market.space().map(Space::available_bytes).map(Some),
            // Each bridge has its own space: `stage` looks for one that has enough.
            Place::Bridges(_) => Ok(None),
        }
    }

    async fn stage(
        &self,
        app: AppId,
        _: Length,
        needed_bytes: Option<u64>,
    ) -> Result<HttpUpload, Error> {
        Ok(HttpUpload(match &self.0 {
            Place::Local(market) => Upload::Local(Box::new(market.stage(app)?)),
            Place::Bridges(market) => {
                Upload::Bridge(Box::new(market.stage(app, needed_bytes).await?))
            }
        }))
    }

    fn read_back(&self, upload: &HttpUpload) -> Result<Option<File>, Error> {
        match &upload.0 {
            Upload::Local(upload) => upload.read_back(),
            Upload::Bridge(_) => Ok(None),
        }
    }

    async fn copy_range(
        &self,
        upload: &mut HttpUpload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        match &mut upload.0 {
            Upload::Local(upload) => upload.copy_range(source, range),
            Upload::Bridge(_) => {
                Err(Error::new(ErrorKind::Unsupported, "a bridge", "copies no ranges of files"))
            }
        }
    }

    async fn write(&self, upload: &mut HttpUpload, piece: Piece) -> Result<(), Error> {
        match &mut upload.0 {
            Upload::Local(upload) => upload.write(&piece),
            Upload::Bridge(upload) => upload.file.write(&piece).await,
        }
    }

    async fn finish(&self, upload: &mut HttpUpload) -> Result<(), Error> {
        match &mut upload.0 {
            Upload::Local(upload) => upload.finish(),
            Upload::Bridge(upload) => {
                upload.file.finish();
                Ok(())
            }
        }
    }

    async fn seal(&self, upload: &mut HttpUpload, _: &Digests) -> Result<Proof, Error> {
        match &mut upload.0 {
            Upload::Local(upload) => upload.seal().await,
            Upload::Bridge(upload) => upload.file.seal().await.map(Proof::Md5),
        }
    }

    async fn publish(&self, upload: &mut HttpUpload) -> Published {
        match (&self.0, &mut upload.0) {
            (Place::Local(market), Upload::Local(upload)) => market.publish(upload),
            (Place::Bridges(market), Upload::Bridge(upload)) => market.publish(upload).await,
            _ => Published::NotPublished(foreign()),
        }
    }

    async fn resolve(&self, upload: &mut HttpUpload) -> Published {
        match (&self.0, &mut upload.0) {
            (Place::Local(market), Upload::Local(upload)) => market.resolve(upload),
            (Place::Bridges(market), Upload::Bridge(upload)) => market.resolve(upload).await,
            _ => Published::NotPublished(foreign()),
        }
    }

    async fn discard(&self, upload: HttpUpload) -> Result<(), Error> {
        match upload.0 {
            Upload::Local(upload) => upload.discard(),
            Upload::Bridge(upload) => upload.file.discard().await,
        }
    }

    fn locate(&self, source: &SourceUrl, app: Option<AppId>) -> Result<HttpKey, Error> {
        HttpKey::locate(source, app)
    }

    async fn delete(&self, key: &HttpKey) -> Result<Deleted, Error> {
        match &self.0 {
            Place::Local(market) => market.delete(key),
            Place::Bridges(market) => market.delete(key).await,
        }
    }

    async fn open(&self, key: &HttpKey) -> Result<Option<Source>, Error> {
        match &self.0 {
            Place::Local(market) => market.open(key),
            Place::Bridges(market) => market.open(key).await,
        }
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<HttpKey>)) -> Result<(), Error> {
        match &self.0 {
            Place::Local(market) => market.list(sink),
            Place::Bridges(market) => market.list(sink).await,
        }
    }

    async fn remove(&self, object: &StoredObject<HttpKey>) -> Result<Deleted, Error> {
        match &self.0 {
            Place::Local(market) => market.remove(object),
            Place::Bridges(market) => market.remove(object).await,
        }
    }
}

/// An upload is published by the market that has opened it.
fn foreign() -> Error {
    Error::new(ErrorKind::Failed, "the upload", "belongs to another marketplace")
}
