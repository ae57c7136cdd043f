//! `downloader`, installed as `downloader.sh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    market_downloader::run()
}
