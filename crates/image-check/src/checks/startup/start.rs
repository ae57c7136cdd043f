//! What all init systems have in common.

/// A way in which the guest starts its contextualization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checks) struct Start {
    /// Which init system starts what, for people.
    pub(in crate::checks) by: String,
    pub(in crate::checks) before_network: bool,
}

/// The scripts and services that read the context; the one for the time before the network comes
/// first.
pub(super) const NAMES: [&str; 3] = ["one-context-local", "one-context", "vmcontext"];
