//! When a request last moved.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The time at which the last bytes of a request were taken; clones share it.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

/// Nothing moved for longer than the idle time-out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedOut;

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a request as long as it moves.
    pub(crate) async fn watch<T>(
        &self,
        idle_timeout: Duration,
        request: impl Future<Output = T>,
    ) -> Result<T, TimedOut> {
        let mut request = pin!(request);
        loop {
            let deadline = self.last() + idle_timeout;
            tokio::select! {
                biased;
                outcome = &mut request => return Ok(outcome),
                () = sleep_until(deadline) => {
                    if self.last() + idle_timeout <= Instant::now() {
                        return Err(TimedOut);
                    }
                }
            }
        }
    }
}
