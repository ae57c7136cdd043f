#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_checksum::{Digests, Expected, Md5};
//!
//! // Declared by an attribute of an image, in any letter case.
//! let declared: Md5 = "5D41402ABC4B2A76B9719D911017C592".parse()?;
//! let expected = Expected::new().and("MD5", declared);
//!
//! // Computed over five bytes.
//! let computed = Digests::new(5).with("5d41402abc4b2a76b9719d911017c592".parse::<Md5>()?);
//! assert_eq!(expected.verify(&computed), Ok(()));
//!
//! let other = Digests::new(5).with(Md5::from([0; 16]));
//! assert_eq!(
//!     expected.verify(&other).unwrap_err().to_string(),
//!     "its MD5 is 00000000000000000000000000000000, MD5 declared 5d41402abc4b2a76b9719d911017c592",
//! );
//! # Ok::<(), market_checksum::Malformed>(())
//! ```

mod checksum;
mod digests;
mod expected;

pub use checksum::{Algorithm, Checksum, Malformed, Md5, Sha1, Sha256};
pub use digests::{DigestSet, Digests};
pub use expected::{Expected, Mismatch};
