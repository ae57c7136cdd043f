//! What every OpenNebula market driver is built on: the grammar of templates, the models and
//! messages that `oned` exchanges with a driver, the traits that a driver implements, the import
//! pipeline, and a driver's `main`.
//!
//! # What a driver is
//!
//! OpenNebula's marketplaces hold apps: images, and templates of machines that use them. `oned`, the
//! daemon, knows no kind of marketplace itself. For `MARKET_MAD = "http"` its helper `one_market`
//! runs the executables of the driver `http`, in `/var/lib/one/remotes/market/http/`:
//!
//! | executable | does | answers |
//! |---|---|---|
//! | `monitor` | tells the space of the marketplace, or the apps in it | sizes in MiB, or apps |
//! | `import` | stores an image as an app | the app's SOURCE, size and checksum |
//! | `delete` | removes an app | nothing |
//!
//! Each gets a driver message (XML in base64, the *dump*) as an argument, answers on standard
//! output, logs on standard error, and tells by its exit status whether it worked. A driver that is
//! built on this crate is one executable under these three names. The crate does everything but the
//! store: a [backend] says where bytes live.
//!
//! # A driver
//!
//! The smallest one offers the apps of a catalogue, here of one app. It is complete:
//!
//! ```no_run
//! use market_core::backend::{Context, MarketBackend};
//! use market_core::discovery::{AppSink, DiscoveryBackend, collect_report};
//! use market_core::error::Error;
//! use market_core::model::AppType;
//! use market_core::report::{AppTemplate, MonitorReport};
//! use serde::Deserialize;
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     market_core::runtime::run_discovery::<AlpineMarket>()
//! }
//!
//! /// The attributes of the marketplace's template that the driver reads.
//! #[derive(Deserialize)]
//! struct Config {
//!     /// `ENDPOINT`, which must be there.
//!     endpoint: String,
//! }
//!
//! struct AlpineMarket {
//!     endpoint: String,
//! }
//!
//! impl MarketBackend for AlpineMarket {
//!     type Config = Config;
//!     const MAD: &'static str = "alpine";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!     const ABOUT: &'static str = "OpenNebula marketplace driver for Alpine Linux.";
//!
//!     async fn connect(config: Config, _: &Context) -> Result<Self, Error> {
//!         if !config.endpoint.starts_with("https://") {
//!             // A user reads: marketplace 100 (alpine): attribute ENDPOINT: is no https:// URL;
//!             // correct it with "onemarket update 100"
//!             return Err(Error::config("ENDPOINT", "is no https:// URL"));
//!         }
//!         Ok(Self { endpoint: config.endpoint })
//!     }
//!
//!     async fn monitor(&self) -> Result<MonitorReport, Error> {
//!         collect_report(self).await
//!     }
//! }
//!
//! impl DiscoveryBackend for AlpineMarket {
//!     const PLACE: &'static str = "the Alpine marketplace";
//!
//!     async fn discover(&self, sink: &mut AppSink<'_>) -> Result<(), Error> {
//!         let mut app = AppTemplate::new("Alpine 3.22", AppType::Image)?;
//!         app.single("SOURCE", &format!("{}/alpine-3.22.qcow2", self.endpoint))?;
//!         app.single("SIZE", "256")?;
//!         app.single("FORMAT", "qcow2")?;
//!         sink(app)
//!     }
//! }
//! ```
//!
//! `market-alpine --dry-run` shows a person what it would report, `market-alpine --help` the rest.
//!
//! A driver that stores images implements [`StorageBackend`](backend::StorageBackend) instead, and
//! its `main` is [`runtime::run`]. The [backend] module has an example in memory, the repository a
//! driver for a directory in one file (`examples/minimal_driver.rs`).
//!
//! # What happens in an import
//!
//! ```text
//! oned ── import DUMP ID ──► runtime      reads the command line; SIGTERM and a caller that has
//!                               │         gone stop what follows
//!                               ▼
//!                            action       decodes the message: marketplace, app, image
//!                               ▼
//!                            backend      connect(the marketplace's template as your Config)
//!                               ▼
//! image ──► transfer ────►  pipeline      fetches the image (file, http, ssh, rbd, s3, ...), goes on
//!                            │  │  │      after breaks, unpacks, counts, computes checksums
//!                            │  │  │
//!            stage ◄─────────┘  │  │      opens an upload that no reader sees
//!            write ◄────────────┘  │      takes the bytes, piece by piece
//!                                  │      compares size and checksums with what was declared
//!             seal ◄───────────────┤      makes the bytes durable, proves that they are there
//!          publish ◄───────────────┤      makes them an app, in one step
//!          discard ◄───────────────┘      instead, on any failure before
//!                               ▼
//! oned ◄─ SOURCE, SIZE, MD5 ─ runtime     an answer that nobody takes: the app is deleted again
//! ```
//!
//! So an app is visible when all of it is there, verified and on the disk, and never before. The
//! order of the calls, and which of them may be dropped, is in the [backend] module.
//!
//! # Errors, logs and exit codes
//!
//! An [`Error`](error::Error) has a kind for programs and a sentence for operators: what failed, on
//! what, why, and what to do. [`runtime`] prints it as one line on standard error, where `oned` takes
//! it for the message that a user sees, and exits with the
//! [code of the kind](error::ErrorKind::exit_code). Everything else goes through the
//! [`Log`](log::Log).
//!
//! # Only the templates
//!
//! Programs that read or write OpenNebula's templates need no more than the [template] module, which
//! is there without any feature:
//!
//! ```
//! use market_core::template::Template;
//!
//! let template = Template::parse(b"NAME = web\nDISK = [ IMAGE = \"alpine\", SIZE = 1024 ]")?;
//! assert_eq!(template.text("NAME")?, Some("web"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! Each feature contains the ones above it.
//!
//! | feature | modules | for |
//! |---|---|---|
//! | none | [template], [mod@line] | programs that read or write templates |
//! | `serde` | [`template::serde`] | the same, with types of their own |
//! | `model` | [model], [action], [report], [encoding], [checksum], [opennebula] | programs between `oned` and a driver |
//! | `driver` | [backend], [discovery], [catalogue], [runtime], [error], [log], [stop], [attributes], [transfer] | drivers that discover apps |
//! | `storage` (default) | [pipeline], [upkeep], [container], [qemu_img] | drivers that store images |
//!
//! A driver that discovers apps needs `default-features = false, features = ["driver"]`.
//!
//! # Where to read on
//!
//! In the repository: `docs/write-a-driver.md` (step by step), `docs/driver-contract.md` (what `oned`
//! really sends and expects), `docs/template-grammar.md`, `docs/run-the-drivers.md` (for operators),
//! `docs/sources.md` (what an image can be fetched from). The crate `market-testkit` has the
//! promises of a storage backend as tests.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod line;
pub mod template;

/// The XML parser whose nodes [`template::Template::from_element`] takes.
pub use roxmltree;

/// Checksums as types, and the one comparison of declared with computed ones.
#[cfg(feature = "model")]
pub use market_checksum as checksum;

#[cfg(feature = "model")]
pub mod action;
#[cfg(feature = "model")]
pub mod encoding;
#[cfg(feature = "model")]
pub mod model;
#[cfg(feature = "model")]
pub mod opennebula;
#[cfg(feature = "model")]
pub mod report;

#[cfg(feature = "driver")]
pub mod attributes;
#[cfg(feature = "driver")]
pub mod backend;
#[cfg(feature = "driver")]
pub mod catalogue;
#[cfg(feature = "driver")]
mod configuration;
#[cfg(feature = "driver")]
pub mod discovery;
#[cfg(feature = "driver")]
mod dispose;
#[cfg(feature = "driver")]
pub mod error;
#[cfg(feature = "driver")]
pub mod log;
#[cfg(feature = "driver")]
pub mod runtime;
#[cfg(feature = "driver")]
pub mod stop;

#[cfg(feature = "storage")]
pub mod container;
#[cfg(feature = "storage")]
pub mod pipeline;
#[cfg(feature = "storage")]
pub mod qemu_img;
#[cfg(feature = "storage")]
mod readiness;
#[cfg(feature = "storage")]
pub mod upkeep;

/// Sources of bytes and what moves them: the crate `market-transfer`.
#[cfg(feature = "driver")]
pub use market_transfer as transfer;
