//! The public directory and the staging directory inside it, held open: no path is looked up twice.

use market_core::bridges::STAGING;
use market_core::error::{Error, ErrorKind};
use market_core::transfer::{is_same_file, rename_new};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, Stat, StatVfs, flock, fstat, fstatvfs, mkdirat, open,
    openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// An open directory and its path for messages.
pub(crate) struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens PUBLIC_DIR.
    pub(crate) fn public(path: &Path) -> Result<Self, Error> {
        let handle = open(path, DIRECTORY, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::config("PUBLIC_DIR", format!("{} does not exist", path.display())),
            Errno::NOTDIR => Error::config("PUBLIC_DIR", format!("{} is no directory", path.display())),
            Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL => {
                Error::config("PUBLIC_DIR", format!("{}: {}", path.display(), io::Error::from(errno).kind()))
            }
            errno => Error::io(format!("attribute PUBLIC_DIR: {}", path.display()), &errno.into()),
        })?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// Opens the staging directory inside this one; `None` when there is none yet.
    pub(crate) fn staging(&self) -> Result<Option<Self>, Error> {
        let path = self.path.join(STAGING);
        let handle = match openat(&self.handle, STAGING, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let error = Error::new(ErrorKind::Denied, path.display().to_string(), "is no directory of ours");
                return Err(error.remedy("remove it: unfinished imports are kept there"));
            }
            Err(errno) => return Err(failed(&path, errno)),
        };
        let stat = fstat(&handle).map_err(|errno| failed(&path, errno))?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            let cause = format!("belongs to user {}, and this runs as user {user}", stat.st_uid);
            let error = Error::new(ErrorKind::Denied, path.display().to_string(), cause);
            return Err(error.remedy("run as the user of oned, and give the directory to that user"));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            let error = Error::new(ErrorKind::Denied, path.display().to_string(), "could be read by others");
            return Err(error.remedy("give it mode 0700: it holds unfinished imports"));
        }
        Ok(Some(Self { handle, path }))
    }

    /// Opens the staging directory, made when it is missing.
    pub(crate) fn create_staging(&self) -> Result<Self, Error> {
        match mkdirat(&self.handle, STAGING, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed(errno)),
        }
        self.staging()?.ok_or_else(|| self.failed(Errno::NOENT))
    }

    /// Creates a file that nobody else can open.
    pub(crate) fn create(&self, name: &str) -> Result<File, Error> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| self.failed(errno))?;
        Ok(File::from(handle))
    }

    /// Opens a file to read it; `None` when there is none.
    pub(crate) fn open(&self, name: &str) -> Result<Option<File>, Error> {
        match openat(
            &self.handle,
            name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(handle) => Ok(Some(File::from(handle))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed_on(name, &errno.into())),
        }
    }

    /// Whether somebody holds a lock on a file: an import that still runs.
    pub(crate) fn is_locked(&self, name: &str) -> bool {
        let Ok(Some(file)) = self.open(name) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// Moves a file into another directory without replacing one there.
    pub(crate) fn publish(&self, name: &str, target: &Self, target_name: &str) -> io::Result<()> {
        rename_new(&self.handle, name, &target.handle, target_name)
    }

    /// Whether a name here and one in another directory are those of one file.
    pub(crate) fn same_file(&self, name: &str, other: &Self, other_name: &str) -> bool {
        is_same_file(&self.handle, name, &other.handle, other_name)
    }

    /// Makes the directory's entries durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        rustix::fs::fsync(&self.handle).map_err(|errno| self.failed(errno))
    }

    /// What a name is; links are not followed.
    pub(crate) fn stat(&self, name: &str) -> Result<Option<Stat>, Error> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed_on(name, &errno.into())),
        }
    }

    /// Removes a name; whether it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, Error> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed_on(name, &errno.into())),
        }
    }

    /// The regular files of the directory.
    pub(crate) fn files(&self) -> Result<Vec<(String, Stat)>, Error> {
        let mut files = Vec::new();
        self.each_name(|name| {
            let Ok(name) = name.to_str() else { return Ok(true) };
            // It may be gone by now: an import that ended.
            if let Some(stat) = self.stat(name)?
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            {
                files.push((name.to_owned(), stat));
            }
            Ok(true)
        })?;
        Ok(files)
    }

    /// Whether nothing at all is in it.
    pub(crate) fn is_empty(&self) -> Result<bool, Error> {
        let mut empty = true;
        self.each_name(|name| {
            empty &= matches!(name.to_bytes(), b"." | b"..");
            Ok(empty)
        })?;
        Ok(empty)
    }

    /// Tells the names of the directory, until one is answered with `false`.
    fn each_name(&self, mut tell: impl FnMut(&CStr) -> Result<bool, Error>) -> Result<(), Error> {
        // A descriptor of its own: reading a directory moves its position.
        let handle = openat(&self.handle, ".", DIRECTORY, Mode::empty()).map_err(|errno| self.failed(errno))?;
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut entries = RawDir::new(&handle, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.failed(errno))?;
            if !tell(entry.file_name())? {
                break;
            }
        }
        Ok(())
    }

    /// The space of the file system.
    pub(crate) fn space(&self) -> Result<StatVfs, Error> {
        fstatvfs(&self.handle).map_err(|errno| self.failed(errno))
    }

    fn failed(&self, errno: Errno) -> Error {
        failed(&self.path, errno)
    }

    /// An error about a file of the directory.
    pub(crate) fn failed_on(&self, name: &str, error: &io::Error) -> Error {
        Error::io(self.path.join(name).display().to_string(), error)
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::io(path.display().to_string(), &errno.into())
}
