//! Whether an executable takes its dump on standard input: it says so itself, or a file beside it
//! says so of all. What takes it as an argument would take the word `-` for a dump, and do whatever
//! that makes it do. The stock drivers are such scripts, and may have been put back beside the
//! file; so it is not believed of a script that is not seen to read standard input.

use market_core::action::DUMP_ON_STDIN;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file beside its executables by which a driver may say it too.
const MARKER: &str = ".dump-on-stdin";

/// No executable is larger; what stands behind is not looked at.
const MAX_BYTES: u64 = 128 << 20;

/// Nor is any script.
const MAX_SCRIPT_BYTES: usize = 1 << 20;

/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// More executables than any installation has.
const MAX_KNOWN: usize = 10_000;

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
    /// A script that reads standard input, or no script: nothing speaks against it.
    MayRead,
    /// A script that is not seen to read standard input, or what cannot be read.
    Other,
}

impl Declarations {
    /// How an executable takes its dump.
    pub(crate) fn way(&self, executable: &Path) -> Way {
        let metadata = executable.metadata().ok().filter(Metadata::is_file);
        let Some(metadata) = metadata else { return Way::Argument { contradicts_marker: false } };
        let identity = Identity::of(&metadata);
        let known = self
            .known()
            .get(executable)
            .filter(|(before, _)| *before == identity)
            .map(|(_, kind)| *kind);
        let read = known.map_or_else(|| Kind::of(executable), Ok);
        let kind = *read.as_ref().unwrap_or(&Kind::Other);
        // What could not be read may be readable the next time.
        if known.is_none() && read.is_ok() {
            let mut all = self.known();
            if all.len() >= MAX_KNOWN {
                all.clear();
            }
            all.insert(executable.to_owned(), (identity, kind));
        }
        if kind == Kind::Declares {
            return Way::StandardInput;
        }
        let has_marker = executable.with_file_name(MARKER).exists();
        if kind == Kind::MayRead && has_marker {
            Way::StandardInput
        } else {
            Way::Argument { contradicts_marker: has_marker && known.is_none() }
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
        let mut file = File::open(executable)?.take(MAX_BYTES);
        let sought = memchr::memmem::Finder::new(DUMP_ON_STDIN);
        let mut window = Vec::new();
        let mut may_read = None;
        loop {
            let read = file.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut window)?;
            if sought.find(&window).is_some() {
                return Ok(Self::Declares);
            }
            // A script is as a whole in the first piece, or is not looked at.
            may_read = may_read.or_else(|| {
                let is_short = window.len() < MAX_SCRIPT_BYTES;
                Some(
                    !window.starts_with(b"#!")
                        || is_short && script_reads_stdin(&String::from_utf8_lossy(&window)),
                )
            });
            if read == 0 {
                break;
            }
            window.drain(..window.len().saturating_sub(DUMP_ON_STDIN.len()));
        }
        Ok(if may_read == Some(true) { Self::MayRead } else { Self::Other })
    }
}

/// Whether a script reads its own standard input, or becomes a program that is no script and gets
/// all of its arguments.
fn script_reads_stdin(script: &str) -> bool {
    reads_stdin(script) || script.lines().filter_map(becomes).any(|program| !is_script(program))
}

/// The program that a line of a shell becomes, with nothing but what the script was given.
fn becomes(line: &str) -> Option<&Path> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["exec", program, "\"$@\""] => {
            Some(Path::new(program.trim_matches(['"', '\'']))).filter(|path| path.is_absolute())
        }
        _ => None,
    }
}

/// What cannot be looked at may be one.
fn is_script(program: &Path) -> bool {
    let mut begin = [0; 2];
    let is_file = program.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut read = || File::open(program)?.read_exact(&mut begin);
    !is_file || read().is_err() || begin == *b"#!"
}

/// Whether a script reads its own standard input, as far as that can be seen: a name of that in a
/// language of scripts, or a command of a shell that reads it when it is given no file.
fn reads_stdin(script: &str) -> bool {
    const NAMES: [&str; 15] = [
        "sys.stdin",
        "stdin.read",
        "stdin.buffer",
        "stdin.gets",
        "stdin.each",
        "<stdin>",
        "/dev/stdin",
        "/dev/fd/0",
        "process.stdin",
        "php://stdin",
        "argf.read",
        "fileinput.input",
        "readfilesync(0",
        "open(0)",
        "os.read(0",
    ];
    let lines = || script.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    // What stands in a block with an input of its own reads that.
    let gives_input = |line: &str| {
        line.contains('<') && ["}", "done", "fi", ")"].iter().any(|end| line.starts_with(end))
    };
    let has_blocks = lines().any(gives_input);
    lines().any(|line| {
        let lower = line.to_ascii_lowercase();
        NAMES.iter().any(|name| lower.contains(name))
            || !has_blocks && reads_lines(line)
            || line.split([';', '&', '(', ')', '`', '{', '}']).any(begins_by_reading)
    })
}

/// Whether a line of a shell is a command that reads lines into variables.
fn reads_lines(line: &str) -> bool {
    let command = line.split_whitespace().find(|word| !word.contains('='));
    !line.contains(['<', '|'])
        && command.is_some_and(|command| ["read", "mapfile", "readarray"].contains(&command))
}

/// Whether the first command of a pipeline reads what the script was given.
fn begins_by_reading(pipeline: &str) -> bool {
    let Some(first) = pipeline.split('|').next().filter(|first| !first.contains('<')) else {
        return false;
    };
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
            "IFS= read -r dump",
            "mapfile -t lines",
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
            "{\nread -r a\nread -r b\n} < <(decode $1)",
            "read -r a b <<< \"$1\"",
            "subprocess.run(x, stdin=subprocess.DEVNULL)",
        ] {
            assert!(!reads_stdin(script), "{script}");
        }
    }

    #[test]
    fn a_script_that_becomes_a_program_is_what_the_program_is() {
        let directory = tempfile::tempdir().unwrap();
        let [program, script] = ["program", "script"].map(|name| directory.path().join(name));
        fs::write(&program, "\u{7f}ELF").unwrap();
        fs::write(&script, "#!/bin/sh\necho \"$1\"").unwrap();
        let wrapper =
            |program: &Path| format!("#!/bin/sh\nexport X=1\nexec {} \"$@\"\n", program.display());
        assert!(script_reads_stdin(&wrapper(&program)));
        for other in [
            script.as_path(),
            &directory.path().join("missing"),
            directory.path(),
            Path::new("program"),
        ] {
            assert!(!script_reads_stdin(&wrapper(other)), "{other:?}");
        }
        let interpreter = format!("exec {} {} \"$@\"", program.display(), script.display());
        assert!(!script_reads_stdin(&interpreter), "what the script does is not known");
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
