//! `DISPOSE_CMD` of an import: the command that removes the temporary file which the datastore's
//! `export` made for it (docs/driver-contract.md).

use crate::backend::Context;
use market_transfer::Process;
use std::process::Command;
use std::time::Duration;

/// How long the command may take, and how long after the action was asked to stop.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_STOPPING: Duration = Duration::from_secs(5);

/// Runs the command with a shell; it comes from the datastore's driver, not from a user. A failure
/// is logged and does not change the outcome of the import.
pub(crate) async fn dispose(command: &str, context: &Context) {
    let outcome = tokio::select! {
        outcome = run(command, context) => Some(outcome),
        () = tokio::time::sleep(LIMIT) => None,
        () = stopping(context) => None,
    };
    match outcome {
        Some(Ok(())) => context.log.info("the temporary of the import was removed (DISPOSE_CMD)"),
        Some(Err(cause)) => context
            .log
            .warn(format_args!("DISPOSE_CMD failed: {cause}; the temporary may be left behind")),
        None => context
            .log
            .warn("DISPOSE_CMD took too long and was killed; the temporary may be left behind"),
    }
}

/// Ends a while after the action was asked to stop.
async fn stopping(context: &Context) {
    context.stop.requested().await;
    tokio::time::sleep(LIMIT_STOPPING).await;
}

async fn run(command: &str, context: &Context) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]);
    let text = |error: std::io::Error| error.to_string();
    let mut process = Process::start(shell, LIMIT).map_err(text)?;
    process.close_input();
    // Its output is no answer of ours: it is read so that the command does not wait, and dropped.
    while process.read().await.map_err(text)?.is_some() {}
    let ended = process.wait().await.map_err(text)?;
    for line in ended.stderr.lines().filter(|line| !line.trim().is_empty()) {
        context.log.debug(format_args!("DISPOSE_CMD: {line}"));
    }
    if ended.status.success() { Ok(()) } else { Err(ended.status.to_string()) }
}
