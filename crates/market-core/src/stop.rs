//! Being told to stop: by a signal, or because nobody is left to take the answer.

use crate::error::{Error, ErrorKind};
use tokio::sync::watch;

/// Why an action was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A signal of this name.
    Signal(&'static str),
    /// The process that asked has gone: nobody reads the answer.
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

/// Tells everybody who holds a [`Stop`] to stop.
#[derive(Clone, Debug)]
pub struct StopSwitch(watch::Sender<Option<StopReason>>);

impl StopSwitch {
    /// A switch that has not been used.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks to stop; the first reason stays.
    pub fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        });
    }

    /// What it switches.
    pub fn listen(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Default for StopSwitch {
    fn default() -> Self {
        Self::new()
    }
}

/// Asked before every step that takes long.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<StopReason>>);

impl Stop {
    /// Why to stop, once somebody has asked for it.
    pub fn reason(&self) -> Option<StopReason> {
        *self.0.borrow()
    }

    /// Waits until somebody asks to stop; for ever when the switch is gone.
    pub async fn requested(&self) -> StopReason {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.ok().and_then(|reason| *reason) {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Runs a step unless or until somebody asks to stop. A step that is stopped is dropped where
    /// it waits.
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
