//! What a market driver implements: one place where the bytes of apps live.
//!
//! [`MarketBackend`] is what every driver implements; [`StorageBackend`] is what a marketplace that
//! holds images adds. The backend knows the place and nothing else: the driver message, the
//! transfer, the checksums, the order of the steps, signals and exit codes are the core's.
//!
//! # An import
//!
//! ```text
//! stage ─► (copy_range | write)* ─► finish ─► (checksums compared) ─► seal ─► (proof compared) ─► publish ─► resolve, when unknown
//!    └────────────┴───────────────────┴───────────────┴────────────────┴──► discard, on any failure and on a signal
//! ```
//!
//! # What is stored
//!
//! An app's record holds a SOURCE. [`StorageBackend::locate`] reads it once, refuses what is not of
//! this marketplace, and returns a [`StorageBackend::Key`]. Everything after that takes the key:
//!
//! ```text
//! SOURCE of a record ─► locate ─┐              ┌─► delete   remove the app
//!                               ├─► Key ───────┼─► open     read it (audit)
//! list ─► StoredObject.key ─────┘              └─► ==       has an app this object? (gc)
//! ```
//!
//! # Which calls may be dropped
//!
//! | method | dropped at an `await`? |
//! |---|---|
//! | `stage` | never: what it makes could not be discarded |
//! | `copy_range`, `write`, `finish` | yes; the only call that follows is `discard` |
//! | `seal`, `publish`, `resolve`, `discard` | never |
//! | `connect`, `monitor`, `available_bytes`, `delete`, `open`, `list` | yes |
//! | `remove` | yes, in `gc`; never while an app is deleted whose import still runs |
//!
//! What is never dropped has to end by itself when the store hangs: [`Context::options`] has the
//! time-outs that the operator wants.
//!
//! Futures run on tokio's current-thread runtime, with I/O and time enabled. A call that blocks the
//! thread also delays signals. A driver is one process for one action on one thread, so futures
//! need not be `Send`, and nothing needs to be shared between calls.
//!
//! # Example
//!
//! A marketplace in memory. `examples/minimal_driver.rs` is a complete driver in one file, and
//! docs/write-a-driver.md explains it step by step.
//!
//! ```
//! use market_core::backend::*;
//! use market_core::error::{Error, ErrorKind};
//! use market_core::model::{AppId, MiB, SourceUrl};
//! use market_core::report::MonitorReport;
//! use market_core::transfer::{Digests, Piece, Source};
//! use std::cell::RefCell;
//! use std::collections::HashMap;
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Shelf(RefCell<HashMap<String, Vec<u8>>>);
//!
//! #[derive(serde::Deserialize)]
//! struct Config {}
//!
//! impl MarketBackend for Shelf {
//!     type Config = Config;
//!     const MAD: &'static str = "shelf";
//!     const VERSION: &'static str = "1.0.0";
//!     const ABOUT: &'static str = "A marketplace in memory.";
//!
//!     async fn connect(_: Config, _: &Context) -> Result<Self, Error> {
//!         Ok(Self::default())
//!     }
//!
//!     async fn monitor(&self) -> Result<MonitorReport, Error> {
//!         Ok(MonitorReport::of_space(MiB(0), MiB(1_024), MiB(1_024)))
//!     }
//! }
//!
//! impl StorageBackend for Shelf {
//!     type Upload = (String, Vec<u8>);
//!     type Key = String;
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::new(Staging::Invisible, Create::Atomic, ProofKind::Size)
//!     }
//!
//!     async fn stage(&self, app: AppId, _: Length, _: Option<u64>) -> Result<Self::Upload, Error> {
//!         Ok((format!("app-{app}"), Vec::new()))
//!     }
//!
//!     async fn write(&self, upload: &mut Self::Upload, piece: Piece) -> Result<(), Error> {
//!         match piece {
//!             Piece::Data(bytes) => upload.1.extend_from_slice(&bytes),
//!             Piece::Hole(length) => upload.1.resize(upload.1.len() + length as usize, 0),
//!         }
//!         Ok(())
//!     }
//!
//!     async fn seal(&self, upload: &mut Self::Upload, _: &Digests) -> Result<Proof, Error> {
//!         Ok(Proof::Bytes(upload.1.len() as u64))
//!     }
//!
//!     async fn publish(&self, upload: &mut Self::Upload) -> Published {
//!         let source = SourceUrl::new(format!("shelf://{}", upload.0));
//!         let mut apps = self.0.borrow_mut();
//!         if apps.contains_key(&upload.0) {
//!             return Published::Exists(source);
//!         }
//!         apps.insert(upload.0.clone(), std::mem::take(&mut upload.1));
//!         Published::At(source)
//!     }
//!
//!     async fn discard(&self, _: Self::Upload) -> Result<(), Error> {
//!         Ok(())
//!     }
//!
//!     fn locate(&self, source: &SourceUrl, _: Option<AppId>) -> Result<String, Error> {
//!         let name = source.as_str().strip_prefix("shelf://app-");
//!         let name = name.filter(|id| id.parse::<i64>().is_ok());
//!         let refused = || Error::new(ErrorKind::Denied, "SOURCE", "names no app of this marketplace");
//!         Ok(format!("app-{}", name.ok_or_else(refused)?))
//!     }
//!
//!     async fn delete(&self, key: &String) -> Result<Deleted, Error> {
//!         Ok(Deleted::from_existed(self.0.borrow_mut().remove(key).is_some()))
//!     }
//!
//!     async fn open(&self, _: &String) -> Result<Option<Source>, Error> {
//!         Err(Error::new(ErrorKind::Unsupported, "the shelf", "reads nothing back"))
//!     }
//!
//!     async fn list(&self, sink: &mut dyn FnMut(StoredObject<String>)) -> Result<(), Error> {
//!         for (key, bytes) in &*self.0.borrow() {
//!             sink(StoredObject::published(key.clone(), bytes.len() as u64, Duration::ZERO));
//!         }
//!         Ok(())
//!     }
//!
//!     async fn remove(&self, object: &StoredObject<String>) -> Result<Deleted, Error> {
//!         self.delete(&object.key).await
//!     }
//! }
//! ```

#![allow(async_fn_in_trait, reason = "a driver runs on one thread; its futures need not be Send")]

use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::model::{AppId, SourceUrl};
use crate::report::MonitorReport;
use crate::stop::Stop;
use market_transfer::{Digests, Md5, Options, Piece, Source};
use serde::de::DeserializeOwned;
use std::fmt::{Debug, Display};
use std::fs::File;
use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

/// What a driver gets beside its own configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// Where log lines go.
    pub log: Log,
    /// Whether to stop. The pipeline asks it between calls; a backend that waits inside a call may
    /// ask it too.
    pub stop: Stop,
    /// How bytes are moved: time-outs, retries, certificates and limits, with the
    /// [attributes](crate::attributes::TransferAttributes) of the marketplace's template applied.
    pub options: Options,
}

impl Context {
    /// A context of one's own, for tests and for programs that call the pipeline themselves. The
    /// main function of a driver makes the one that a backend gets.
    pub fn new(log: Log, stop: Stop, options: Options) -> Self {
        Self { log, stop, options }
    }
}

/// A marketplace driver.
pub trait MarketBackend: Sized {
    /// The attributes of the marketplace's TEMPLATE that the driver reads, by their names in any
    /// case (see [`from_template`](crate::template::serde::from_template)); others are ignored.
    /// Keys and passwords should be [`Secret`](crate::model::Secret)s: nothing can print them.
    type Config: DeserializeOwned;

    /// The driver's name, as in `MARKET_MAD = "http"` of a marketplace's template. The executable
    /// calls itself `market-<MAD>`.
    const MAD: &'static str;

    /// The driver's version, for `--version` and the `User-Agent` of its requests:
    /// `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;

    /// One sentence on what the driver is, for its `--help`.
    const ABOUT: &'static str;

    /// Checks the configuration and prepares for the one action of this process. It creates nothing
    /// in the store. The first call of every action.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an attribute that is wrong ([`Error::config`]; the core adds which
    /// marketplace it belongs to), or why the store cannot be used.
    async fn connect(config: Self::Config, context: &Context) -> Result<Self, Error>;

    /// Reports the space of the marketplace in MiB, or the apps that were discovered in it. It
    /// creates nothing in the store. `oned` asks every `MONITORING_INTERVAL_MARKET` seconds.
    ///
    /// # Errors
    /// When the report would not be complete: `oned` drops apps that are missing from three
    /// reports.
    async fn monitor(&self) -> Result<MonitorReport, Error>;
}

/// A marketplace that holds the bytes of its apps.
///
/// The [module](self) has the order of the calls, which of them may be dropped, and an example.
pub trait StorageBackend: MarketBackend {
    /// An upload in progress: what [`stage`](Self::stage) opens, and
    /// [`publish`](Self::publish) or [`discard`](Self::discard) ends.
    type Upload;

    /// The name of an object in the store, as the driver needs it to find the object: a file name,
    /// a bucket and an object key, an upload id.
    ///
    /// Only [`locate`](Self::locate) and [`list`](Self::list) make keys, so what a key names is in
    /// the marketplace. Two keys are equal when they name the same object, however they were made.
    /// `Display` is what operators see in tables, log lines and JSON: no credentials.
    type Key: Clone + Eq + Hash + Debug + Display;

    /// What the store can do, as it is configured; the pipeline adapts to it. Asked at any time, so
    /// it does not ask the store.
    fn capabilities(&self) -> Capabilities;

    /// Bytes that can still be stored; `None`, the default, when the store cannot tell. An import
    /// that needs more fails before its first byte.
    ///
    /// # Errors
    /// When the store could tell and does not answer: the import fails.
    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// Opens an upload that no reader of the marketplace sees. Its name holds the app's id, the time
    /// and something random, so that two imports never meet and what a crash leaves can be found by
    /// [`list`](Self::list).
    ///
    /// `length` is what is known of the bytes that follow. `needed_bytes` is the room that they
    /// take (without their holes, in a store that keeps holes), where that is known: a store of
    /// several places chooses one that has it.
    ///
    /// # Errors
    /// When nothing can be stored; [`ErrorKind::Full`] when there is no room. Nothing is left
    /// behind then: there is no upload yet that could be discarded.
    async fn stage(
        &self,
        app: AppId,
        length: Length,
        needed_bytes: Option<u64>,
    ) -> Result<Self::Upload, Error>;

    /// Optional: a handle to read back what is stored, at the same offsets, while more is written.
    /// With it the pipeline computes checksums of what the store holds instead of what was sent to
    /// it, and calls [`copy_range`](Self::copy_range) for local sources. The default is `None`.
    ///
    /// # Errors
    /// What stands in the way; the import ends with [`discard`](Self::discard).
    fn read_back(&self, upload: &Self::Upload) -> Result<Option<File>, Error> {
        let _ = upload;
        Ok(None)
    }

    /// Appends a range (in bytes) of a local file by the store's own means: shared extents, or a
    /// copy inside the kernel. Ranges come in order; holes between them come by
    /// [`write`](Self::write). The position of `source` is not the backend's to use. Only called of
    /// a backend that can [read back](Self::read_back).
    ///
    /// # Errors
    /// When the store does not take it; the import ends with [`discard`](Self::discard).
    async fn copy_range(
        &self,
        upload: &mut Self::Upload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        let _ = (upload, source, range);
        Err(Error::new(ErrorKind::Unsupported, "the store", "copies no ranges of files"))
    }

    /// Appends a piece: data, or a hole that reads as zeros. Pieces come in order and without gaps.
    /// A store that cannot keep holes writes [`ZEROS`](market_transfer::ZEROS) for them.
    ///
    /// # Errors
    /// When the store does not take it; the import ends with [`discard`](Self::discard).
    async fn write(&self, upload: &mut Self::Upload, piece: Piece) -> Result<(), Error>;

    /// Optional: all has been written, while its checksums may still be computed. A store that is
    /// slow to make data durable can begin here; what counts is [`seal`](Self::seal).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn finish(&self, upload: &mut Self::Upload) -> Result<(), Error> {
        let _ = upload;
        Ok(())
    }

    /// Makes what was written durable and proves that the store holds it: with an MD5 that the store
    /// computed itself, or at least with its size. The pipeline compares the proof.
    ///
    /// `digests` are those of what was written. There is no MD5 among them when the store promises a
    /// digest ([`ProofKind::Digest`]) and the datastore has declared one: then those two are
    /// compared, and a third computation would only take time.
    ///
    /// # Errors
    /// When it cannot be made durable; the import ends with [`discard`](Self::discard).
    async fn seal(&self, upload: &mut Self::Upload, digests: &Digests) -> Result<Proof, Error>;

    /// Makes the sealed bytes an app, in one step: before it no reader sees anything, after it
    /// everything. Never replaces what is there already.
    async fn publish(&self, upload: &mut Self::Upload) -> Published;

    /// Finds out what became of a [`publish`](Self::publish) whose outcome was
    /// [`Published::Unknown`]. Asked five times, a second apart; while it stays unknown, the import
    /// fails and says that the app may be there. The default does not know.
    async fn resolve(&self, upload: &mut Self::Upload) -> Published {
        let _ = upload;
        Published::Unknown(Error::new(
            ErrorKind::Failed,
            "publish",
            "its outcome cannot be found out",
        ))
    }

    /// Removes what was staged. Called after every failure, on a signal, and when the caller has
    /// gone.
    ///
    /// # Errors
    /// When something is left behind; it is logged, and found by [`list`](Self::list) later.
    async fn discard(&self, upload: Self::Upload) -> Result<(), Error>;

    /// Reads a SOURCE: which object it names, whether that is there or not. It does not ask the
    /// store. This is where a deletion is confined to the marketplace: records may hold any text.
    ///
    /// `app` is the app that has this SOURCE. A driver may follow it then to where an earlier
    /// configuration has put the app (for S3, another bucket), if the object is that app's. Without
    /// an app, which is how `gc` asks, only an object that [`list`](Self::list) could name is
    /// located.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when the SOURCE names nothing of this marketplace.
    fn locate(&self, source: &SourceUrl, app: Option<AppId>) -> Result<Self::Key, Error>;

    /// Removes a published app. When it returns [`Deleted::Removed`], the app stays away after a
    /// power failure too.
    ///
    /// # Errors
    /// When the app may still be there. One that is gone already is [`Deleted::Absent`].
    async fn delete(&self, key: &Self::Key) -> Result<Deleted, Error>;

    /// Opens the stored bytes of an app to read them; `None` when they are not there. `audit`
    /// compares them with the checksums of the app's record.
    ///
    /// # Errors
    /// When it cannot be found out, or may not be read.
    async fn open(&self, key: &Self::Key) -> Result<Option<Source>, Error>;

    /// Tells `sink` of everything that this marketplace has staged or published, and of nothing
    /// else: files and objects of others are not its own to name.
    ///
    /// # Errors
    /// When the store cannot be listed completely; what can be listed has been told then.
    /// [`ErrorKind::Unsupported`] when all that is published has been told, and what is staged
    /// cannot be.
    async fn list(&self, sink: &mut dyn FnMut(StoredObject<Self::Key>)) -> Result<(), Error>;

    /// Removes an object that [`list`](Self::list) named, staged or published. The core decides
    /// which.
    ///
    /// # Errors
    /// When it may still be there. One that is gone already is [`Deleted::Absent`].
    async fn remove(&self, object: &StoredObject<Self::Key>) -> Result<Deleted, Error>;
}

/// What is known about the length of an import before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The source said so: that many bytes follow, or the import fails.
    Exact(u64),
    /// The virtual size of the image, in bytes: only good for choosing part sizes.
    Hint(u64),
    /// Nothing.
    Unknown,
}

/// What a store can do.
///
/// ```
/// use market_core::backend::{Capabilities, Create, ProofKind, Staging};
///
/// let capabilities = Capabilities::new(Staging::Invisible, Create::Atomic, ProofKind::Size)
///     .with_holes()
///     .with_staged_listed()
///     .with_largest_object(5 << 40);
/// assert_eq!(capabilities.largest_object_bytes, Some(5 << 40));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether staged bytes can be seen by readers of the marketplace.
    pub staging: Staging,
    /// How surely `publish` never replaces.
    pub create: Create,
    /// What `seal` proves at least.
    pub proof: ProofKind,
    /// Whether holes take no room. They come as [`Piece::Hole`] either way; a store without holes
    /// writes zeros ([`ZEROS`](market_transfer::ZEROS)).
    pub keeps_holes: bool,
    /// The largest object, in bytes; `None` when there is no limit. A larger image is refused
    /// before its first byte.
    pub largest_object_bytes: Option<u64>,
    /// Whether [`StorageBackend::list`] finds what a killed import has staged.
    pub lists_staged: bool,
}

impl Capabilities {
    /// A store with these promises, that keeps no holes, has no limit for one object, and does not
    /// list what is staged.
    pub const fn new(staging: Staging, create: Create, proof: ProofKind) -> Self {
        Self {
            staging,
            create,
            proof,
            keeps_holes: false,
            largest_object_bytes: None,
            lists_staged: false,
        }
    }

    /// Holes take no room: an image needs what is allocated of it.
    #[must_use]
    pub const fn with_holes(self) -> Self {
        Self { keeps_holes: true, ..self }
    }

    /// No object can be larger than so many bytes.
    #[must_use]
    pub const fn with_largest_object(self, bytes: u64) -> Self {
        Self { largest_object_bytes: Some(bytes), ..self }
    }

    /// [`StorageBackend::list`] names what is staged too, so that `gc`, and the deletion of an app
    /// whose import still runs, can remove it.
    #[must_use]
    pub const fn with_staged_listed(self) -> Self {
        Self { lists_staged: true, ..self }
    }
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
#[non_exhaustive]
pub enum ProofKind {
    /// The MD5, computed by the store or over what it holds.
    Digest,
    /// The size.
    Size,
}

/// The proof of [`StorageBackend::seal`]; the pipeline compares it with what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// The MD5 of what the store holds.
    Md5(Md5),
    /// How many bytes the store holds.
    Bytes(u64),
}

/// The outcome of [`StorageBackend::publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Published {
    /// The app is there; an export finds it at this SOURCE. It must be one that
    /// [`StorageBackend::locate`] takes.
    At(SourceUrl),
    /// Something else has that SOURCE; nothing was replaced.
    Exists(SourceUrl),
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

impl Deleted {
    /// By whether it was there.
    pub const fn from_existed(existed: bool) -> Self {
        if existed { Self::Removed } else { Self::Absent }
    }
}

/// An object in the store that [`StorageBackend::list`] names.
///
/// ```
/// use market_core::backend::StoredObject;
/// use market_core::model::AppId;
/// use std::time::Duration;
///
/// let object = StoredObject::staged("30-1", 4_096, Duration::from_secs(60)).of_app(AppId(30));
/// assert_eq!((object.app, object.busy), (Some(AppId(30)), false));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredObject<K> {
    /// Its key: a [`StorageBackend::Key`].
    pub key: K,
    /// Which of several places holds it: a host. Empty in a store of one place.
    pub place: String,
    /// Staged or published.
    pub state: ObjectState,
    /// The app whose import made it, where its name tells.
    pub app: Option<AppId>,
    /// Its size in bytes, holes included.
    pub bytes: u64,
    /// How long ago it was last written: by the store's clock, or by this machine's where the
    /// store's cannot be asked.
    pub age: Duration,
    /// Whether an import that still runs writes it, where that can be told.
    pub busy: bool,
}

impl<K> StoredObject<K> {
    /// What an import has staged: its size in bytes, and how long ago it was last written.
    pub const fn staged(key: K, bytes: u64, age: Duration) -> Self {
        Self::new(key, ObjectState::Staged, bytes, age)
    }

    /// An app that was published: its size in bytes, and how long ago it was written.
    pub const fn published(key: K, bytes: u64, age: Duration) -> Self {
        Self::new(key, ObjectState::Published, bytes, age)
    }

    const fn new(key: K, state: ObjectState, bytes: u64, age: Duration) -> Self {
        Self { key, place: String::new(), state, app: None, bytes, age, busy: false }
    }

    /// The app whose import made it.
    #[must_use]
    pub fn of_app(self, app: AppId) -> Self {
        Self { app: Some(app), ..self }
    }

    /// The one of several places that holds it.
    #[must_use]
    pub fn in_place(self, place: impl Into<String>) -> Self {
        Self { place: place.into(), ..self }
    }

    /// Whether an import that still runs writes it.
    #[must_use]
    pub fn with_busy(self, busy: bool) -> Self {
        Self { busy, ..self }
    }
}

/// Whether an object can be seen by readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// An import that has not been published: it may still run.
    Staged,
    /// An app.
    Published,
}
