//! `market-http`: monitor, import and delete of an http marketplace.

use driver_http::HttpMarket;
use std::process::ExitCode;

fn main() -> ExitCode {
    market_core::runtime::run::<HttpMarket>()
}
