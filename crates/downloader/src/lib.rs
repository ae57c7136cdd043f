#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_downloader::{Arguments, Request, Target};
//!
//! let words = ["--md5", "d41d8cd98f00b204e9800998ecf8427e", "http://market/app", "-"];
//! let Request::Download(arguments) = Arguments::parse(words)? else { unreachable!() };
//! assert_eq!(arguments.target, Target::StandardOutput);
//! # Ok::<(), market_core::error::Error>(())
//! ```
//!
//! # The modules
//!
//! | module | what it does |
//! |---|---|
//! | `arguments` | the command line |
//! | `options` | how the source is read: from the command line and the driver message |
//! | `drv_action` | the driver message in the environment |
//! | `download` | fetches: opens the source, checks it, writes it to its destination |
//! | `destination` | what TO is: standard output, a file, or a device or pipe |
//! | `archive` | unpacks a tar or zip archive into a directory |
//! | `stream_sink` | writes to standard output, a device or a pipe |

mod archive;
mod arguments;
mod destination;
mod download;
mod drv_action;
mod options;
mod stream_sink;

pub use arguments::{Arguments, Request, Target};
pub use download::download;

use market_core::runtime::{print, run_main, run_until_stopped};
use std::process::ExitCode;

/// The exit code of every failure, as that of the stock script.
const FAILURE: u8 = 255;

/// Runs the downloader: everything that its `main` does. A failure is one line on standard error,
/// and exit code 255.
pub fn run() -> ExitCode {
    run_main(
        |_| FAILURE,
        || match Arguments::parse(std::env::args_os().skip(1))? {
            Request::Print(text) => print(text.as_bytes()),
            Request::Download(arguments) => run_until_stopped("downloader", async |context| {
                download(&arguments, &context).await
            }),
        },
    )
}
