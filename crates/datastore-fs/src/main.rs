//! `datastore-fs`: export and cp of a file datastore.

use std::process::ExitCode;

fn main() -> ExitCode {
    market_core::runtime::execute(&datastore_fs::PROGRAM, datastore_fs::act)
}
