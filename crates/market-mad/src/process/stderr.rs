//! Reading the standard error of an executable: log lines go to the log of `oned`, plain lines are
//! the message of a failure.

use super::{BUFFER_BYTES, ExecContext};
use crate::line_splitter::{Line, LineSplitter};
use crate::protocol::Level;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::yield_now;

/// How many bytes of one line are looked at: more than is shown of any.
const MAX_LINE_BYTES: usize = 4 << 10;

/// How many bytes at the end of a truncated line are not shown. They may be the beginning of a
/// secret, which cannot be recognised without its rest.
const HIDDEN_TAIL_BYTES: usize = 256;

/// How many bytes of earlier log lines are redacted again together with the next ones: a secret
/// that is wrapped over several lines is recognised from its second line on.
const MAX_OVERLAP_BYTES: usize = 256;

/// How many log lines of one executable go to the log.
const MAX_LOG_LINES: usize = 500;

/// How many bytes of plain lines are kept from the beginning; of the rest the last line is kept.
const MAX_PLAIN_BYTES: usize = 4 << 10;

/// How long the message of a failure may be before its middle is left out.
const MAX_MESSAGE_CHARS: usize = 1_900;

/// Reads standard error line by line.
pub(super) struct StderrReader<'a> {
    context: &'a ExecContext<'a>,
    splitter: LineSplitter,
    /// Log lines that were read together, and are redacted together: a secret may be wrapped over
    /// several.
    batch: Vec<(Level, String)>,
    /// The end of the log lines before the batch.
    overlap: String,
    log_lines: usize,
    dropped_log_lines: u64,
    plain_lines: Vec<String>,
    plain_bytes: usize,
    /// The last plain line behind those that are kept.
    last_plain_line: Vec<u8>,
    /// The last log line of level ERROR: the message of a failure without plain lines.
    last_error: String,
}

impl<'a> StderrReader<'a> {
    pub(super) fn new(context: &'a ExecContext<'a>) -> Self {
        Self {
            context,
            splitter: LineSplitter::new(MAX_LINE_BYTES),
            batch: Vec::new(),
            overlap: String::new(),
            log_lines: 0,
            dropped_log_lines: 0,
            plain_lines: Vec::new(),
            plain_bytes: 0,
            last_plain_line: Vec::new(),
            last_error: String::new(),
        }
    }

    /// Reads to the end.
    pub(super) async fn read(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let mut splitter = self.take_splitter();
            splitter.feed(&buffer[..count], |line| self.line(&line));
            self.splitter = splitter;
            self.log_batch();
            yield_now().await;
        }
    }

    /// The splitter, so that it can call a method of this for each line.
    fn take_splitter(&mut self) -> LineSplitter {
        std::mem::replace(&mut self.splitter, LineSplitter::new(MAX_LINE_BYTES))
    }

    fn line(&mut self, line: &Line<'_>) {
        let hidden = if line.truncated { HIDDEN_TAIL_BYTES } else { 0 };
        let line = line.bytes[..line.bytes.len().saturating_sub(hidden)].trim_ascii();
        let Some(first) = line.first() else { return };
        // By its first byte most of a flood of plain lines is passed over without more work.
        if b"EWID".contains(first) {
            let text = String::from_utf8_lossy(line);
            if let Some((level, text)) = Level::of_line(&text) {
                return self.log(level, text);
            }
        }
        if self.plain_bytes < MAX_PLAIN_BYTES {
            self.plain_bytes += line.len();
            self.plain_lines.push(String::from_utf8_lossy(line).into_owned());
        } else {
            self.last_plain_line.clear();
            self.last_plain_line.extend_from_slice(line);
        }
    }

    fn log(&mut self, level: Level, text: &str) {
        if level == Level::Error {
            self.last_error.clear();
            self.last_error.push_str(text);
        }
        if self.log_lines >= MAX_LOG_LINES {
            self.dropped_log_lines += 1;
            return;
        }
        self.log_lines += 1;
        self.batch.push((level, text.to_owned()));
    }

    /// Redacts and logs the lines that were read together.
    fn log_batch(&mut self) {
        let lines = std::mem::take(&mut self.batch);
        if lines.is_empty() {
            return;
        }
        let batch = lines.iter().map(|(_, text)| text.as_str());
        let texts: Vec<_> = self.overlap.split('\n').chain(batch).collect();
        let redacted = self.redacted(texts.iter().copied());
        let all = texts.join("\n");
        let overlap = all.ceil_char_boundary(all.len().saturating_sub(MAX_OVERLAP_BYTES));
        self.overlap = all[overlap..].to_owned();
        for ((level, _), text) in lines.iter().zip(&redacted[redacted.len() - lines.len()..]) {
            let is_repeat = *level == Level::Info
                && self.context.monitor_lines.is_some_and(|lines| lines.is_repeat(text));
            let level = if is_repeat { Level::Debug } else { *level };
            self.context.output.log(level, Some(self.context.id), text);
        }
    }

    /// As many lines without secrets. They are redacted as one text.
    fn redacted<'l>(&self, lines: impl Iterator<Item = &'l str>) -> Vec<String> {
        let text = lines.collect::<Vec<_>>().join("\n");
        self.context.redaction.apply(&text).split('\n').map(str::to_owned).collect()
    }

    /// Ends the stream. After a success the plain lines are logged with level DEBUG, and the
    /// message is empty. After a failure they are the message, joined by blanks; without any, the
    /// last ERROR line is.
    pub(super) fn finish(mut self, success: bool) -> String {
        // A last line without a line feed counts, even if another process holds the pipe open.
        self.take_splitter().end(|line| self.line(&line));
        let mut plain = std::mem::take(&mut self.plain_lines);
        if !self.last_plain_line.is_empty() {
            let last = String::from_utf8_lossy(&self.last_plain_line).into_owned();
            plain.extend(["...".to_owned(), last]);
        }
        if success {
            plain.iter().for_each(|line| self.log(Level::Debug, line));
        }
        self.log_batch();
        self.log_dropped_lines();
        if success {
            String::new()
        } else if plain.is_empty() {
            self.context.redaction.apply(&self.last_error).into_owned()
        } else {
            join_shortened(&self.redacted(plain.iter().map(String::as_str)))
        }
    }

    fn log_dropped_lines(&self) {
        if self.dropped_log_lines > 0 {
            let count = self.dropped_log_lines;
            let text = format!("one_market: {count} further log lines of it were left out");
            self.context.output.log(Level::Warn, Some(self.context.id), &text);
        }
    }
}

/// Lines as one text. Of one that is too long the middle is left out: the first and the last lines
/// say most about a failure.
fn join_shortened(lines: &[String]) -> String {
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
