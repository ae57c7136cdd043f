//! `market-linuxcontainers`: the executable of the driver.

use driver_linuxcontainers::LinuxContainersMarket;
use std::process::ExitCode;

fn main() -> ExitCode {
    market_core::runtime::run_discovery::<LinuxContainersMarket>()
}
