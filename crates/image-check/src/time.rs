//! An end to the looking: a crafted image may have more to look at than anybody has time.

use std::io;
use std::time::{Duration, Instant};

/// How a reason begins that is nothing but time.
pub(crate) const OVER: &str = "looking took longer than";

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>, Duration);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit), limit)
    }

    /// Fails with [`io::ErrorKind::TimedOut`] once the time is over.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.0 {
            Some(end) if Instant::now() > end => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{OVER} {} seconds", self.1.as_secs()),
            )),
            _ => Ok(()),
        }
    }
}
