#![doc = include_str!("../README.md")]

mod bridges;
mod config;
mod directory;
mod local;
mod market;
mod name;

pub use config::HttpConfig;
pub use market::{HttpMarket, HttpUpload};
pub use name::HttpKey;
