//! The process around an action: what it inherits is set right, its failure becomes one line and an
//! exit code, its asynchronous runtime stops on signals.

use super::command_line::{Call, Program, Request};
use super::output::print;
use super::signals;
use crate::backend::Context;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use crate::log::Log;
use crate::opennebula::{Helpers, Installation};
use crate::stop::StopSwitch;
use market_transfer::Options;
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use std::io::Write;
use std::process::ExitCode;

/// Runs an executable with the actions of a [`Program`]: reads the command line, runs `act` until
/// it ends or is told to stop, prints one line for a failure.
///
/// SIGTERM, SIGINT, SIGHUP and a caller that closes our standard output reach `act` through
/// [`Context::stop`].
pub fn execute<A: Copy>(
    program: &Program<'_, A>,
    act: impl AsyncFnOnce(Call<A>, Context) -> Result<(), Error>,
) -> ExitCode {
    run_main(ErrorKind::exit_code, || match program.parse(std::env::args_os())? {
        Request::Print(text) => print(text.as_bytes()),
        Request::Action(call) => {
            protect_memory();
            run_until_stopped(call.script, async |context| act(call, context).await)
        }
    })
}

/// Runs the body of a main function. A failure is printed as one line on standard error, and
/// `exit_code` says which exit code its kind has; [`ErrorKind::exit_code`] is that of the drivers.
pub fn run_main(
    exit_code: impl FnOnce(ErrorKind) -> u8,
    body: impl FnOnce() -> Result<(), Error>,
) -> ExitCode {
    prepare_process();
    print_panics_as_one_line();
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When standard error is broken, the exit code is all that can be told.
            let _ = writeln!(std::io::stderr(), "{}", one_line(&error.to_string()));
            ExitCode::from(exit_code(error.kind))
        }
    }
}

/// Runs a program that has a command line of its own until it ends or is told to stop, on tokio's
/// current-thread runtime with I/O and time enabled. Log lines begin with the word `script`.
///
/// The options of the context are those before any template was read: ssh is called as the
/// environment variable `SSH` says.
///
/// # Errors
/// Those of `act`, and what the system reports before it.
pub fn run_until_stopped(
    script: &str,
    act: impl AsyncFnOnce(Context) -> Result<(), Error>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("the runtime", &error))?;
    let outcome = runtime.block_on(async {
        let switch = StopSwitch::new();
        let context = Context::new(Log::stderr(script), switch.listen(), options_of_environment());
        signals::watch(&switch)?;
        act(context).await
    });
    // Does not wait for threads that are blocked in a system call on a slow disk.
    runtime.shutdown_background();
    outcome
}

fn options_of_environment() -> Options {
    let helpers = Helpers::of(&Installation::from_environment());
    let ssh = std::env::var("SSH").unwrap_or_default();
    Options::default().with_ssh(ssh).with_fallback(helpers)
}

/// For a process that has keys in memory: the system writes no core file of it, and no other
/// process of its user can trace it or read its memory.
pub fn protect_memory() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Sets right what is inherited from the caller: the signal mask and the umask.
fn prepare_process() {
    // A caller may have blocked signals, and the mask is inherited: without this, no SIGTERM would
    // arrive. SIGXFSZ (a file grew beyond its limit) stays blocked: the write fails with an error
    // instead, and what was staged is discarded.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGXFSZ);
    let _ = blocked.thread_set_mask();
    // Files are never writable for group and others, and always for the owner.
    let others = Mode::RWXG | Mode::RWXO;
    umask(umask(others) & others | Mode::WGRP | Mode::WOTH);
}

/// The caller shows standard error to a user: a panic is one line too.
fn print_panics_as_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let _ =
            writeln!(std::io::stderr(), "internal error at {}: please report it", one_line(&place));
    }));
}
