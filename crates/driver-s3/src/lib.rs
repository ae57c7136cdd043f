#![doc = include_str!("../README.md")]

mod completion;
mod key;
mod listing;
mod market;
mod parts;
mod unfinished;
mod upload;

pub use key::S3Key;
pub use market::{S3Market, S3Upload};
