//! Writing to the standard input of an executable.

use std::fs::File;
use std::os::fd::AsRawFd;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

/// Writes standard input, and tells afterwards whether any of it was read.
pub(super) struct StdinWriter {
    written: usize,
    /// The reading end of the pipe, held open to learn how much of what was written is still in it.
    reading_end: Option<File>,
}

impl StdinWriter {
    pub(super) fn new(stdin: Option<&ChildStdin>) -> Self {
        let open =
            |stdin: &ChildStdin| File::open(format!("/proc/self/fd/{}", stdin.as_raw_fd())).ok();
        Self { written: 0, reading_end: stdin.and_then(open) }
    }

    /// Writes all of it, unless the executable closes the pipe before.
    pub(super) async fn write(&mut self, stdin: Option<ChildStdin>, input: &[u8]) {
        let Some(mut stdin) = stdin else { return };
        while let Ok(count @ 1..) = stdin.write(&input[self.written..]).await {
            self.written += count;
        }
    }

    /// Whether everything that was written is still in the pipe. That is also so when the
    /// executable exited before anything was written.
    pub(super) fn nothing_was_read(&self) -> bool {
        let unread = |pipe: &File| rustix::io::ioctl_fionread(pipe).ok();
        self.reading_end.as_ref().and_then(unread) == Some(self.written as u64)
    }
}
