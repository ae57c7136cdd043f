//! qcow2, read-only: the header, the mapping from a guest's offset to the bytes of the file, and
//! whether the tables are consistent.
//!
//! Our own, because no crate reads zstd clusters, and none tells what is wrong with an image. Every
//! number comes from the image's author: tables are read through a small page cache, and nothing is
//! allocated by a size that the image names. Source of the facts: `docs/interop/qcow2.rst` of QEMU.

mod cluster_cache;
mod header;
mod integrity;
mod reader;

pub(crate) use header::{Compression, Damage, Header};
pub(crate) use integrity::ClusterCounts;
pub(crate) use reader::Qcow2;
