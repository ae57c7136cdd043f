#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_mad::Settings;
//!
//! // oned hands its ARGUMENTS over as one word.
//! let (settings, wrong) = Settings::read(["-t 15 -m http,s3 -w 3600 -x"]);
//! assert_eq!(settings.threads, 15);
//! assert_eq!(settings.market_types.as_deref(), Some(["http".to_owned(), "s3".to_owned()].as_slice()));
//! assert!(wrong[0].to_string().contains("-x"));
//! ```

mod death;
mod declaration;
mod execution;
mod message;
mod output;
mod place;
mod protocol;
mod queue;
mod redaction;
mod said;
mod service;
mod settings;
mod splitter;
mod work;

pub use settings::{Settings, WrongArgument};

use message::Message;
use nix::sys::signal::SigSet;
use output::{Output, WriterThread};
use place::Place;
use protocol::Level;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

/// How long the writing thread is waited for in the end: `oned` may have stopped reading.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs `one_market`: the whole main of it.
pub fn run() -> ExitCode {
    // oned blocks all signals, and whoever is started inherits that: nothing below here would ever
    // hear of a SIGTERM.
    let _ = SigSet::empty().thread_set_mask();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(text) = for_people(&arguments) {
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    // Dumps with keys in them are in memory. Executables are not bound by this.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let (settings, wrong) = Settings::read(arguments);
    for error in &wrong {
        // For whoever tries it by hand; oned closes standard error.
        let _ = writeln!(std::io::stderr(), "{error}");
    }
    let place = Place::enter();
    wrong.iter().for_each(|error| place.note(&error.to_string()));
    let started = start();
    let (runtime, output, writer, messages) = match started {
        Ok(started) => started,
        Err(error) => {
            place.note(&format!("one_market did not start: {error}"));
            // oned asks, and learns that nothing can be done.
            let _ = std::io::stdout().write_all(output::NOT_READY.as_bytes());
            return ExitCode::FAILURE;
        }
    };
    for error in &wrong {
        output.log(Level::Error, None, &format!("one_market: {error}"));
    }
    runtime.block_on(service::serve(settings, place, output, messages));
    // Whatever still runs is killed here.
    drop(runtime);
    writer.finish(LAST_WORDS);
    ExitCode::SUCCESS
}

/// What the system may not have enough of: threads, and descriptors.
fn start() -> io::Result<(Runtime, Output, WriterThread, Receiver<Message>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (output, writer) = Output::start()?;
    Ok((runtime, output, writer, message::read()?))
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
