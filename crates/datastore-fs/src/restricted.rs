//! Which local files may become images. Without this, a user who may create images could read any
//! file of the front-end.
//!
//! A file is opened once, and the path that the kernel has for it is checked, not the path that was
//! asked for. A safe directory counts as it is written: a link in it could be changed later. A
//! restricted directory counts both as it is written and with its links resolved.

use crate::FsConfig;
use market_core::error::{Error, ErrorKind};
use market_core::opennebula::Installation;
use market_core::transfer::redacted;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// The restricted and the safe directories of a datastore.
///
/// ```
/// use datastore_fs::Directories;
/// use std::path::Path;
///
/// let directories = Directories::new(["/".into()], ["/var/tmp".into()]);
/// assert!(directories.check(Path::new("/var/tmp/image")).is_ok());
/// assert!(directories.check(Path::new("/var/tmpfile")).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Directories {
    restricted: Vec<PathBuf>,
    safe: Vec<PathBuf>,
}

impl Directories {
    /// The directories of RESTRICTED_DIRS and SAFE_DIRS. The directories of OpenNebula itself
    /// (`<var>`, `<etc>`, the home of its user) are always restricted.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an entry that is no plain absolute path, because it would restrict
    /// nothing.
    pub fn of(config: &FsConfig) -> Result<Self, Error> {
        let installation = Installation::from_environment();
        let own = [installation.var(), installation.etc()].map(Path::to_owned);
        // The root as a home would restrict everything.
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute() && home.parent().is_some());
        let mut restricted = entries("RESTRICTED_DIRS", config.restricted_dirs.as_deref())?;
        restricted.extend(own.into_iter().chain(home));
        Ok(Self::new(restricted, entries("SAFE_DIRS", config.safe_dirs.as_deref())?))
    }

    /// Directories from lists of absolute paths.
    pub fn new(
        restricted: impl IntoIterator<Item = PathBuf>,
        safe: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let both = |entry: PathBuf| [entry.canonicalize().ok(), Some(entry)].into_iter().flatten();
        Self {
            restricted: restricted.into_iter().flat_map(both).collect(),
            safe: safe.into_iter().collect(),
        }
    }

    /// Checks a path whose links are resolved. Entries are whole directories: `/tmp/f` does not
    /// cover `/tmp/fc`.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it lies under a restricted directory and under no safe one.
    pub fn check(&self, resolved: &Path) -> Result<(), Error> {
        if self.is_safe(resolved) || !self.is_restricted(resolved) {
            return Ok(());
        }
        let behind_link =
            |entry: &&PathBuf| entry.canonicalize().is_ok_and(|meant| resolved.starts_with(meant));
        let remedy = match self.safe.iter().find(behind_link) {
            Some(entry) => format!(
                "{} of SAFE_DIRS leads there through a link; write the directory itself, if it is \
                 meant",
                entry.display()
            ),
            None => {
                "move the file, or check RESTRICTED_DIRS and SAFE_DIRS of the datastore".to_owned()
            }
        };
        Err(denied(resolved, "lies in a restricted directory and in no safe one").remedy(remedy))
    }

    fn is_safe(&self, resolved: &Path) -> bool {
        self.safe.iter().any(|entry| resolved.starts_with(entry))
    }

    fn is_restricted(&self, resolved: &Path) -> bool {
        self.restricted.iter().any(|entry| resolved.starts_with(entry))
    }

    /// Opens a file or a block device that may be read: the file, and its path with all links
    /// resolved. The path is looked up once, so a file that is put in its place meanwhile is not
    /// read.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] as [`check`](Self::check), and for a file in a safe directory that has
    /// another name; [`ErrorKind::Unsupported`] when it is neither a file nor a block device; and
    /// what the system reports.
    pub fn open(&self, path: &Path) -> Result<(File, PathBuf), Error> {
        let subject = || format!("PATH {}", redacted(&path.to_string_lossy()));
        let fail = |errno: Errno| Error::io(subject(), &errno.into());
        // Looked up, but not opened: opening a device may have an effect.
        let found = find(path).map_err(|errno| match errno {
            Errno::LOOP => {
                let cause = "leads through too many links, or through one of /proc, which no \
                             directory restricts";
                Error::new(ErrorKind::Denied, subject(), cause)
                    .remedy("give the path of the file itself")
            }
            errno => fail(errno),
        })?;
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let resolved = std::fs::read_link(&link).map_err(|error| Error::io(subject(), &error))?;
        let stat = fstat(&found).map_err(fail)?;
        self.check(&resolved)?;
        self.check_names(&resolved, &stat)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                subject(),
                "is neither a file nor a block device",
            ));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(&link, flags, Mode::empty()).map_err(fail)?;
        Ok((file.into(), resolved))
    }

    /// Refuses a file in a safe directory that has another name, which may lie in a restricted one,
    /// unless everybody may read it.
    fn check_names(&self, resolved: &Path, stat: &Stat) -> Result<(), Error> {
        let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if file && stat.st_nlink == 0 {
            return Err(Error::new(
                ErrorKind::Absent,
                format!("PATH {}", resolved.display()),
                "was removed meanwhile",
            ));
        }
        let open_to_all = Mode::from_raw_mode(stat.st_mode).contains(Mode::ROTH);
        if file
            && stat.st_nlink > 1
            && !open_to_all
            && self.is_safe(resolved)
            && self.is_restricted(resolved)
        {
            let error =
                denied(resolved, "has another name, which may lie in a restricted directory");
            return Err(error.remedy("copy the file, or make it readable for everybody"));
        }
        Ok(())
    }
}

fn denied(resolved: &Path, cause: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("PATH {}", resolved.display()), cause)
}

/// Looks a file up without opening it. The links of /proc lead to files without a path, so they are
/// not followed, where the kernel supports that.
fn find(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        // A kernel before 5.6, or a sandbox that does not know openat2.
        Err(Errno::NOSYS | Errno::PERM) => open(path, flags, Mode::empty()),
        found => found,
    }
}

/// The entries of a list, separated by blanks. For the stock driver they are regular expressions:
/// an entry that is more than a path is an error, because as a path it would restrict nothing.
fn entries(name: &'static str, list: Option<&str>) -> Result<Vec<PathBuf>, Error> {
    let entry = |word: &str| {
        let path = Path::new(word);
        let plain = path.is_absolute()
            && !path.components().any(|component| component == Component::ParentDir)
            && !word.contains([
                ',', ';', ':', '*', '?', '[', ']', '(', ')', '{', '}', '|', '^', '$', '\\', '"',
                '\'',
            ]);
        if plain {
            return Ok(path.to_owned());
        }
        let cause = format!("\"{}\" is no absolute path of a directory", redacted(word));
        Err(Error::config(name, cause)
            .remedy("separate directories by blanks; patterns are not understood"))
    };
    list.unwrap_or_default().split_whitespace().map(entry).collect()
}
