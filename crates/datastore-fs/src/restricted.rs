//! Which local files may become images: without this, any user who may create images could read any file of the front-end.

use crate::FsConfig;
use market_core::error::{Error, ErrorKind};
use std::path::{Path, PathBuf};

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
    /// From the template, and the directories of OpenNebula itself (`<var>`, `<etc>`, the home of its user), which are always
    /// restricted.
    pub fn of(config: &FsConfig) -> Self {
        let list = |attribute: &Option<String>| -> Vec<PathBuf> {
            attribute.iter().flat_map(|value| value.split_whitespace()).map(PathBuf::from).collect()
        };
        let (var, etc) = match std::env::var_os("ONE_LOCATION").filter(|location| !location.is_empty()) {
            Some(location) => (Path::new(&location).join("var"), Path::new(&location).join("etc")),
            None => (PathBuf::from("/var/lib/one"), PathBuf::from("/etc/one")),
        };
        // Unset, or the root, it is nobody's home, and would restrict everything.
        let home =
            std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && home.parent().is_some());
        let mut restricted = list(&config.restricted_dirs);
        restricted.extend([var, etc].into_iter().chain(home));
        Self::new(restricted, list(&config.safe_dirs))
    }

    /// From lists of directories. Entries count as they are written and, when they exist, with their links resolved.
    pub fn new(restricted: impl IntoIterator<Item = PathBuf>, safe: impl IntoIterator<Item = PathBuf>) -> Self {
        fn both(entries: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
            entries.into_iter().flat_map(|entry| [entry.canonicalize().ok(), Some(entry)]).flatten().collect()
        }
        Self { restricted: both(restricted), safe: both(safe) }
    }

    /// Refuses a path (with its links resolved) that lies under a restricted directory and under no safe one. Entries are whole
    /// directories: `/tmp/f` does not cover `/tmp/fc`.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub fn check(&self, resolved: &Path) -> Result<(), Error> {
        let under = |entries: &[PathBuf]| entries.iter().any(|entry| resolved.starts_with(entry));
        if under(&self.safe) || !under(&self.restricted) {
            return Ok(());
        }
        let subject = format!("PATH {}", resolved.display());
        let error = Error::new(ErrorKind::Denied, subject, "lies in a restricted directory and in no safe one");
        Err(error.remedy("move the file, or check RESTRICTED_DIRS and SAFE_DIRS of the datastore"))
    }
}
