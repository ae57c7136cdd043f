#![doc = include_str!("../README.md")]

mod backend;
mod config;
mod deleter;
mod failure;
mod key;
mod lister;
mod publisher;
mod uploads;
mod writer;

pub use backend::S3Market;
pub use key::S3Key;
pub use publisher::S3Upload;
