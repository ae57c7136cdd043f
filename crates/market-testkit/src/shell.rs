//! A stand-in for `ssh` that runs commands on this machine and breaks connections as a test plans
//! it. Hundreds of broken connections take seconds. For the behaviour of a real server there is
//! [`sshd`](crate::sshd).
//!
//! ```
//! use market_testkit::shell::{Fate, Shell};
//!
//! let shell = Shell::new(&[Fate::Refused, Fate::Output(100)]);
//! assert!(shell.ssh().starts_with("sh "));
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In order.
    Whole,
    /// It is refused.
    Refused,
    /// It breaks after this many bytes of the command's output.
    Output(u64),
    /// It breaks after this many bytes of the command's input.
    Input(u64),
    /// The command runs to its end, and its output is lost.
    Lost,
}

/// A stand-in for `ssh`. Its files are removed when it is dropped.
#[derive(Debug)]
pub struct Shell(TempDir);

const SCRIPT: &str = r#"
at=$1
shift
[ "$1" != -G ] || exit 0
while [ "$1" != -- ]; do shift; done
shift 2
nth=$(cat "$at/count")
nth=$((nth + 1))
echo "$nth" >"$at/count"
PATH=$at/bin:$PATH
export PATH
broken() {
    echo "Connection reset by peer" >&2
    exit 255
}
fate=$(sed -n "${nth}p" "$at/plan")
case $fate in
refused)
    echo "ssh: connect to host h port 22: Connection refused" >&2
    exit 255
    ;;
"output "*)
    mkfifo "$at/output.$nth"
    sh -c "$1" <&0 >"$at/output.$nth" 2>/dev/null &
    head -c "${fate#* }" <"$at/output.$nth"
    kill -9 "$!" 2>/dev/null
    broken
    ;;
"input "*)
    head -c "${fate#* }" | sh -c "$1"
    broken
    ;;
lost)
    sh -c "$1" >/dev/null
    broken
    ;;
*) exec sh -c "$1" ;;
esac
"#;

impl Shell {
    /// Plans how the first connections end, one after the other. All further ones end in order.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn new(fates: &[Fate]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let lines: String = fates
            .iter()
            .map(|fate| match fate {
                Fate::Whole => "whole\n".to_owned(),
                Fate::Refused => "refused\n".to_owned(),
                Fate::Output(bytes) => format!("output {bytes}\n"),
                Fate::Input(bytes) => format!("input {bytes}\n"),
                Fate::Lost => "lost\n".to_owned(),
            })
            .collect();
        for (name, text) in [("ssh.sh", SCRIPT), ("plan", &lines), ("count", "0")] {
            fs::write(directory.path().join(name), text).expect("a file");
        }
        fs::create_dir(directory.path().join("bin")).expect("a directory");
        Self(directory)
    }

    /// Adds a shell script that commands find before other programs of its name.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn with_program(self, name: &str, script: &str) -> Self {
        let path = self.0.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        self
    }

    /// The command, for the environment variable `SSH`.
    pub fn ssh(&self) -> String {
        let path: PathBuf = self.0.path().join("ssh.sh");
        format!("sh {} {}", path.display(), self.0.path().display())
    }

    /// How many connections were made or refused.
    ///
    /// # Panics
    /// When its file cannot be read.
    pub fn connections(&self) -> usize {
        fs::read_to_string(self.0.path().join("count"))
            .ok()
            .and_then(|count| count.trim().parse().ok())
            .expect("a count")
    }
}
