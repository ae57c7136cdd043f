//! The main function of a driver.
//!
//! ```no_run
//! # use market_core::backend::StorageBackend;
//! # fn main_of<MyMarket: StorageBackend>() -> std::process::ExitCode {
//! // fn main() -> std::process::ExitCode {
//! market_core::runtime::run::<MyMarket>()
//! // }
//! # }
//! ```
//!
//! One executable answers to three names, and has two commands for operators (`gc` and `audit`, docs/upkeep.md). The
//! action is the name that the executable is called by (`monitor`, `import`, `delete`; what follows
//! a dot does not count, so that `import.real` still is an import) or else its first argument. The
//! dump comes in the next argument, or on standard input when that argument is `-`
//! (docs/driver-contract.md describes the call, docs/run-the-drivers.md the exit codes).
//!
//! Other programs of OpenNebula's drivers use the parts: [`execute`] for one whose actions are
//! called with a dump ([`Program`]), [`run_main`] and [`run_until_stopped`] for one with a command
//! line of its own, [`print`](fn@print) for answers.

#[cfg(feature = "storage")]
mod actions;
pub(crate) mod command_line;
mod discover;
pub(crate) mod input;
pub(crate) mod output;
mod preview;
mod process;
mod signals;

#[cfg(feature = "storage")]
pub use actions::run;
pub use command_line::{Call, MarketAction, Program, Request};
pub use output::{open_output, print};
pub use process::{execute, protect_memory, run_main, run_until_stopped};

use crate::discovery::DiscoveryBackend;
use crate::error::ErrorKind;
use command_line::driver_name;
use preview::Preview;
use std::process::ExitCode;

/// Runs a driver that discovers apps: all that its main function does. Import and delete are
/// refused.
pub fn run_discovery<B: DiscoveryBackend>() -> ExitCode {
    let name = driver_name::<B>();
    let arguments: Vec<_> = std::env::args_os().collect();
    if Preview::is_asked_for(&arguments) {
        return run_main(ErrorKind::exit_code, || {
            let preview = Preview::parse(&name, &arguments)?;
            protect_memory();
            run_until_stopped("dry-run", async |context| preview.run::<B>(context).await)
        });
    }
    let about = format!("{}\n\nFor people: {}", B::ABOUT, Preview::usage(&name));
    let program = Program::new(&name, B::VERSION, &about, MarketAction::ALL);
    execute(&program, discover::act::<B>)
}
