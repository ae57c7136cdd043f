//! Running the command that removes the temporary of an import.

use crate::backend::Context;
use market_transfer::Process;
use std::process::Command;
use std::time::Duration;

/// How long the command may take, and how long once the action is being stopped.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_STOPPING: Duration = Duration::from_secs(5);

/// Runs `DISPOSE_CMD`, which comes from the datastore's driver, with a shell. What becomes of it
/// never changes the outcome of the import: it is logged.
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

/// Whoever asks to stop does not wait long.
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
    // What it prints is nobody's answer.
    while process.read().await.map_err(text)?.is_some() {}
    let ended = process.wait().await.map_err(text)?;
    for line in ended.stderr.lines().filter(|line| !line.trim().is_empty()) {
        context.log.debug(format_args!("DISPOSE_CMD: {line}"));
    }
    if ended.status.success() { Ok(()) } else { Err(ended.status.to_string()) }
}
