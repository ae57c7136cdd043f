#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_mad::Settings;
//!
//! // oned hands its ARGUMENTS over as one word.
//! let settings = Settings::parse(["-t 15 -m http,s3 -w 3600"])?;
//! assert_eq!(settings.threads, 15);
//! assert_eq!(settings.market_types.as_deref(), Some(["http".to_owned(), "s3".to_owned()].as_slice()));
//! # Ok::<(), market_mad::SettingsError>(())
//! ```

mod execution;
mod message;
mod output;
mod place;
mod queue;
mod redaction;
mod service;
mod settings;
mod splitter;
mod words;
mod work;

pub use settings::{Settings, SettingsError};

use nix::sys::signal::SigSet;
use output::Output;
use place::Place;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How long the writing thread is waited for in the end: `oned` may have stopped reading.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs `one_market`: the whole main of it.
pub fn run() -> ExitCode {
    // oned blocks all signals, and whoever is started inherits that: nothing below here would ever hear of a SIGTERM.
    let _ = SigSet::empty().thread_set_mask();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(text) = for_people(&arguments) {
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    let settings = Settings::parse(arguments);
    if let Err(error) = &settings {
        // For whoever tries it by hand; oned closes standard error.
        let _ = writeln!(std::io::stderr(), "{error}");
    }
    let place = Place::enter();
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => {
            place.note(&error.to_string());
            return refuse(&place);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        place.note("there is no runtime to be had from the system");
        return refuse(&place);
    };
    let (output, writer) = Output::start();
    runtime.block_on(service::serve(settings, place, output));
    // Whatever still runs is killed here.
    drop(runtime);
    writer.finish(LAST_WORDS);
    ExitCode::SUCCESS
}

/// What somebody wants to know who does not speak as `oned` does.
fn for_people(arguments: &[OsString]) -> Option<String> {
    match arguments {
        [word] if word == "-h" || word == "--help" => Some(HELP.to_owned()),
        [word] if word == "-V" || word == "--version" => {
            Some(concat!("one_market ", env!("CARGO_PKG_VERSION"), "\n").to_owned())
        }
        _ => None,
    }
}

const HELP: &str = "\
The process between oned and the market drivers. oned starts it (MARKET_MAD in oned.conf) and speaks to it on
standard input and output.

Usage: one_market [OPTIONS]    (oned hands all options over as one word)

  -t, --threads N         actions at once (15)
  -m, --market-types A,B  the drivers that may be used (every directory of <remotes>/market)
  -w, --timeout SECONDS   how long one executable may run (no limit)
  -p, --proxy URL         http_proxy and https_proxy of the executables
  -h, --help              this text
  -V, --version           the version
";

/// `oned` asks, and learns that nothing can be done.
fn refuse(place: &Place) -> ExitCode {
    let (output, writer) = Output::start();
    output.init(false);
    drop(output);
    writer.finish(LAST_WORDS);
    place.note("one_market did not start");
    ExitCode::FAILURE
}
