//! One bridge: a directory of a host, reached over ssh. What runs there are scripts; what they are
//! told are arguments, never parts of a command.

use market_core::error::{Error, ErrorKind};
use market_core::transfer::ssh::{CONNECTION_FAILED, Host, Ssh, connection_error};
use market_core::transfer::{Ended, Options, Process};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Begins every script: enters the directory, and defines what scripts share.
const PRELUDE: &str = include_str!("scripts/prelude.sh");

/// The exit statuses of scripts that mean something, as in `sysexits.h`.
const NOT_A_DIRECTORY: i32 = 65;
const NO_DIRECTORY: i32 = 66;
const NO_PERMISSION: i32 = 77;

/// What scripts say every five seconds while they are at work.
pub(crate) const WORKING: &str = "working";

/// How often a script says so at most: every five seconds for a day, and some.
pub(crate) const MAX_HEARTBEATS: usize = 20_000;

/// The longest answer, in bytes: a list of half a million files.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The longest answer of a script that answers one line, in bytes.
const MAX_WORD_BYTES: usize = 16 << 10;

/// A directory of a host.
#[derive(Clone)]
pub struct Bridge {
    host: Host,
    ssh: Ssh,
    attribute: &'static str,
    directory: PathBuf,
    options: Options,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bridge = f.debug_struct("Bridge");
        bridge.field("host", &self.host).field("directory", &self.directory);
        bridge.finish_non_exhaustive()
    }
}

impl Bridge {
    /// A directory of a host, and the attribute that names the directory (`PUBLIC_DIR`), for
    /// messages. The options say how ssh is called and how long it may take to connect and be
    /// silent.
    pub fn new(host: Host, attribute: &'static str, directory: PathBuf, options: Options) -> Self {
        Self { host, ssh: Ssh::new(&options), attribute, directory, options }
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// How it is reached.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The path of a name in the directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// The same bridge, with a connection for many bytes: see [`Ssh::for_bulk`].
    pub(crate) async fn for_bulk(&self) -> Self {
        Self { ssh: self.ssh.for_bulk(&self.host).await, ..self.clone() }
    }

    /// Starts a script of a POSIX shell. It runs in the directory, which is its `$1`; `arguments`
    /// are `$2` and so on.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub(crate) fn start(&self, script: &str, arguments: &[&str]) -> Result<Process, Error> {
        // From a template, which is text.
        let directory = self.directory.to_string_lossy();
        let arguments: Vec<&str> =
            std::iter::once(&*directory).chain(arguments.iter().copied()).collect();
        let command = self.ssh.command(&self.host, &format!("{PRELUDE}{script}"), &arguments);
        Process::start(&command, self.options.idle_timeout)
            .map_err(|error| Error::io("ssh", &error))
    }

    /// Runs a script of a POSIX shell to its end, in the directory, which is its `$1`; `arguments`
    /// are `$2` and so on. Returns the lines that it answers, without those that say `working`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] or [`ErrorKind::Denied`] when the bridge cannot be reached,
    /// [`ErrorKind::Config`] when it has no such directory, [`ErrorKind::Failed`] when the script
    /// fails or its answer is longer than 64 MiB.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> Result<Vec<String>, Error> {
        self.run_within(script, arguments, MAX_ANSWER_BYTES, MAX_HEARTBEATS).await
    }

    /// Runs a script that answers one line, of at most 4 KiB.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when it answers more or less than that.
    pub async fn ask(&self, script: &str, arguments: &[&str]) -> Result<String, Error> {
        let lines = self.run_within(script, arguments, MAX_WORD_BYTES, MAX_HEARTBEATS).await?;
        self.only_line(lines)
    }

    async fn run_within(
        &self,
        script: &str,
        arguments: &[&str],
        max_bytes: usize,
        max_heartbeats: usize,
    ) -> Result<Vec<String>, Error> {
        let mut process = self.start(script, arguments)?;
        process.close_input();
        let lines = self.lines(&mut process, max_bytes, max_heartbeats).await?;
        self.end(&mut process).await?;
        Ok(lines)
    }

    /// The lines of an answer. A bridge may be made to answer without end: there are limits.
    async fn lines(
        &self,
        process: &mut Process,
        max_bytes: usize,
        max_heartbeats: usize,
    ) -> Result<Vec<String>, Error> {
        let (mut lines, mut bytes, mut heartbeats) = (Vec::new(), 0, 0);
        while let Some(line) =
            process.read_line().await.map_err(|error| self.connection_lost(&error))?
        {
            if line == WORKING {
                heartbeats += 1;
            } else {
                // A line takes its room in a list too.
                bytes += line.len() + size_of::<String>();
                lines.push(line);
            }
            if bytes > max_bytes || heartbeats > max_heartbeats {
                return Err(self.answer_too_long());
            }
        }
        Ok(lines)
    }

    fn only_line(&self, lines: Vec<String>) -> Result<String, Error> {
        <[String; 1]>::try_from(lines)
            .map(|[line]| line)
            .map_err(|lines| self.unexpected_answer(lines.first().map_or("", String::as_str)))
    }

    /// Removes a file of the directory. Returns whether it was there.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn remove(&self, name: &str) -> Result<bool, Error> {
        self.remove_file(&[name]).await
    }

    /// Removes a file of the [staging directory](crate::STAGING). Returns whether it was there.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn remove_staged(&self, name: &str) -> Result<bool, Error> {
        self.remove_file(&[name, "staged"]).await
    }

    async fn remove_file(&self, arguments: &[&str]) -> Result<bool, Error> {
        let script = include_str!("scripts/remove.sh");
        let lines = self.run_within(script, arguments, MAX_WORD_BYTES, 0).await?;
        match self.only_line(lines)?.as_str() {
            "removed" => Ok(true),
            "absent" => Ok(false),
            other => Err(self.unexpected_answer(other)),
        }
    }

    /// Waits for the end of a script.
    ///
    /// # Errors
    /// What an exit status other than zero means.
    pub(crate) async fn end(&self, process: &mut Process) -> Result<(), Error> {
        let ended = process.wait().await.map_err(|error| self.connection_lost(&error))?;
        if ended.status.success() { Ok(()) } else { Err(self.failure(&ended)) }
    }

    fn failure(&self, ended: &Ended) -> Error {
        let cause = ended.cause();
        let kind = match ended.status.code() {
            Some(CONNECTION_FAILED) => return connection_error(&self.host, &cause).into(),
            Some(NOT_A_DIRECTORY | NO_DIRECTORY) => ErrorKind::Config,
            Some(NO_PERMISSION) => ErrorKind::Denied,
            _ => ErrorKind::Failed,
        };
        let subject = format!("{} {} on {}", self.attribute, self.directory.display(), self.host);
        Error::new(kind, subject, cause)
    }

    /// A connection that broke or was silent for too long.
    pub(crate) fn connection_lost(&self, error: &io::Error) -> Error {
        let cause = match error.kind() {
            io::ErrorKind::TimedOut => "was silent for too long".to_owned(),
            // A line that is too long.
            io::ErrorKind::InvalidData => return self.unexpected_answer(""),
            _ => error.kind().to_string(),
        };
        Error::new(ErrorKind::Unreachable, format!("ssh to {}", self.host), cause)
    }

    pub(crate) fn answer_too_long(&self) -> Error {
        let cause = "answered far more than it was asked for; the connection was closed";
        Error::new(ErrorKind::Failed, format!("the bridge {}", self.host), cause)
            .remedy("see what runs there")
    }

    /// The error for a line that the script of a call never answers.
    pub fn unexpected_answer(&self, line: &str) -> Error {
        let cause = if line.is_empty() {
            "answered nothing".to_owned()
        } else {
            format!("answered \"{line}\"")
        };
        Error::new(ErrorKind::Failed, format!("the bridge {}", self.host), cause)
            .remedy("its login shell must be a POSIX shell whose start-up files print nothing")
    }
}

/// The error in a line that a script answers with `tell_error`: [`ErrorKind::Full`] when the file
/// system or a quota has no room, else [`ErrorKind::Failed`]. `None` for any other line.
///
/// ```
/// use market_bridge::script_error;
/// use market_core::error::ErrorKind;
///
/// let error = script_error("error full No space left on device", "BASE_PATH /srv on bridge-1").unwrap();
/// assert_eq!(error.kind, ErrorKind::Full);
/// assert_eq!(error.to_string(), "BASE_PATH /srv on bridge-1: No space left on device");
/// assert!(script_error("prepared", "BASE_PATH /srv on bridge-1").is_none());
/// ```
pub fn script_error(line: &str, subject: impl Into<String>) -> Option<Error> {
    let (reason, cause) = line.strip_prefix("error ")?.split_once(' ')?;
    let kind = match reason {
        "full" => ErrorKind::Full,
        "failed" => ErrorKind::Failed,
        _ => return None,
    };
    Some(Error::new(kind, subject, cause))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use std::process::Command;

    /// The error that `tell_error` of the scripts makes of a message.
    fn told(message: &str) -> Option<Error> {
        let script = format!("{PRELUDE}tell_error \"$2\"");
        let output = Command::new("sh").args(["-c", &script, "sh", "/", message]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        script_error(String::from_utf8(output.stdout).unwrap().trim_end(), "the image")
    }

    #[test]
    fn a_script_tells_by_a_word_whether_room_is_left() {
        for (message, kind, cause) in [
            (
                "mkdir: x: No space left on device",
                ErrorKind::Full,
                "mkdir: x: No space left on device",
            ),
            ("first\ndd: Disk quota exceeded", ErrorKind::Full, "dd: Disk quota exceeded"),
            ("mv: Permission denied", ErrorKind::Failed, "mv: Permission denied"),
            ("-n \\c", ErrorKind::Failed, "-n \\c"),
        ] {
            let error = told(message).unwrap();
            assert_eq!((error.kind, error.cause.as_str()), (kind, cause));
        }
    }

    #[test]
    fn other_lines_of_a_script_are_no_errors() {
        for line in ["", "error", "error full", "error other cause", "errors", "ready x"] {
            assert!(script_error(line, "the image").is_none(), "{line:?}");
        }
    }
}
