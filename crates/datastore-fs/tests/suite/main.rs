//! `datastore-fs` as OpenNebula calls it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod bridges;
mod conversion;
mod local;
mod s3;

use std::path::{Path, PathBuf};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_datastore-fs");

/// The paths in a directory; none when the directory was not created yet.
fn paths_in(directory: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{}: {error}", directory.display()),
    }
}
