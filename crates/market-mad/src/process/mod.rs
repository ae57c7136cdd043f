//! Runs one executable: in a process group of its own, with bounds on what it may write, until it
//! exits, is stopped or runs out of time.

mod group;
mod stderr;
mod stdin;
mod stdout;

use crate::output::Output;
use crate::protocol::Level;
use crate::redaction::Redaction;
use crate::repeated_lines::MonitorLines;
use crate::termination::{Termination, oom_kill_count};
use group::ProcessGroup;
use rustix::process::Signal;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use stderr::StderrReader;
use stdin::StdinWriter;
use stdout::StdoutReader;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// How long an executable may clean up after SIGTERM before SIGKILL: a server that has to take back
/// a cancelled upload may be slow.
const GRACE: Duration = Duration::from_secs(30);

/// The same when `one_market` itself has to end.
const FINAL_GRACE: Duration = Duration::from_millis(1_200);

/// How long the pipes are read after the executable has exited: a process that it left behind may
/// hold them open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// How much is read from a pipe at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Why an action is to stop. A greater value overrides a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopReason {
    /// `oned` cancelled it, or the app is deleted.
    Cancelled,
    /// `one_market` ends.
    Shutdown,
}

/// An executable with its arguments and limits.
pub(crate) struct Invocation {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// What it gets on standard input; `None`: `/dev/null`.
    pub(crate) stdin: Option<Vec<u8>>,
    /// How many bytes it may write to standard output; `None`: its output goes to `/dev/null`.
    pub(crate) max_stdout_bytes: Option<usize>,
    /// How long it may run; `None`: without limit.
    pub(crate) timeout: Option<Duration>,
}

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) termination: Termination,
    pub(crate) stdout: Vec<u8>,
    /// It was given something on standard input and read none of it.
    pub(crate) ignored_stdin: bool,
    /// Why it was terminated, when it did not exit by itself.
    pub(crate) terminated: Option<TerminationCause>,
    /// The text of its standard error that explains a failure, redacted; empty after a success.
    pub(crate) message: String,
}

/// Why `one_market` terminated an executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TerminationCause {
    Stopped(StopReason),
    /// It ran longer than this.
    TimedOut(Duration),
    /// It wrote more to standard output than it may.
    TooMuchOutput,
}

impl TerminationCause {
    /// The cause in words; `name` is the executable.
    pub(crate) fn describe(self, name: &str) -> String {
        match self {
            Self::Stopped(StopReason::Cancelled) => "cancelled".to_owned(),
            Self::Stopped(StopReason::Shutdown) => "cancelled: one_market ends".to_owned(),
            Self::TimedOut(limit) => {
                format!("{name} took longer than {} s and was ended", limit.as_secs())
            }
            Self::TooMuchOutput => format!("{name} wrote more than can be taken and was ended"),
        }
    }
}

/// What all executables of one action share.
pub(crate) struct ExecContext<'a> {
    pub(crate) output: &'a Output,
    /// The id of the action, for log lines.
    pub(crate) id: i64,
    pub(crate) redaction: &'a Redaction,
    /// For a monitor: the lines of this run and of the previous one.
    pub(crate) monitor_lines: Option<&'a MonitorLines>,
    pub(crate) stop: watch::Receiver<Option<StopReason>>,
    /// Environment variables, beside those of this process.
    pub(crate) variables: &'a [(String, String)],
}

impl ExecContext<'_> {
    /// Runs an executable until it has exited.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn run(&self, invocation: Invocation) -> io::Result<Outcome> {
        let oom_kills_before = oom_kill_count();
        let mut child = self.command(&invocation).spawn()?;
        let group = ProcessGroup::of(&child);

        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = invocation.stdin.unwrap_or_default();
        let mut stdin_writer = StdinWriter::new(stdin.as_ref());
        let overflow = Notify::new();
        let mut stdout_reader = StdoutReader::new(invocation.max_stdout_bytes.unwrap_or(0));
        let mut stderr_reader = StderrReader::new(self);
        let exit = {
            let drain = async {
                tokio::join!(stdout_reader.read(stdout, &overflow), stderr_reader.read(stderr))
            };
            let (mut drain, mut feed) = (pin!(drain), pin!(stdin_writer.write(stdin, &input)));
            let mut exit =
                pin!(self.wait_for_exit(&mut child, &group, invocation.timeout, &overflow));
            let (mut all_fed, mut drained) = (false, false);
            let exit = loop {
                tokio::select! {
                    biased;
                    // First, so that an executable which floods its output does not delay it.
                    exit = &mut exit => break exit,
                    () = &mut feed, if !all_fed => all_fed = true,
                    _ = &mut drain, if !drained => drained = true,
                }
            };
            // Processes that it left in its group end too, and close its pipes.
            group.signal(Signal::KILL);
            if !drained && timeout(DRAIN_TIMEOUT, drain).await.is_err() {
                let text = "one_market: a process that it left behind holds its output open";
                self.output.log(Level::Debug, Some(self.id), text);
            }
            exit
        };
        let (status, terminated) = exit?;
        group.forget();
        Ok(Outcome {
            termination: Termination::new(status, oom_kill_count() > oom_kills_before),
            stdout: stdout_reader.into_bytes(),
            ignored_stdin: !input.is_empty() && stdin_writer.nothing_was_read(),
            message: stderr_reader.finish(status.success() && terminated.is_none()),
            terminated,
        })
    }

    fn command(&self, invocation: &Invocation) -> Command {
        let piped_if = |piped| if piped { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(&invocation.executable);
        command.args(&invocation.arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(piped_if(invocation.stdin.is_some()));
        command.stdout(piped_if(invocation.max_stdout_bytes.is_some()));
        command.stderr(Stdio::piped()).process_group(0);
        command
    }

    /// Waits until the child has exited. When it has to be terminated, its group gets SIGTERM, so
    /// that it can clean up, and SIGKILL after the grace period.
    async fn wait_for_exit(
        &self,
        child: &mut Child,
        group: &ProcessGroup,
        limit: Option<Duration>,
        overflow: &Notify,
    ) -> io::Result<(ExitStatus, Option<TerminationCause>)> {
        let mut stop = self.stop.clone();
        let mut handled_stop = None;
        let time_limit = limit.map(|limit| (Instant::now() + limit, limit));
        let mut terminated: Option<TerminationCause> = None;
        let mut kill_at: Option<Instant> = None;
        loop {
            let requested = *stop.borrow_and_update();
            let (cause, grace) = if let (Some(reason), true) = (requested, requested > handled_stop)
            {
                handled_stop = requested;
                let is_shutdown = reason == StopReason::Shutdown;
                let grace = if is_shutdown { FINAL_GRACE } else { GRACE };
                (TerminationCause::Stopped(reason), grace)
            } else {
                tokio::select! {
                    status = child.wait() => return Ok((status?, terminated)),
                    Ok(()) = stop.changed() => continue,
                    () = overflow.notified(), if terminated.is_none() => {
                        (TerminationCause::TooMuchOutput, GRACE)
                    }
                    limit = at(time_limit), if terminated.is_none() => {
                        (TerminationCause::TimedOut(limit), GRACE)
                    }
                    () = at(kill_at.map(|time| (time, ()))) => {
                        group.signal(Signal::KILL);
                        kill_at = None;
                        continue;
                    }
                }
            };
            group.signal(Signal::TERM);
            // A stopped process (SIGSTOP) handles SIGTERM only when it continues.
            group.signal(Signal::CONT);
            // The first cause is the one to report; a later one may only shorten the grace period.
            terminated.get_or_insert(cause);
            let time = Instant::now() + grace;
            kill_at = Some(kill_at.map_or(time, |earlier| earlier.min(time)));
        }
    }
}

/// Waits until a time, and gives the value that belongs to it; without a time, for ever.
async fn at<T>(time: Option<(Instant, T)>) -> T {
    match time {
        Some((time, value)) => {
            sleep_until(time).await;
            value
        }
        None => std::future::pending().await,
    }
}
