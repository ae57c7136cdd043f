//! `market-s3`: the executable of the driver.

use driver_s3::S3Market;
use std::process::ExitCode;

fn main() -> ExitCode {
    market_core::runtime::run::<S3Market>()
}
