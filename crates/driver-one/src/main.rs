//! `market-one`: the executable of the driver.

use driver_one::OneMarket;
use std::process::ExitCode;

fn main() -> ExitCode {
    market_core::runtime::run_discovery::<OneMarket>()
}
