#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_transfer::{Digester, Options, Source, DigestSet};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("image");
//! # std::fs::write(&path, b"hello")?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let mut source = Source::open(path.to_str().unwrap(), &Options::default()).await?;
//! let mut digester = Digester::start(DigestSet::MD5);
//! while let Some(piece) = source.next().await? {
//!     digester.update(piece).await;
//! }
//! assert_eq!(digester.finish().await?.md5.unwrap().to_string(), "5d41402abc4b2a76b9719d911017c592");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffers;
mod client;
mod command;
mod content;
mod digest;
mod document;
mod error;
mod file;
mod host;
mod location;
mod options;
mod piece;
mod process;
mod rate;
mod redact;
mod retry;
#[cfg(feature = "s3")]
pub mod s3;
mod source;
mod sparse;
pub mod ssh;
mod staged;
mod system;
mod thread;
mod transfer;
mod trust;
mod unpack;

pub use bytes::Bytes;
pub use command::CommandSpec;
pub use content::{Compression, Content, Packing};
pub use digest::{Digester, hex};
pub use document::Document;
pub use error::{Distrust, Error, ErrorKind, HttpStatus, find_cause};
pub use file::read_small_file;
pub use location::{Location, redacted};
pub use market_checksum::{Algorithm, Checksum, DigestSet, Digests, Md5, Sha1, Sha256};
pub use options::{Options, Scheme, Schemes};
pub use piece::{PIECE_BYTES, Piece, ZEROS, split_zeros};
pub use process::{Ended, Process, process_error};
pub use rate::{Rate, RateError};
pub use redact::Secrets;
pub use retry::{GivenUp, Retries, RetryPolicy, RetryableError, parse_retry_after};
pub use source::{CommandOutput, Opened, Origin, Source};
pub use sparse::SparseFile;
pub use staged::StagedFile;
pub use system::{is_same_file, random_name, rename_new, unnamed_file};
pub use thread::{run_on_thread, start_thread};
pub use transfer::{FileSink, HEAD_BYTES, Sink, Transfer, Transferred};
