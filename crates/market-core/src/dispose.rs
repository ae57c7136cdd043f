//! Running the command that removes the temporary of an import.

use crate::backend::Context;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// How long the command may take, and how long once the action is being stopped.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_STOPPING: Duration = Duration::from_secs(5);

/// How much of what it prints is logged.
const LOGGED_BYTES: u64 = 16 << 10;

/// Runs `DISPOSE_CMD`, which comes from the datastore's driver, with a shell. What becomes of it never changes the outcome of
/// the import: it is logged.
pub(crate) async fn dispose(command: &str, context: &Context) {
    let outcome = tokio::select! {
        outcome = run(command, context) => Some(outcome),
        () = tokio::time::sleep(LIMIT) => None,
        () = stopping(context) => None,
    };
    match outcome {
        Some(Ok(())) => context.log.info("the temporary of the import was removed (DISPOSE_CMD)"),
        Some(Err(cause)) => {
            context.log.warn(format_args!("DISPOSE_CMD failed: {cause}; the temporary may be left behind"))
        }
        None => context.log.warn("DISPOSE_CMD took too long and was killed; the temporary may be left behind"),
    }
}

/// Whoever asks to stop does not wait long.
async fn stopping(context: &Context) {
    context.stop.requested().await;
    tokio::time::sleep(LIMIT_STOPPING).await;
}

async fn run(command: &str, context: &Context) -> Result<(), String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut group = Group(child.id());
    let mut printed = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut head = stderr.take(LOGGED_BYTES);
        let _ = head.read_to_end(&mut printed).await;
        // What goes beyond is read and dropped, so that the command does not wait for a reader.
        let _ = tokio::io::copy(&mut head.into_inner(), &mut tokio::io::sink()).await;
    }
    let status = child.wait().await;
    group.0 = None;
    for line in String::from_utf8_lossy(&printed).lines().filter(|line| !line.trim().is_empty()) {
        context.log.debug(format_args!("DISPOSE_CMD: {line}"));
    }
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Kills the whole process group when the command is given up.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}
