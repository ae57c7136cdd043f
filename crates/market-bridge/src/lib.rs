//! Directories on other hosts, reached over ssh: the bridges that `BRIDGE_LIST` of a marketplace or
//! a datastore names.
//!
//! Which bridge is taken is the rule of OpenNebula's own drivers: an id modulo the number of hosts
//! that are not switched off ([`hosts_switched_off`], [`rotated`]). When it does not answer, the
//! next one is taken.
//!
//! [`Bridge`] runs POSIX shell scripts in a directory of a host. [`Upload`] sends a file into the
//! [staging directory](STAGING) there, which only its owner can enter, and has it hashed and put on
//! the disk by the bridge.
//!
//! A script answers in lines. `working` says that it is still at work, so that a silent connection
//! can be given up. `error full <cause>` and `error failed <cause>` say why it cannot do its work
//! ([`script_error`]); the shell function `tell_error <cause>`, which every script has, prints
//! them. All other lines are its own.

mod bridge;
mod upload;

pub use bridge::{Bridge, script_error};
pub use upload::Upload;

use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::transfer::Process;
use market_core::transfer::ssh::Host;
use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

/// The directory, inside of the one that holds the files, where files are kept until they get their
/// names.
///
/// It is inside, as a rename into place needs the same file system, and closed to everybody but its
/// owner, as web servers serve hidden files too. Where somebody else has taken the name, the
/// directory is called `.market-staging-<random>`.
pub const STAGING: &str = ".market-staging";

/// How long to wait for the removal of what has failed on a bridge: ten seconds, one second when
/// the action was asked to stop. What is left then is found by the marketplace's `gc`.
pub fn cleanup_timeout(context: &Context) -> Duration {
    Duration::from_secs(if context.stop.reason().is_some() { 1 } else { 10 })
}

/// The most lines of `onehost list` that are read.
const MAX_HOSTS: usize = 100_000;

/// How long `onehost list` may take.
const ONEHOST_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a `BRIDGE_LIST`: hosts, separated by blanks.
///
/// # Errors
/// [`ErrorKind::Config`] when one of them is not the name of a host.
///
/// ```
/// let hosts = market_bridge::hosts("one@bridge-1 bridge-2")?;
/// assert_eq!(hosts[1].as_str(), "bridge-2");
/// # Ok::<(), market_core::error::Error>(())
/// ```
pub fn hosts(list: &str) -> Result<Vec<Host>, Error> {
    let host = |word| Host::new(word).map_err(|error| Error::config("BRIDGE_LIST", error.cause));
    list.split_whitespace().map(host).collect()
}

/// All bridges, beginning with the one that an id selects: the id modulo their number.
///
/// # Errors
/// [`ErrorKind::Unreachable`] when there is none.
///
/// ```
/// let order: Vec<_> = market_bridge::rotated(&["a", "b", "c"], 4)?.collect();
/// assert_eq!(order, [&"b", &"c", &"a"]);
/// # Ok::<(), market_core::error::Error>(())
/// ```
pub fn rotated<B>(bridges: &[B], id: i64) -> Result<impl Iterator<Item = &B>, Error> {
    if bridges.is_empty() {
        let cause = "All hosts from 'BRIDGE_LIST' are offline, error or disabled";
        return Err(Error::new(ErrorKind::Unreachable, "attribute BRIDGE_LIST", cause));
    }
    let count = i64::try_from(bridges.len()).unwrap_or(i64::MAX);
    let start = usize::try_from(id.rem_euclid(count)).unwrap_or_default();
    Ok(bridges[start..].iter().chain(&bridges[..start]))
}

/// The names of the hosts that OpenNebula shows as off, in error or disabled, as `onehost list`
/// tells them; none when it cannot be run or takes more than ten seconds.
pub async fn hosts_switched_off(log: &Log) -> HashSet<String> {
    match tokio::time::timeout(ONEHOST_TIMEOUT, list_hosts_off()).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(_)) | Err(_) => {
            log.debug("onehost cannot be asked: every host of BRIDGE_LIST counts as on");
            HashSet::new()
        }
    }
}

async fn list_hosts_off() -> std::io::Result<HashSet<String>> {
    let mut command = Command::new("onehost");
    command.args(["list", "--operator", "OR", "--no-pager", "--csv"]);
    command.args(["--filter=STAT=off,STAT=err,STAT=dsbl", "--list=NAME,STAT"]);
    let mut process = Process::start(command, ONEHOST_TIMEOUT)?;
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
    Ok(if process.wait().await?.status.success() { hosts } else { HashSet::new() })
}

/// What went wrong on some bridges while others were tried.
#[derive(Debug, Default)]
pub struct Failures(Vec<Error>);

impl Failures {
    /// Adds one, and logs it as a warning.
    pub fn add(&mut self, error: Error, log: &Log) {
        log.warn(&error);
        self.0.push(error);
    }

    /// Whether nothing went wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One error for all of them: the only one as it is, or `common` and each of them, with
    /// [`ErrorKind::Full`] when one of them is that: it is what an operator can do something about.
    pub fn into_error(mut self, common: &str) -> Error {
        if self.0.len() == 1 {
            return self.0.remove(0);
        }
        let full = self.0.iter().find(|error| error.kind == ErrorKind::Full);
        let kind = full.or(self.0.first()).map_or(ErrorKind::Unreachable, |error| error.kind);
        let each: Vec<_> =
            self.0.iter().map(|error| format!("{}: {}", error.subject, error.cause)).collect();
        Error::new(kind, "attribute BRIDGE_LIST", format!("{common}: {}", each.join("; ")))
    }
}
