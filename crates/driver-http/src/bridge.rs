//! One bridge: a host that holds the directory, reached over ssh. What runs there are the scripts in `scripts/`; what they are
//! told are arguments, never parts of a command.

use market_core::error::{Error, ErrorKind};
use market_core::transfer::ssh::{CONNECTION_FAILED, Host, Ssh, connection_error};
use market_core::transfer::{Ended, Options, Process};
use std::io;
use std::path::PathBuf;

/// A script, behind the lines that enter PUBLIC_DIR.
macro_rules! script {
    ($name:literal) => {
        concat!(include_str!("scripts/enter.sh"), include_str!(concat!("scripts/", $name)))
    };
}
pub(crate) use script;

/// A host and the directory there.
#[derive(Clone)]
pub(crate) struct Bridge {
    pub(crate) host: Host,
    ssh: Ssh,
    directory: PathBuf,
    options: Options,
}

impl Bridge {
    pub(crate) fn new(host: Host, directory: PathBuf, options: Options) -> Self {
        Self { host, ssh: Ssh::new(&options), directory, options }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// A path there; with it, an error's subject.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Prepares for many bytes.
    pub(crate) async fn for_bulk(&self) -> Self {
        Self { ssh: self.ssh.for_bulk(&self.host).await, ..self.clone() }
    }

    /// Starts a script.
    pub(crate) fn start(&self, script: &str, arguments: &[&str]) -> Result<Process, Error> {
        // Checked to be text when the configuration was read.
        let directory = self.directory.to_string_lossy();
        let arguments: Vec<&str> = std::iter::once(&*directory).chain(arguments.iter().copied()).collect();
        let command = self.ssh.command(&self.host, script, &arguments);
        Process::start(command, self.options.idle_timeout).map_err(|error| Error::io("ssh", &error))
    }

    /// Runs a script to its end; the lines that it answers.
    pub(crate) async fn run(&self, script: &str, arguments: &[&str]) -> Result<Vec<String>, Error> {
        let mut process = self.start(script, arguments)?;
        process.close_input();
        let mut lines = Vec::new();
        while let Some(line) = process.read_line().await.map_err(|error| self.broken(&error))? {
            lines.push(line);
        }
        self.end(&mut process).await?;
        Ok(lines)
    }

    /// Runs a script that answers one word.
    pub(crate) async fn ask(&self, script: &str, arguments: &[&str]) -> Result<String, Error> {
        let lines = self.run(script, arguments).await?;
        match <[String; 1]>::try_from(lines) {
            Ok([word]) => Ok(word),
            Err(lines) => Err(self.strange(lines.first().map_or("", String::as_str))),
        }
    }

    /// Waits for the end of a script, which must be a good one.
    pub(crate) async fn end(&self, process: &mut Process) -> Result<(), Error> {
        let ended = process.wait().await.map_err(|error| self.broken(&error))?;
        if ended.status.success() { Ok(()) } else { Err(self.failure(&ended)) }
    }

    /// What a script's end means.
    fn failure(&self, ended: &Ended) -> Error {
        let cause = ended.cause();
        let kind = match ended.status.code() {
            Some(CONNECTION_FAILED) => return connection_error(&self.host, &cause).into(),
            Some(65 | 66) => ErrorKind::Config,
            Some(77) => ErrorKind::Denied,
            _ => ErrorKind::Failed,
        };
        Error::new(kind, format!("PUBLIC_DIR {} on {}", self.directory.display(), self.host), cause)
    }

    /// A connection that broke or fell silent.
    pub(crate) fn broken(&self, error: &io::Error) -> Error {
        let cause = match error.kind() {
            io::ErrorKind::TimedOut => "was silent for too long".to_owned(),
            io::ErrorKind::InvalidData => return self.strange(""),
            _ => error.kind().to_string(),
        };
        Error::new(ErrorKind::Unreachable, format!("ssh to {}", self.host), cause)
    }

    /// An answer that is none of the script's.
    pub(crate) fn strange(&self, line: &str) -> Error {
        let cause = if line.is_empty() { "answered nothing".to_owned() } else { format!("answered \"{line}\"") };
        Error::new(ErrorKind::Failed, format!("the bridge {}", self.host), cause)
            .remedy("its login shell must be a POSIX shell whose start-up files print nothing")
    }
}
