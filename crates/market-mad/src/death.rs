//! How a process ended, in words for somebody who has to find out why.

use nix::sys::signal::Signal;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The exit code that counts for a process that a signal has ended.
const BY_SIGNAL: i32 = 255;

/// A shell adds this to the number of the signal that has ended a command of it.
const SHELL_SIGNALS: i32 = 128;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Exit(Exit),
    /// A signal has ended it.
    Killed(Death),
}

/// An exit by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    code: i32,
    out_of_memory: bool,
}

/// An end by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    signal: i32,
    dumped_core: bool,
    out_of_memory: bool,
}

impl End {
    /// `out_of_memory`: the kernel has killed a process for want of memory while this one ran.
    pub(crate) fn of(status: ExitStatus, out_of_memory: bool) -> Self {
        match (status.code(), status.signal()) {
            (None, Some(signal)) => {
                Self::Killed(Death { signal, dumped_core: status.core_dumped(), out_of_memory })
            }
            (code, _) => Self::Exit(Exit { code: code.unwrap_or(BY_SIGNAL), out_of_memory }),
        }
    }

    /// Whether it says that all went well.
    pub(crate) fn is_success(self) -> bool {
        matches!(self, Self::Exit(Exit { code: 0, .. }))
    }
}

impl Exit {
    /// Whether it is the code by which a shell reports a command that a signal has ended.
    pub(crate) fn is_of_a_signal(self) -> bool {
        Signal::try_from(self.code - SHELL_SIGNALS).is_ok()
    }
}

impl fmt::Display for End {
    /// As in "failed (exit code: 3)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => write!(f, "exit code: {}", exit.code),
            Self::Killed(death) => match Signal::try_from(death.signal) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {}", death.signal),
            },
        }
    }
}

impl fmt::Display for Exit {
    /// As in "failed with exit code 3".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        if self.is_of_a_signal() {
            let signal = self.code - SHELL_SIGNALS;
            let death = Death { signal, dumped_core: false, out_of_memory: self.out_of_memory };
            write!(f, " (so a shell reports a command that was {death})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Death {
    /// As in "was killed by SIGKILL".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = if self.dumped_core { ", core dumped" } else { "" };
        match Signal::try_from(self.signal) {
            Ok(signal) => write!(f, "killed by {signal} (signal {}){core}", self.signal)?,
            Err(_) => write!(f, "killed by signal {}{core}", self.signal)?,
        }
        let cause = match Signal::try_from(self.signal) {
            Ok(Signal::SIGKILL) if self.out_of_memory => {
                "most likely out of memory, because the kernel has killed a process for that meanwhile: see dmesg"
            }
            Ok(Signal::SIGKILL) => "by somebody, by a service manager, or out of memory: see dmesg",
            Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT) => {
                "somebody wanted its end"
            }
            Ok(
                Signal::SIGSEGV
                | Signal::SIGBUS
                | Signal::SIGILL
                | Signal::SIGFPE
                | Signal::SIGABRT
                | Signal::SIGTRAP,
            ) => "a fault in it",
            Ok(Signal::SIGSYS) => "it made a system call that is forbidden to it",
            Ok(Signal::SIGXCPU) => "it has used all of its CPU time, see ulimit -t",
            Ok(Signal::SIGXFSZ) => "it wrote a larger file than it may, see ulimit -f",
            Ok(Signal::SIGPIPE) => "nobody reads what it writes",
            _ => return Ok(()),
        };
        write!(f, ": {cause}")
    }
}

/// How many processes the kernel has killed for want of memory, of the whole machine or of a
/// control group; `None` when it does not tell.
pub(crate) fn killed_for_memory() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(signal: i32, out_of_memory: bool) -> String {
        match End::of(ExitStatus::from_raw(signal), out_of_memory) {
            End::Killed(death) => death.to_string(),
            End::Exit(exit) => exit.to_string(),
        }
    }

    #[test]
    fn every_signal_has_a_name_or_a_number() {
        for signal in 1..=64 {
            assert!(
                killed(signal, false).starts_with("killed by SIG") == (signal <= 31),
                "{}",
                killed(signal, false)
            );
        }
        assert_eq!(killed(40, false), "killed by signal 40");
        assert_eq!(
            killed(0x80 | 11, false),
            "killed by SIGSEGV (signal 11), core dumped: a fault in it"
        );
        assert!(killed(9, true).contains("most likely out of memory"));
        assert!(killed(9, false).contains("by somebody, by a service manager, or out of memory"));
    }

    #[test]
    fn a_shell_that_reports_a_killed_command_is_understood() {
        let text = killed(137 << 8, true);
        assert!(
            text.starts_with("exit code 137 (so a shell reports a command that was killed by SIGKILL (signal 9): most"),
            "{text}"
        );
        for code in [1, 127, 128, 168, 255] {
            assert_eq!(killed(code << 8, true), format!("exit code {code}"));
        }
    }
}
