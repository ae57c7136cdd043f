//! Standard output that reports every byte that could not be written.
//!
//! [`std::io::stdout`] hides two failures: when a process is started without a standard output
//! (`import >&-`), the standard library opens `/dev/null` in its place; and a write to a descriptor
//! that is only open for reading (EBADF) counts as a success. A driver that prints its answer must
//! notice both, because it has to undo an import whose answer was not delivered.
//!
//! This works on Unix with the GNU or musl C library: the state of the descriptor is read by a
//! function in `.init_array`, before the standard library's own start-up code. It is the one use of
//! an unsafe attribute in this workspace.
//!
//! ```no_run
//! use standard_output::StandardOutput;
//! use std::io::Write;
//!
//! let mut output = StandardOutput::open()?;
//! output.write_all(b"SOURCE=\"http://market/app\"\n")?;
//! # Ok::<(), std::io::Error>(())
//! ```

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::stdio::stdout;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the process was started without a standard output.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Reads the state of the descriptor, before the standard library opens `/dev/null` there.
extern "C" fn record_state() {
    CLOSED.store(fcntl_getfl(stdout()) == Err(Errno::BADF), Ordering::Relaxed);
}

/// The C library calls the functions in this section before `main`.
///
/// The attribute is unsafe because any pointer in the section is called. This one has the type of
/// such a function (which may ignore its arguments), and `record_state` needs nothing that is set
/// up later: it makes a system call and writes to a static.
#[used]
#[allow(
    unsafe_code,
    reason = "there is no safe way to run code before the standard library's start-up code"
)]
#[unsafe(link_section = ".init_array")]
static RECORD_STATE: extern "C" fn() = record_state;

/// An unbuffered handle of standard output; a write is one system call. All handles write to the
/// same stream. A reader that has gone is an error of kind [`io::ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct StandardOutput(());

impl StandardOutput {
    /// Opens the standard output of the process.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] when the process was started without one,
    /// [`io::ErrorKind::PermissionDenied`] when it is not open for writing, and what `fcntl`
    /// reports.
    pub fn open() -> io::Result<Self> {
        if CLOSED.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "is closed"));
        }
        let mode = fcntl_getfl(stdout())? & OFlags::RWMODE;
        if mode == OFlags::RDONLY {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "is not open for writing"));
        }
        Ok(Self(()))
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(stdout(), bytes) {
                // Another process has made it non-blocking, and the pipe is full.
                Err(Errno::AGAIN) => {
                    let output = stdout();
                    poll(&mut [PollFd::new(&output, PollFlags::OUT)], None)?;
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
