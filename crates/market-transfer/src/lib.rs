#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_transfer::{Digester, Options, Source, Wanted};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("image");
//! # std::fs::write(&path, b"hello")?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let mut source = Source::open(path.to_str().unwrap(), &Options::default()).await?;
//! let mut digester = Digester::start(Wanted::MD5);
//! while let Some(piece) = source.next().await? {
//!     digester.update(piece).await;
//! }
//! assert_eq!(digester.finish().await?.md5.unwrap(), "5d41402abc4b2a76b9719d911017c592");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffers;
mod digest;
mod error;
mod file;
mod http;
mod location;
mod piece;
mod source;
mod sparse;
mod system;

pub use digest::{Digester, Digests, HEAD_BYTES, Wanted};
pub use error::{Error, ErrorKind};
pub use location::{Location, shown};
pub use piece::{PIECE_BYTES, Piece, ZEROS, split_zeros};
pub use source::{FileSink, Options, Sink, Source};
pub use sparse::SparseFile;
pub use system::{is_same_file, random_name, rename_new};
