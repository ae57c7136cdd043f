//! Running one executable: its process group, its output within bounds, its end.

use crate::death::{End, killed_for_memory};
use crate::output::Output;
use crate::protocol::Level;
use crate::redaction::Redaction;
use crate::said::Said;
use crate::splitter::{Line, Splitter};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

/// How long an executable may take to clean up after it was asked to stop. An upload that is given
/// up is taken back by a server that may be slow itself.
const GRACE: Duration = Duration::from_secs(30);

/// The same when `one_market` itself has to end.
const LAST_GRACE: Duration = Duration::from_millis(1_200);

/// How long the pipes of an executable that has ended are read on: another process may hold them
/// open for ever.
const LEFT_OPEN: Duration = Duration::from_millis(300);

/// Why an action is to stop. A later reason is a stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// `oned` does not want it any more.
    Cancelled,
    /// `one_market` ends.
    Ending,
}

/// What is to be run.
pub(crate) struct Job {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) stdin: Option<Vec<u8>>,
    /// How much it may write to standard output; `None`: it is not looked at.
    pub(crate) most_bytes: Option<usize>,
    pub(crate) timeout: Option<Duration>,
}

/// How it ended.
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) stdout: Vec<u8>,
    /// There was something for it on standard input, and it took nothing of that.
    pub(crate) read_nothing: bool,
    /// Why it was ended, when it did not end by itself.
    pub(crate) ended: Option<Ended>,
    /// The plain lines of its standard error.
    pub(crate) words: String,
}

/// Why an executable was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Stopped(Stop),
    TimedOut(Duration),
    /// It wrote more than it may.
    TooMuch,
}

impl Ended {
    /// In words, about an executable.
    pub(crate) fn cause(self, name: &str) -> String {
        match self {
            Self::Stopped(Stop::Cancelled) => "cancelled".to_owned(),
            Self::Stopped(Stop::Ending) => "cancelled: one_market ends".to_owned(),
            Self::TimedOut(limit) => {
                format!("{name} took longer than {} s and was ended", limit.as_secs())
            }
            Self::TooMuch => format!("{name} wrote more than can be taken and was ended"),
        }
    }
}

/// What stands around every run of an action.
pub(crate) struct ExecContext<'a> {
    pub(crate) output: &'a Output,
    /// The id of the action.
    pub(crate) id: i64,
    pub(crate) redaction: &'a Redaction,
    /// What a monitor has said the last time.
    pub(crate) said: Option<&'a Said>,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    pub(crate) variables: &'a [(String, String)],
}

impl ExecContext<'_> {
    /// Runs an executable to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn run(&self, job: Job) -> io::Result<Outcome> {
        let mut command = Command::new(&job.executable);
        command.args(&job.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(if job.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(if job.most_bytes.is_some() { Stdio::piped() } else { Stdio::null() });
        let killed_before = killed_for_memory();
        let mut child = command.stderr(Stdio::piped()).process_group(0).spawn()?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));

        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let message = job.stdin.unwrap_or_default();
        let mut fed = Fed::new(stdin.as_ref());
        let overflow = Notify::new();
        let mut taken = Taken { most: job.most_bytes.unwrap_or(0), bytes: Vec::new() };
        let mut words = Words::new(self);
        let ended = {
            let drain = async { tokio::join!(taken.read(stdout, &overflow), words.read(stderr)) };
            let (mut drain, mut feed) = (pin!(drain), pin!(fed.write(stdin, &message)));
            let mut end = pin!(self.end(&mut child, &group, job.timeout, &overflow));
            let (mut all_fed, mut drained) = (false, false);
            let ended = loop {
                tokio::select! {
                    biased;
                    // First: whoever floods its output does not put off its end.
                    ended = &mut end => break ended,
                    () = &mut feed, if !all_fed => all_fed = true,
                    _ = &mut drain, if !drained => drained = true,
                }
            };
            // What it has left running goes too: its pipes end, and nothing stays.
            group.signal(Signal::KILL);
            if !drained && timeout(LEFT_OPEN, drain).await.is_err() {
                let text = "one_market: a process that it left behind holds its output open";
                self.output.log(Level::Debug, Some(self.id), text);
            }
            ended
        };
        let (status, ended) = ended?;
        // It was killed in the moment of its end; by now the number may be another's.
        std::mem::forget(group);
        Ok(Outcome {
            end: End::of(status, killed_for_memory() > killed_before),
            stdout: taken.bytes,
            read_nothing: !message.is_empty() && fed.was_left(),
            words: words.finish(status.success() && ended.is_none()),
            ended,
        })
    }

    /// Waits for the end, and brings it about when it has to come: it is asked first, so that it
    /// can clean up.
    async fn end(
        &self,
        child: &mut Child,
        group: &Group,
        limit: Option<Duration>,
        overflow: &Notify,
    ) -> io::Result<(ExitStatus, Option<Ended>)> {
        let mut stop = self.stop.clone();
        let mut answered = None;
        let time_out = limit.map(|limit| (Instant::now() + limit, limit));
        let mut ended: Option<Ended> = None;
        let mut kill_at: Option<Instant> = None;
        loop {
            let asked = *stop.borrow_and_update();
            let (reason, grace) = if let (Some(asked), true) = (asked, asked > answered) {
                answered = Some(asked);
                (Ended::Stopped(asked), if asked == Stop::Ending { LAST_GRACE } else { GRACE })
            } else {
                tokio::select! {
                    status = child.wait() => return Ok((status?, ended)),
                    Ok(()) = stop.changed() => continue,
                    () = overflow.notified(), if ended.is_none() => (Ended::TooMuch, GRACE),
                    limit = at(time_out), if ended.is_none() => (Ended::TimedOut(limit), GRACE),
                    () = at(kill_at.map(|time| (time, ()))) => {
                        group.signal(Signal::KILL);
                        kill_at = None;
                        continue;
                    }
                }
            };
            group.signal(Signal::TERM);
            // One that somebody has stopped hears nothing before it goes on.
            group.signal(Signal::CONT);
            // The first reason stays; an end that is near cuts its grace short.
            ended.get_or_insert(reason);
            let time = Instant::now() + grace;
            kill_at = Some(kill_at.map_or(time, |earlier| earlier.min(time)));
        }
    }
}

/// Waits until a time that may never come.
async fn at<T>(time: Option<(Instant, T)>) -> T {
    match time {
        Some((time, what)) => {
            sleep_until(time).await;
            what
        }
        None => std::future::pending().await,
    }
}

/// A process group. What is left of it is killed in the end, whatever the reason.
struct Group(Option<Pid>);

impl Group {
    /// The number of a group is not given to another process while one of the group lives; and
    /// there is no moment between its end and this in which the system could go through all other
    /// numbers.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// What is written to the standard input of an executable.
struct Fed {
    written: usize,
    /// The other end of the pipe, kept open: what is still in it in the end was not read.
    pipe: Option<File>,
}

impl Fed {
    fn new(stdin: Option<&ChildStdin>) -> Self {
        let pipe =
            stdin.and_then(|stdin| File::open(format!("/proc/self/fd/{}", stdin.as_raw_fd())).ok());
        Self { written: 0, pipe }
    }

    /// One that does not want to read need not.
    async fn write(&mut self, stdin: Option<ChildStdin>, message: &[u8]) {
        let Some(mut stdin) = stdin else { return };
        while let Ok(count @ 1..) = stdin.write(&message[self.written..]).await {
            self.written += count;
        }
    }

    /// Whether all of it is still in the pipe. One that has ended at once may have got nothing.
    fn was_left(&self) -> bool {
        let left = self.pipe.as_ref().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
        left == Some(self.written as u64)
    }
}

/// Standard output, up to a bound.
struct Taken {
    most: usize,
    bytes: Vec<u8>,
}

impl Taken {
    async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>, overflow: &Notify) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if self.bytes.len() + count > self.most {
                self.bytes = Vec::new();
                overflow.notify_one();
                return;
            }
            self.bytes.extend_from_slice(&buffer[..count]);
            yield_now().await;
        }
    }
}

const BUFFER_BYTES: usize = 64 << 10;

/// How much of one line of standard error is looked at: more than is shown of any.
const MAX_LINE_BYTES: usize = 4 << 10;

/// Of a line that was cut, so many bytes at the end are not shown: they may be the beginning of a
/// key, which cannot be told any more.
const CUT_BYTES: usize = 256;

/// How much of the log lines before is looked at again with the next: a key that is wrapped over
/// several is known by its second line.
const MAX_BEFORE_BYTES: usize = 256;

/// How many lines of one executable go to the log.
const MAX_LOG_LINES: usize = 500;

/// How much of the plain lines is kept: the first of them, and the last.
const MAX_WORDS_BYTES: usize = 4 << 10;

/// Standard error: log lines go to the log, plain ones are what a failure says.
struct Words<'a> {
    around: &'a ExecContext<'a>,
    splitter: Splitter,
    /// Log lines that have come together: a key may be wrapped over several.
    together: Vec<(Level, String)>,
    /// The end of those that came before them.
    before: String,
    log_lines: usize,
    left_out: u64,
    plain: Vec<String>,
    plain_bytes: usize,
    /// The last plain line that was not kept.
    last: Vec<u8>,
    /// The last log line of level ERROR: some have no other words.
    error: String,
}

impl<'a> Words<'a> {
    fn new(around: &'a ExecContext<'a>) -> Self {
        Self {
            around,
            splitter: Splitter::new(MAX_LINE_BYTES),
            together: Vec::new(),
            before: String::new(),
            log_lines: 0,
            left_out: 0,
            plain: Vec::new(),
            plain_bytes: 0,
            last: Vec::new(),
            error: String::new(),
        }
    }

    async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut splitter = self.take_splitter();
            splitter.feed(&buffer[..count], |line| self.line(&line));
            self.splitter = splitter;
            self.log_together();
            yield_now().await;
        }
    }

    fn take_splitter(&mut self) -> Splitter {
        std::mem::replace(&mut self.splitter, Splitter::new(MAX_LINE_BYTES))
    }

    fn line(&mut self, line: &Line<'_>) {
        let length =
            if line.cut { line.bytes.len().saturating_sub(CUT_BYTES) } else { line.bytes.len() };
        let line = line.bytes[..length].trim_ascii();
        let Some(first) = line.first() else { return };
        // Most of a flood is passed over without a closer look.
        if b"EWID".contains(first) {
            let text = String::from_utf8_lossy(line);
            if let Some((level, text)) = Level::of_line(&text) {
                return self.log(level, text);
            }
        }
        if self.plain_bytes < MAX_WORDS_BYTES {
            self.plain_bytes += line.len();
            self.plain.push(String::from_utf8_lossy(line).into_owned());
        } else {
            self.last.clear();
            self.last.extend_from_slice(line);
        }
    }

    fn log(&mut self, level: Level, text: &str) {
        if level == Level::Error {
            self.error.clear();
            self.error.push_str(text);
        }
        if self.log_lines >= MAX_LOG_LINES {
            self.left_out += 1;
            return;
        }
        self.log_lines += 1;
        self.together.push((level, text.to_owned()));
    }

    fn log_together(&mut self) {
        let lines = std::mem::take(&mut self.together);
        if lines.is_empty() {
            return;
        }
        let texts: Vec<_> =
            self.before.split('\n').chain(lines.iter().map(|(_, text)| text.as_str())).collect();
        let shown = self.shown(texts.iter().copied());
        let all = texts.join("\n");
        self.before =
            all[all.ceil_char_boundary(all.len().saturating_sub(MAX_BEFORE_BYTES))..].to_owned();
        for ((level, _), text) in lines.iter().zip(&shown[shown.len() - lines.len()..]) {
            let repeated =
                *level == Level::Info && self.around.said.is_some_and(|said| said.again(text));
            let level = if repeated { Level::Debug } else { *level };
            self.around.output.log(level, Some(self.around.id), text);
        }
    }

    /// Lines without keys, as many as there are: they are looked at as one text.
    fn shown<'l>(&self, lines: impl Iterator<Item = &'l str>) -> Vec<String> {
        let text = lines.collect::<Vec<_>>().join("\n");
        self.around.redaction.apply(&text).split('\n').map(str::to_owned).collect()
    }

    /// The plain lines: of a failure they are its message, each with a blank before the next, or
    /// else its last ERROR line is; of a success they are log lines.
    fn finish(mut self, success: bool) -> String {
        // A last line without an end counts too, even if its pipe is held open by somebody.
        self.take_splitter().end(|line| self.line(&line));
        let mut plain = std::mem::take(&mut self.plain);
        if !self.last.is_empty() {
            plain.extend(["...".to_owned(), String::from_utf8_lossy(&self.last).into_owned()]);
        }
        let silent = plain.is_empty();
        if success {
            plain.iter().for_each(|line| self.log(Level::Debug, line));
        }
        self.log_together();
        if self.left_out > 0 {
            let text =
                format!("one_market: {} further log lines of it were left out", self.left_out);
            self.around.output.log(Level::Warn, Some(self.around.id), &text);
        }
        match silent {
            _ if success => String::new(),
            true => self.around.redaction.apply(&self.error).into_owned(),
            false => joined(&self.shown(plain.iter().map(String::as_str))),
        }
    }
}

/// How long a message may be before its middle is left out.
const MAX_MESSAGE_CHARS: usize = 1_900;

/// Lines as one text, the middle left out when it is too long: what failed stands in the first
/// lines or in the last.
fn joined(lines: &[String]) -> String {
    let text = lines.join(" ");
    let count = text.chars().count();
    if count <= MAX_MESSAGE_CHARS {
        return text;
    }
    let (head, tail) = (MAX_MESSAGE_CHARS * 2 / 3, MAX_MESSAGE_CHARS / 3);
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{begin} ... {end}")
}
