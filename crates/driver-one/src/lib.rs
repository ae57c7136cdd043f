#![doc = include_str!("../README.md")]

mod appliance;
mod market;
mod vm_template;

pub use market::{OneConfig, OneMarket};
