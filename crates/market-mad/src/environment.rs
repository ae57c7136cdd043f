//! What the start-up script of the stock driver (`one_market`, a shell script) does before it starts
//! the Ruby process: it reads `defaultrc`, and sets the working directory, priority, umask and
//! standard error.

use market_core::opennebula::Installation;
use rustix::fs::Mode;
use rustix::process::{getpriority_process, setpriority_process, umask};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// The nice value of drivers, as the stock `defaultrc` sets it.
const DEFAULT_PRIORITY: i32 = 19;

/// The installation that `one_market` works for, and the variables of its `defaultrc`.
pub(crate) struct Environment {
    pub(crate) installation: Installation,
    /// The assignments of `defaultrc`, for the environment of executables.
    pub(crate) variables: BTreeMap<String, String>,
    log_path: PathBuf,
}

impl Environment {
    /// Finds the installation by `ONE_LOCATION`, and prepares this process as the start-up script
    /// of the stock driver does. A directory or file that is missing is no error.
    pub(crate) fn enter() -> Self {
        let environment = Self::of(Installation::from_environment());
        let _ = std::env::set_current_dir(environment.installation.var());
        environment.lower_priority();
        // At least 022, whatever umask oned was started with.
        umask(umask(Mode::empty()) | Mode::WGRP | Mode::WOTH);
        environment.redirect_stderr();
        environment
    }

    fn of(installation: Installation) -> Self {
        let variables = std::fs::read_to_string(installation.etc().join("defaultrc"))
            .map(|text| plain_assignments(&text))
            .unwrap_or_default();
        let log_path = installation.logs().join("one_market.log");
        Self { installation, variables, log_path }
    }

    /// A variable of `defaultrc`, or else of the environment.
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned().or_else(|| std::env::var(name).ok())
    }

    fn lower_priority(&self) {
        let priority = self.variable("PRIORITY").and_then(|text| text.trim().parse().ok());
        let priority = priority.unwrap_or(DEFAULT_PRIORITY);
        // Raising the priority again would need privileges.
        if getpriority_process(None).is_ok_and(|current| current < priority) {
            let _ = setpriority_process(None, priority);
        }
    }

    /// `oned` closes standard error, so its number may belong to any file that was opened since.
    /// With `ONE_MAD_DEBUG` it becomes the log file, otherwise `/dev/null`.
    fn redirect_stderr(&self) {
        let debug = self.variable("ONE_MAD_DEBUG").is_some_and(|value| !value.is_empty());
        let file = if debug {
            self.open_log()
        } else {
            File::options().write(true).open("/dev/null").ok()
        };
        let _ = file.map(rustix::stdio::dup2_stderr);
    }

    /// Appends a line to `one_market.log`, where an operator looks when `oned` got no answer.
    pub(crate) fn append_to_log(&self, text: &str) {
        let _ = self.open_log().map(|mut log| writeln!(log, "{text}"));
    }

    fn open_log(&self) -> Option<File> {
        File::options().append(true).create(true).mode(0o640).open(&self.log_path).ok()
    }
}

/// The assignments of a shell file that need no shell: `NAME=value` with or without quotes. A line
/// with an expansion or a command is left out.
fn plain_assignments(text: &str) -> BTreeMap<String, String> {
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
    let is_expanded = !value.starts_with('\'') && inner.contains(['$', '`', '\\']);
    (!is_expanded && (rest.is_empty() || rest.starts_with('#'))).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_assignments_of_a_shell_file_are_read() {
        let text = "# comment\nONE_MAD_DEBUG=\nPRIORITY=19\n\
                    export http_proxy=\"http://proxy:3128\"  # ours\nA='$x'\n\
                    B=$A\nC=`date`\nD=a b\nif [ -x y ]; then\n1X=2\n";
        let found: Vec<_> = plain_assignments(text).into_iter().collect();
        let expected = [
            ("A", "$x"),
            ("ONE_MAD_DEBUG", ""),
            ("PRIORITY", "19"),
            ("http_proxy", "http://proxy:3128"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
