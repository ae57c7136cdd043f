//! Commands on other hosts, over `ssh`.
//!
//! The login shell there gets one line of words in single quotes without any character that a shell
//! would interpret in them: no quote, no backslash but before a digit, no `!` and no newline. `sh`
//! decodes the script and its arguments from them. So arguments are never anything but data, and any
//! login shell will do (sh, bash, csh, tcsh, fish).

pub use crate::host::Host;

use crate::location::redacted_line;
use crate::{CommandSpec, Error, ErrorKind, Options, RetryableError};
use std::time::Duration;

/// The `ssh` command of this machine.
#[derive(Clone, Debug)]
pub struct Ssh {
    words: Vec<String>,
    ciphers: Option<String>,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// The exit status of `ssh` when the connection failed, and not the command on the host.
pub const CONNECTION_FAILED: i32 = 255;

impl Ssh {
    /// The command [`Options::ssh`] with the time-outs of the options.
    pub fn new(options: &Options) -> Self {
        let words: Vec<String> =
            options.ssh.split_ascii_whitespace().map(ToOwned::to_owned).collect();
        let words = if words.is_empty() { vec!["ssh".to_owned()] } else { words };
        Self {
            words,
            ciphers: None,
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
        }
    }

    /// The same for large transfers: of the ciphers that this machine's configuration allows,
    /// AES-GCM comes first where the processor has instructions for it. The default order of
    /// OpenSSH can take one and a half times as long. Anything that is not an `ssh` of OpenSSH
    /// stays as it is.
    pub async fn for_bulk(&self, host: &Host) -> Self {
        let mut bulk = self.clone();
        if has_aes()
            && let Some(ciphers) = self.ciphers(host).await
        {
            bulk.ciphers = aes_gcm_first(&ciphers);
        }
        bulk
    }

    /// The ciphers that the configuration allows for a host.
    async fn ciphers(&self, host: &Host) -> Option<String> {
        let command = self.base().args(["-G", "--"]).arg(host.argument());
        let output = command.output(MAX_CONFIGURATION_BYTES, CONFIGURATION_TIMEOUT);
        let (answer, _) = output.await.ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let ciphers = answer
            .lines()
            .filter_map(|line| line.strip_prefix("ciphers "))
            .next_back()
            .map(str::to_owned);
        ciphers.filter(|list| {
            list.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.@,".contains(&byte))
        })
    }

    /// The command that runs a POSIX shell script on a host; `arguments` are its `$1`, `$2` and so
    /// on. Never asks anybody for a password, and gives up a host that does not answer any more.
    pub fn command(&self, host: &Host, script: &str, arguments: &[&str]) -> CommandSpec {
        let mut command = self.base();
        let alive = (self.idle_timeout.as_secs() / 3).clamp(1, MAX_SECONDS);
        for option in [
            "BatchMode=yes".to_owned(),
            format!("ConnectTimeout={}", self.connect_timeout.as_secs().clamp(1, MAX_SECONDS)),
            format!("ServerAliveInterval={alive}"),
            "ServerAliveCountMax=3".to_owned(),
        ] {
            command = command.arg("-o").arg(option);
        }
        if let Some(ciphers) = &self.ciphers {
            command = command.arg("-o").arg(format!("Ciphers={ciphers}"));
        }
        command.args(["-T", "--"]).arg(host.argument()).arg(remote_line(script, arguments))
    }

    /// The command without arguments of ours.
    fn base(&self) -> CommandSpec {
        CommandSpec::new(&self.words[0]).args(&self.words[1..])
    }
}

/// More seconds than this `ssh` does not understand.
const MAX_SECONDS: u64 = 1 << 20;

/// How long `ssh` may take to print its configuration, and how long that may be.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_CONFIGURATION_BYTES: usize = 1 << 20;

/// Whether this machine's processor has instructions for AES.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// A list of ciphers with those of AES-GCM first; `None` when it has none, or has them first
/// already.
fn aes_gcm_first(ciphers: &str) -> Option<String> {
    let (first, others): (Vec<_>, Vec<_>) =
        ciphers.split(',').partition(|cipher| cipher.contains("-gcm@"));
    let ordered: Vec<_> = first.iter().chain(&others).copied().collect();
    let ordered = ordered.join(",");
    (!first.is_empty() && ordered != ciphers).then_some(ordered)
}

/// The line for the login shell: `sh` decodes a text and evaluates it.
fn remote_line(script: &str, arguments: &[&str]) -> String {
    let words: String = arguments.iter().map(|argument| format!(" {}", quoted(argument))).collect();
    let text = format!("set --{words}\n{script}");
    format!(r#"exec sh -c 'eval "$(printf %b "$1")"' sh '{}'"#, encoded(&text))
}

/// A text for `printf %b` in which every character that a shell could interpret in single quotes is
/// written as a number.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'\'' | b'\\' | b'!' => encoded.push_str(&format!("\\0{byte:03o}")),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("\\0{byte:03o}")),
        }
        encoded
    })
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The error of a connection that failed; `cause` is the last line that `ssh` has printed.
/// [`Denied`](ErrorKind::Denied) when the login or the host's key was refused, otherwise
/// [`Unreachable`](ErrorKind::Unreachable).
pub fn connection_error(host: &Host, cause: &str) -> Error {
    let denied =
        ["Permission denied", "Host key verification failed", "Too many authentication failures"];
    let kind = if denied.iter().any(|known| cause.contains(known)) {
        ErrorKind::Denied
    } else {
        ErrorKind::Unreachable
    };
    Error::new(kind, format!("ssh to {host}"), redacted_line(cause.trim_start_matches("ssh: ")))
}

/// The same as a failure to read a source: a connection that was refused on purpose stays so.
pub(crate) fn failed_connection(subject: &str, host: &Host, cause: &str) -> RetryableError {
    let error = connection_error(host, cause);
    let temporary = error.kind == ErrorKind::Unreachable;
    let error = Error::new(error.kind, subject, error.to_string());
    if temporary { RetryableError::temporary(error) } else { RetryableError::permanent(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_put_in_another_order_and_none_is_added() {
        assert_eq!(
            aes_gcm_first("a,aes128-gcm@o,b,aes256-gcm@o").as_deref(),
            Some("aes128-gcm@o,aes256-gcm@o,a,b")
        );
        for kept in ["aes128-gcm@o,a", "a,b", ""] {
            assert_eq!(aes_gcm_first(kept), None, "{kept}");
        }
    }

    #[test]
    fn a_script_and_its_arguments_reach_every_login_shell_as_they_are() {
        let nasty = [
            "",
            "a b",
            "'",
            "''\\''",
            "$(echo x)",
            "`x`",
            "; x",
            "a\nb\n",
            "-n",
            "\\",
            "!!",
            "*",
            "é\u{7f}",
            "%s\\c",
        ];
        let script = "# it's one!\nfor argument; do\n    printf '<%s>' \"$argument\"\ndone\nexit 7";
        let expected: String = nasty.iter().map(|text| format!("<{text}>")).collect();
        let line = remote_line(script, &nasty);
        for (shell, package) in
            [("sh", "dash"), ("bash", "bash"), ("tcsh", "tcsh"), ("fish", "fish")]
        {
            let Some(shell) = market_testkit::require::program(shell, package) else { continue };
            let output = std::process::Command::new(&shell).args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{}", shell.display());
            assert_eq!(output.status.code(), Some(7), "{}", shell.display());
        }
    }
}
