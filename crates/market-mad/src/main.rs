//! `one_market`.

use std::process::ExitCode;

fn main() -> ExitCode {
    market_mad::run()
}
