//! Which volume holds the guest's root file system, and what is mounted below it.

use super::fstab::{self, FstabEntry};
use super::tree::Tree;
use crate::deadline::Deadline;
use crate::disk::Disk;
use crate::ext::{BudgetedDisk, Ext};
use crate::layout::Layout;
use crate::text::printable;
use crate::unavailable::{SkipReason, Unavailable};
use crate::volume::{Content, Volume};
use std::cell::RefCell;
use std::rc::Rc;

/// No installation of a distribution is smaller: a smaller volume of unknown content hides no
/// system.
const MIN_SYSTEM_BYTES: u64 = 128 << 20;
/// The most volumes that a message describes.
const MAX_DESCRIBED: usize = 8;

/// The file system of each volume: `None` for a volume without an ext, an error for one that cannot
/// be read.
type Filesystems = Vec<Option<Result<Ext, Unavailable>>>;

/// The root file system with everything that is mounted below it.
pub(super) struct Root {
    pub(super) tree: Tree,
    /// The number of the volume that it is on.
    pub(super) volume: usize,
    pub(super) fstab: Vec<FstabEntry>,
}

/// Finds the root file system and mounts what fstab says below it.
///
/// # Errors
/// When there is none, when there are several, and when another may be where nothing can be read.
pub(super) fn find_root(
    disk: Disk,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Root, Unavailable> {
    let disk = Rc::new(RefCell::new(BudgetedDisk::new(disk, deadline)));
    let filesystems = open_filesystems(&disk, layout);
    let Candidates { systems, errors } = candidates(&disk, &filesystems);
    let describe = |(volume, error): (&Volume, &Option<Unavailable>)| match error {
        Some(error) => format!("{} ({error})", volume.describe()),
        None => volume.describe(),
    };
    let described: Vec<String> =
        layout.volumes.iter().zip(&errors).take(MAX_DESCRIBED).map(describe).collect();
    let described = described.join(", ");
    let is_hidden = layout.volumes.iter().zip(&filesystems).any(may_hide_a_system);
    // A limit that was met is why nothing was found, whatever else is on the disk.
    let because = |reason| limit_of(&errors).unwrap_or(reason);
    match systems[..] {
        [volume] => {
            let Some(Some(Ok(ext))) = filesystems.get(volume) else {
                return Err(Unavailable::new(because(SkipReason::NotFound), described));
            };
            let tree = Tree::new(disk, ext.clone());
            match mount_all(&tree, layout, &filesystems, is_hidden) {
                Ok(fstab) => Ok(Root { tree, volume, fstab }),
                Err(Unavailable { reason, message }) => {
                    Err(Unavailable::new(reason, format!("{message}: {described}")))
                }
            }
        }
        [] if is_hidden => Err(Unavailable::new(
            because(SkipReason::Unsupported),
            format!("the system is where nothing can be read: {described}"),
        )),
        [] => Err(Unavailable::new(
            because(SkipReason::NotFound),
            format!("no Linux system was found: {described}"),
        )),
        _ => Err(Unavailable::new(
            because(SkipReason::Ambiguous),
            format!("which of {} systems starts is unknown: {described}", systems.len()),
        )),
    }
}

fn open_filesystems(disk: &RefCell<BudgetedDisk>, layout: &Layout) -> Filesystems {
    let open = |volume: &Volume| Ext::open(&mut disk.borrow_mut(), volume.range.clone());
    let volumes = layout.volumes.iter();
    volumes.map(|volume| (volume.content == Content::Ext).then(|| open(volume))).collect()
}

/// Which volumes look like the root of a system, and why others could not be looked at.
struct Candidates {
    systems: Vec<usize>,
    /// One of each volume.
    errors: Vec<Option<Unavailable>>,
}

fn candidates(disk: &Rc<RefCell<BudgetedDisk>>, filesystems: &Filesystems) -> Candidates {
    let mut found = Candidates { systems: Vec::new(), errors: Vec::new() };
    for (index, filesystem) in filesystems.iter().enumerate() {
        let is_system = match filesystem {
            None => Ok(false),
            Some(Ok(ext)) => is_system(&Tree::new(Rc::clone(disk), ext.clone())),
            Some(Err(error)) => Err(error.clone()),
        };
        if is_system == Ok(true) {
            found.systems.push(index);
        }
        found.errors.push(is_system.err());
    }
    found
}

/// Whether a tree is a root file system: it has settings and programs.
fn is_system(tree: &Tree) -> Result<bool, Unavailable> {
    let has_settings = tree.exists("/etc/passwd")?
        || tree.exists("/etc/fstab")?
        || tree.is_named("/etc/os-release")?;
    let has_programs =
        tree.is_named("/usr")? || tree.is_named("/bin")? || tree.is_named("/sbin")?;
    Ok(has_settings && has_programs)
}

/// Whether a system may be on a volume that cannot be read: also in an ext that makes no sense, and
/// in what is unknown, unless that is too small.
fn may_hide_a_system((volume, filesystem): (&Volume, &Option<Result<Ext, Unavailable>>)) -> bool {
    volume.content.may_hide_a_system()
        || matches!(filesystem, Some(Err(_)))
        || (volume.content == Content::Unknown && volume.bytes() >= MIN_SYSTEM_BYTES)
}

/// The limit that ended the look at one of the volumes, if one did: time comes before the others.
fn limit_of(errors: &[Option<Unavailable>]) -> Option<SkipReason> {
    let reasons = || errors.iter().flatten().map(|error| error.reason);
    [SkipReason::TimeLimit, SkipReason::TooLarge, SkipReason::Io]
        .into_iter()
        .find(|limit| reasons().any(|reason| reason == *limit))
}

/// Mounts what fstab says, or why it cannot be read; `is_hidden` says that a system may be where
/// nothing can be read.
fn mount_all(
    tree: &Tree,
    layout: &Layout,
    filesystems: &Filesystems,
    is_hidden: bool,
) -> Result<Vec<FstabEntry>, Unavailable> {
    let fstab = fstab::read(tree)?;
    let mut explains_hidden = false;
    for entry in &fstab {
        let is_mounted = entry.is_of_disk() || entry.is_bind();
        if !entry.mount_point.starts_with('/') || !entry.is_automatic() || !is_mounted {
            continue;
        }
        let volume = entry.volume(layout, filesystems);
        let is_foreign = matches!(entry.fs_type.as_str(), "vfat" | "msdos" | "ntfs" | "exfat");
        explains_hidden |= entry.is_of_disk() && volume.is_none() && !is_foreign;
        let elsewhere = |message: String| Unavailable::new(SkipReason::Elsewhere, message);
        let mounted = match volume.map(|index| (&filesystems[index], &layout.volumes[index])) {
            _ if entry.is_bind() => {
                Err(Unavailable::unsupported("is a bind mount, which is not followed"))
            }
            Some((Some(filesystem), _)) => filesystem.clone(),
            Some((None, volume)) => {
                let content = volume.content.name();
                Err(Unavailable::unsupported(format!("is on {content}, which is not read")))
            }
            None => Err(elsewhere(format!(
                "is on {}, which is not among what can be read",
                printable(entry.device.as_bytes())
            ))),
        };
        tree.mount(&entry.mount_point, mounted)?;
    }
    if is_hidden && !explains_hidden {
        return Err(Unavailable::new(
            SkipReason::Ambiguous,
            "another system may be where nothing can be read",
        ));
    }
    Ok(fstab)
}
