//! `downloader`, installed as `downloader.sh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    downloader::run()
}
