#![doc = include_str!("../README.md")]

pub mod line;
pub mod template;

/// The XML parser whose nodes [`template::Template::from_element`] takes.
pub use roxmltree;

/// Checksums as types, and the one comparison of declared with computed ones.
#[cfg(feature = "model")]
pub use market_checksum as checksum;

#[cfg(feature = "model")]
pub mod action;
#[cfg(feature = "model")]
pub mod encoding;
#[cfg(feature = "model")]
pub mod model;
#[cfg(feature = "model")]
pub mod opennebula;
#[cfg(feature = "model")]
pub mod report;

#[cfg(feature = "driver")]
pub mod attributes;
#[cfg(feature = "driver")]
pub mod backend;
#[cfg(feature = "driver")]
pub mod catalogue;
#[cfg(feature = "driver")]
mod configuration;
#[cfg(feature = "driver")]
pub mod discovery;
#[cfg(feature = "driver")]
mod dispose;
#[cfg(feature = "driver")]
pub mod error;
#[cfg(feature = "driver")]
pub mod log;
#[cfg(feature = "driver")]
pub mod runtime;
#[cfg(feature = "driver")]
pub mod stop;

#[cfg(feature = "storage")]
pub mod container;
#[cfg(feature = "storage")]
pub mod pipeline;
#[cfg(feature = "storage")]
pub mod qemu_img;
#[cfg(feature = "storage")]
mod readiness;
#[cfg(feature = "storage")]
pub mod upkeep;

#[cfg(feature = "driver")]
pub use market_transfer as transfer;
