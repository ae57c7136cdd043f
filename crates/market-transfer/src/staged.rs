//! Files that get their names when they are whole, and leave nothing behind when their writer is
//! killed.

use crate::system::{random_name, rename_new};
use crate::{Error, ErrorKind};
use rustix::fs::{OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Begins and ends the names of what is not whole; sixteen hexadecimal digits stand between them.
const PREFIX: &str = ".market-";
const SUFFIX: &str = ".part";

/// Ends the name of the file beside it that its writer holds a lock on. It is another one because
/// qemu-img locks what it converts, and on NFS the two kinds of locks meet.
const LOCK: &str = ".lock";

/// Nobody else writes to what is published, whatever the umask of whoever publishes it allows.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// A file or a directory that is being written under a temporary name, in the directory where it is
/// to be published or another one of the same file system. It is removed when this is dropped
/// before it was published.
///
/// The writer holds a lock (`flock`), which the kernel releases when the process ends:
/// [`sweep`](Self::sweep) removes what no process writes any more. Names are
/// `.market-<16 hexadecimal digits>.part`, and `.lock` instead of `.part` for the lock.
///
/// ```
/// use market_transfer::StagedFile;
/// use std::io::Write;
///
/// # let directory = tempfile::tempdir()?;
/// let staged = StagedFile::file(directory.path())?;
/// staged.open()?.write_all(b"all of it")?;
/// staged.publish(&directory.path().join("image"))?;
/// assert_eq!(std::fs::read(directory.path().join("image"))?, b"all of it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StagedFile {
    directory: PathBuf,
    /// Without its end.
    stem: String,
    handle: File,
    published: bool,
    _lock: File,
}

impl StagedFile {
    /// An empty file in a directory.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn file(directory: &Path) -> Result<Self, Error> {
        Self::create(directory, |path| {
            File::options().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
        })
    }

    /// An empty directory in a directory.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn directory(directory: &Path) -> Result<Self, Error> {
        Self::create(directory, |path| {
            DirBuilder::new().mode(DIRECTORY_MODE).create(path)?;
            File::open(path)
        })
    }

    fn create(directory: &Path, make: impl Fn(&Path) -> io::Result<File>) -> Result<Self, Error> {
        loop {
            let random = random_name::<8>()
                .map_err(|error| Error::io("the system's random numbers", &error))?;
            let stem = format!("{PREFIX}{random}");
            let lock_path = directory.join(format!("{stem}{LOCK}"));
            let fail = |error: &io::Error| Error::io(lock_path.display().to_string(), error);
            let lock = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&lock_path);
            let lock = lock.map_err(|error| fail(&error))?;
            // A file system without locks: then nobody else gets one either. But somebody may be
            // sweeping this very moment.
            let swept = matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
                || lock.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
                || !lock_path.exists();
            if swept {
                continue;
            }
            let path = directory.join(format!("{stem}{SUFFIX}"));
            let handle = make(&path).map_err(|error| {
                let _ = fs::remove_file(&lock_path);
                Error::io(path.display().to_string(), &error)
            })?;
            return Ok(Self {
                directory: directory.to_owned(),
                stem,
                handle,
                published: false,
                _lock: lock,
            });
        }
    }

    /// Where it is now.
    pub fn path(&self) -> PathBuf {
        self.directory.join(self.name())
    }

    fn name(&self) -> String {
        format!("{}{SUFFIX}", self.stem)
    }

    /// Another handle to it, to read and to write.
    ///
    /// # Errors
    /// What the system reports.
    pub fn open(&self) -> Result<File, Error> {
        self.handle.try_clone().map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &io::Error) -> Error {
        Error::io(self.path().display().to_string(), error)
    }

    /// Gives it a name in the same file system that nothing has yet, in one step and durably.
    ///
    /// # Errors
    /// What the file system reports; then it has no name.
    pub fn publish(mut self, place: &Path) -> Result<(), Error> {
        let fail = |error: &io::Error| Error::io(place.display().to_string(), error);
        let (from, to, name) = self.ends(place)?;
        rename_new(&from, &self.name(), &to, &name).map_err(|error| fail(&error))?;
        self.published = true;
        to.sync_all().map_err(|error| {
            let _ = fs::remove_file(place);
            fail(&error)
        })
    }

    /// Gives it a name, in place of a file that has it, in one step and durably. A file gets the
    /// mode of that file.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn replace(mut self, place: &Path) -> Result<(), Error> {
        let fail = |error: &io::Error| Error::io(place.display().to_string(), error);
        if fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                place.display().to_string(),
                "is a directory",
            ));
        }
        let is_directory = self.handle.metadata().map_err(|error| self.failure(&error))?.is_dir();
        let (from, to, name) = self.ends(place)?;
        match fs::metadata(place) {
            Ok(_) if is_directory => {
                // The file gets the staged name, and goes with it.
                match renameat_with(&from, self.name(), &to, &name, RenameFlags::EXCHANGE) {
                    // A file system that cannot: for a moment there is neither.
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        fs::remove_file(place)
                            .and_then(|()| fs::rename(self.path(), place))
                            .map_err(|error| fail(&error))?;
                        self.published = true;
                    }
                    swapped => swapped.map_err(|error| fail(&error.into()))?,
                }
            }
            old => {
                if let Ok(old) = old {
                    self.handle
                        .set_permissions(old.permissions())
                        .map_err(|error| self.failure(&error))?;
                }
                fs::rename(self.path(), place).map_err(|error| fail(&error))?;
                self.published = true;
            }
        }
        to.sync_all().map_err(|error| fail(&error))
    }

    fn ends(&self, place: &Path) -> Result<(File, File, String), Error> {
        let open = |path: &Path| {
            File::open(path).map_err(|error| Error::io(path.display().to_string(), &error))
        };
        let name = place.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            Error::new(ErrorKind::Malformed, place.display().to_string(), "is no name")
        })?;
        let parent = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        Ok((open(&self.directory)?, open(parent)?, name.to_owned()))
    }

    /// Removes the staged files and directories that killed processes have left in a directory;
    /// returns how many. What cannot be read or removed is passed over.
    pub fn sweep(directory: &Path) -> usize {
        let Ok(entries) = fs::read_dir(directory) else { return 0 };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let stems =
            names.filter_map(|name| stem_of(&name).map(str::to_owned)).collect::<HashSet<_>>();
        stems.into_iter().filter(|stem| sweep_one(directory, stem)).count()
    }
}

/// What a staged file and its lock have in common.
fn stem_of(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(LOCK))?;
    let digits = stem.strip_prefix(PREFIX)?;
    (digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(stem)
}

fn sweep_one(directory: &Path, stem: &str) -> bool {
    let lock_path = directory.join(format!("{stem}{LOCK}"));
    let nofollow = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let lock = match File::options().read(true).write(true).custom_flags(nofollow).open(&lock_path)
    {
        // Locked, or not lockable at all: somebody may still write.
        Ok(lock) if lock.try_lock().is_err() => return false,
        Ok(lock) => Some(lock),
        // The lock is there before the file, and goes after it: nobody is left.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return false,
    };
    let removed = remove(&directory.join(format!("{stem}{SUFFIX}")));
    let _ = fs::remove_file(lock_path);
    drop(lock);
    removed
}

/// Removes a file or a tree; whether it was there.
fn remove(path: &Path) -> bool {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_directory { fs::remove_dir_all(path).is_ok() } else { fs::remove_file(path).is_ok() }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.published {
            remove(&self.path());
        }
        let _ = fs::remove_file(self.directory.join(format!("{}{LOCK}", self.stem)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_nobody_writes_is_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        let (file, tree) =
            (StagedFile::file(directory).unwrap(), StagedFile::directory(directory).unwrap());
        fs::write(directory.join(".market-0123456789abcdef.part"), "left").unwrap();
        fs::create_dir_all(directory.join(".market-fedcba9876543210.part/inside")).unwrap();
        fs::write(directory.join(".market-other.part"), "not ours").unwrap();
        assert_eq!(StagedFile::sweep(directory), 2);
        let both = |staged: &StagedFile| [format!("{}{LOCK}", staged.stem), staged.name()];
        let mut left: Vec<_> = [&file, &tree].into_iter().flat_map(both).collect();
        left.push(".market-other.part".to_owned());
        left.sort();
        assert_eq!(names(directory), left);
        drop((file, tree));
        assert_eq!(names(directory), [".market-other.part"]);
    }

    #[test]
    fn a_name_that_is_taken_is_kept_or_replaced_in_one_step() {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().join("image");
        fs::write(&place, "old").unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert!(StagedFile::file(scratch.path()).unwrap().publish(&place).is_err());
        assert_eq!(fs::read(&place).unwrap(), b"old");
        StagedFile::file(scratch.path()).unwrap().replace(&place).unwrap();
        assert_eq!(
            (fs::read(&place).unwrap(), fs::metadata(&place).unwrap().mode() & 0o777),
            (Vec::new(), 0o640)
        );
        StagedFile::directory(scratch.path()).unwrap().replace(&place).unwrap();
        assert!(place.is_dir() && fs::metadata(&place).unwrap().mode() & 0o700 == 0o700);
        assert_eq!(names(scratch.path()), ["image"]);
    }
}
