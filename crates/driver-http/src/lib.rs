#![doc = include_str!("../README.md")]

mod config;
mod directory;
mod market;
mod name;

pub use config::HttpConfig;
pub use market::{HttpMarket, Staged};
