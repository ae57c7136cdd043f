//! How an executable gets its dump: on standard input, or as its first argument.
//!
//! An executable gets it on standard input when its own bytes hold [`DUMP_ON_STDIN`], or when a
//! marker file beside it says so for all executables of the driver. An executable that expects the
//! dump as an argument would take the argument `-` for a dump; and stock scripts may have been put
//! back beside a marker file. So the marker is ignored for a script that is not seen to read
//! standard input (`script.rs`).

mod script;

use market_core::action::DUMP_ON_STDIN;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The marker file in a driver's directory (docs/one-market.md).
const MARKER: &str = ".dump-on-stdin";

/// The bytes of an executable that are searched for [`DUMP_ON_STDIN`]: more than any has.
const MAX_SEARCHED_BYTES: u64 = 128 << 20;

/// A larger script is not analysed.
const MAX_SCRIPT_BYTES: usize = 1 << 20;

/// How much of a file is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The number of executables whose kind is remembered: more than any installation has.
const MAX_CACHED: usize = 10_000;

/// How an executable gets its dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DumpPassing {
    /// On standard input; the argument is `-`.
    Stdin,
    /// As its first argument.
    Argument {
        /// There is a marker file that is ignored, and this is the first call that ignores it.
        ignores_marker: bool,
    },
}

/// Decides how executables get their dumps. Each file is read once, and again when it has changed.
#[derive(Default)]
pub(crate) struct DumpPassings(Mutex<HashMap<PathBuf, (FileVersion, Kind)>>);

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What the bytes of an executable tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// They hold [`DUMP_ON_STDIN`].
    Declares,
    /// It is a script that reads standard input, or no script: a marker file is believed.
    MayReadStdin,
    /// It is a script that is not seen to read standard input, or cannot be read.
    Other,
}

impl DumpPassings {
    /// How this executable gets its dump.
    pub(crate) fn of(&self, executable: &Path) -> DumpPassing {
        let metadata = executable.metadata().ok().filter(Metadata::is_file);
        let Some(metadata) = metadata else {
            return DumpPassing::Argument { ignores_marker: false };
        };
        let (kind, is_first_look) = self.kind(executable, FileVersion::of(&metadata));
        if kind == Kind::Declares {
            return DumpPassing::Stdin;
        }
        let has_marker = executable.with_file_name(MARKER).exists();
        if kind == Kind::MayReadStdin && has_marker {
            DumpPassing::Stdin
        } else {
            DumpPassing::Argument { ignores_marker: has_marker && is_first_look }
        }
    }

    /// The kind of an executable, and whether it had to be read for that.
    fn kind(&self, executable: &Path, version: FileVersion) -> (Kind, bool) {
        let cached = self.cache().get(executable).copied();
        if let Some((_, kind)) = cached.filter(|(cached, _)| *cached == version) {
            return (kind, false);
        }
        // A failure is not cached: the file may be readable the next time.
        let Ok(kind) = Kind::read(executable) else { return (Kind::Other, true) };
        let mut cache = self.cache();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(executable.to_owned(), (version, kind));
        (kind, true)
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<PathBuf, (FileVersion, Kind)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileVersion {
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
    fn read(executable: &Path) -> io::Result<Self> {
        let mut file = File::open(executable)?.take(MAX_SEARCHED_BYTES);
        let declaration = memchr::memmem::Finder::new(DUMP_ON_STDIN);
        let mut window = Vec::new();
        let mut may_read_stdin = None;
        loop {
            let read = file.by_ref().take(BUFFER_BYTES as u64).read_to_end(&mut window)?;
            if declaration.find(&window).is_some() {
                return Ok(Self::Declares);
            }
            // The first window holds all of a script that is small enough to be analysed.
            may_read_stdin = may_read_stdin.or_else(|| {
                let is_small = window.len() < MAX_SCRIPT_BYTES;
                let is_script = window.starts_with(b"#!");
                let text = || String::from_utf8_lossy(&window);
                Some(!is_script || is_small && script::reads_stdin(&text()))
            });
            if read == 0 {
                break;
            }
            // What may be the beginning of the declaration stays.
            window.drain(..window.len().saturating_sub(DUMP_ON_STDIN.len()));
        }
        Ok(if may_read_stdin == Some(true) { Self::MayReadStdin } else { Self::Other })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_declaration_is_found_at_any_offset_and_a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let executable = directory.path().join("monitor");
        let passings = DumpPassings::default();
        for offset in [0, 10, BUFFER_BYTES - 5, 3 * BUFFER_BYTES - 1] {
            let mut bytes = vec![0; offset];
            bytes.extend_from_slice(DUMP_ON_STDIN.as_bytes());
            fs::write(&executable, bytes).unwrap();
            assert_eq!(passings.of(&executable), DumpPassing::Stdin, "{offset}");
        }
        fs::write(&executable, vec![0; 3 * BUFFER_BYTES]).unwrap();
        assert_eq!(passings.of(&executable), DumpPassing::Argument { ignores_marker: false });
    }
}
