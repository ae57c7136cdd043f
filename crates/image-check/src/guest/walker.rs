//! The way from a path of the guest to an inode: mounts are crossed and symbolic links are followed
//! here, component by component, so that none leads out of the image.

use super::path::{Components, absolute, components, memory_bytes};
use crate::ext::{BudgetedDisk, Ext, FileType, Inode};
use crate::text::printable;
use crate::unavailable::{SkipReason, Unavailable};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

/// How many links are followed on one path: as Linux does it.
const MAX_LINKS: usize = 40;
/// The most bytes of names and inodes that are cached.
const MAX_CACHE_BYTES: usize = 8 << 20;
/// The most components, and bytes, of a path that is followed.
const MAX_DEPTH: usize = 64;
const MAX_PATH_BYTES: usize = 4_096;
/// The most places below the root where something is mounted.
const MAX_MOUNTS: usize = 64;

/// What is mounted at a place: a file system, or why it cannot be read.
pub(super) type Mounted = Result<Ext, Unavailable>;

/// A file that was found, by a path without links.
pub(super) struct Found {
    path: Components,
    /// The number of the mount that it is on.
    mount: usize,
    pub(super) inode: Inode,
}

/// The file systems of a guest, and what was read of them.
pub(super) struct Walker {
    disk: Rc<RefCell<BudgetedDisk>>,
    /// The root comes first.
    mounts: Vec<(Components, Mounted)>,
    directories: HashMap<Components, BTreeMap<Vec<u8>, u32>>,
    inodes: HashMap<Components, Inode>,
    cache_bytes: usize,
}

impl Walker {
    pub(super) fn new(disk: Rc<RefCell<BudgetedDisk>>, root: Ext) -> Self {
        Self {
            disk,
            mounts: vec![(Components::new(), Ok(root))],
            directories: HashMap::new(),
            inodes: HashMap::new(),
            cache_bytes: 0,
        }
    }

    /// Mounts a file system, or the reason why there is none to read, at a path. The root stays
    /// what it is.
    pub(super) fn mount(&mut self, path: &str, mounted: Mounted) -> Result<(), Unavailable> {
        let place = components(path.as_bytes());
        self.clear_cache();
        if place.is_empty() {
            return Ok(());
        }
        // The later mount hides the earlier one.
        if let Some((_, earlier)) = self.mounts.iter_mut().find(|(other, _)| *other == place) {
            *earlier = mounted;
            return Ok(());
        }
        if self.mounts.len() > MAX_MOUNTS || place.iter().any(|part| part == b"..") {
            return Err(Unavailable::damaged("the guest's fstab makes no sense"));
        }
        self.mounts.push((place, mounted));
        Ok(())
    }

    /// Follows a path from the root; `None` when it leads nowhere.
    pub(super) fn find(
        &mut self,
        path: &[u8],
        follow_last: bool,
    ) -> Result<Option<Found>, Unavailable> {
        let mut left: VecDeque<Vec<u8>> = components(path).into();
        let mut links = 0;
        let Some(mut here) = self.step(Components::new())? else { return Ok(None) };
        while let Some(part) = left.pop_front() {
            if part == b".." {
                let mut parent = here.path;
                parent.pop();
                let Some(found) = self.step(parent)? else { return Ok(None) };
                here = found;
                continue;
            }
            if here.inode.file_type != FileType::Directory {
                return Ok(None);
            }
            let mut next = here.path.clone();
            next.push(part);
            let Some(found) = self.step(next)? else { return Ok(None) };
            let is_link = found.inode.file_type == FileType::Symlink;
            if is_link && (follow_last || !left.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    let message = format!("{}: links lead in a circle", printable(path));
                    return Err(Unavailable::damaged(message));
                }
                let target = self.target(&found)?;
                if target.starts_with(b"/") {
                    let Some(root) = self.step(Components::new())? else { return Ok(None) };
                    here = root;
                }
                for part in components(&target).into_iter().rev() {
                    left.push_front(part);
                }
                continue;
            }
            here = found;
        }
        Ok(Some(here))
    }

    /// What is at a path whose parents are directories and no links.
    fn step(&mut self, path: Components) -> Result<Option<Found>, Unavailable> {
        self.disk.borrow().check_time()?;
        if path.len() > MAX_DEPTH || path.iter().map(Vec::len).sum::<usize>() > MAX_PATH_BYTES {
            return Err(Unavailable::too_large("a path of the guest is too deep"));
        }
        let (mount, is_mount_point) = self.mount_of(&path);
        if let Some(inode) = self.inodes.get(&path) {
            return Ok(Some(Found { mount, inode: inode.clone(), path }));
        }
        let number = match path.split_last() {
            Some((name, parent)) if !is_mount_point => {
                let Some(parent) = self.step(parent.to_vec())? else { return Ok(None) };
                match self.directory(&parent)?.get(name) {
                    Some(&number) => Some(number),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let inode = self.read(mount, &path, |ext, disk| match number {
            Some(number) => ext.inode(disk, number),
            None => ext.root(disk),
        })?;
        let bytes = memory_bytes(&path) + size_of_val(&inode) + inode.inline_rest.len();
        self.make_room(bytes);
        self.inodes.insert(path.clone(), inode.clone());
        Ok(Some(Found { path, mount, inode }))
    }

    /// Reads from the file system of a mount; what fails is told with the path.
    fn read<T>(
        &self,
        mount: usize,
        path: &Components,
        read: impl FnOnce(&Ext, &mut BudgetedDisk) -> Result<T, Unavailable>,
    ) -> Result<T, Unavailable> {
        let outcome = match &self.mounts[mount].1 {
            Ok(ext) => read(ext, &mut self.disk.borrow_mut()),
            Err(unavailable) => Err(unavailable.clone()),
        };
        outcome.map_err(|error| error.about(printable(&absolute(path))))
    }

    /// The number of the mount that holds a path, and whether the path is its root.
    fn mount_of(&self, path: &Components) -> (usize, bool) {
        let mounts =
            self.mounts.iter().enumerate().filter(|(_, (place, _))| path.starts_with(place));
        let found = mounts.max_by_key(|(index, (place, _))| (place.len(), *index));
        found.map_or((0, path.is_empty()), |(index, (place, _))| (index, place.len() == path.len()))
    }

    /// The names in a directory and their inodes; none of what is no directory.
    pub(super) fn directory(
        &mut self,
        found: &Found,
    ) -> Result<&BTreeMap<Vec<u8>, u32>, Unavailable> {
        if !self.directories.contains_key(&found.path) {
            let entries = self.read(found.mount, &found.path, |ext, disk| {
                if found.inode.file_type == FileType::Directory {
                    ext.entries(disk, &found.inode)
                } else {
                    Ok(Vec::new())
                }
            })?;
            let count = entries.len();
            let bytes = entries.iter().map(|(name, _)| name.len() + 40).sum::<usize>();
            let names: BTreeMap<Vec<u8>, u32> = entries.into_iter().collect();
            if names.len() != count {
                let error = Unavailable::damaged("a name stands twice");
                return Err(error.about(printable(&absolute(&found.path))));
            }
            self.make_room(memory_bytes(&found.path) + bytes);
            self.directories.insert(found.path.clone(), names);
        }
        self.directories
            .get(&found.path)
            .ok_or_else(|| Unavailable::new(SkipReason::NotFound, "a directory was lost"))
    }

    /// Where a symbolic link leads.
    pub(super) fn target(&self, found: &Found) -> Result<Vec<u8>, Unavailable> {
        self.read(found.mount, &found.path, |ext, disk| ext.target(disk, &found.inode))
    }

    /// The first bytes of a file, at most so many.
    pub(super) fn content(&self, found: &Found, max_bytes: u64) -> Result<Vec<u8>, Unavailable> {
        self.read(found.mount, &found.path, |ext, disk| ext.content(disk, &found.inode, max_bytes))
    }

    fn clear_cache(&mut self) {
        self.inodes.clear();
        self.directories.clear();
        self.cache_bytes = 0;
    }

    /// Makes room in the cache for so many bytes.
    fn make_room(&mut self, bytes: usize) {
        if self.cache_bytes + bytes > MAX_CACHE_BYTES {
            self.clear_cache();
        }
        self.cache_bytes += bytes;
    }
}
