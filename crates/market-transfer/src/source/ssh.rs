//! A file or block device of another host as the origin of a stream, read over ssh.
//!
//! A file tells what it is before its bytes and after them: one that changes meanwhile is noticed,
//! and one that is still the same is continued where a connection broke. A block device is read
//! again from its start.

use super::origin::{Opened, Origin};
use crate::host::{Host, parse_host_path};
use crate::location::redacted_line;
use crate::process::process_error;
use crate::retry::RetryableError;
use crate::ssh::{CONNECTION_FAILED, Ssh, failed_connection};
use crate::{Error, ErrorKind, Location, Options, Process, Scheme, Source};
use bytes::Bytes;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const SCRIPT: &str = include_str!("../scripts/read_file.sh");

/// What begins the lines that the script writes.
const WORD: &str = "market-transfer ";

/// More than this after the bytes is no line of the script's.
const LONGEST_END: usize = 512;

/// `ssh://[user@]host:path`; a relative path is below the user's home.
pub(crate) struct SshScheme;

impl Scheme for SshScheme {
    fn names(&self) -> &[&str] {
        &["ssh"]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let (host, path) =
            parse_host_path(location.rest()).map_err(|cause| location.malformed(cause))?;
        Source::open_on(&host, path, options).await
    }
}

pub(crate) struct RemoteFile {
    ssh: Ssh,
    host: Host,
    path: String,
    subject: String,
    idle_timeout: Duration,
    /// The machine that it must not be on, or `-`.
    not_on: String,
    process: Option<Process>,
    /// What the first line said about the file.
    stamp: Option<Stamp>,
    /// Bytes that are still to come, when its length is known.
    left: Option<u64>,
    /// What came after them.
    end: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    length: Option<u64>,
    /// Whether it is a file, which can tell whether it is the same; the text by which it tells.
    file: bool,
    text: String,
}

impl Stamp {
    fn parse(line: &str) -> Option<Self> {
        let text = line.strip_prefix(WORD)?.trim_end().to_owned();
        let (length, identity) = text.split_once(' ')?;
        let file = identity != "device";
        let length = length.parse().ok();
        (!file || length.is_some()).then_some(Self { length, file, text })
    }
}

impl RemoteFile {
    pub(crate) async fn new(host: Host, path: String, subject: String, options: &Options) -> Self {
        let ssh = Ssh::new(options).for_bulk(&host).await;
        let not_on = if options.ssh_elsewhere { this_machine() } else { "-".to_owned() };
        Self {
            ssh,
            host,
            path,
            subject,
            idle_timeout: options.idle_timeout,
            not_on,
            process: None,
            stamp: None,
            left: None,
            end: Vec::new(),
        }
    }

    fn error(&self, kind: ErrorKind, cause: impl Into<String>) -> Error {
        Error::new(kind, &self.subject, cause)
    }

    /// Waits for the end of the process: why there was no more to read.
    async fn ended(&mut self) -> Result<(), RetryableError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let ended = process
            .wait()
            .await
            .map_err(|error| RetryableError::temporary(process_error(&self.subject, &error)))?;
        let cause = redacted_line(&ended.cause());
        match ended.status.code() {
            Some(0) => Ok(()),
            Some(66) => Err(self.error(ErrorKind::Absent, cause).into()),
            Some(77) => Err(self.error(ErrorKind::Denied, cause).into()),
            Some(78) => {
                let cause = "leads to this machine itself, whose files are read by their paths, without ssh://";
                Err(self.error(ErrorKind::Denied, cause).into())
            }
            Some(65) => Err(self.error(ErrorKind::Unsupported, cause).into()),
            Some(CONNECTION_FAILED) => {
                Err(failed_connection(&self.subject, &self.host, &ended.cause()))
            }
            _ => Err(RetryableError::temporary(self.error(ErrorKind::Failed, cause))),
        }
    }

    /// Compares the line after the bytes with the one before them.
    fn compare_end(&self) -> Result<(), Error> {
        let Some(stamp) = self.stamp.as_ref().filter(|stamp| stamp.file) else { return Ok(()) };
        let end = String::from_utf8_lossy(&self.end);
        if Stamp::parse(end.trim_start_matches('\n')).as_ref() == Some(stamp) {
            return Ok(());
        }
        Err(self.error(ErrorKind::Changed, "changed while it was read"))
    }
}

/// What identifies the running kernel and its root directory, as scripts/read_file.sh compares it: a
/// host may have many names.
fn this_machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let root = std::fs::metadata("/")
        .map(|root| format!("{}:{}", root.dev(), root.ino()))
        .unwrap_or_default();
    format!("{} {root}", boot.trim())
}

impl Origin for RemoteFile {
    async fn open(&mut self, at: u64) -> Result<Opened, RetryableError> {
        self.process = None;
        let start = if self.stamp.as_ref().is_some_and(|stamp| stamp.file) { at } else { 0 };
        let command =
            self.ssh.command(&self.host, SCRIPT, &[&self.path, &start.to_string(), &self.not_on]);
        let process = command.start(self.idle_timeout);
        let mut process = process.map_err(|error| Error::io("ssh", &error))?;
        let line = process.read_line().await;
        self.process = Some(process);
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.ended().await?;
                return Err(self.error(ErrorKind::Failed, "the host answered nothing").into());
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => {
                return Err(RetryableError::temporary(process_error(&self.subject, &error)));
            }
        };
        let Some(stamp) = Stamp::parse(&line) else {
            let cause = format!(
                "the login shell of {} prints text of its own: silence its start-up files",
                self.host
            );
            return Err(self.error(ErrorKind::Malformed, cause).into());
        };
        if self.stamp.as_ref().is_some_and(|before| *before != stamp) {
            return Err(self.error(ErrorKind::Changed, "changed between two readings").into());
        }
        self.left = stamp.length.map(|length| length.saturating_sub(start));
        self.end.clear();
        let total = stamp.length;
        self.stamp = Some(stamp);
        Ok(Opened::new(start, total))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        loop {
            let Some(process) = &mut self.process else { return Ok(None) };
            let read = process.read().await;
            let Some(mut data) = read
                .map_err(|error| RetryableError::temporary(process_error(&self.subject, &error)))?
            else {
                self.ended().await?;
                // A file that became shorter ends here too: its first line differs when it is opened
                // again.
                if self.left.is_none_or(|left| left == 0) {
                    self.compare_end()?;
                }
                return Ok(None);
            };
            let Some(left) = &mut self.left else { return Ok(Some(data)) };
            let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
            let end = data.split_off(wanted);
            *left -= wanted as u64;
            self.end.extend_from_slice(&end);
            if self.end.len() > LONGEST_END {
                return Err(self
                    .error(ErrorKind::Changed, "became longer while it was read")
                    .into());
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_of_the_script_are_stamps() {
        let stamp = Stamp::parse("market-transfer 10 7 1 2").unwrap();
        assert_eq!((stamp.length, stamp.file), (Some(10), true));
        let device = Stamp::parse("market-transfer - device").unwrap();
        assert_eq!((device.length, device.file), (None, false));
        for other in
            ["", "Welcome", "market-transfer", "market-transfer 10", "market-transfer x 7 1 2"]
        {
            assert_eq!(Stamp::parse(other), None, "{other}");
        }
    }
}
