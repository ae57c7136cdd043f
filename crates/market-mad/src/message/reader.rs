//! The thread that reads standard input, so that decoding a large dump delays no other work.

use super::{Message, parse};
use crate::line_splitter::LineSplitter;
use market_core::action::MAX_DUMP_BYTES;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use tokio::sync::mpsc;

/// The longest line that is kept: the largest dump, and the words before it.
const MAX_LINE_BYTES: usize = MAX_DUMP_BYTES + 256;

/// How much is read from standard input at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Starts the thread that reads standard input. Its last message, at the end of standard input, is
/// [`Message::Finalize`].
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn start_reader() -> io::Result<mpsc::Receiver<Message>> {
    let (sender, messages) = mpsc::channel(1);
    std::thread::Builder::new().spawn(move || {
        let mut splitter = LineSplitter::new(MAX_LINE_BYTES);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut is_received = true;
        while is_received && let Some(count) = read_some(&mut buffer) {
            splitter.feed(&buffer[..count], |line| {
                if let (true, Some(message)) = (is_received, parse(&line)) {
                    is_received = sender.blocking_send(message).is_ok();
                }
            });
        }
        // A last line without a line feed was cut off, and is not parsed.
        let _ = sender.blocking_send(Message::Finalize);
    })?;
    Ok(messages)
}

/// Reads from standard input, which whoever shares it may have made non-blocking; `None` at its
/// end.
fn read_some(buffer: &mut [u8]) -> Option<usize> {
    let stdin = rustix::stdio::stdin();
    loop {
        match rustix::io::read(stdin, &mut *buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
            }
            Err(_) => return None,
        }
    }
}
