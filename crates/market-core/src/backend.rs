//! What a market driver implements: one place where the bytes of apps live.
//!
//! The core owns the protocol and the integrity of the bytes, a backend owns the place.
//! [`MarketBackend`] is what every driver implements; [`StorageBackend`] is what a marketplace that
//! holds images adds. The pipeline calls an import's methods in this order, and no other:
//!
//! ```text
//! stage ─► (copy_range | write)* ─► written ─► (digests compared) ─► seal ─► (proof compared) ─► publish ─► resolve, when unknown
//!    └────────────┴───────────────────────┴──────────────┴─────────────┴──► discard, on any failure and on a signal
//! ```
//!
//! `stage` runs to its end. From then on methods may be dropped at any `await` until `seal` begins:
//! the only call that follows then is `discard`. From `seal` to the outcome of `publish` nothing is
//! dropped. The other actions (`open`, `monitor`, `delete`, `objects`, `remove`) may be dropped at
//! any `await`. Where nothing is dropped, a store that hangs must be given up by the backend
//! itself: [`Context::options`] has the patience that the operator wants.
//!
//! Futures run on tokio's current-thread runtime, with I/O and time enabled. A call that blocks the
//! thread also delays signals. A driver is one process for one action on one thread, so futures
//! need not be `Send`, and nothing needs to be shared between calls.
//!
//! `examples/minimal_driver.rs` is a complete driver in one file, docs/write-a-driver.md explains
//! it step by step.

#![allow(async_fn_in_trait, reason = "a driver runs on one thread; its futures need not be Send")]

use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::model::AppId;
use crate::report::MonitorReport;
use crate::stop::Stop;
use market_transfer::{Digests, Options, Piece, Source};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::ops::Range;
use std::time::Duration;

/// What a driver gets beside its own configuration.
#[derive(Clone)]
pub struct Context {
    /// Where log lines go.
    pub log: Log,
    /// Whether to stop. The pipeline asks it between calls; a backend that waits inside a call may
    /// ask it too.
    pub stop: Stop,
    /// How patiently others are waited for, with `CONNECT_TIMEOUT` and `IDLE_TIMEOUT` of the
    /// template applied.
    pub options: Options,
}

/// A marketplace driver.
pub trait MarketBackend: Sized {
    /// The attributes of the marketplace's TEMPLATE that the driver reads; any others are left
    /// alone. Keys and passwords are [`Secret`](crate::model::Secret)s.
    type Config: DeserializeOwned;

    /// The driver's name, as in `MARKET_MAD = "http"`.
    const MAD: &'static str;

    /// The driver's version: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;

    /// One line on what the driver is, for its `--help`.
    const ABOUT: &'static str;

    /// Checks the configuration and prepares for the one action of this process. Creates nothing in
    /// the store.
    ///
    /// # Errors
    /// An attribute that is wrong ([`Error::config`]), or a store that cannot be used.
    async fn connect(config: Self::Config, context: &Context) -> Result<Self, Error>;

    /// Reports the space of the marketplace, or the apps discovered in it. Creates nothing in the
    /// store.
    ///
    /// # Errors
    /// On any doubt: a partial list of apps makes `oned` drop the others.
    async fn monitor(&self) -> Result<MonitorReport, Error>;
}

/// A marketplace that holds the bytes of its apps.
pub trait StorageBackend: MarketBackend {
    /// An upload under way.
    type Upload;

    /// What the store can promise, as it is configured; the pipeline adapts to it.
    fn capabilities(&self) -> Capabilities;

    /// Bytes that can still be stored, when the store can tell. An import that needs more fails
    /// before the first byte.
    ///
    /// # Errors
    /// When the store cannot be asked. A store that has no answer returns `None`.
    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// Opens a place that no reader of the marketplace sees. Its name holds the app's id, the time
    /// and something random, so that two imports never meet and what a crash leaves can be found by
    /// [`list`](Self::list). `needed_bytes` is the room that the bytes will take, when that is
    /// known: a store of several places chooses one that has it.
    ///
    /// # Errors
    /// When nothing can be stored. Then nothing is left either: there is no stage yet that could be
    /// discarded.
    async fn stage(
        &self,
        app: AppId,
        length: Length,
        needed_bytes: Option<u64>,
    ) -> Result<Self::Upload, Error>;

    /// Optional: a handle to read back what is stored, at the same offsets, while more is written.
    /// With it the pipeline hashes what the store holds, not what was sent to it, and calls
    /// [`copy_range`](Self::copy_range).
    ///
    /// # Errors
    /// What stands in the way; the import ends with `discard`.
    fn read_back(&self, staged: &Self::Upload) -> Result<Option<File>, Error> {
        let _ = staged;
        Ok(None)
    }

    /// Appends a range of a local file by the store's own means (shared extents, a copy inside the
    /// system). Ranges come in order; holes between them come by [`write`](Self::write). The
    /// position of `source` is not the backend's to use. Only called of a backend that can [read
    /// back](Self::read_back).
    ///
    /// # Errors
    /// When the store does not take it; the import ends with `discard`.
    async fn copy_range(
        &self,
        staged: &mut Self::Upload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        let _ = (staged, source, range);
        Err(Error::new(ErrorKind::Unsupported, "the store", "copies no ranges of files"))
    }

    /// Appends a piece: data, or a hole that reads as zeros. Pieces come in order and without gaps.
    ///
    /// # Errors
    /// When the store does not take it; the import ends with `discard`.
    async fn write(&self, staged: &mut Self::Upload, piece: Piece) -> Result<(), Error>;

    /// Optional: all has been written, while its digests may still be computed. A store that is
    /// slow to make things durable can begin here; what counts is [`seal`](Self::seal).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn finish(&self, staged: &mut Self::Upload) -> Result<(), Error> {
        let _ = staged;
        Ok(())
    }

    /// Makes what was written durable and proves that the store holds it: with a digest that the
    /// store computed itself, or at least with the size that it has. The digests given are those of
    /// what was written; there is no MD5 among them when the store promises a digest and the
    /// datastore has declared one: then those two are compared, and hashing here too would only
    /// take time.
    ///
    /// # Errors
    /// When it cannot be made durable; the import ends with `discard`.
    async fn seal(&self, staged: &mut Self::Upload, digests: &Digests) -> Result<Proof, Error>;

    /// Makes the sealed bytes an app, in one step: before it no reader sees anything, after it
    /// everything. Never replaces what is there already.
    async fn publish(&self, staged: &mut Self::Upload) -> Published;

    /// Finds out what became of a [`publish`](Self::publish) whose outcome was
    /// [`Published::Unknown`]. Asked a few times; while it stays unknown, the import fails and says
    /// that the app may be there.
    async fn resolve(&self, staged: &mut Self::Upload) -> Published {
        let _ = staged;
        Published::Unknown(Error::new(
            ErrorKind::Failed,
            "publish",
            "its outcome cannot be found out",
        ))
    }

    /// Removes what was staged. Called on every failure, on signals, and when the caller has gone.
    ///
    /// # Errors
    /// When something is left behind; it is logged, and found by [`list`](Self::list) later.
    async fn discard(&self, staged: Self::Upload) -> Result<(), Error>;

    /// Removes a published app by its SOURCE. Confined to the marketplace: a SOURCE that points
    /// elsewhere is refused.
    ///
    /// # Errors
    /// When it is refused, or the store does not do it.
    async fn delete(&self, app: AppId, source: &str) -> Result<Deleted, Error>;

    /// Opens the stored bytes of an app to read them; `None` when they are not there. Confined as
    /// [`delete`](Self::delete) is.
    ///
    /// # Errors
    /// When it is refused, or cannot be found out.
    async fn open(&self, app: AppId, source: &str) -> Result<Option<Source>, Error>;

    /// The [key](StoredObject::key) that the published object of a SOURCE has, whether it is there
    /// or not; `None` when the SOURCE points elsewhere. By it, `gc` knows which objects belong to
    /// an app.
    fn locate(&self, source: &str) -> Option<String>;

    /// Tells `sink` of everything that this marketplace has staged or published, and of nothing
    /// else.
    ///
    /// # Errors
    /// When the store cannot be listed completely; what can be listed has been told then.
    /// [`ErrorKind::Unsupported`] when all that is published has been told, and what is staged
    /// cannot be.
    async fn list(&self, sink: &mut dyn FnMut(StoredObject)) -> Result<(), Error>;

    /// Removes an object that [`list`](Self::list) named. The core decides which.
    ///
    /// # Errors
    /// When it is there and stays.
    async fn remove(&self, object: &StoredObject) -> Result<Deleted, Error>;
}

/// What is known about the length of an import before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The source said so; that many bytes follow, or the import fails.
    Exact(u64),
    /// The virtual size of the image: only good for choosing part sizes.
    Hint(u64),
    /// Nothing.
    Unknown,
}

/// What a store can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether staged bytes can be seen by readers of the marketplace.
    pub staging: Staging,
    /// How surely `publish` never replaces.
    pub create: Create,
    /// What `seal` proves at least.
    pub proof: ProofKind,
    /// Whether holes are kept as holes, or cost room as zeros do. They come as [`Piece::Hole`]
    /// either way; a store without holes writes zeros ([`ZEROS`](market_transfer::ZEROS)).
    pub keeps_holes: bool,
    /// The largest object, in bytes.
    pub largest_object_bytes: Option<u64>,
    /// Whether [`StorageBackend::list`] finds what a killed import has staged.
    pub lists_staged: bool,
}

/// Whether readers see what is staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staging {
    /// Nobody sees it before `publish`.
    Invisible,
    /// It may be seen: the pipeline first collects and verifies the bytes in a local temporary
    /// without a name, in `TMPDIR` (`/tmp` when that is not set), which must have room for a whole
    /// image.
    Visible,
}

/// How surely `publish` never replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The store itself refuses to replace.
    Atomic,
    /// The backend looks first; a small race is left, which its documentation describes.
    Checked,
}

/// What `seal` proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// The digest, computed by the store or over what it holds.
    Digest,
    /// The size.
    Size,
}

/// The proof of [`StorageBackend::seal`]; the pipeline compares it with what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The MD5 of what the store holds, in lower-case hexadecimal.
    Md5(String),
    /// The bytes that the store holds.
    Bytes(u64),
}

/// The outcome of [`StorageBackend::publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// The app is there; an export finds it at this SOURCE.
    At(String),
    /// Something else has that name; nothing was replaced.
    Exists(String),
    /// It is certain that nothing was published.
    NotPublished(Error),
    /// The answer was lost: it may be published or not.
    Unknown(Error),
}

/// The outcome of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It was there and is gone.
    Removed,
    /// It was not there.
    Absent,
}

/// Something in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// What the backend knows it by: a file name, an object key, an upload id.
    pub key: String,
    /// Which of several places holds it: a host. Empty in a store of one place.
    pub place: String,
    /// Staged or published.
    pub state: ObjectState,
    /// The app whose import made it, where the name tells.
    pub app: Option<AppId>,
    /// Its size in bytes, holes included.
    pub bytes: u64,
    /// How long ago it was last written: by the store's clock, or by this machine's where the
    /// store's cannot be asked.
    pub age: Duration,
    /// Whether an import that still runs writes it, where that can be told.
    pub busy: bool,
}

/// Whether an object can be seen by readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// An import's unfinished bytes.
    Staged,
    /// An app.
    Published,
}
