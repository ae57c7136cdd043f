//! The files of the guest as it would see them: its root file system, and what its fstab mounts
//! below.

use super::path::join;
use super::walker::{Mounted, Walker};
use crate::ext::{BudgetedDisk, Ext, FileType};
use crate::text::printable;
use crate::unavailable::Unavailable;
use std::cell::RefCell;
use std::rc::Rc;

/// The most bytes of a file that are read whole: settings are shorter.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) file_type: FileType,
    pub(crate) bytes: u64,
    permissions: u16,
}

impl Metadata {
    pub(crate) fn is_file(self) -> bool {
        self.file_type == FileType::Regular
    }

    pub(crate) fn is_directory(self) -> bool {
        self.file_type == FileType::Directory
    }

    pub(crate) fn is_executable(self) -> bool {
        self.is_file() && self.permissions & 0o111 != 0
    }
}

/// The guest's tree of files. Paths are absolute.
pub(crate) struct Tree(RefCell<Walker>);

impl Tree {
    pub(super) fn new(disk: Rc<RefCell<BudgetedDisk>>, root: Ext) -> Self {
        Self(RefCell::new(Walker::new(disk, root)))
    }

    /// Mounts a file system, or the reason why there is none to read, at a path. The root stays
    /// what it is.
    pub(super) fn mount(&self, path: &str, mounted: Mounted) -> Result<(), Unavailable> {
        self.0.borrow_mut().mount(path, mounted)
    }

    /// What a path leads to, links followed; `None` when there is nothing.
    pub(crate) fn metadata(&self, path: impl AsRef<[u8]>) -> Result<Option<Metadata>, Unavailable> {
        let found = self.0.borrow_mut().find(path.as_ref(), true)?;
        Ok(found.map(|found| Metadata {
            file_type: found.inode.file_type,
            bytes: found.inode.bytes,
            permissions: found.inode.permissions,
        }))
    }

    /// Whether a path leads to anything.
    pub(crate) fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool, Unavailable> {
        Ok(self.metadata(path)?.is_some())
    }

    /// Whether a path leads to anything, or is a link that leads nowhere.
    pub(crate) fn is_named(&self, path: impl AsRef<[u8]>) -> Result<bool, Unavailable> {
        Ok(self.0.borrow_mut().find(path.as_ref(), false)?.is_some())
    }

    /// The target of a symbolic link; `None` when the path is something else, or nothing.
    pub(crate) fn link(&self, path: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut walker = self.0.borrow_mut();
        match walker.find(path.as_ref(), false)? {
            Some(found) if found.inode.file_type == FileType::Symlink => {
                walker.target(&found).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A file's content; `None` when there is no file. One of more than a MiB holds no settings,
    /// and is not read.
    pub(crate) fn read(&self, path: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Unavailable> {
        let content = self.read_at_most(&path, MAX_FILE_BYTES + 1)?;
        match content {
            Some(content) if content.len() as u64 > MAX_FILE_BYTES => {
                let path = printable(path.as_ref());
                let message = format!("{path} is larger than {MAX_FILE_BYTES} bytes");
                Err(Unavailable::too_large(message))
            }
            content => Ok(content),
        }
    }

    /// The first bytes of a file, at most so many; `None` when there is no file.
    pub(crate) fn read_at_most(
        &self,
        path: impl AsRef<[u8]>,
        bytes: u64,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut walker = self.0.borrow_mut();
        match walker.find(path.as_ref(), true)? {
            Some(found) if found.inode.file_type == FileType::Regular => {
                walker.content(&found, bytes).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A file's lines, as text; none when there is no file.
    pub(crate) fn lines(&self, path: impl AsRef<[u8]>) -> Result<Vec<String>, Unavailable> {
        let content = self.read(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&content).lines().map(str::to_owned).collect())
    }

    /// The names in a directory, sorted; none when there is no directory.
    pub(crate) fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Vec<u8>>, Unavailable> {
        let mut walker = self.0.borrow_mut();
        match walker.find(path.as_ref(), true)? {
            Some(found) if found.inode.file_type == FileType::Directory => {
                Ok(walker.directory(&found)?.keys().cloned().collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The paths of the names in a directory that match.
    pub(crate) fn paths(
        &self,
        directory: &str,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, Unavailable> {
        let names = self.list(directory)?.into_iter().filter(|name| matches(name));
        Ok(names.map(|name| join(directory, &name)).collect())
    }
}
