//! The time limit of a look: a crafted image may hold more than anybody has time to read.

use crate::unavailable::{SkipReason, Unavailable};
use std::time::{Duration, Instant};

/// When reading ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// `None` for a limit that is beyond the clock.
    end: Option<Instant>,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self { end: Instant::now().checked_add(limit), limit }
    }

    /// Fails with [`SkipReason::TimeLimit`] once the time is over.
    pub(crate) fn check(&self) -> Result<(), Unavailable> {
        match self.end {
            Some(end) if Instant::now() > end => Err(Unavailable::new(
                SkipReason::TimeLimit,
                format!("looking took longer than {} seconds", self.limit.as_secs()),
            )),
            _ => Ok(()),
        }
    }
}
