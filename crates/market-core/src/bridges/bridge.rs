//! One bridge: a host that holds a directory, reached over ssh. What runs there are scripts; what
//! they are told are arguments, never parts of a command.

use crate::error::{Error, ErrorKind};
use market_transfer::ssh::{CONNECTION_FAILED, Host, Ssh, connection_error};
use market_transfer::{Ended, Options, Process};
use std::io;
use std::path::PathBuf;

/// Begins every script: enters the directory.
const ENTER: &str = include_str!("scripts/enter.sh");

/// What scripts say now and then while they are at work: a connection that is silent for too long
/// is given up.
pub(super) const WORKING: &str = "working";

/// More often than this no script says it: once in five seconds, for a day at most.
pub(super) const MAX_BEATS: usize = 20_000;

/// A longer answer is none of ours: a list of half a million files has so many bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The same for a script that answers one line.
const MAX_WORD_BYTES: usize = 16 << 10;

/// A host and a directory there.
#[derive(Clone)]
pub struct Bridge {
    /// The host.
    pub host: Host,
    ssh: Ssh,
    attribute: &'static str,
    directory: PathBuf,
    options: Options,
}

impl Bridge {
    /// A directory of a host, and the attribute that names it, for messages.
    pub fn new(host: Host, attribute: &'static str, directory: PathBuf, options: Options) -> Self {
        Self { host, ssh: Ssh::new(&options), attribute, directory, options }
    }

    /// How it is reached.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A path there; with it, an error's subject.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Prepares for many bytes.
    pub async fn for_bulk(&self) -> Self {
        Self { ssh: self.ssh.for_bulk(&self.host).await, ..self.clone() }
    }

    /// Starts a script of a POSIX shell. It runs in the directory, which is its `$1`; `arguments`
    /// follow.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub fn start(&self, script: &str, arguments: &[&str]) -> Result<Process, Error> {
        // Templates hold text.
        let directory = self.directory.to_string_lossy();
        let arguments: Vec<&str> =
            std::iter::once(&*directory).chain(arguments.iter().copied()).collect();
        let command = self.ssh.command(&self.host, &format!("{ENTER}{script}"), &arguments);
        Process::start(&command, self.options.idle_timeout)
            .map_err(|error| Error::io("ssh", &error))
    }

    /// Runs a script to its end; the lines that it answers, apart from those that say "working".
    ///
    /// # Errors
    /// When the bridge cannot be reached, or the script fails.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> Result<Vec<String>, Error> {
        let mut process = self.start(script, arguments)?;
        process.close_input();
        let lines = self.lines(&mut process, MAX_ANSWER_BYTES, MAX_BEATS).await?;
        self.end(&mut process).await?;
        Ok(lines)
    }

    /// The lines of an answer of at most so many bytes. A bridge may have any mind to say more, and
    /// never to end.
    async fn lines(
        &self,
        process: &mut Process,
        most_bytes: usize,
        most_beats: usize,
    ) -> Result<Vec<String>, Error> {
        let (mut lines, mut bytes, mut beats) = (Vec::new(), 0, 0);
        while let Some(line) = process.read_line().await.map_err(|error| self.broken(&error))? {
            if line == WORKING {
                beats += 1;
            } else {
                // A line takes its room in a list too.
                bytes += line.len() + size_of::<String>();
                lines.push(line);
            }
            if bytes > most_bytes || beats > most_beats {
                return Err(self.endless());
            }
        }
        Ok(lines)
    }

    /// Runs a script that answers one line.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when it answers more or less.
    pub async fn ask(&self, script: &str, arguments: &[&str]) -> Result<String, Error> {
        self.ask_in_time(script, arguments, MAX_BEATS).await
    }

    /// As [`ask`](Self::ask), of a script that says so often at most that it is at work.
    async fn ask_in_time(
        &self,
        script: &str,
        arguments: &[&str],
        most_beats: usize,
    ) -> Result<String, Error> {
        let mut process = self.start(script, arguments)?;
        process.close_input();
        let lines = self.lines(&mut process, MAX_WORD_BYTES, most_beats).await?;
        self.end(&mut process).await?;
        match <[String; 1]>::try_from(lines) {
            Ok([word]) => Ok(word),
            Err(lines) => Err(self.strange(lines.first().map_or("", String::as_str))),
        }
    }

    /// Removes a file below the directory; whether it was there.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn remove(&self, path: &str) -> Result<bool, Error> {
        self.removed(&[path]).await
    }

    /// Removes a file from the staging directory; whether it was there.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn remove_staged(&self, name: &str) -> Result<bool, Error> {
        self.removed(&[name, "staged"]).await
    }

    async fn removed(&self, arguments: &[&str]) -> Result<bool, Error> {
        match self.ask_in_time(include_str!("scripts/remove.sh"), arguments, 0).await?.as_str() {
            "removed" => Ok(true),
            "absent" => Ok(false),
            other => Err(self.strange(other)),
        }
    }

    /// Waits for the end of a script, which must be a good one.
    ///
    /// # Errors
    /// What the end means.
    pub async fn end(&self, process: &mut Process) -> Result<(), Error> {
        let ended = process.wait().await.map_err(|error| self.broken(&error))?;
        if ended.status.success() { Ok(()) } else { Err(self.failure(&ended)) }
    }

    /// What a bad end of a script means.
    fn failure(&self, ended: &Ended) -> Error {
        let cause = ended.cause();
        let kind = match ended.status.code() {
            Some(CONNECTION_FAILED) => return connection_error(&self.host, &cause).into(),
            Some(65 | 66) => ErrorKind::Config,
            Some(77) => ErrorKind::Denied,
            _ => ErrorKind::Failed,
        };
        Error::new(
            kind,
            format!("{} {} on {}", self.attribute, self.directory.display(), self.host),
            cause,
        )
    }

    /// A connection that broke or fell silent.
    pub fn broken(&self, error: &io::Error) -> Error {
        let cause = match error.kind() {
            io::ErrorKind::TimedOut => "was silent for too long".to_owned(),
            io::ErrorKind::InvalidData => return self.strange(""),
            _ => error.kind().to_string(),
        };
        Error::new(ErrorKind::Unreachable, format!("ssh to {}", self.host), cause)
    }

    /// An answer that does not end.
    pub(super) fn endless(&self) -> Error {
        let cause = "answered far more than it was asked for, and was not listened to any longer";
        Error::new(ErrorKind::Failed, format!("the bridge {}", self.host), cause)
            .remedy("see what runs there")
    }

    /// An answer that is none of the script's.
    pub fn strange(&self, line: &str) -> Error {
        let cause = if line.is_empty() {
            "answered nothing".to_owned()
        } else {
            format!("answered \"{line}\"")
        };
        Error::new(ErrorKind::Failed, format!("the bridge {}", self.host), cause)
            .remedy("its login shell must be a POSIX shell whose start-up files print nothing")
    }
}
