//! Maintenance of a marketplace, over any storage backend: [`gc`] finds and removes what interrupted
//! imports have left and what belongs to no app, [`audit`] reads stored apps again and compares
//! them with their recorded checksums.
//!
//! Every storage driver's executable has them as commands (`market-http gc`, `market-http audit`),
//! with `--help` of their own.

pub mod audit;
mod command;
pub mod gc;

pub(crate) use command::{Work, run};
