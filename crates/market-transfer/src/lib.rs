#![doc = include_str!("../README.md")]
//!
//! # Reading
//!
//! [`Source::open`] opens a path or URL; [`Source::next`] returns [`Piece`]s, which are bytes or
//! holes. [`Source::transfer`] copies all of them to a [`Sink`] and computes digests on the way:
//!
//! ```
//! use market_transfer::{DigestSet, FileSink, Options, Source, SparseFile, Transfer};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("image");
//! # std::fs::write(&path, b"hello")?;
//! # let copy_path = directory.path().join("copy");
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let mut source = Source::open(path.to_str().unwrap(), &Options::default()).await?;
//! let mut copy = SparseFile::new(std::fs::File::create_new(&copy_path)?, true);
//! let mut sink = FileSink::temporary(&mut copy, "the copy");
//! let transferred = source.transfer(&mut sink, Transfer::hashed(DigestSet::MD5)).await?;
//! copy.finish()?;
//! assert_eq!(transferred.bytes, 5);
//! let md5 = transferred.digests.md5.unwrap().to_string();
//! assert_eq!(md5, "5d41402abc4b2a76b9719d911017c592");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything runs on tokio, with I/O and time enabled; futures run on one thread and need not be
//! `Send`. Work that blocks (files, digests, unpacking) has threads of its own.
//!
//! # Schemes
//!
//! [`Options::schemes`] says who opens what. By default:
//!
//! | location | what is read |
//! |---|---|
//! | `/path`, `file:///path` | a file or block device, with its holes |
//! | `http://`, `https://` | a URL; resumed with `Range` and `If-Range` |
//! | `ssh://[user@]host:path` | a file or block device of another host |
//! | `rbd://[user@]host/pool/image[@snapshot]` | `rbd export` on another host |
//!
//! A program adds a [`Scheme`] of its own with [`Options::with_scheme`]. It makes the source of a
//! stream: with [`Source::from_stream`] of one that can be read once, with [`Source::from_origin`]
//! of an [`Origin`], which can be opened again. The origin says where it continues; resuming,
//! comparing what is read twice, retries, pauses and the limit of the rate are done for it. Here is
//! one that continues anywhere, and whose connections break after ten bytes:
//!
//! ```
//! use market_transfer::{
//!     Bytes, Error, ErrorKind, Location, Opened, Options, Origin, RetryableError, Scheme, Source,
//! };
//! use std::time::Duration;
//!
//! /// `alphabet://`: the letters from a to z.
//! struct Alphabet;
//!
//! impl Scheme for Alphabet {
//!     fn names(&self) -> &[&str] {
//!         &["alphabet"]
//!     }
//!
//!     async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
//!         Source::from_origin(Letters::default(), &location.to_string(), options).await
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Letters {
//!     /// The next one, and how many this connection has sent.
//!     next: u8,
//!     sent: u8,
//! }
//!
//! impl Origin for Letters {
//!     async fn open(&mut self, offset: u64) -> Result<Opened, RetryableError> {
//!         *self = Self { next: offset as u8, sent: 0 };
//!         Ok(Opened::new(offset, 26))
//!     }
//!
//!     async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
//!         if self.sent == 10 {
//!             let error = Error::new(ErrorKind::Unreachable, "the alphabet", "broke");
//!             return Err(RetryableError::temporary(error));
//!         }
//!         let letter = (self.next < 26).then(|| vec![b'a' + self.next].into());
//!         self.next += 1;
//!         self.sent += 1;
//!         Ok(letter)
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let options = Options::default().with_scheme(Alphabet).with_first_pause(Duration::ZERO);
//! let mut source = Source::open("alphabet://", &options).await?;
//! assert_eq!(source.peek(30).await?, b"abcdefghijklmnopqrstuvwxyz");
//! # Ok::<(), Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! [`Error`] has a kind to decide by, the subject as it may be shown, and what happened; an
//! [`ErrorKind`] says what each kind means.

mod buffers;
pub mod client;
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
pub use location::{Location, redacted, redacted_line};
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
pub use system::{is_same_file, random_name, rename_new};
pub use thread::{run_on_thread, start_thread};
pub use transfer::{FileSink, HEAD_BYTES, Sink, Transfer, Transferred};
