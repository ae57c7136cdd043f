//! Stopping an action: on a signal, or because the caller has gone and nobody takes the answer.
//!
//! ```
//! use market_core::error::{Error, ErrorKind};
//! use market_core::stop::{StopReason, StopSwitch};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let switch = StopSwitch::new();
//! let stop = switch.listen();
//! switch.stop(StopReason::Signal("SIGTERM"));
//! let step = async {
//!     std::future::pending::<()>().await;
//!     Ok::<(), Error>(())
//! };
//! let error = stop.or(step).await.unwrap_err();
//! assert_eq!((error.kind, error.to_string().as_str()), (ErrorKind::Cancelled, "the action: stopped by SIGTERM"));
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::error::{Error, ErrorKind};
use tokio::sync::watch;

/// Why an action was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// A signal, by its name (`SIGTERM`).
    Signal(&'static str),
    /// The reader of standard output has gone: nobody takes the answer.
    CallerGone,
}

impl From<StopReason> for Error {
    fn from(reason: StopReason) -> Self {
        let cause = match reason {
            StopReason::Signal(name) => format!("stopped by {name}"),
            StopReason::CallerGone => "stopped: nobody is left to take the answer".to_owned(),
        };
        Self::new(ErrorKind::Cancelled, "the action", cause)
    }
}

/// Asks all who hold a [`Stop`] of it to stop. Clones are the same switch.
#[derive(Clone, Debug)]
pub struct StopSwitch(watch::Sender<Option<StopReason>>);

impl StopSwitch {
    /// A switch that has not been used.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks to stop. Of several reasons the first one counts.
    pub fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        });
    }

    /// A listener.
    pub fn listen(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Default for StopSwitch {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether an action was asked to stop: the listener of a [`StopSwitch`]. The pipeline asks it
/// between the calls of a backend; a backend that waits for long inside a call asks it too.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<StopReason>>);

impl Stop {
    /// Why to stop; `None` while nobody has asked for it.
    pub fn reason(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Waits until somebody asks to stop. Never returns when the switch was dropped without that.
    pub async fn requested(&self) -> StopReason {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.ok().and_then(|reason| *reason) {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Runs a step until it ends or somebody asks to stop. Then the step is dropped at the `await`
    /// at which it waits; it is not begun when somebody has asked before.
    ///
    /// # Errors
    /// Those of the step, or [`ErrorKind::Cancelled`].
    pub async fn or<T, E: Into<Error>>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            reason = self.requested() => Err(reason.into()),
            result = step => result.map_err(Into::into),
        }
    }
}
