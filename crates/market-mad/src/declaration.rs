//! Whether an executable takes its dump on standard input. What takes it as an argument would take the word `-` for a dump, and do
//! whatever that makes it do; so the executable itself has to say it, and a file beside it is not enough.

use market_core::action::DUMP_ON_STDIN;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file beside its executables by which a driver of scripts may say it too. It speaks for what was there when it was made.
const MARKER: &str = ".dump-on-stdin";

/// No executable is larger; what stands behind is not looked at.
const MOST_BYTES: u64 = 128 << 20;

/// Nor is any script.
const MOST_SCRIPT_BYTES: usize = 1 << 20;

/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// More executables than any installation has.
const MOST_KNOWN: usize = 10_000;

/// How an executable takes its dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On standard input; the argument is `-`.
    StandardInput,
    /// As an argument.
    Argument {
        /// There is a file that says otherwise, and this is the first time that it is not believed.
        contradicts_marker: bool,
    },
}

/// What executables have been found to be; each is read once.
#[derive(Default)]
pub(crate) struct Declarations(Mutex<HashMap<PathBuf, (Identity, Kind)>>);

/// A file as it was when it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its bytes say that it takes dumps on standard input.
    Declares,
    /// A script that reads standard input.
    ReadsStandardInput,
    Other,
}

impl Declarations {
    /// How an executable takes its dump.
    pub(crate) fn way(&self, executable: &Path) -> Way {
        let metadata = executable.metadata().ok().filter(Metadata::is_file);
        let Some(metadata) = metadata else { return Way::Argument { contradicts_marker: false } };
        let identity = Identity::of(&metadata);
        let known = self.known().get(executable).filter(|(before, _)| *before == identity).map(|(_, kind)| *kind);
        let kind = known.unwrap_or_else(|| Kind::of(executable).unwrap_or(Kind::Other));
        if known.is_none() {
            let mut all = self.known();
            if all.len() >= MOST_KNOWN {
                all.clear();
            }
            all.insert(executable.to_owned(), (identity, kind));
        }
        if kind == Kind::Declares {
            return Way::StandardInput;
        }
        let marker = executable.with_file_name(MARKER).metadata().ok();
        // Whatever was put here later, the file does not speak for it: a rename changes the second of the times.
        let speaks_for_it = marker.as_ref().is_some_and(|marker| identity.changed <= Identity::of(marker).modified);
        if kind == Kind::ReadsStandardInput && speaks_for_it {
            Way::StandardInput
        } else {
            Way::Argument { contradicts_marker: marker.is_some() && known.is_none() }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Identity, Kind)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Kind {
    fn of(executable: &Path) -> io::Result<Self> {
        let mut file = File::open(executable)?.take(MOST_BYTES);
        let sought = memchr::memmem::Finder::new(DUMP_ON_STDIN);
        let mut window = Vec::new();
        let mut script = None;
        loop {
            let read = file.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut window)?;
            if sought.find(&window).is_some() {
                return Ok(Self::Declares);
            }
            // A script is as a whole in the first piece, or is not looked at.
            let text = || (window.len() < MOST_SCRIPT_BYTES).then(|| reads_stdin(&String::from_utf8_lossy(&window)));
            script = script.or_else(|| Some(window.starts_with(b"#!") && text() == Some(true)));
            if read == 0 {
                break;
            }
            window.drain(..window.len().saturating_sub(DUMP_ON_STDIN.len()));
        }
        Ok(if script == Some(true) { Self::ReadsStandardInput } else { Self::Other })
    }
}

/// Whether a script reads its own standard input, as far as that can be seen: a name of that in a language of scripts, or a command of
/// a shell that reads it when it is given no file.
fn reads_stdin(script: &str) -> bool {
    const NAMES: [&str; 6] = ["sys.stdin", "stdin.read", "stdin.buffer", "<stdin>", "/dev/stdin", "process.stdin"];
    script.lines().map(str::trim).filter(|line| !line.starts_with('#')).any(|line| {
        let lower = line.to_ascii_lowercase();
        NAMES.iter().any(|name| lower.contains(name))
            || line.split([';', '&', '(', ')', '`', '{', '}']).any(begins_by_reading)
    })
}

/// Whether the first command of a pipeline reads what the script was given.
fn begins_by_reading(pipeline: &str) -> bool {
    let Some(first) = pipeline.split('|').next().filter(|first| !first.contains('<')) else { return false };
    let mut words = first.split_whitespace().skip_while(|word| word.contains('='));
    words.next().is_some_and(|command| ["cat", "base64", "wc"].contains(&command))
        && words.take_while(|word| !word.starts_with('>')).all(|word| word.starts_with('-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn scripts_that_read_standard_input_are_told_from_others() {
        for script in [
            "echo \"$1\"; cat",
            "dump=$(cat)",
            "base64 -d > x",
            "printf x; wc -c",
            "xml = Base64.decode64(STDIN.read)",
            "import sys\nsys.stdin.read()",
            "while read -r line; do :; done < /dev/stdin",
        ] {
            assert!(reads_stdin(script), "{script}");
        }
        for script in [
            "echo \"$1\" | base64 -d",
            "DUMP=$1\ncat <<EOF\nEOF",
            "while IFS= read -r -d '' element; do x=$element; done < <(decode $DUMP)",
            "# cat\ndf -P | tail -n 1 | wc -l",
            "xml = decode(ARGV[0]); Open3.capture3('x', :stdin_data => '')",
            "cat /etc/motd",
            "subprocess.run(x, stdin=subprocess.DEVNULL)",
        ] {
            assert!(!reads_stdin(script), "{script}");
        }
    }

    #[test]
    fn the_words_are_found_wherever_they_stand_and_a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let executable = directory.path().join("monitor");
        let declarations = Declarations::default();
        for before in [0, 10, BUFFER_BYTES - 5, 3 * BUFFER_BYTES - 1] {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(DUMP_ON_STDIN.as_bytes());
            fs::write(&executable, bytes).unwrap();
            assert_eq!(declarations.way(&executable), Way::StandardInput, "{before}");
        }
        fs::write(&executable, vec![0; 3 * BUFFER_BYTES]).unwrap();
        assert_eq!(declarations.way(&executable), Way::Argument { contradicts_marker: false });
    }
}
