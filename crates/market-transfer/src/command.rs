//! What a command writes to its standard output, as the origin of a stream of unknown length.

use crate::location::redacted_line;
use crate::process::pipe_failure;
use crate::resume::{Opened, Origin, RetryableError};
use crate::ssh::{CONNECTION_FAILED, Host, Ssh};
use crate::{Ended, Error, ErrorKind, Options, Process, Secrets};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// How long a command that cleans up may take.
const CLEANING: Duration = Duration::from_secs(60);

/// Exports an image of Ceph to standard output; the arguments are those of `rbd`.
const RBD: &str = "exec rbd \"$@\"";

/// Runs what a helper has told in `$MARKET_TOLD`: shell lines that set `command` and
/// `clean_command`; $1 says which of them.
const TOLD: &str = r#"eval "$MARKET_TOLD"; unset MARKET_TOLD
case $1 in command) eval "$command" ;; *) eval "$clean_command" ;; esac"#;

/// A command that can be run, again and again.
pub(crate) enum CommandSpec {
    /// `rbd export` on a host.
    Rbd { ssh: Ssh, host: Host, arguments: Vec<String> },
    /// An executable.
    Executable { path: PathBuf, arguments: Vec<String>, stdin: Option<Arc<[u8]>> },
    /// What a helper has told to run.
    HelperScript { told: String, which: &'static str },
}

impl CommandSpec {
    fn command(&self) -> Command {
        match self {
            Self::Rbd { ssh, host, arguments } => {
                ssh.command(host, RBD, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Self::Executable { path, arguments, .. } => {
                let mut command = Command::new(path);
                command.args(arguments);
                command
            }
            Self::HelperScript { told, which } => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", TOLD, "sh", which]).env("MARKET_TOLD", told);
                command
            }
        }
    }
}

/// A command's output.
pub(crate) struct CommandOutput {
    spec: CommandSpec,
    subject: String,
    /// The URL, and the driver message of a helper: what is not to be shown.
    location: String,
    dump: Option<Arc<[u8]>>,
    patience: Duration,
    /// Whether it may be run a second time when it fails.
    again: bool,
    /// What is run after all was read.
    clean: Option<CommandSpec>,
    process: Option<Process>,
}

impl CommandOutput {
    pub(crate) fn new(
        spec: CommandSpec,
        location: &str,
        subject: String,
        options: &Options,
    ) -> Self {
        let dump = options.helpers.as_ref().and_then(|helpers| helpers.dump.clone());
        let (location, patience) = (location.to_owned(), options.idle_timeout);
        Self { spec, subject, location, dump, patience, again: true, clean: None, process: None }
    }

    /// It may be silent for so long.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The command builds what it writes: it is not run a second time.
    pub(crate) fn once(mut self) -> Self {
        self.again = false;
        self
    }

    /// Another command is run after this one was read to its end.
    pub(crate) fn then(mut self, clean: CommandSpec) -> Self {
        self.clean = Some(clean);
        self
    }

    /// All that was wanted is here: what is left behind over there is not its fault.
    pub(crate) async fn clean(&mut self) {
        self.process = None;
        if let Some(clean) = self.clean.take() {
            let _ = run(&clean, CLEANING).await;
        }
    }

    fn failure(&self, ended: &Ended) -> RetryableError {
        let cause = said(ended, &self.location, self.dump.as_deref(), &self.spec);
        let error = |kind| Error::new(kind, &self.subject, cause.as_str());
        match (&self.spec, ended.status.code()) {
            (CommandSpec::Rbd { host, .. }, Some(CONNECTION_FAILED)) => {
                RetryableError::connection(&self.subject, host, &cause)
            }
            // No such image.
            (CommandSpec::Rbd { .. }, Some(2)) => error(ErrorKind::Absent).into(),
            (CommandSpec::Rbd { .. }, Some(127)) => error(ErrorKind::Unsupported).into(),
            _ => RetryableError { error: error(ErrorKind::Failed), again: self.again, pause: None },
        }
    }
}

impl Origin for CommandOutput {
    async fn open(&mut self, at: u64) -> Result<Opened, RetryableError> {
        if at > 0 && !self.again {
            return Err(Error::new(
                ErrorKind::Unreachable,
                &self.subject,
                "broke, and cannot be read again",
            )
            .into());
        }
        self.process = None;
        let mut process = Process::start(self.spec.command(), self.patience)
            .map_err(|error| Error::io(self.subject.as_str(), &error))?;
        match &self.spec {
            CommandSpec::Executable { stdin: Some(dump), .. } => process.feed(Arc::clone(dump)),
            _ => process.close_input(),
        }
        self.process = Some(process);
        Ok(Opened { start: 0, total: None })
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let patience = |error: &io::Error| RetryableError {
            error: pipe_failure(&self.subject, error),
            again: self.again,
            pause: None,
        };
        if let Some(data) = process.read().await.map_err(|error| patience(&error))? {
            return Ok(Some(data));
        }
        let ended = process.wait().await.map_err(|error| patience(&error))?;
        if !ended.status.success() {
            return Err(self.failure(&ended));
        }
        self.clean().await;
        Ok(None)
    }
}

/// The last words of a command as they may be shown: without what the URL, the driver message and
/// its own lines tell in confidence.
pub(crate) fn said(
    ended: &Ended,
    location: &str,
    dump: Option<&[u8]>,
    spec: &CommandSpec,
) -> String {
    let secrets = Secrets::of_url(location).and_dump(dump.unwrap_or_default());
    let secrets = match spec {
        CommandSpec::HelperScript { told, .. } => secrets.and_assignments(told),
        _ => secrets,
    };
    redacted_line(&secrets.hide(&ended.last_words()))
}

/// Runs a command to its end within a time; what it writes is not wanted.
pub(crate) async fn run(spec: &CommandSpec, within: Duration) -> io::Result<Ended> {
    let mut process = Process::start(spec.command(), within)?;
    process.close_input();
    let ended = tokio::time::timeout(within, async {
        while process.read().await?.is_some() {}
        process.wait().await
    });
    ended.await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Runs a command to its end within a time; what it wrote, which must be little.
pub(crate) async fn ask(spec: &CommandSpec, within: Duration) -> io::Result<(Vec<u8>, Ended)> {
    const MOST: usize = 64 << 10;
    let mut process = Process::start(spec.command(), within)?;
    process.close_input();
    process.answer(MOST, within).await
}
