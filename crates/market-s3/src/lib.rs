#![doc = include_str!("../README.md")]
//!
//! ```no_run
//! use market_core::model::Secret;
//! use market_s3::{Access, Bucket};
//! use market_transfer::Options;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let access = Access::new("eu-north-1", "AKIA..", Secret::new("hunter2"));
//! let bucket = Bucket::new(&access, "apps", &Options::default())?;
//! let mut bytes = 0;
//! bucket.list_objects("marketapp-", |_| true, &mut |object| bytes += object.bytes).await?;
//! match bucket.retried(|| bucket.head("marketapp-30")).await? {
//!     Some(object) => println!("{:?} bytes", object.bytes),
//!     None => println!("the bucket has no such object"),
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod advice;
mod attributes;
mod bucket;
mod error;
mod list;
mod multipart;
mod object;
mod object_url;
mod part_sizes;
mod payload;
mod progress;
mod redactor;
mod service_error;
mod sign;
mod source;
mod time;
mod transport;
mod xml;

pub use access::{Access, AccessError, Setting};
pub use advice::remedy;
pub use attributes::S3Attributes;
pub use bucket::Bucket;
pub use error::{Reason, S3Error};
pub use list::{ListedObject, ListedPart, ListedUpload};
pub use multipart::Part;
pub use object::{ETag, InvalidHeader, ObjectMeta, ObjectOptions, PutMode};
pub use object_url::ObjectUrl;
pub use part_sizes::{
    COMMONLY_ALLOWED_PARTS, MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, PartSizes,
};
pub use payload::Payload;
pub use source::S3Scheme;
