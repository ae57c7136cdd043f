//! `one_market` as `oned` sees it, with drivers that are shell scripts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod dump_passing;
mod environment;
mod failures;
mod imports;
mod limits;
mod messages;
mod scheduling;
mod secrets;
mod shutdown;
mod support;
