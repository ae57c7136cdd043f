#![doc = include_str!("../README.md")]
//!
//! ```
//! use market_mad::Settings;
//!
//! // oned passes ARGUMENTS of MARKET_MAD as one word.
//! let (settings, wrong) = Settings::parse(["-t 15 -m http,s3 -w 3600 -x"]);
//! assert_eq!(settings.threads, 15);
//! assert_eq!(settings.market_types, Some(vec!["http".to_owned(), "s3".to_owned()]));
//! assert!(wrong[0].to_string().contains("-x"));
//! ```
//!
//! # The modules
//!
//! A message goes through them from top to bottom; none uses one above it.
//!
//! | module | what it does |
//! |---|---|
//! | `service` | the main loop: takes messages, starts actions, answers, shuts down |
//! | `queue` | decides which action starts next, and how many run at once |
//! | `actions` | carries out `monitor`, `import` (`export` first) and `delete` |
//! | `dump_passing` | whether an executable gets its dump on standard input or as an argument |
//! | `process` | runs one executable in a process group, within limits of time and output |
//! | `termination` | how a process ended, in words |
//! | `message` | reads standard input and parses the lines of `oned` |
//! | `redaction` | finds secrets in what executables write to standard error |
//! | `repeated_lines` | lowers the level of lines that a monitor writes in every cycle |
//! | `output` | writes answers and log lines to standard output |
//! | `environment` | `defaultrc`, `one_market.log`, working directory, umask, priority |
//! | `settings` | the command line |
//! | `line_splitter`, `protocol` | lines of a stream; the words of the protocol |

mod actions;
mod dump_passing;
mod environment;

mod line_splitter;
mod message;
mod output;
mod process;
mod protocol;
mod queue;
mod redaction;
mod repeated_lines;
mod service;
mod settings;
mod termination;

pub use settings::{Settings, WrongArgument};

use environment::Environment;
use message::Message;
use nix::sys::signal::SigSet;
use output::{Output, WriterThread};
use protocol::Level;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

/// How long this waits for the last lines to be written: `oned` may have stopped reading.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs `one_market`: everything that its `main` does. Returns when standard input has ended,
/// FINALIZE has come, or a signal has asked for the end.
pub fn run() -> ExitCode {
    // oned blocks all signals, and child processes inherit that: without this, no SIGTERM would
    // reach this process or an executable.
    let _ = SigSet::empty().thread_set_mask();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(text) = help_or_version(&arguments) {
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    // No core dump of this process: messages with secrets are in its memory. Executables do not
    // inherit this.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let (settings, wrong) = Settings::parse(arguments);
    for error in &wrong {
        // For a user at a terminal; oned closes standard error.
        let _ = writeln!(std::io::stderr(), "{error}");
    }
    let environment = Environment::enter();
    wrong.iter().for_each(|error| environment.append_to_log(&error.to_string()));
    let (runtime, output, writer, messages) = match start() {
        Ok(started) => started,
        Err(error) => {
            environment.append_to_log(&format!("one_market did not start: {error}"));
            let _ = std::io::stdout().write_all(output::INIT_FAILURE.as_bytes());
            return ExitCode::FAILURE;
        }
    };
    for error in &wrong {
        output.log(Level::Error, None, &format!("one_market: {error}"));
    }
    runtime.block_on(service::serve(settings, environment, output, messages));
    // Kills the executables that still run.
    drop(runtime);
    writer.finish(FLUSH_TIMEOUT);
    ExitCode::SUCCESS
}

/// Starts the runtime and the two threads. It fails when the system has no more threads or file
/// descriptors.
fn start() -> io::Result<(Runtime, Output, WriterThread, Receiver<Message>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (output, writer) = Output::start()?;
    Ok((runtime, output, writer, message::start_reader()?))
}

/// The text for a user who asks for help or the version.
fn help_or_version(arguments: &[OsString]) -> Option<String> {
    match arguments {
        [word] if word == "-h" || word == "--help" => Some(HELP.to_owned()),
        [word] if word == "-V" || word == "--version" => {
            Some(concat!("one_market ", env!("CARGO_PKG_VERSION"), "\n").to_owned())
        }
        _ => None,
    }
}

const HELP: &str = "\
The process between oned and the market drivers. oned starts it (MARKET_MAD in oned.conf), writes
messages to its standard input and reads answers from its standard output.

Usage: one_market [OPTIONS]    (oned passes all options as one word)

  -t, --threads N         actions at once (15)
  -m, --market-types A,B  the drivers that may be used (every directory of <remotes>/market)
  -w, --timeout SECONDS   how long one executable may run (no limit)
  -p, --proxy URL         http_proxy and https_proxy of the executables
  -h, --help              this text
  -V, --version           the version
";
