#![doc = include_str!("../README.md")]

mod backend;
mod bridges;
mod config;
mod local;
mod name;
mod space;

pub use backend::{HttpMarket, HttpUpload};
pub use config::HttpConfig;
pub use name::HttpKey;
