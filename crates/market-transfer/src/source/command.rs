//! What a command writes to its standard output, as the origin of a stream of unknown length.

use super::origin::{Opened, Origin};
use crate::command::CommandSpec;
use crate::host::Host;
use crate::process::process_error;
use crate::retry::RetryableError;
use crate::ssh::{CONNECTION_FAILED, failed_connection};
use crate::{Ended, Error, ErrorKind, Location, Options, Process, Secrets};
use bytes::Bytes;
use std::fmt;
use std::io;
use std::time::Duration;

/// How long a command that cleans up may take.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(60);

/// What a command writes to its standard output, for
/// [`Source::from_origin`](crate::Source::from_origin). A command that fails, or is silent for too
/// long, is run again unless it is to run [once](Self::once); what it wrote before must be the same
/// then.
///
/// ```
/// use market_transfer::{CommandOutput, CommandSpec, Location, Options, Source};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let (location, options) = (Location::parse("tape://7")?, Options::default());
/// let output = CommandOutput::new(CommandSpec::new("echo").arg("bytes"), &location, &options);
/// let mut source = Source::from_origin(output, &location.to_string(), &options).await?;
/// assert_eq!(source.peek(100).await?, b"bytes\n");
/// # Ok::<(), market_transfer::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CommandOutput {
    command: CommandSpec,
    subject: String,
    /// What its messages are shown without.
    secrets: Secrets,
    idle_timeout: Duration,
    /// Whether it may be run a second time when it fails.
    again: bool,
    /// The host that it runs on, when it is `ssh`.
    host: Option<Host>,
    exit_statuses: Vec<(i32, ErrorKind)>,
    /// What is run after all was read.
    cleanup: Option<CommandSpec>,
    process: Option<Process>,
}

impl CommandOutput {
    /// The output of a command that reads a location. Its messages are shown without the secrets of
    /// the location; it may be silent for [`Options::idle_timeout`].
    pub fn new(command: CommandSpec, location: &Location, options: &Options) -> Self {
        Self {
            command,
            subject: location.to_string(),
            secrets: Secrets::of_url(location.as_str()),
            idle_timeout: options.idle_timeout,
            again: true,
            host: None,
            exit_statuses: Vec::new(),
            cleanup: None,
            process: None,
        }
    }

    /// How long it may be silent.
    #[must_use]
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.idle_timeout = idle_timeout;
        self
    }

    /// Its messages are shown without these secrets, which replace those of the location.
    #[must_use]
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// It builds what it writes, and is not run a second time.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.again = false;
        self
    }

    /// Another command is run after this one was read to its end, or when the source is
    /// [closed](crate::Source::close). Whether that succeeds does not count.
    #[must_use]
    pub fn then(mut self, cleanup: CommandSpec) -> Self {
        self.cleanup = Some(cleanup);
        self
    }

    /// The kind of error that an exit status stands for; such a failure is permanent. Any other
    /// status is a temporary failure.
    #[must_use]
    pub fn exit_status(mut self, status: i32, kind: ErrorKind) -> Self {
        self.exit_statuses.push((status, kind));
        self
    }

    /// The command is `ssh` to a host: the exit status 255 is a failure of the connection.
    #[must_use]
    pub(crate) fn over_ssh(mut self, host: Host) -> Self {
        self.host = Some(host);
        self
    }

    fn failure(&self, ended: &Ended) -> RetryableError {
        let cause = ended.cause_without(&self.secrets);
        let status = ended.status.code();
        if let (Some(host), Some(CONNECTION_FAILED)) = (&self.host, status) {
            return failed_connection(&self.subject, host, &cause);
        }
        match self.exit_statuses.iter().find(|(known, _)| Some(*known) == status) {
            Some(&(_, kind)) => Error::new(kind, &self.subject, cause).into(),
            None => self.failed(Error::new(ErrorKind::Failed, &self.subject, cause)),
        }
    }

    /// A failure that another run may not have.
    fn failed(&self, error: Error) -> RetryableError {
        if self.again { RetryableError::temporary(error) } else { RetryableError::permanent(error) }
    }

    fn broken(&self, error: &io::Error) -> RetryableError {
        self.failed(process_error(&self.subject, error))
    }
}

impl Origin for CommandOutput {
    async fn open(&mut self, offset: u64) -> Result<Opened, RetryableError> {
        if offset > 0 && !self.again {
            let cause = "broke, and cannot be read again";
            return Err(Error::new(ErrorKind::Unreachable, &self.subject, cause).into());
        }
        self.process = None;
        let process = self.command.start(self.idle_timeout);
        self.process = Some(process.map_err(|error| Error::io(self.subject.as_str(), &error))?);
        Ok(Opened::new(0, None))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let read = process.read().await;
        if let Some(data) = read.map_err(|error| self.broken(&error))? {
            return Ok(Some(data));
        }
        let Some(process) = &mut self.process else { return Ok(None) };
        let ended = process.wait().await;
        let ended = ended.map_err(|error| self.broken(&error))?;
        if !ended.status.success() {
            return Err(self.failure(&ended));
        }
        self.close().await;
        Ok(None)
    }

    /// All that was wanted has been read: what remains elsewhere is no failure of the source.
    async fn close(&mut self) {
        self.process = None;
        if let Some(cleanup) = self.cleanup.take() {
            let _ = cleanup.run(CLEANUP_TIMEOUT).await;
        }
    }
}

impl fmt::Debug for CommandOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CommandOutput");
        shown.field("subject", &self.subject).field("command", &self.command);
        shown.finish_non_exhaustive()
    }
}
