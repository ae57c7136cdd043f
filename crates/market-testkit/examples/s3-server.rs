//! An S3 server to try a driver on: `cargo run --release -p market-testkit --features s3 --example
//! s3-server [DIRECTORY]`. It prints what a marketplace's template needs, and runs until its
//! standard input ends.
#![allow(clippy::print_stdout, reason = "it tells where it is")]

use market_testkit::s3::{Fate, S3Server};
use std::io::Read;

fn main() {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let server = S3Server::start_in(&directory, |_, _| Fate::Whole);
    for (name, value) in server.market("apps", &[]) {
        println!("{name}=\"{value}\"");
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
