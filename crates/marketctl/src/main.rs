//! `marketctl`: the command for people.

mod app;
mod cli;
mod fetch;
mod image;

use clap::{CommandFactory, Parser};
use cli::{Arguments, Task};
use market_core::error::ErrorKind;
use market_core::runtime::{print, run_main, run_until_stopped};
use std::cell::Cell;
use std::process::ExitCode;

/// What was looked at is not as it should be.
const NOT_READY: u8 = 1;
/// It could not be looked at, or not be made.
const UNREADABLE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ready = Cell::new(true);
    let says_how_it_ended = arguments.task.says_how_it_ended();
    let exit_code = |kind: ErrorKind| if says_how_it_ended { UNREADABLE } else { kind.exit_code() };
    let ended = run_main(exit_code, || match arguments.task {
        Task::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "marketctl", &mut text);
            print(&text)
        }
        Task::Man => print(&cli::manual()?),
        task => run_until_stopped("marketctl", async |context| {
            ready.set(match task {
                Task::Image { task } => image::run(task, &context).await?,
                Task::App { task } => app::run(task, &context).await?,
                Task::Completions { .. } | Task::Man => true,
            });
            Ok(())
        }),
    });
    if ready.get() { ended } else { ExitCode::from(NOT_READY) }
}
