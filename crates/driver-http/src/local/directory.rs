//! The public directory and the staging directory inside it, held open: no path is looked up twice.

use crate::space::Space;
use market_bridge::STAGING;
use market_core::error::{Error, ErrorKind};
use market_core::transfer::{is_same_file, random_name, rename_new};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, Stat, flock, fstat, fstatvfs, mkdirat,
    open, openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// A regular file of a directory.
pub(crate) struct FileEntry {
    pub(crate) name: String,
    /// Its size, holes included.
    pub(crate) bytes: u64,
    /// When it was last written: the time since 1970.
    pub(crate) written: Duration,
}

/// An open directory, and its path for messages.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens PUBLIC_DIR.
    pub(crate) fn public(path: &Path) -> Result<Self, Error> {
        let handle = open(path, DIRECTORY, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => {
                Error::config("PUBLIC_DIR", format!("{} does not exist", path.display()))
            }
            Errno::NOTDIR => {
                Error::config("PUBLIC_DIR", format!("{} is no directory", path.display()))
            }
            Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL => Error::config(
                "PUBLIC_DIR",
                format!("{}: {}", path.display(), io::Error::from(errno).kind()),
            ),
            errno => Error::io(format!("attribute PUBLIC_DIR: {}", path.display()), &errno.into()),
        })?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// Opens the staging directories inside this one. There is one; more, when somebody else had
    /// taken its name at a time.
    pub(crate) fn staging(&self) -> Result<Vec<Self>, Error> {
        let user = rustix::process::geteuid().as_raw();
        let mut names = Vec::new();
        self.names(|name| {
            let ours = name
                .strip_prefix(STAGING)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            if ours && self.stat(name)?.is_some_and(|stat| stat.st_uid == user) {
                names.push(name.to_owned());
            }
            Ok(())
        })?;
        names.sort();
        names.iter().filter_map(|name| self.staging_of(name, user).transpose()).collect()
    }

    fn staging_of(&self, name: &str, user: u32) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        let handle = match openat(&self.handle, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let error = Error::new(
                    ErrorKind::Denied,
                    path.display().to_string(),
                    "is no directory of ours",
                );
                return Err(error.remedy("remove it: unfinished imports are kept there"));
            }
            Err(errno) => return Err(failed(&path, errno)),
        };
        let stat = fstat(&handle).map_err(|errno| failed(&path, errno))?;
        if stat.st_uid != user {
            let cause = format!("belongs to user {}, and this runs as user {user}", stat.st_uid);
            let error = Error::new(ErrorKind::Denied, path.display().to_string(), cause);
            return Err(
                error.remedy("run as the user of oned, and give the directory to that user")
            );
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            let error = Error::new(
                ErrorKind::Denied,
                path.display().to_string(),
                "could be read by others",
            );
            return Err(error.remedy("give it mode 0700: it holds unfinished imports"));
        }
        Ok(Some(Self { handle, path }))
    }

    /// Opens the staging directory, made when it is missing: under a name that nobody could guess
    /// when somebody else has the first one.
    pub(crate) fn create_staging(&self) -> Result<Self, Error> {
        if let Some(staging) = self.staging()?.into_iter().next() {
            return Ok(staging);
        }
        let random =
            || random_name::<8>().map_err(|error| Error::io("the system's random numbers", &error));
        for name in [STAGING.to_owned(), format!("{STAGING}-{}", random()?)] {
            match mkdirat(&self.handle, &name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
            if let Some(staging) = self.staging()?.into_iter().next() {
                return Ok(staging);
            }
        }
        Err(self.failed(Errno::NOENT))
    }

    /// Creates a file that nobody else can open.
    pub(crate) fn create(&self, name: &str) -> Result<File, Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed(errno))?;
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
    pub(crate) fn files(&self) -> Result<Vec<FileEntry>, Error> {
        let mut files = Vec::new();
        self.names(|name| {
            // It may be gone by now: an import that ended.
            if let Some(stat) = self.stat(name)?
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            {
                files.push(FileEntry {
                    name: name.to_owned(),
                    bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                    written: Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default()),
                });
            }
            Ok(())
        })?;
        Ok(files)
    }

    /// Whether it has no entry at all.
    pub(crate) fn is_empty(&self) -> Result<bool, Error> {
        let mut empty = true;
        self.names(|name| {
            empty &= matches!(name, "." | "..");
            Ok(())
        })?;
        Ok(empty)
    }

    /// Looks at each name in the directory; one that is no text is none of ours.
    fn names(&self, mut look: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        // A descriptor of its own: reading a directory moves its position.
        let handle = openat(&self.handle, ".", DIRECTORY, Mode::empty())
            .map_err(|errno| self.failed(errno))?;
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut entries = RawDir::new(&handle, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.failed(errno))?;
            if let Ok(name) = entry.file_name().to_str() {
                look(name)?;
            }
        }
        Ok(())
    }

    /// Where a name is, for messages.
    pub(crate) fn path(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// The space of the file system.
    pub(crate) fn space(&self) -> Result<Space, Error> {
        let space = fstatvfs(&self.handle).map_err(|errno| self.failed(errno))?;
        Ok(Space {
            block_bytes: space.f_frsize,
            blocks: space.f_blocks,
            free: space.f_bfree,
            available: space.f_bavail,
        })
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
