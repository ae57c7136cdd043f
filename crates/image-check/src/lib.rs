#![doc = include_str!("../README.md")]

mod checks;
mod disk;
mod error;
mod ext;
mod guest;
mod head;
mod image;
mod journal;
mod pages;
mod partition;
mod policy;
mod qcow2;
mod repair;
mod report;
mod summary;
mod time;
mod tree;
mod volume;

pub use checks::{CheckDescription, checks};
pub use error::Error;
pub use head::{Container, HEAD_BYTES, Reference};
pub use image::{Checksums, Declared, Image, Options, check_head};
pub use partition::Table;
pub use policy::Policy;
pub use repair::Repair;
pub use report::{Finding, Group, Outcome, Report, Severity};
pub use summary::{PartitionSummary, Summary};
pub use volume::Content;
