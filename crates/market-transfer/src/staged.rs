//! A file that gets its name when it is whole, and leaves nothing behind when its writer is killed.

use crate::system::{random_name, rename_new};
use crate::{Error, ErrorKind};
use rustix::fs::{Mode, OFlags, openat};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Begins and ends the names of what is not whole; sixteen hexadecimal digits stand between them.
const PREFIX: &str = ".market-";
const SUFFIX: &str = ".part";

/// A file or a directory under way, beside the place it is meant for. It is removed when this is dropped before it was published.
///
/// Whoever writes holds a lock of the kernel's on it, which ends with the process: [`sweep`](Self::sweep) removes what nobody
/// writes any more.
///
/// ```
/// use market_transfer::Staged;
/// use std::io::Write;
///
/// # let directory = tempfile::tempdir()?;
/// let staged = Staged::file(directory.path())?;
/// staged.open()?.write_all(b"all of it")?;
/// staged.publish(&directory.path().join("image"))?;
/// assert_eq!(std::fs::read(directory.path().join("image"))?, b"all of it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Staged {
    directory: PathBuf,
    name: String,
    /// Holds the lock.
    handle: File,
    published: bool,
}

impl Staged {
    /// An empty file in a directory.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn file(directory: &Path) -> Result<Self, Error> {
        Self::create(directory, |path| File::options().read(true).write(true).create_new(true).open(path))
    }

    /// An empty directory in a directory.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn directory(directory: &Path) -> Result<Self, Error> {
        Self::create(directory, |path| {
            fs::create_dir(path)?;
            File::open(path)
        })
    }

    fn create(directory: &Path, make: impl Fn(&Path) -> std::io::Result<File>) -> Result<Self, Error> {
        loop {
            let random = random_name::<8>().map_err(|error| Error::io("the system's random numbers", &error))?;
            let name = format!("{PREFIX}{random}{SUFFIX}");
            let path = directory.join(&name);
            let handle = make(&path).map_err(|error| Error::io(path.display().to_string(), &error))?;
            // A file system without locks: then nobody else gets one either.
            let _ = handle.try_lock();
            // Somebody may have swept it between the two steps.
            if handle.metadata().is_ok_and(|metadata| metadata.nlink() > 0) && path.exists() {
                return Ok(Self { directory: directory.to_owned(), name, handle, published: false });
            }
        }
    }

    /// Where it is now.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Another handle to it, to read and to write.
    ///
    /// # Errors
    /// What the system reports.
    pub fn open(&self) -> Result<File, Error> {
        self.handle.try_clone().map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &std::io::Error) -> Error {
        Error::io(self.path().display().to_string(), error)
    }

    /// Gives it a name in the same file system that nothing has yet, in one step and durably.
    ///
    /// # Errors
    /// What the file system reports; then it has no name.
    pub fn publish(mut self, place: &Path) -> Result<(), Error> {
        let fail = |error: &std::io::Error| Error::io(place.display().to_string(), error);
        let (from, to, name) = self.ends(place)?;
        rename_new(&from, &self.name, &to, &name).map_err(|error| fail(&error))?;
        self.published = true;
        to.sync_all().map_err(|error| {
            let _ = fs::remove_file(place);
            fail(&error)
        })
    }

    /// Gives it a name, in place of a file that has it, in one step and durably. The mode of that file is kept.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn replace(mut self, place: &Path) -> Result<(), Error> {
        let fail = |error: &std::io::Error| Error::io(place.display().to_string(), error);
        if let Ok(metadata) = fs::metadata(place).and_then(|old| {
            self.handle.set_permissions(old.permissions())?;
            self.handle.metadata()
        }) && metadata.is_dir()
        {
            fs::remove_file(place).map_err(|error| fail(&error))?;
        }
        let (_, to, _) = self.ends(place)?;
        fs::rename(self.path(), place).map_err(|error| fail(&error))?;
        self.published = true;
        to.sync_all().map_err(|error| fail(&error))
    }

    fn ends(&self, place: &Path) -> Result<(File, File, String), Error> {
        let open = |path: &Path| File::open(path).map_err(|error| Error::io(path.display().to_string(), &error));
        let name = place.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::new(ErrorKind::Malformed, place.display().to_string(), "is no name"))?;
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((open(&self.directory)?, open(parent)?, name.to_owned()))
    }

    /// Removes from a directory what killed processes have left there; how much it was. What cannot be looked at is passed over.
    pub fn sweep(directory: &Path) -> usize {
        let Ok(entries) = fs::read_dir(directory) else { return 0 };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_staged(name) && sweep_one(directory, name)).count()
    }
}

fn is_staged(name: &str) -> bool {
    let middle = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    middle.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn sweep_one(directory: &Path, name: &str) -> bool {
    let Ok(parent) = File::open(directory) else { return false };
    let open = |flags: OFlags| openat(&parent, name, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty());
    // NFS locks only what is open for writing; a directory cannot be.
    let Ok(handle) = open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY | OFlags::DIRECTORY)).map(File::from) else {
        return false;
    };
    // Locked, or not lockable at all: somebody may still write.
    if handle.try_lock().is_err() {
        return false;
    }
    let path = directory.join(name);
    let is_directory = handle.metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_directory { fs::remove_dir_all(path).is_ok() } else { fs::remove_file(path).is_ok() }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let path = self.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_nobody_writes_is_swept() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        let (file, tree) = (Staged::file(directory).unwrap(), Staged::directory(directory).unwrap());
        fs::write(directory.join(".market-0123456789abcdef.part"), "left").unwrap();
        fs::create_dir_all(directory.join(".market-fedcba9876543210.part/inside")).unwrap();
        fs::write(directory.join(".market-other.part"), "not ours").unwrap();
        assert_eq!(Staged::sweep(directory), 2);
        let mut left = vec![file.name.clone(), tree.name.clone(), ".market-other.part".to_owned()];
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
        assert!(Staged::file(scratch.path()).unwrap().publish(&place).is_err());
        assert_eq!(fs::read(&place).unwrap(), b"old");
        Staged::file(scratch.path()).unwrap().replace(&place).unwrap();
        assert_eq!((fs::read(&place).unwrap(), fs::metadata(&place).unwrap().mode() & 0o777), (Vec::new(), 0o640));
        Staged::directory(scratch.path()).unwrap().replace(&place).unwrap();
        assert!(place.is_dir());
        assert_eq!(names(scratch.path()), ["image"]);
    }
}
