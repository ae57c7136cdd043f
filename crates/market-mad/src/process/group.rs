//! The process group of an executable.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// A process group. When it is dropped, what is left of the group is killed.
pub(super) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group of a child that was started as the leader of a group of its own.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Sends a signal to all processes of the group.
    ///
    /// The number of a group is not reused while a process of it lives. The last signal is sent
    /// right after the leader was waited for: too soon for the system to have gone through all
    /// other numbers.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Drops this without a signal: the group has been killed, and by now another process may have
    /// its number.
    pub(super) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
