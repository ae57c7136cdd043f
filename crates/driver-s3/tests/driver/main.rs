//! The driver against an S3 server that misbehaves on purpose: with the executable as `one_market`
//! and operators call it, and with the library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

#[path = "../common/mod.rs"]
mod common;

mod addressing;
mod faults;
mod kills;
mod races;
mod server;
mod services;
