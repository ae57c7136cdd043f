//! What asks an action to stop: signals, and a caller that no longer reads the answer.

use crate::error::Error;
use crate::stop::{StopReason, StopSwitch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Uses the switch on SIGTERM, SIGINT and SIGHUP, and when the reader of standard output has gone.
///
/// # Errors
/// When a signal handler or a thread cannot be set up.
pub(super) fn watch(switch: &StopSwitch) -> Result<(), Error> {
    watch_signals(switch)?;
    watch_output(switch.clone()).map_err(|error| Error::io("a thread", &error))
}

fn watch_signals(switch: &StopSwitch) -> Result<(), Error> {
    let kinds = [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::hangup(), "SIGHUP"),
    ];
    for (kind, name) in kinds {
        let mut received = signal(kind).map_err(|error| Error::io(name, &error))?;
        let switch = switch.clone();
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                switch.stop(StopReason::Signal(name));
            }
        });
    }
    Ok(())
}

/// A pipe whose reader has gone reports an error to `poll`, without a byte being written.
fn watch_output(switch: StopSwitch) -> io::Result<()> {
    let watch = move || {
        let stdout = io::stdout();
        loop {
            let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut descriptors, None) {
                Ok(_) => return switch.stop(StopReason::CallerGone),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().spawn(watch).map(drop)
}
