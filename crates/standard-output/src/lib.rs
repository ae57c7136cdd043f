//! Standard output that reports every byte that it could not deliver.
//!
//! The standard library opens `/dev/null` in the place of a standard output that was closed
//! (`import >&-`), and takes a write to one that is only open for reading for done. Whoever answers
//! there, and must undo what nobody will know of, needs the truth.
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

/// Whether the process began without a standard output.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks before the standard library puts `/dev/null` there.
extern "C" fn look() {
    CLOSED.store(fcntl_getfl(stdout()) == Err(Errno::BADF), Ordering::Relaxed);
}

/// What the C library calls before `main`.
///
/// This needs an unsafe attribute, as a wrong pointer in this section would be called. The type is
/// that of a function that it calls (further arguments are ignored), and `look` uses a system call
/// and a static alone: nothing that is not set up by then.
#[used]
#[allow(
    unsafe_code,
    reason = "no safe way leads to a moment before the standard library's own start"
)]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// Standard output without a buffer. Several handles write to one stream.
#[derive(Debug)]
pub struct StandardOutput(());

impl StandardOutput {
    /// The process's standard output.
    ///
    /// # Errors
    /// When it was closed as the process began, or is not open for writing.
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
                // Somebody made it non-blocking, and does not read at the moment.
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
