//! Where OpenNebula keeps what `one_market` needs, and what its start-up script sets before the
//! stock one runs: the working directory, the variables of `defaultrc`, the priority, and where
//! standard error goes.

use market_core::opennebula::Installation;
use rustix::fs::Mode;
use rustix::process::{getpriority_process, setpriority_process, umask};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// The priority of drivers: they are no hurry.
const PRIORITY: i32 = 19;

/// The directories of an installation.
pub(crate) struct Place {
    /// The directories of OpenNebula.
    pub(crate) installation: Installation,
    /// Variables for the executables.
    pub(crate) variables: BTreeMap<String, String>,
    log: PathBuf,
}

impl Place {
    /// Finds the installation and enters it, as the start-up script of the stock `one_market` does.
    /// What is not there is done without.
    pub(crate) fn enter() -> Self {
        let place = Self::of(Installation::from_environment());
        let _ = std::env::set_current_dir(place.installation.var());
        let variable =
            |name: &str| place.variables.get(name).cloned().or_else(|| std::env::var(name).ok());
        let priority =
            variable("PRIORITY").and_then(|text| text.trim().parse().ok()).unwrap_or(PRIORITY);
        // Never less patient than whoever started this: that takes rights.
        if getpriority_process(None).is_ok_and(|current| current < priority) {
            let _ = setpriority_process(None, priority);
        }
        // With whatever mask oned was started: what executables make is not for others to write,
        // unless they say so.
        umask(umask(Mode::empty()) | Mode::WGRP | Mode::WOTH);
        // Standard error comes closed from oned; what stands there now is nobody's.
        let debug = variable("ONE_MAD_DEBUG").is_some_and(|value| !value.is_empty());
        let log = if debug {
            place.open_log()
        } else {
            File::options().write(true).open("/dev/null").ok()
        };
        let _ = log.map(rustix::stdio::dup2_stderr);
        place
    }

    fn of(installation: Installation) -> Self {
        let variables = std::fs::read_to_string(installation.etc().join("defaultrc"))
            .map(|text| assignments(&text))
            .unwrap_or_default();
        Self { log: installation.logs().join("one_market.log"), variables, installation }
    }

    /// Writes to the log of `one_market`, where an operator looks when there is no answer.
    pub(crate) fn note(&self, text: &str) {
        let _ = self.open_log().map(|mut log| writeln!(log, "{text}"));
    }

    fn open_log(&self) -> Option<File> {
        File::options().append(true).create(true).mode(0o640).open(&self.log).ok()
    }

    /// The directory of a market driver.
    pub(crate) fn market(&self, mad: &str) -> Option<PathBuf> {
        self.installation.market_driver(mad)
    }

    /// The directory of a datastore driver.
    pub(crate) fn datastore(&self, mad: &str) -> Option<PathBuf> {
        self.installation.datastore_driver(mad)
    }
}

/// The assignments of a shell file that mean what they say: `NAME=value` with or without quotes.
/// One with anything that a shell would work on is left out.
fn assignments(text: &str) -> BTreeMap<String, String> {
    let is_name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let assignment = |line: &str| {
        let line = line.trim();
        let (name, value) =
            line.strip_prefix("export ").unwrap_or(line).trim_start().split_once('=')?;
        (!name.is_empty() && is_name(name)).then_some(())?;
        Some((name.to_owned(), plain_value(value)?))
    };
    text.lines().filter_map(assignment).collect()
}

fn plain_value(value: &str) -> Option<String> {
    let (inner, rest) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split_once(quote)?,
        _ => value.split_once([' ', '\t']).unwrap_or((value, "")),
    };
    let rest = rest.trim_start();
    let worked_on = !value.starts_with('\'') && inner.contains(['$', '`', '\\']);
    (!worked_on && (rest.is_empty() || rest.starts_with('#'))).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_assignments_of_a_shell_file_are_read() {
        let text = "# comment\nONE_MAD_DEBUG=\nPRIORITY=19\nexport http_proxy=\"http://proxy:3128\"  # ours\nA='$x'\n\
                    B=$A\nC=`date`\nD=a b\nif [ -x y ]; then\n1X=2\n";
        let found: Vec<_> = assignments(text).into_iter().collect();
        let expected = [
            ("A", "$x"),
            ("ONE_MAD_DEBUG", ""),
            ("PRIORITY", "19"),
            ("http_proxy", "http://proxy:3128"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
