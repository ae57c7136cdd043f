//! The system on a disk: where it is, and what the checks and the summary ask of it.

use crate::bytes::until_zero;
use crate::disk::Disk;
use crate::ext::{Budget, Ext, Look};
use crate::partition::{self, Partition, Table};
use crate::time::Deadline;
use crate::tree::{Tree, Unavailable, shown};
use crate::volume::Content;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;

/// No installation of a distribution is smaller.
const SMALLEST_SYSTEM_BYTES: u64 = 128 << 20;

/// A stretch of the disk and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// `None` for a disk without partitions.
    pub(crate) partition: Option<Partition>,
    pub(crate) stretch: Range<u64>,
    pub(crate) content: Content,
}

impl Volume {
    fn describe(&self) -> String {
        match &self.partition {
            Some(partition) => {
                format!("partition {} holds {}", partition.number, self.content.name())
            }
            None => format!("the disk holds {}", self.content.name()),
        }
    }
}

/// How a disk is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) table: Table,
    pub(crate) volumes: Vec<Volume>,
}

impl Layout {
    pub(crate) fn read(disk: &mut Disk) -> io::Result<Self> {
        const MAX_PARTITIONS: usize = 64;
        let (table, partitions) = partition::read(disk)?;
        if partitions.len() > MAX_PARTITIONS {
            let cause = format!("{} partitions are more than a system has", partitions.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        let mut volumes = Vec::new();
        for partition in partitions {
            let stretch = partition.start..partition.start + partition.bytes;
            let content = Content::probe(disk, &stretch)?;
            volumes.push(Volume { partition: Some(partition), stretch, content });
        }
        let stretch = 0..disk.bytes();
        let whole = Content::probe(disk, &stretch)?;
        let is_known = |content| !matches!(content, Content::Unknown | Content::Empty);
        // A boot sector may look like a table; what was once in a disk's first sectors may look
        // like a file system.
        let is_whole = volumes.is_empty()
            || (table == Table::Mbr
                && is_known(whole)
                && !volumes.iter().any(|volume| is_known(volume.content)));
        if is_whole {
            return Ok(Self {
                table: Table::None,
                volumes: vec![Volume { partition: None, stretch, content: whole }],
            });
        }
        Ok(Self { table, volumes })
    }

    /// Whether anything on the disk is known.
    pub(crate) fn is_known(&self) -> bool {
        self.table != Table::None
            || self
                .volumes
                .iter()
                .any(|volume| !matches!(volume.content, Content::Unknown | Content::Empty))
    }
}

/// A line of the guest's fstab.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    /// As `mount` is told it.
    pub(crate) device: String,
    pub(crate) place: String,
    pub(crate) kind: String,
    pub(crate) options: String,
}

impl Mount {
    /// It has a block device of its own.
    pub(crate) fn is_of_a_disk(&self) -> bool {
        let named = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="]
            .iter()
            .any(|tag| self.device.starts_with(tag));
        named || self.device.starts_with("/dev/")
    }

    pub(crate) fn is_automatic(&self) -> bool {
        !self.has("noauto")
    }

    fn has(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }
}

/// How an account can be used with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    Locked,
    Set,
    /// None is asked for.
    Empty,
}

/// An account of the guest.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u64,
    pub(crate) home: String,
    pub(crate) password: Password,
    /// It stands in /etc/passwd itself, which tools that lock passwords leave alone.
    pub(crate) is_in_passwd: bool,
}

/// A system that was found.
pub(crate) struct Guest {
    pub(crate) tree: Tree,
    /// The volume that its root is on.
    pub(crate) root: usize,
    pub(crate) accounts: Result<Vec<Account>, Unavailable>,
    pub(crate) mounts: Vec<Mount>,
}

impl Guest {
    /// Finds the root file system and mounts what belongs below it; or says why there is none to
    /// look at.
    pub(crate) fn find(
        mut disk: Disk,
        layout: &Layout,
        deadline: Deadline,
    ) -> Result<Self, String> {
        let mut budget = Budget::new(deadline);
        let mut reasons: Vec<String> = layout.volumes.iter().map(Volume::describe).collect();
        let mut filesystems: Vec<Option<Result<Ext, String>>> = Vec::new();
        for volume in &layout.volumes {
            let mut look = Look { disk: &mut disk, budget: &mut budget };
            let mut open = || Ext::open(&mut look, volume.stretch.clone());
            filesystems.push((volume.content == Content::Ext).then(&mut open));
        }
        let mut roots = Vec::new();
        for (index, filesystem) in filesystems.iter().enumerate() {
            let Some(filesystem) = filesystem else { continue };
            let opened = filesystem.clone().map_err(Unavailable).and_then(|ext| {
                let tree =
                    Tree::new(std::mem::replace(&mut disk, Disk::none()), budget.take(), ext);
                let found = is_system(&tree);
                (disk, budget) = tree.into_parts();
                found
            });
            match opened {
                Ok(true) => roots.push(index),
                Ok(false) => {}
                Err(Unavailable(reason)) => {
                    reasons[index] = format!("{} ({reason})", reasons[index])
                }
            }
        }
        reasons.truncate(8);
        let all = reasons.join(", ");
        // A system may also be where an ext makes no sense, or in what is not known, unless that is
        // too small for one.
        let may_hide = |(volume, filesystem): (&Volume, &Option<Result<Ext, String>>)| {
            let is_large = volume.stretch.end - volume.stretch.start >= SMALLEST_SYSTEM_BYTES;
            volume.content.may_hide_a_system()
                || matches!(filesystem, Some(Err(_)))
                || (volume.content == Content::Unknown && is_large)
        };
        let hidden = layout.volumes.iter().zip(&filesystems).any(may_hide);
        match roots[..] {
            [root] => {
                let Some(Some(Ok(ext))) = filesystems.get(root) else { return Err(all) };
                Self::of(Tree::new(disk, budget, ext.clone()), root, layout, &filesystems, hidden)
                    .map_err(|cause| format!("{cause}: {all}"))
            }
            [] if hidden => Err(format!("the system is where nothing can be read: {all}")),
            [] => Err(format!("no Linux system was found: {all}")),
            _ => Err(format!("which of {} systems starts is unknown: {all}", roots.len())),
        }
    }

    fn of(
        tree: Tree,
        root: usize,
        layout: &Layout,
        filesystems: &[Option<Result<Ext, String>>],
        hidden: bool,
    ) -> Result<Self, String> {
        let mounts = mounts(&tree).map_err(|unread| unread.0)?;
        let mut explains_hidden = false;
        for mount in &mounts {
            let of_disk =
                mount.is_of_a_disk() && !matches!(mount.kind.as_str(), "swap" | "iso9660" | "udf");
            let bound = mount.has("bind") || mount.has("rbind");
            if !mount.place.starts_with('/') || !mount.is_automatic() || !(of_disk || bound) {
                continue;
            }
            let found = volume_of(mount, layout, filesystems);
            let is_foreign = matches!(mount.kind.as_str(), "vfat" | "msdos" | "ntfs" | "exfat");
            explains_hidden |= of_disk && found.is_none() && !is_foreign;
            let mounted = match found.map(|index| (&filesystems[index], &layout.volumes[index])) {
                _ if bound => Err("is a bind mount, which is not followed".to_owned()),
                Some((Some(Ok(ext)), _)) => Ok(ext.clone()),
                Some((Some(Err(flaw)), _)) => Err(flaw.clone()),
                Some((None, volume)) => {
                    Err(format!("is on {}, which is not read", volume.content.name()))
                }
                None => Err(format!(
                    "is on {}, which is not among what can be read",
                    shown(mount.device.as_bytes())
                )),
            };
            tree.mount(&mount.place, mounted).map_err(|unread| unread.0)?;
        }
        if hidden && !explains_hidden {
            return Err("another system may be where nothing can be read".to_owned());
        }
        let accounts = accounts(&tree);
        Ok(Self { tree, root, accounts, mounts })
    }

    /// The accounts of the guest.
    pub(crate) fn accounts(&self) -> Result<&[Account], Unavailable> {
        self.accounts.as_deref().map_err(Clone::clone)
    }

    /// The home directories, each once.
    pub(crate) fn homes(&self) -> Result<BTreeSet<&str>, Unavailable> {
        let mut homes = BTreeSet::from(["/root"]);
        // The home of some is the root itself.
        let absolute = self
            .accounts()?
            .iter()
            .map(|account| &*account.home)
            .filter(|home| home.starts_with('/'));
        homes.extend(absolute.map(|home| home.trim_end_matches('/')));
        Ok(homes)
    }

    /// A value of the system's os-release.
    pub(crate) fn os_release(&self, key: &str) -> Result<Option<String>, Unavailable> {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            for line in self.tree.lines(path)? {
                if let Some(value) = line.strip_prefix(key).and_then(|rest| rest.strip_prefix('='))
                {
                    return Ok(Some(value.trim_matches(['"', '\'']).to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// The name of the system for people.
    pub(crate) fn os_name(&self) -> Result<Option<String>, Unavailable> {
        if let Some(name) = self.os_release("PRETTY_NAME")? {
            return Ok(Some(name));
        }
        for path in [
            "/etc/redhat-release",
            "/etc/system-release",
            "/etc/alpine-release",
            "/etc/debian_version",
        ] {
            if let Some(line) =
                self.tree.lines(path)?.into_iter().find(|line| !line.trim().is_empty())
            {
                let before = match path {
                    "/etc/alpine-release" => "Alpine Linux ",
                    "/etc/debian_version" => "Debian ",
                    _ => "",
                };
                return Ok(Some(format!("{before}{}", line.trim())));
            }
        }
        Ok(None)
    }

    /// The architecture, in OpenNebula's word where it has one, from the first program that is an
    /// ELF file.
    pub(crate) fn architecture(&self) -> Result<Option<&'static str>, Unavailable> {
        const PROGRAMS: [&str; 7] = [
            "/bin/sh",
            "/usr/bin/env",
            "/sbin/init",
            "/usr/lib/systemd/systemd",
            "/bin/busybox",
            "/usr/sbin/sshd",
            "/bin/true",
        ];
        for path in PROGRAMS {
            let Some(head) = self.tree.read_most(path, 64)? else { continue };
            let little = match head.get(..6) {
                Some([0x7f, b'E', b'L', b'F', _, order]) => *order == 1,
                _ => continue,
            };
            let Some(&[a, b]) = head.get(18..20) else { continue };
            let machine =
                if little { u16::from_le_bytes([a, b]) } else { u16::from_be_bytes([a, b]) };
            let name = match machine {
                3 => "i686",
                8 => "mips",
                20 => "ppc",
                21 if little => "ppc64le",
                21 => "ppc64",
                22 => "s390x",
                40 => "armv7l",
                62 => "x86_64",
                183 => "aarch64",
                243 => "riscv64",
                258 => "loongarch64",
                _ => continue,
            };
            return Ok(Some(name));
        }
        Ok(None)
    }

    /// The version of the contextualization package, where a package manager of text files tells.
    pub(crate) fn context_version(&self) -> Result<Option<String>, Unavailable> {
        let debian =
            self.package("/var/lib/dpkg/status", b"Package: one-context\n", "Version: ")?;
        match debian.filter(|(package, _)| package.contains("\nStatus: install ok installed\n")) {
            Some((_, version)) => Ok(Some(version)),
            None => Ok(self
                .package("/lib/apk/db/installed", b"P:one-context\n", "V:")?
                .map(|(_, version)| version)),
        }
    }

    /// The paragraph of a package in a package manager's database, and its version.
    fn package(
        &self,
        database: &str,
        name: &[u8],
        key: &str,
    ) -> Result<Option<(String, String)>, Unavailable> {
        const LARGEST_BYTES: u64 = 16 << 20;
        let content = self.tree.read_most(database, LARGEST_BYTES)?.unwrap_or_default();
        let mut found = memchr::memmem::find_iter(&content, name);
        let Some(at) = found.find(|&at| at == 0 || content[at - 1] == b'\n') else {
            return Ok(None);
        };
        let start = memchr::memmem::rfind(&content[..at], b"\n\n").map_or(0, |end| end + 2);
        let end =
            memchr::memmem::find(&content[at..], b"\n\n").map_or(content.len(), |end| at + end + 1);
        let package = String::from_utf8_lossy(&content[start..end]).into_owned();
        let version = package
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|version| version.trim().to_owned());
        Ok(version.map(|version| (package, version)))
    }
}

/// A root file system has settings and programs.
fn is_system(tree: &Tree) -> Result<bool, Unavailable> {
    let has_settings = tree.exists("/etc/passwd")?
        || tree.exists("/etc/fstab")?
        || tree.is_named("/etc/os-release")?;
    let has_programs =
        tree.is_named("/usr")? || tree.is_named("/bin")? || tree.is_named("/sbin")?;
    Ok(has_settings && has_programs)
}

fn mounts(tree: &Tree) -> Result<Vec<Mount>, Unavailable> {
    let mount = |line: &String| {
        let mut fields = line.split_whitespace();
        let mut next = || fields.next().map(str::to_owned);
        let device = next().filter(|device| !device.starts_with('#'))?;
        let (place, kind) = (next()?, next().unwrap_or_default());
        Some(Mount {
            device: device.replace('"', ""),
            place,
            kind,
            options: next().unwrap_or_default(),
        })
    };
    const MAX_LINES: usize = 1_000;
    let lines = tree.lines("/etc/fstab")?;
    if lines.len() > MAX_LINES {
        return Err(Unavailable("/etc/fstab has more lines than are read".to_owned()));
    }
    Ok(lines.iter().filter_map(mount).collect())
}

/// The one of them; of several nobody knows which is meant.
fn only(mut found: impl Iterator<Item = usize>) -> Option<usize> {
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

/// The volume that an fstab's line names.
fn volume_of(
    mount: &Mount,
    layout: &Layout,
    filesystems: &[Option<Result<Ext, String>>],
) -> Option<usize> {
    let device = mount.device.as_str();
    let by_filesystem = |is: &dyn Fn(&Ext) -> bool| {
        let fits = |index: &usize| matches!(&filesystems[*index], Some(Ok(ext)) if is(ext));
        only((0..filesystems.len()).filter(fits))
    };
    let by_partition = |is: &dyn Fn(&Partition) -> bool| {
        let fits = |index: &usize| layout.volumes[*index].partition.as_ref().is_some_and(is);
        only((0..layout.volumes.len()).filter(fits))
    };
    let value = |tag: &str, directory: &str| {
        device.strip_prefix(tag).or_else(|| device.strip_prefix(directory)).map(str::to_owned)
    };
    if let Some(uuid) = value("UUID=", "/dev/disk/by-uuid/") {
        return by_filesystem(&|ext| ext.uuid.eq_ignore_ascii_case(&uuid));
    }
    if let Some(label) = value("LABEL=", "/dev/disk/by-label/") {
        return by_filesystem(&|ext| ext.label == label);
    }
    if let Some(uuid) = value("PARTUUID=", "/dev/disk/by-partuuid/") {
        return by_partition(&|partition| partition.uuid.eq_ignore_ascii_case(&uuid));
    }
    if let Some(label) = value("PARTLABEL=", "/dev/disk/by-partlabel/") {
        return by_partition(&|partition| partition.name == label);
    }
    let number = device
        .strip_prefix("/dev/")?
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .ok()?;
    // Any other letter is another disk.
    let first = ["/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda"]
        .iter()
        .any(|disk| device.starts_with(disk));
    first.then(|| by_partition(&|partition| partition.number == number)).flatten()
}

fn accounts(tree: &Tree) -> Result<Vec<Account>, Unavailable> {
    let shadow = tree.lines("/etc/shadow")?;
    let mut hashes = HashMap::new();
    for line in &shadow {
        let mut fields = line.split(':');
        if let (Some(name), Some(hash)) = (fields.next(), fields.next()) {
            hashes.entry(name).or_insert(hash);
        }
    }
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').map(str::trim).collect();
        let &[name, password, uid, _, _, home, ..] = &fields[..] else { return None };
        let hash = match password {
            "x" => hashes.get(name).copied().unwrap_or("!"),
            other => other,
        };
        let is_in_passwd = password != "x";
        let password = match hash {
            "" => Password::Empty,
            "x" | "NP" => Password::Locked,
            hash if hash.starts_with(['!', '*']) => Password::Locked,
            _ => Password::Set,
        };
        Some(Account {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            home: home.to_owned(),
            password,
            is_in_passwd,
        })
    };
    let lines = tree.lines("/etc/passwd")?;
    let lines = lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with(['+', '-', '#']));
    let senseless = || Unavailable("a line of /etc/passwd makes no sense".to_owned());
    lines.map(|line| account(line).ok_or_else(senseless)).collect()
}

/// A hostname file's first word.
pub(crate) fn first_word(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(until_zero(content)).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.unwrap_or_default().to_owned()
}
