#![doc = include_str!("../README.md")]

mod bytes;
mod checks;
mod container;
mod disk;
mod error;
mod ext;
mod guest;
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
pub use container::{Container, Format, HEAD_BYTES, Reference, ReferenceRole};
pub use error::{Error, ErrorKind};
pub use image::{Declared, Image, Options, check_head};
pub use market_checksum as checksum;
pub use partition::Table;
pub use policy::Policy;
pub use repair::Repair;
pub use report::{Finding, Group, Outcome, Report, Severity};
pub use summary::{PartitionSummary, Summary};
pub use volume::Content;
