//! Is this image of a virtual machine ready for a marketplace?
//!
//! [`Image::check`] looks into raw and qcow2 files (zlib and zstd clusters, GPT, MBR, ext2, ext3
//! and ext4) without mounting, booting or believing them, and answers every question of
//! `docs/image-check.md` with PASS, WARN, FAIL or SKIP.
//!
//! ```
//! use image_check::{Image, Options, Outcome};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("disk.qcow2");
//! # std::fs::write(&path, b"QFI\xfb")?;
//! let report = Image::open(&path)?.check(&Options::default())?;
//! for finding in report.with(Outcome::Fail) {
//!     println!("{}: {} ({})", finding.id, finding.found, finding.why);
//! }
//! assert!(!report.is_ready());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it is careful about
//!
//! * It never writes, never opens a file that an image names, never runs anything of an image, and
//!   needs neither root nor a network.
//! * Whatever an image claims, a look ends within its [time limit](Options::time_limit), in some
//!   MiB of memory, and without a panic.
//! * What cannot be read (XFS, Btrfs, LVM, encrypted volumes) is a [`Outcome::Skip`] with its
//!   [reason](SkipReason), never a pass.
//! * Texts that come from an image are on one line and hold no control characters.
//!
//! It repairs nothing: a [`Repair`] says which command does, and [`Report::repair_script`] puts them
//! into a script. It hashes nothing: declared checksums are compared with the
//! [`Digests`](checksum::Digests) that the caller has computed.
//!
//! # Where to start
//!
//! | | |
//! |---|---|
//! | [`Image`] | an image file: its checks, and its [`Summary`] |
//! | [`check_head`] | the checks that the first 64 KiB of a stream can answer |
//! | [`Container`] | the format of any image, and whether it names another file |
//! | [`Policy`] | which checks are made, and what each means |
//! | [`Report`] | what was found; it serializes for programs |

mod bytes;
mod checks;
mod container;
mod deadline;
mod declared;
mod disk;
mod error;
mod ext;
mod guest;
mod image;
mod inspection;
mod layout;
mod options;
mod page_cache;
mod partition;
mod policy;
mod qcow2;
mod repair;
mod repair_script;
mod report;
mod summary;
mod text;
mod unavailable;
mod volume;

pub use checks::{CheckDescription, checks};
pub use container::{Container, Format, HEAD_BYTES, Reference, ReferenceRole};
pub use declared::Declared;
pub use error::{Error, ErrorKind};
pub use image::{Image, check_head};
pub use market_checksum as checksum;
pub use options::Options;
pub use partition::PartitionTable;
pub use policy::Policy;
pub use repair::Repair;
pub use report::{Finding, Group, Outcome, Report, Severity};
pub use summary::{PartitionSummary, Summary};
pub use unavailable::SkipReason;
pub use volume::Content;
