#![doc = include_str!("../README.md")]

mod config;
mod date;
mod image;
mod market;

pub use config::LinuxContainersConfig;
pub use market::LinuxContainersMarket;
