//! How a process ended, with the usual cause of each signal, for operators.

use nix::sys::signal::Signal;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The exit code to report for a status that holds neither a code nor a signal.
const UNKNOWN_CODE: i32 = 255;

/// A shell exits with this plus the number of the signal that killed its last command
/// (POSIX, "Exit Status for Commands").
const SHELL_SIGNAL_BASE: i32 = 128;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    /// It exited with a code.
    Exited(ExitCode),
    /// A signal killed it.
    Killed(KilledBy),
}

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode {
    code: i32,
    oom_kill_seen: bool,
}

/// A fatal signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KilledBy {
    signal: i32,
    dumped_core: bool,
    oom_kill_seen: bool,
}

impl Termination {
    /// `oom_kill_seen`: while the process ran, the kernel killed some process because memory ran
    /// out.
    pub(crate) fn new(status: ExitStatus, oom_kill_seen: bool) -> Self {
        match (status.code(), status.signal()) {
            (None, Some(signal)) => {
                let dumped_core = status.core_dumped();
                Self::Killed(KilledBy { signal, dumped_core, oom_kill_seen })
            }
            (code, _) => {
                Self::Exited(ExitCode { code: code.unwrap_or(UNKNOWN_CODE), oom_kill_seen })
            }
        }
    }

    /// Whether it exited with code 0.
    pub(crate) fn is_success(self) -> bool {
        matches!(self, Self::Exited(ExitCode { code: 0, .. }))
    }
}

impl ExitCode {
    /// Whether a shell uses this code to report a command that a signal killed.
    pub(crate) fn reports_signal(self) -> bool {
        Signal::try_from(self.code - SHELL_SIGNAL_BASE).is_ok()
    }
}

impl fmt::Display for Termination {
    /// As in "failed (exit code: 3)" and "failed (SIGSEGV)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(exit) => write!(f, "exit code: {}", exit.code),
            Self::Killed(killed) => match Signal::try_from(killed.signal) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {}", killed.signal),
            },
        }
    }
}

impl fmt::Display for ExitCode {
    /// As in "failed with exit code 3".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        if self.reports_signal() {
            let signal = self.code - SHELL_SIGNAL_BASE;
            let Self { oom_kill_seen, .. } = *self;
            let killed = KilledBy { signal, dumped_core: false, oom_kill_seen };
            write!(f, " (a shell reports so a command that was {killed})")?;
        }
        Ok(())
    }
}

impl fmt::Display for KilledBy {
    /// As in "was killed by SIGKILL (signal 9): by an operator, ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = if self.dumped_core { ", core dumped" } else { "" };
        match Signal::try_from(self.signal) {
            Ok(signal) => write!(f, "killed by {signal} (signal {}){core}", self.signal)?,
            Err(_) => write!(f, "killed by signal {}{core}", self.signal)?,
        }
        match self.usual_cause() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl KilledBy {
    fn usual_cause(self) -> Option<&'static str> {
        use Signal::*;
        Some(match Signal::try_from(self.signal).ok()? {
            SIGKILL if self.oom_kill_seen => {
                "most likely out of memory, because the kernel killed a process for that \
                 meanwhile: see dmesg"
            }
            SIGKILL => "by an operator, by a service manager, or out of memory: see dmesg",
            SIGTERM | SIGINT | SIGHUP | SIGQUIT => "an operator or a service manager stopped it",
            SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGABRT | SIGTRAP => "a fault in it",
            SIGSYS => "it made a system call that is forbidden to it",
            SIGXCPU => "it has used all of its CPU time, see ulimit -t",
            SIGXFSZ => "it wrote a larger file than it may, see ulimit -f",
            SIGPIPE => "nobody reads what it writes",
            _ => return None,
        })
    }
}

/// How many processes the kernel has killed because memory ran out, of the whole machine or of a
/// control group: `oom_kill` in `/proc/vmstat` (Linux 4.13). `None` when the kernel does not tell.
pub(crate) fn oom_kill_count() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(signal: i32, oom_kill_seen: bool) -> String {
        match Termination::new(ExitStatus::from_raw(signal), oom_kill_seen) {
            Termination::Killed(killed) => killed.to_string(),
            Termination::Exited(exit) => exit.to_string(),
        }
    }

    #[test]
    fn every_signal_has_a_name_or_a_number() {
        for signal in 1..=64 {
            let text = killed(signal, false);
            assert_eq!(text.starts_with("killed by SIG"), signal <= 31, "{text}");
        }
        assert_eq!(killed(40, false), "killed by signal 40");
        assert_eq!(
            killed(0x80 | 11, false),
            "killed by SIGSEGV (signal 11), core dumped: a fault in it"
        );
        assert!(killed(9, true).contains("most likely out of memory"));
        assert!(
            killed(9, false).contains("by an operator, by a service manager, or out of memory")
        );
    }

    #[test]
    fn the_exit_code_of_a_shell_whose_command_was_killed_is_explained() {
        let text = killed(137 << 8, true);
        assert!(
            text.starts_with(
                "exit code 137 (a shell reports so a command that was killed by SIGKILL \
                 (signal 9): most"
            ),
            "{text}"
        );
        for code in [1, 127, 128, 168, 255] {
            assert_eq!(killed(code << 8, true), format!("exit code {code}"));
        }
    }
}
