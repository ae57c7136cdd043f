//! Images with a system in them, or what a check sees of one: files laid out as distributions do
//! it, in a real file system made by `mkfs.ext4 -d`, on a disk divided by `sgdisk`, in a container
//! by `qemu-img`. Nothing in them can start.

use crate::require;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// The programs that make images.
#[derive(Clone, Debug)]
pub struct Tools {
    mkfs: PathBuf,
    sgdisk: PathBuf,
    qemu_img: PathBuf,
}

impl Tools {
    /// Finds them; `None`, after saying what to install, when one is missing.
    pub fn find() -> Option<Self> {
        let mkfs = require::program("mkfs.ext4", "e2fsprogs")?;
        let sgdisk = require::program("sgdisk", "gdisk")?;
        let qemu_img = require::program("qemu-img", "qemu-utils")?;
        Some(Self { mkfs, sgdisk, qemu_img })
    }

    /// Runs `qemu-img`.
    ///
    /// # Panics
    /// When it fails.
    pub fn qemu_img(&self, arguments: &[&str]) {
        run(Command::new(&self.qemu_img).args(arguments));
    }

    /// A copy of an image in another container; `options` are those of `qemu-img convert`.
    ///
    /// # Panics
    /// When it fails.
    pub fn convert(&self, from: &Path, to: &Path, options: &[&str]) {
        run(Command::new(&self.qemu_img).arg("convert").args(options).arg(from).arg(to));
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The programs, and a directory of a test for the images that they make.
#[derive(Debug)]
pub struct ImageFactory {
    /// The programs.
    pub tools: Tools,
    /// The directory, which is removed with this.
    pub directory: TempDir,
    mib: u64,
}

impl ImageFactory {
    /// A place for disks of so many MiB; `None`, after saying what to install, when a program is
    /// missing.
    ///
    /// # Panics
    /// Without a temporary directory.
    pub fn open(mib: u64) -> Option<Self> {
        Some(Self {
            tools: Tools::find()?,
            directory: tempfile::tempdir().expect("a temporary directory"),
            mib,
        })
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The guest as a raw image, `disk.raw`.
    ///
    /// # Panics
    /// When a program fails.
    pub fn raw(&self, guest: &Guest, division: Division) -> PathBuf {
        let raw = self.path("disk.raw");
        guest.disk(&self.tools, &raw, self.mib, division);
        raw
    }

    /// The guest as a qcow2 image, `disk.qcow2`, with more options of `qemu-img convert`.
    ///
    /// # Panics
    /// When a program fails.
    pub fn qcow2(&self, guest: &Guest, division: Division, options: &[&str]) -> PathBuf {
        let image = self.path("disk.qcow2");
        self.tools.convert(
            &self.raw(guest, division),
            &image,
            &[&["-O", "qcow2"], options].concat(),
        );
        image
    }
}

/// How the root file system lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// A GUID partition table: the root is partition 2, the last.
    Gpt,
    /// As `Gpt`, with an EFI system partition instead of the one for BIOS.
    GptEfi,
    /// A GUID partition table with the root first and another partition behind it.
    GptRootFirst,
    /// A DOS partition table: the root is partition 1.
    Mbr,
    /// A DOS partition table: the root is partition 5, a logical one.
    MbrLogical,
    /// No partitions.
    Whole,
}

/// The files of a guest, to be changed and made into an image.
#[derive(Debug)]
pub struct Guest {
    root: TempDir,
}

/// The first bytes of a program for x86_64, or for another machine by its number.
pub fn elf(machine: u16) -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    header[18..20].copy_from_slice(&machine.to_le_bytes());
    header
}

const X86_64: u16 = 62;

impl Guest {
    /// No files at all: for a file system that is mounted below a root.
    ///
    /// # Panics
    /// Without a temporary directory.
    pub fn empty() -> Self {
        Self { root: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A Debian with systemd and the package one-context, in which every check passes.
    pub fn debian() -> Self {
        let guest = Self::empty();
        let unit = "[Unit]\nBefore=network-pre.target\n[Service]\nExecStart=/usr/sbin/one-contextd local\n[Install]\nWantedBy=multi-user.target\n";
        let package = "Package: base-files\nStatus: install ok installed\nVersion: 12.4\n\n\
                       Package: one-context\nStatus: install ok installed\nVersion: 6.10.0-3\n";
        guest
            .write("/usr/bin/env", &elf(X86_64))
            .write(
                "/etc/os-release",
                b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n",
            )
            .write("/var/lib/dpkg/status", package.as_bytes())
            .program("/usr/lib/systemd/systemd", &elf(X86_64))
            .link("/usr/sbin/init", "/usr/lib/systemd/systemd")
            .program("/usr/sbin/one-contextd", b"#!/bin/bash\n")
            .write("/usr/lib/systemd/system/one-context-local.service", unit.as_bytes())
            .link(
                "/etc/systemd/system/multi-user.target.wants/one-context-local.service",
                "/usr/lib/systemd/system/one-context-local.service",
            )
            .write("/etc/hostname", b"localhost\n")
            .write("/etc/machine-id", b"")
            .write(
                "/boot/grub/grub.cfg",
                b"linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0\n",
            );
        guest.common();
        guest
    }

    /// An Alpine with OpenRC and the package one-context, in which every check passes.
    pub fn alpine() -> Self {
        let guest = Self::empty();
        let script = "#!/sbin/openrc-run\ndepend() {\n\tneed localmount\n\tbefore net\n}\n";
        guest
            .program("/bin/busybox", &elf(X86_64))
            .write(
                "/etc/os-release",
                b"NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME=\"Alpine Linux v3.20\"\n",
            )
            .write("/lib/apk/db/installed", b"C:Q1\nP:musl\nV:1.2.5-r0\n\nC:Q1\nP:one-context\nV:6.10.0-r3\n")
            .program("/usr/sbin/one-contextd", b"#!/bin/bash\n")
            .program("/etc/init.d/one-context-local", script.as_bytes())
            .link("/etc/runlevels/boot/one-context-local", "/etc/init.d/one-context-local")
            .write("/etc/hostname", b"alpine\n")
            .write("/boot/extlinux.conf", b"APPEND root=LABEL=root console=tty0 console=ttyS0,115200n8\n");
        guest.common();
        guest
    }

    /// The guide's Ubuntu 12.04 for Xen, prepared as the guide says.
    pub fn ubuntu_1204() -> Self {
        let guest = Self::empty();
        guest
            .program("/bin/sh", &elf(X86_64))
            .write("/etc/os-release", b"NAME=\"Ubuntu\"\nID=ubuntu\nPRETTY_NAME=\"Ubuntu precise (12.04 LTS)\"\nVERSION_ID=\"12.04\"\n")
            .program("/etc/init.d/vmcontext", b"#!/bin/bash\n")
            .write(
                "/etc/init/networking.conf",
                b"pre-start script\n  mkdir -p /run/network\n  /etc/init.d/vmcontext\nend script\nexec ifup -a\n",
            )
            .write(
                "/etc/init/network-interface.conf",
                b"pre-start script\n    /etc/init.d/vmcontext\n    mkdir -p /run/network\n    exec ifup --allow auto $INTERFACE\nend script\n",
            )
            .write(
                "/lib/udev/rules.d/75-persistent-net-generator.rules",
                b"ACTION!=\"add\", GOTO=\"end\"\n#DRIVERS==\"?*\", IMPORT{program}=\"write_net_rules\"\nLABEL=\"end\"\n",
            )
            .write("/etc/udev/rules.d/70-persistent-net.rules", b"\n")
            .write("/etc/hostname", b"ubuntu\n")
            .write("/etc/init/hvc0.conf", b"exec /sbin/getty -8 38400 hvc0\n");
        guest.common();
        guest
    }

    /// What every system has, and has right.
    fn common(&self) {
        self.write(
            "/etc/passwd",
            b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        )
        .write("/etc/shadow", b"root:!:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n")
        .write(
            "/etc/fstab",
            b"# made by hand\nLABEL=root / ext4 defaults 0 1\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n",
        )
        .write(
            "/etc/ssh/sshd_config",
            b"# settings\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\n",
        )
        .program("/usr/sbin/sshd", b"")
        .program("/usr/bin/qemu-ga", b"")
        .program("/usr/bin/growpart", b"")
        .write("/var/log/lastlog", b"")
        .directory("/tmp")
        .directory("/var/tmp")
        .directory("/root/.ssh");
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a parent")).expect("its directory");
        place
    }

    /// Writes a file, which is replaced when it is there.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &[u8]) -> &Self {
        let place = self.place(path);
        fs::write(&place, content).expect("a file");
        fs::set_permissions(&place, Permissions::from_mode(0o644)).expect("its mode");
        self
    }

    /// Writes a file that can be executed.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn program(&self, path: &str, content: &[u8]) -> &Self {
        self.write(path, content);
        fs::set_permissions(self.place(path), Permissions::from_mode(0o755)).expect("its mode");
        self
    }

    /// Makes a directory.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn directory(&self, path: &str) -> &Self {
        fs::create_dir_all(self.place(path)).expect("a directory");
        self
    }

    /// Makes a symbolic link.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn link(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.place(path)).expect("a link");
        self
    }

    /// Removes a file or a directory.
    ///
    /// # Panics
    /// When it cannot be removed.
    pub fn remove(&self, path: &str) -> &Self {
        let place = self.place(path);
        if place.is_dir() && !place.is_symlink() {
            fs::remove_dir_all(place)
        } else {
            fs::remove_file(place)
        }
        .expect("it is gone");
        self
    }

    /// Makes a raw image of so many MiB, divided as said.
    ///
    /// # Panics
    /// When a program fails.
    pub fn disk(&self, tools: &Tools, to: &Path, mib: u64, division: Division) {
        File::create(to).and_then(|file| file.set_len(mib * MIB)).expect("a file");
        let last = (mib * MIB / 512) - 2_048;
        let (start_mib, size_mib) = match division {
            Division::Whole => (0, mib),
            Division::Gpt | Division::GptEfi => {
                let kind = if division == Division::Gpt { "1:ef02" } else { "1:ef00" };
                sgdisk(
                    tools,
                    to,
                    &[
                        "-n",
                        "1:2048:4095",
                        "-t",
                        kind,
                        "-n",
                        &format!("2:4096:{}", last - 1),
                        "-t",
                        "2:8300",
                    ],
                );
                (2, mib - 3)
            }
            Division::GptRootFirst => {
                let root = &format!("1:2048:{}", last - 2_049);
                sgdisk(tools, to, &["-n", root, "-n", &format!("2:{}:{}", last - 2_048, last - 1)]);
                (1, mib - 3)
            }
            Division::Mbr => {
                mbr(to, 0, &[(0x83, 2_048, (mib - 1) * 2_048)]);
                (1, mib - 1)
            }
            Division::MbrLogical => {
                mbr(to, 0, &[(0x05, 2_048, (mib - 1) * 2_048)]);
                mbr(to, 2_048, &[(0x83, 2_048, (mib - 2) * 2_048)]);
                (2, mib - 2)
            }
        };
        self.ext4(tools, to, start_mib, size_mib, &["-L", "root"]);
    }

    /// Makes a file system in a file, with more options of `mkfs.ext4`.
    ///
    /// # Panics
    /// When it fails.
    pub fn ext4(&self, tools: &Tools, to: &Path, start_mib: u64, size_mib: u64, options: &[&str]) {
        let mut mkfs = Command::new(&tools.mkfs);
        mkfs.args(["-q", "-F", "-E"]).arg(format!("offset={}", start_mib * MIB)).args(options);
        run(mkfs.arg("-d").arg(self.root.path()).arg(to).arg(format!("{size_mib}M")));
    }
}

fn sgdisk(tools: &Tools, disk: &Path, arguments: &[&str]) {
    run(Command::new(&tools.sgdisk).args(["-o", "-a", "1"]).args(arguments).arg(disk));
}

/// Writes a DOS partition table into a sector: type, first sector and number of sectors of each
/// entry.
fn mbr(disk: &Path, sector: u64, entries: &[(u8, u64, u64)]) {
    let mut table = [0; 512];
    for (index, (kind, start, sectors)) in entries.iter().enumerate() {
        let entry = &mut table[446 + index * 16..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&u32::try_from(*start).expect("a small disk").to_le_bytes());
        entry[12..].copy_from_slice(&u32::try_from(*sectors).expect("a small disk").to_le_bytes());
    }
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    File::options()
        .write(true)
        .open(disk)
        .and_then(|file| file.write_all_at(&table, sector * 512))
        .expect("a table");
}
