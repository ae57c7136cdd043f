//! The guest's fstab, and which volume a line of it means.

use super::tree::Tree;
use crate::ext::Ext;
use crate::layout::Layout;
use crate::partition::Partition;
use crate::unavailable::Unavailable;

/// The most lines of an fstab that is read.
const MAX_LINES: usize = 1_000;

/// A line of the guest's fstab.
#[derive(Clone, Debug)]
pub(crate) struct FstabEntry {
    /// As `mount` is told it: a path, or a tag like `UUID=`.
    pub(crate) device: String,
    pub(super) mount_point: String,
    pub(super) fs_type: String,
    options: String,
}

/// The lines of the guest's fstab.
pub(super) fn read(tree: &Tree) -> Result<Vec<FstabEntry>, Unavailable> {
    let lines = tree.lines("/etc/fstab")?;
    if lines.len() > MAX_LINES {
        return Err(Unavailable::too_large("/etc/fstab has more lines than are read"));
    }
    Ok(lines.iter().filter_map(|line| FstabEntry::parse(line)).collect())
}

impl FstabEntry {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let mut next = || fields.next().map(str::to_owned);
        let device = next().filter(|device| !device.starts_with('#'))?;
        Some(Self {
            device: device.replace('"', ""),
            mount_point: next()?,
            fs_type: next().unwrap_or_default(),
            options: next().unwrap_or_default(),
        })
    }

    /// It names a block device, whatever is on it.
    fn has_device(&self) -> bool {
        let tags = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
        tags.iter().any(|tag| self.device.starts_with(tag)) || self.device.starts_with("/dev/")
    }

    /// It mounts a file system of a disk.
    pub(super) fn is_of_disk(&self) -> bool {
        self.has_device() && !matches!(self.fs_type.as_str(), "swap" | "iso9660" | "udf")
    }

    /// It mounts a directory at another place.
    pub(super) fn is_bind(&self) -> bool {
        self.has_option("bind") || self.has_option("rbind")
    }

    /// It is mounted when the guest starts.
    pub(crate) fn is_automatic(&self) -> bool {
        !self.has_option("noauto")
    }

    fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }

    /// The number of the volume that the line means; `None` when it is on another disk, or several
    /// fit. `filesystems` are those of the volumes.
    pub(super) fn volume(
        &self,
        layout: &Layout,
        filesystems: &[Option<Result<Ext, Unavailable>>],
    ) -> Option<usize> {
        let by_filesystem = |is: &dyn Fn(&Ext) -> bool| {
            let fits = |index: &usize| matches!(&filesystems[*index], Some(Ok(ext)) if is(ext));
            only((0..filesystems.len()).filter(fits))
        };
        let by_partition = |is: &dyn Fn(&Partition) -> bool| {
            let fits = |index: &usize| layout.volumes[*index].partition.as_ref().is_some_and(is);
            only((0..layout.volumes.len()).filter(fits))
        };
        let device = self.device.as_str();
        let value = |tag: &str, directory: &str| {
            device.strip_prefix(tag).or_else(|| device.strip_prefix(directory))
        };
        if let Some(uuid) = value("UUID=", "/dev/disk/by-uuid/") {
            return by_filesystem(&|ext| ext.uuid().eq_ignore_ascii_case(uuid));
        }
        if let Some(label) = value("LABEL=", "/dev/disk/by-label/") {
            return by_filesystem(&|ext| ext.label() == label);
        }
        if let Some(uuid) = value("PARTUUID=", "/dev/disk/by-partuuid/") {
            return by_partition(&|partition| partition.uuid.eq_ignore_ascii_case(uuid));
        }
        if let Some(label) = value("PARTLABEL=", "/dev/disk/by-partlabel/") {
            return by_partition(&|partition| partition.name == label);
        }
        let number = first_disk_partition(device)?;
        by_partition(&|partition| partition.number == number)
    }
}

/// The number of a partition of the first disk on any bus; another letter is another disk.
fn first_disk_partition(device: &str) -> Option<u32> {
    const FIRST_DISKS: [&str; 4] = ["/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda"];
    if !FIRST_DISKS.iter().any(|disk| device.starts_with(disk)) {
        return None;
    }
    let name = device.strip_prefix("/dev/")?;
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

/// The one that there is; of several nothing tells which is meant.
fn only(mut found: impl Iterator<Item = usize>) -> Option<usize> {
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn comments_and_lines_without_a_mount_point_are_none() {
        assert!(FstabEntry::parse("# /dev/sda1 /").is_none());
        assert!(FstabEntry::parse("/dev/sda1").is_none());
        let entry = FstabEntry::parse("UUID=\"1-2\" /srv ext4 defaults,noauto 0 2").unwrap();
        assert_eq!((&*entry.device, &*entry.mount_point), ("UUID=1-2", "/srv"));
        assert!(entry.is_of_disk() && !entry.is_automatic() && !entry.is_bind());
    }

    #[test]
    fn only_the_first_disk_of_a_bus_is_the_images() {
        assert_eq!(first_disk_partition("/dev/vda2"), Some(2));
        assert_eq!(first_disk_partition("/dev/vdb2"), None);
        assert_eq!(first_disk_partition("/dev/sda"), None);
    }
}
