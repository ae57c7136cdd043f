#![doc = include_str!("../README.md")]

mod key;
mod listing;
mod market;
mod parts;
mod upload;

pub use market::{S3Market, Staged};
