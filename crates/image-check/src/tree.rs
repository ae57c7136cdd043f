//! The files of the guest as it would see them: its root file system, and what its fstab mounts
//! below. Links are followed here, step by step, so that none leads out of the image.

use crate::disk::Disk;
use crate::ext::{Budget, Ext, Inode, Kind, Look};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Links that are followed on one path, as Linux does it.
const MAX_LINKS: usize = 40;
/// Bytes of names that are remembered.
const MAX_REMEMBERED_BYTES: usize = 8 << 20;
/// The deepest path, and the longest, that is followed.
const DEEPEST: usize = 64;
const LONGEST_PATH_BYTES: usize = 4_096;
/// Places below the root that are mounted.
const MAX_MOUNTS: usize = 64;
/// What is read of a file: settings are shorter.
const MAX_READ_BYTES: u64 = 1 << 20;

/// Why a part of the guest could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable(pub(crate) String);

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) permissions: u16,
}

impl Node {
    pub(crate) fn is_file(self) -> bool {
        self.kind == Kind::File
    }

    pub(crate) fn is_executable(self) -> bool {
        self.is_file() && self.permissions & 0o111 != 0
    }
}

/// What is mounted at a place: a file system, or why it cannot be read.
type Mounted = Result<Ext, String>;

/// Components of a path.
type Path = Vec<Vec<u8>>;

struct Found {
    path: Path,
    filesystem: usize,
    inode: Inode,
}

struct Inner {
    disk: Disk,
    budget: Budget,
    mounts: Vec<(Path, Mounted)>,
    directories: HashMap<Path, BTreeMap<Vec<u8>, u32>>,
    nodes: HashMap<Path, Inode>,
    remembered_bytes: usize,
}

/// The guest's tree.
pub(crate) struct Tree(RefCell<Inner>);

fn components(path: &[u8]) -> Path {
    path.split(|&byte| byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(<[u8]>::to_vec)
        .collect()
}

impl Tree {
    pub(crate) fn new(disk: Disk, budget: Budget, root: Ext) -> Self {
        let mounts = vec![(Path::new(), Ok(root))];
        let inner = Inner {
            disk,
            budget,
            mounts,
            directories: HashMap::new(),
            nodes: HashMap::new(),
            remembered_bytes: 0,
        };
        Self(RefCell::new(inner))
    }

    /// Mounts a file system, or the reason why there is none to read. The root is mounted already.
    pub(crate) fn mount(&self, path: &str, mounted: Mounted) -> Result<(), Unavailable> {
        let place = components(path.as_bytes());
        let mut inner = self.0.borrow_mut();
        inner.forget();
        if place.is_empty() {
            return Ok(());
        }
        // The later mount hides the earlier one.
        if let Some((_, earlier)) = inner.mounts.iter_mut().find(|(other, _)| *other == place) {
            *earlier = mounted;
            return Ok(());
        }
        if inner.mounts.len() > MAX_MOUNTS || place.iter().any(|part| part == b"..") {
            return Err(Unavailable("the guest's fstab makes no sense".to_owned()));
        }
        inner.mounts.push((place, mounted));
        Ok(())
    }

    pub(crate) fn into_parts(self) -> (Disk, Budget) {
        let inner = self.0.into_inner();
        (inner.disk, inner.budget)
    }

    /// What a path leads to; `None` when there is nothing.
    pub(crate) fn node(&self, path: impl AsRef<[u8]>) -> Result<Option<Node>, Unavailable> {
        let found = self.0.borrow_mut().find(path.as_ref(), true)?;
        Ok(found.map(|found| node(&found.inode)))
    }

    /// Whether a path leads to anything.
    pub(crate) fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool, Unavailable> {
        Ok(self.node(path)?.is_some())
    }

    /// The target of a link; `None` when the path is something else, or nothing.
    pub(crate) fn link(&self, path: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut inner = self.0.borrow_mut();
        match inner.find(path.as_ref(), false)? {
            Some(found) if found.inode.kind == Kind::Link => inner.target(&found).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether a path leads to anything, or is a link that leads nowhere.
    pub(crate) fn is_named(&self, path: impl AsRef<[u8]>) -> Result<bool, Unavailable> {
        Ok(self.0.borrow_mut().find(path.as_ref(), false)?.is_some())
    }

    /// A file's content; `None` when there is no file. One of more than a MiB is no settings file,
    /// and not read.
    pub(crate) fn read(&self, path: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Unavailable> {
        let content = self.read_most(&path, MAX_READ_BYTES + 1)?;
        match content {
            Some(content) if content.len() as u64 > MAX_READ_BYTES => Err(Unavailable(format!(
                "{} is larger than {MAX_READ_BYTES} bytes",
                shown(path.as_ref())
            ))),
            content => Ok(content),
        }
    }

    /// The first bytes of a file.
    pub(crate) fn read_most(
        &self,
        path: impl AsRef<[u8]>,
        most: u64,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let mut inner = self.0.borrow_mut();
        match inner.find(path.as_ref(), true)? {
            Some(found) if found.inode.kind == Kind::File => inner.content(&found, most).map(Some),
            _ => Ok(None),
        }
    }

    /// A file's lines, as text.
    pub(crate) fn lines(&self, path: impl AsRef<[u8]>) -> Result<Vec<String>, Unavailable> {
        let content = self.read(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&content).lines().map(str::to_owned).collect())
    }

    /// The names in a directory, sorted; none when there is no directory.
    pub(crate) fn list(&self, path: impl AsRef<[u8]>) -> Result<Vec<Vec<u8>>, Unavailable> {
        let mut inner = self.0.borrow_mut();
        match inner.find(path.as_ref(), true)? {
            Some(found) if found.inode.kind == Kind::Directory => {
                Ok(inner.directory(&found)?.keys().cloned().collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The paths in a directory whose last part `matches`.
    pub(crate) fn paths(
        &self,
        directory: &str,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, Unavailable> {
        let names = self.list(directory)?.into_iter().filter(|name| matches(name));
        Ok(names.map(|name| join(directory, &name)).collect())
    }
}

/// A path in a directory.
pub(crate) fn join(directory: impl AsRef<[u8]>, name: &[u8]) -> Vec<u8> {
    [directory.as_ref(), name].join(&b'/')
}

/// A name of the guest as it may be shown: control characters escaped, at most 120 characters.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut shown = String::new();
    for c in text.chars().take(120) {
        if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn node(inode: &Inode) -> Node {
    Node { kind: inode.kind, bytes: inode.bytes, permissions: inode.permissions }
}

impl Inner {
    fn look(&mut self) -> (Look<'_>, &[(Path, Mounted)]) {
        (Look { disk: &mut self.disk, budget: &mut self.budget }, &self.mounts)
    }

    /// Follows a path from the root.
    fn find(&mut self, path: &[u8], follow_last: bool) -> Result<Option<Found>, Unavailable> {
        let mut left: VecDeque<Vec<u8>> = components(path).into();
        let mut links = 0;
        let Some(mut here) = self.step(Path::new())? else { return Ok(None) };
        while let Some(part) = left.pop_front() {
            if part == b".." {
                let mut parent = here.path;
                parent.pop();
                let Some(found) = self.step(parent)? else { return Ok(None) };
                here = found;
                continue;
            }
            if here.inode.kind != Kind::Directory {
                return Ok(None);
            }
            let mut next = here.path.clone();
            next.push(part);
            let Some(found) = self.step(next)? else { return Ok(None) };
            if found.inode.kind == Kind::Link && (follow_last || !left.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Unavailable(format!("{}: links lead in a circle", shown(path))));
                }
                let target = self.target(&found)?;
                if target.starts_with(b"/") {
                    let Some(root) = self.step(Path::new())? else { return Ok(None) };
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

    fn forget(&mut self) {
        self.nodes.clear();
        self.directories.clear();
        self.remembered_bytes = 0;
    }

    /// Makes room for more names.
    fn remember(&mut self, bytes: usize) {
        if self.remembered_bytes + bytes > MAX_REMEMBERED_BYTES {
            self.forget();
        }
        self.remembered_bytes += bytes;
    }

    /// What is at a path whose parents are directories and no links.
    fn step(&mut self, path: Path) -> Result<Option<Found>, Unavailable> {
        self.budget.check().map_err(Unavailable)?;
        if path.len() > DEEPEST || path.iter().map(Vec::len).sum::<usize>() > LONGEST_PATH_BYTES {
            return Err(Unavailable("a path of the guest is too deep".to_owned()));
        }
        let (filesystem, mounted_here) = self.filesystem(&path);
        if let Some(inode) = self.nodes.get(&path) {
            return Ok(Some(Found { filesystem, inode: inode.clone(), path }));
        }
        let unread = |flaw: &str| Unavailable(format!("{}: {flaw}", shown(&full(&path))));
        let number = match path.split_last() {
            Some((name, parent)) if !mounted_here => {
                let Some(parent) = self.step(parent.to_vec())? else { return Ok(None) };
                match self.directory(&parent)?.get(name) {
                    Some(&number) => Some(number),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let (mut look, mounts) = self.look();
        let ext = mounts[filesystem].1.as_ref().map_err(|flaw| unread(flaw))?;
        let inode = match number {
            Some(number) => ext.inode(&mut look, number),
            None => ext.root(&mut look),
        };
        let inode = inode.map_err(|flaw| unread(&flaw))?;
        self.remember(size_of_path(&path) + size_of_val(&inode) + inode.inline.len());
        self.nodes.insert(path.clone(), inode.clone());
        Ok(Some(Found { path, filesystem, inode }))
    }

    /// The file system that holds a path, and whether the path is its root.
    fn filesystem(&self, path: &Path) -> (usize, bool) {
        let mounts =
            self.mounts.iter().enumerate().filter(|(_, (place, _))| path.starts_with(place));
        let found = mounts.max_by_key(|(index, (place, _))| (place.len(), *index));
        found.map_or((0, path.is_empty()), |(index, (place, _))| (index, place.len() == path.len()))
    }

    fn directory(&mut self, found: &Found) -> Result<&BTreeMap<Vec<u8>, u32>, Unavailable> {
        if !self.directories.contains_key(&found.path) {
            let (mut look, mounts) = self.look();
            let unread =
                |flaw: String| Unavailable(format!("{}: {flaw}", shown(&full(&found.path))));
            let ext = mounts[found.filesystem].1.as_ref().map_err(|flaw| unread(flaw.clone()))?;
            let entries = if found.inode.kind == Kind::Directory {
                ext.entries(&mut look, &found.inode).map_err(unread)?
            } else {
                Vec::new()
            };
            let count = entries.len();
            let bytes = entries.iter().map(|(name, _)| name.len() + 40).sum::<usize>();
            let names: BTreeMap<Vec<u8>, u32> = entries.into_iter().collect();
            if names.len() != count {
                return Err(Unavailable(format!(
                    "{}: a name stands twice",
                    shown(&full(&found.path))
                )));
            }
            self.remember(size_of_path(&found.path) + bytes);
            self.directories.insert(found.path.clone(), names);
        }
        self.directories
            .get(&found.path)
            .ok_or_else(|| Unavailable("a directory was lost".to_owned()))
    }

    fn target(&mut self, found: &Found) -> Result<Vec<u8>, Unavailable> {
        let (mut look, mounts) = self.look();
        let ext = mounts[found.filesystem].1.as_ref().map_err(|flaw| Unavailable(flaw.clone()))?;
        ext.target(&mut look, &found.inode)
            .map_err(|flaw| Unavailable(format!("{}: {flaw}", shown(&full(&found.path)))))
    }

    fn content(&mut self, found: &Found, most: u64) -> Result<Vec<u8>, Unavailable> {
        let (mut look, mounts) = self.look();
        let ext = mounts[found.filesystem].1.as_ref().map_err(|flaw| Unavailable(flaw.clone()))?;
        let content = ext.content(&mut look, &found.inode, most);
        content.map_err(|flaw| Unavailable(format!("{}: {flaw}", shown(&full(&found.path)))))
    }
}

fn size_of_path(path: &Path) -> usize {
    path.iter().map(|part| part.len() + size_of::<Vec<u8>>()).sum()
}

fn full(path: &Path) -> Vec<u8> {
    if path.is_empty() {
        return b"/".to_vec();
    }
    path.iter().fold(Vec::new(), |mut full, part| {
        full.push(b'/');
        full.extend_from_slice(part);
        full
    })
}
