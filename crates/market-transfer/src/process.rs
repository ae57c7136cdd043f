//! A child process that bytes go to and come from.

use crate::location::redacted_line;
use crate::{Error, ErrorKind, Secrets};
use bytes::{Bytes, BytesMut};
use market_redact::without_secrets_of_urls;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

/// How much of what a child writes to standard error is kept: its end.
const KEPT_BYTES: usize = 16 << 10;

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;

/// What the kernel holds between two processes, where it allows that much: fewer switches between
/// them.
const PIPE_BYTES: usize = 1 << 20;

/// A running child process. It and the processes of its group are killed when this is dropped
/// before [`wait`](Self::wait) has returned.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: JoinHandle<String>,
    buffer: BytesMut,
    group: Group,
    idle_timeout: Duration,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The end of what it wrote to standard error, at most 16 KiB.
    pub stderr: String,
}

impl Ended {
    /// The reason that it gave: the last line of standard error that is not blank, or else its exit
    /// status. The secrets of URLs are hidden; any other secret that it was given is not:
    /// see [`cause_without`](Self::cause_without).
    pub fn cause(&self) -> String {
        without_secrets_of_urls(&self.last_line()).into_owned()
    }

    /// The same without the secrets that the child was given, and cut to 256 characters.
    pub fn cause_without(&self, secrets: &Secrets) -> String {
        redacted_line(&secrets.hide(&self.last_line()))
    }

    /// The same as the child wrote it: not to be shown.
    fn last_line(&self) -> String {
        let last = self.stderr.split(['\n', '\r']).map(str::trim).rfind(|line| !line.is_empty());
        last.map_or_else(|| format!("ended with {}", self.status), str::to_owned)
    }
}

impl Process {
    /// Starts a command in a process group of its own, all three standard streams connected to this
    /// process. `idle_timeout` is how long it may be silent, or not take what is written.
    ///
    /// Must be called within a tokio runtime that has I/O enabled.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: impl Into<Command>, idle_timeout: Duration) -> io::Result<Self> {
        let mut command = tokio::process::Command::from(command.into());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = Group(child.id());
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        // Only faster: a kernel that refuses keeps its own size.
        let _ = stdin.as_ref().map(|pipe| rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES));
        let _ = stdout.as_ref().map(|pipe| rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES));
        let stderr = tokio::spawn(last_of(child.stderr.take()));
        Ok(Self { child, stdin, stdout, stderr, buffer: BytesMut::new(), group, idle_timeout })
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    /// `BrokenPipe` when it does not read any more, `TimedOut` when it takes nothing for too long.
    pub async fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        while !data.is_empty() {
            match tokio::time::timeout(self.idle_timeout, stdin.write(data))
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??
            {
                0 => return Err(io::ErrorKind::BrokenPipe.into()),
                count => data = &data[count..],
            }
        }
        Ok(())
    }

    /// Writes all of its standard input in the background, and closes it. The child need not read
    /// it.
    pub(crate) fn feed(&mut self, message: Arc<[u8]>) {
        let Some(mut stdin) = self.stdin.take() else { return };
        tokio::spawn(async move { stdin.write_all(&message).await });
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next bytes of its standard output; `None` at the end.
    ///
    /// # Errors
    /// `TimedOut` when it is silent for too long.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(Some(self.buffer.split().freeze()))
    }

    /// The next line of its standard output, without its end; `None` at the end.
    ///
    /// # Errors
    /// As [`read`](Self::read); `InvalidData` for a line of more than 4 KiB.
    pub async fn read_line(&mut self) -> io::Result<Option<String>> {
        const LONGEST: usize = 4_096;
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.buffer.len() > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if !self.fill().await? {
                let rest = self.buffer.split();
                return Ok((!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned()));
            }
        }
    }

    /// All of its standard output, and how it ended: an answer of at most `max_bytes` bytes that is
    /// complete within a time, whether or not the child is ever silent.
    ///
    /// # Errors
    /// `FileTooLarge` and `TimedOut`, and what the system reports. Then it is to be dropped.
    pub async fn answer(
        &mut self,
        max_bytes: usize,
        time_limit: Duration,
    ) -> io::Result<(Vec<u8>, Ended)> {
        let answered = tokio::time::timeout(time_limit, async {
            let mut answer = Vec::new();
            while let Some(data) = self.read().await? {
                if data.len() > max_bytes - answer.len() {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                answer.extend_from_slice(&data);
            }
            Ok((answer, self.wait().await?))
        });
        answered.await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn fill(&mut self) -> io::Result<bool> {
        let Some(stdout) = &mut self.stdout else { return Ok(false) };
        self.buffer.reserve(READ_BYTES);
        let read = tokio::time::timeout(self.idle_timeout, stdout.read_buf(&mut self.buffer));
        Ok(read.await.map_err(|_| io::ErrorKind::TimedOut)?? > 0)
    }

    /// Closes its standard streams and waits for its end. What it still writes is lost.
    ///
    /// # Errors
    /// `TimedOut` when it does not end within the idle time-out.
    pub async fn wait(&mut self) -> io::Result<Ended> {
        self.stdin = None;
        self.stdout = None;
        let waited = tokio::time::timeout(self.idle_timeout, async {
            let status = self.child.wait().await?;
            self.group.0 = None;
            // A process that it left running may hold its standard error open: its end is not
            // waited for.
            let stderr = tokio::time::timeout(Duration::from_millis(500), &mut self.stderr).await;
            Ok(Ended { status, stderr: stderr.ok().and_then(Result::ok).unwrap_or_default() })
        });
        waited.await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

/// What went wrong with a child, for what [`Process`] and [`CommandSpec`](crate::CommandSpec)
/// report; `subject` is what was read or written through it.
pub fn process_error(subject: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::new(ErrorKind::Unreachable, subject, "was silent for too long")
        }
        io::ErrorKind::FileTooLarge => {
            Error::new(ErrorKind::TooLarge, subject, "answers without end")
        }
        _ => Error::io(subject, error),
    }
}

/// Reads to the end and keeps the last of it.
async fn last_of(stream: Option<ChildStderr>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = BytesMut::with_capacity(KEPT_BYTES);
    while matches!(stream.read_buf(&mut kept).await, Ok(count) if count > 0) {
        if kept.len() > 2 * KEPT_BYTES {
            let _ = kept.split_to(kept.len() - KEPT_BYTES);
        }
        kept.reserve(KEPT_BYTES);
    }
    let start = kept.len().saturating_sub(KEPT_BYTES);
    String::from_utf8_lossy(&kept[start..]).into_owned()
}

/// Kills a process group when it is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id =
            self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("id", &self.child.id()).finish_non_exhaustive()
    }
}
