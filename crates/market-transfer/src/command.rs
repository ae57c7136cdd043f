//! A command that can be started again and again.

use crate::{Ended, Process};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A command: an executable, its arguments, further variables of its environment, and what it gets
/// on standard input. No shell is involved unless the executable is one.
///
/// Unlike [`std::process::Command`] it can be cloned, and its `Debug` shows no argument, variable
/// or input: they may hold secrets.
///
/// ```
/// use market_transfer::CommandSpec;
/// use std::time::Duration;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let upper = CommandSpec::new("tr").args(["a-z", "A-Z"]).stdin(b"hello".to_vec());
/// let (output, ended) = upper.output(100, Duration::from_secs(10)).await?;
/// assert!(ended.status.success());
/// assert_eq!(output, b"HELLO");
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct CommandSpec {
    executable: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Arc<[u8]>>,
}

impl CommandSpec {
    /// An executable by its path, or by its name when it is looked for in `PATH`.
    pub fn new(executable: impl Into<OsString>) -> Self {
        let (arguments, environment) = (Vec::new(), Vec::new());
        Self { executable: executable.into(), arguments, environment, stdin: None }
    }

    /// With another argument.
    #[must_use]
    pub fn arg(self, argument: impl Into<OsString>) -> Self {
        self.args([argument])
    }

    /// With further arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With a variable beside those of this process.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// With bytes on standard input, which is empty otherwise. A command that does not want them
    /// need not read them.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Starts it, its standard input closed or being written. `idle_timeout` is how long it may be
    /// silent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, idle_timeout: Duration) -> io::Result<Process> {
        let mut process = Process::start(self, idle_timeout)?;
        match &self.stdin {
            Some(bytes) => process.feed(Arc::clone(bytes)),
            None => process.close_input(),
        }
        Ok(process)
    }

    /// Runs it to its end; its output is thrown away.
    ///
    /// # Errors
    /// When it cannot be started; [`TimedOut`](io::ErrorKind::TimedOut) when it does not end within
    /// the time.
    pub async fn run(&self, time_limit: Duration) -> io::Result<Ended> {
        let mut process = self.start(time_limit)?;
        let ended = tokio::time::timeout(time_limit, async {
            while process.read().await?.is_some() {}
            process.wait().await
        });
        ended.await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Runs it to its end; what it wrote to standard output, at most `max_bytes` bytes.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`FileTooLarge`](io::ErrorKind::FileTooLarge) when it writes more.
    pub async fn output(
        &self,
        max_bytes: usize,
        time_limit: Duration,
    ) -> io::Result<(Vec<u8>, Ended)> {
        self.start(time_limit)?.answer(max_bytes, time_limit).await
    }
}

/// Without what it gets on standard input.
impl From<&CommandSpec> for Command {
    fn from(spec: &CommandSpec) -> Self {
        let mut command = Self::new(&spec.executable);
        command.args(&spec.arguments);
        command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSpec").field("executable", &self.executable).finish_non_exhaustive()
    }
}
