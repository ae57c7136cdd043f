//! Hosts that hold a directory instead of this one, and are reached over ssh: `BRIDGE_LIST` of
//! marketplaces and datastores.
//!
//! Which of them is taken is the stock drivers' rule: an id modulo the number of those that are not
//! switched off, or the next one that answers. What is written to one goes into a staging directory
//! that only its owner can enter, and is hashed and put on the disk there.

mod bridge;
mod upload;

pub use bridge::Bridge;
pub use upload::Upload;

use crate::backend::Context;
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use market_transfer::Process;
use market_transfer::ssh::Host;
use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

/// Where files are kept below a directory before they get their names: inside it, because a rename
/// into place needs the same file system; closed to everybody but its owner, because web servers
/// serve dot files too. Where somebody else has taken the name, the directory has a further part
/// that nobody could guess: `.market-staging-<random>`.
pub const STAGING: &str = ".market-staging";

/// How long it may take to remove from a bridge what has failed: ten seconds, and one for an action
/// that was asked to stop. What is left then is removed with what killed actions leave.
pub fn tidying_time(context: &Context) -> Duration {
    Duration::from_secs(if context.stop.reason().is_some() { 1 } else { 10 })
}

/// More hosts than any OpenNebula has.
const MAX_HOSTS: usize = 100_000;

/// How long `onehost list` may take.
const ONEHOST_PATIENCE: Duration = Duration::from_secs(10);

/// The hosts of a `BRIDGE_LIST`, separated by blanks.
///
/// # Errors
/// When one of them is no host.
///
/// ```
/// let hosts = market_core::bridges::hosts("one@bridge-1 bridge-2")?;
/// assert_eq!(hosts[1].as_str(), "bridge-2");
/// # Ok::<(), market_core::error::Error>(())
/// ```
pub fn hosts(list: &str) -> Result<Vec<Host>, Error> {
    let host = |word| Host::new(word).map_err(|error| Error::config("BRIDGE_LIST", error.cause));
    list.split_whitespace().map(host).collect()
}

/// Bridges, beginning at the one that an id (or any number) falls to.
///
/// # Errors
/// When there is none.
pub fn in_turn<B>(bridges: &[B], id: i64) -> Result<impl Iterator<Item = &B>, Error> {
    if bridges.is_empty() {
        let cause = "All hosts from 'BRIDGE_LIST' are offline, error or disabled";
        return Err(Error::new(ErrorKind::Unreachable, "attribute BRIDGE_LIST", cause));
    }
    let count = i64::try_from(bridges.len()).unwrap_or(i64::MAX);
    let start = usize::try_from(id.rem_euclid(count)).unwrap_or_default();
    Ok(bridges[start..].iter().chain(&bridges[..start]))
}

/// The hosts that OpenNebula shows as off, in error or disabled; none when it cannot be asked.
pub async fn hosts_off(log: &Log) -> HashSet<String> {
    let mut command = Command::new("onehost");
    command.args(["list", "--operator", "OR", "--no-pager", "--csv"]);
    command.args(["--filter=STAT=off,STAT=err,STAT=dsbl", "--list=NAME,STAT"]);
    let listed = async {
        let mut process = Process::start(command, ONEHOST_PATIENCE)?;
        process.close_input();
        let mut hosts = HashSet::new();
        let mut header = true;
        while let Some(line) = process.read_line().await? {
            if hosts.len() == MAX_HOSTS {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            if !std::mem::take(&mut header) {
                hosts.extend(line.split(',').next().map(str::to_owned));
            }
        }
        Ok::<_, std::io::Error>(if process.wait().await?.status.success() {
            hosts
        } else {
            HashSet::new()
        })
    };
    match tokio::time::timeout(ONEHOST_PATIENCE, listed).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(_)) | Err(_) => {
            log.debug("onehost cannot be asked: every host of BRIDGE_LIST counts as on");
            HashSet::new()
        }
    }
}

/// What went wrong on some bridges while others were tried.
#[derive(Default)]
pub struct Failures(Vec<Error>);

impl Failures {
    /// Another one; it is logged.
    pub fn add(&mut self, error: Error, log: &Log) {
        log.warn(&error);
        self.0.push(error);
    }

    /// Whether nothing went wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One error for all of them: the single one, or what they have in common and each of them.
    pub fn into_error(mut self, common: &str) -> Error {
        match self.0.len() {
            1 => self.0.remove(0),
            _ => {
                // No room says more than no answer: it is what the operator can do something about.
                let full = self.0.iter().find(|error| error.kind == ErrorKind::Full);
                let kind =
                    full.or(self.0.first()).map_or(ErrorKind::Unreachable, |error| error.kind);
                let each: Vec<_> = self
                    .0
                    .iter()
                    .map(|error| format!("{}: {}", error.subject, error.cause))
                    .collect();
                Error::new(kind, "attribute BRIDGE_LIST", format!("{common}: {}", each.join("; ")))
            }
        }
    }
}
