//! How the guest starts.

use super::verdict::{CheckResult, Subject, Verdict};
use crate::guest::{FstabEntry, Guest};
use crate::repair::Repair;
use crate::text::{first_of, printable};
use crate::unavailable::{SkipReason, Unavailable};

pub(super) fn root_partition_last(subject: &Subject<'_>) -> CheckResult {
    let (guest, layout) = (subject.guest()?, subject.layout()?);
    let Some(root) = layout.volumes.get(guest.root_volume) else {
        return Err(Unavailable::new(SkipReason::NotFound, "the root is nowhere"));
    };
    let Some(partition) = &root.partition else {
        return Verdict::pass("the disk has no partitions");
    };
    let behind = layout.volumes.iter().filter_map(|volume| volume.partition.as_ref());
    let behind: Vec<String> = behind
        .filter(|other| other.start > partition.start)
        .map(|other| other.number.to_string())
        .collect();
    if behind.is_empty() {
        return Verdict::pass(format!(
            "the root is partition {}, the last on the disk",
            partition.number
        ));
    }
    let found = format!(
        "behind the root, partition {}, lies partition {}",
        partition.number,
        first_of(&behind)
    );
    Verdict::problem(
        found,
        [Repair::ByHand("install anew with the root partition last, or use virt-resize")],
    )
}

pub(super) fn fstab(subject: &Subject<'_>) -> CheckResult {
    const REMOVABLE: [&str; 3] = ["/dev/sr", "/dev/cdrom", "/dev/fd"];
    const BY_BUS: [&str; 6] =
        ["/dev/sd", "/dev/vd", "/dev/xvd", "/dev/hd", "/dev/nvme", "/dev/disk/by-path/"];
    let by_bus = |entry: &&FstabEntry| {
        let is = |names: &[&str]| names.iter().any(|name| entry.device.starts_with(name));
        entry.is_automatic() && is(&BY_BUS) && !is(&REMOVABLE)
    };
    let fstab = &subject.guest()?.fstab;
    let found: Vec<&str> = fstab.iter().filter(by_bus).map(|entry| entry.device.as_str()).collect();
    if found.is_empty() {
        return Verdict::pass("no disk is named by its bus");
    }
    Verdict::problem(
        first_of(&found),
        [Repair::ByHand("replace them by UUID= or LABEL= in /etc/fstab (blkid shows both)")],
    )
}

/// Serial consoles of PCs, of ARM, of Xen and of s390x.
const CONSOLES: [&str; 5] = ["ttyS", "ttyAMA", "hvc", "ttysclp", "sclp"];

pub(super) fn serial_console(subject: &Subject<'_>) -> CheckResult {
    let guest = subject.guest()?;
    if let Some(path) = console_of_kernel(guest)? {
        return Verdict::pass(format!("the kernel's, in {path}"));
    }
    if let Some(path) = login_on_console(guest)? {
        return Verdict::pass(format!("a login, in {path}"));
    }
    Verdict::problem(
        "neither the boot loader's settings nor a login name a serial console",
        [Repair::ByHand(
            "add console=tty0 console=ttyS0 to GRUB_CMDLINE_LINUX in /etc/default/grub \
             and run update-grub or grub2-mkconfig",
        )],
    )
}

/// The file whose boot entries give the kernel a serial console.
fn console_of_kernel(guest: &Guest) -> Result<Option<String>, Unavailable> {
    const FILES: [&str; 13] = [
        "/boot/grub/grub.cfg",
        "/boot/grub2/grub.cfg",
        "/boot/grub2/grubenv",
        "/boot/grub/menu.lst",
        "/boot/grub/grub.conf",
        "/boot/extlinux.conf",
        "/boot/extlinux/extlinux.conf",
        "/boot/syslinux/syslinux.cfg",
        "/extlinux.conf",
        "/etc/kernel/cmdline",
        "/etc/update-extlinux.conf",
        "/etc/default/grub",
        "/boot/cmdline.txt",
    ];
    let mut paths: Vec<Vec<u8>> = FILES.iter().map(|path| path.as_bytes().to_vec()).collect();
    paths.extend(guest.tree.paths("/boot/loader/entries", |name| name.ends_with(b".conf"))?);
    paths.extend(guest.tree.paths("/etc/default/grub.d", |name| name.ends_with(b".cfg"))?);
    for path in paths {
        let named = |line: &String| {
            let line = line.split('#').next().unwrap_or_default();
            let words = line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
            words
                .filter_map(|word| word.rsplit_once("console=").map(|(_, device)| device))
                .any(|device| CONSOLES.iter().any(|console| device.starts_with(console)))
        };
        if guest.tree.lines(&path)?.iter().any(named) {
            return Ok(Some(printable(&path)));
        }
    }
    Ok(None)
}

/// The file that starts a login on a serial console.
fn login_on_console(guest: &Guest) -> Result<Option<String>, Unavailable> {
    let tree = &guest.tree;
    let has_console = |line: &String| {
        !line.trim_start().starts_with('#')
            && line.contains("getty")
            && CONSOLES.iter().any(|console| line.contains(console))
    };
    if tree.lines("/etc/inittab")?.iter().any(has_console) {
        return Ok(Some("/etc/inittab".to_owned()));
    }
    let is_job = |name: &[u8]| CONSOLES.iter().any(|console| name.starts_with(console.as_bytes()));
    let mut found = tree.paths("/etc/init", |name| is_job(name) && name.ends_with(b".conf"))?;
    let is_getty = |name: &[u8]| name.starts_with(b"serial-getty@");
    found.extend(tree.paths("/etc/systemd/system/getty.target.wants", is_getty)?);
    Ok(found.first().map(|path| printable(path)))
}

pub(super) fn efi_partition(subject: &Subject<'_>) -> CheckResult {
    let (guest, layout) = (subject.guest()?, subject.layout()?);
    let efi = layout
        .volumes
        .iter()
        .filter_map(|volume| volume.partition.as_ref())
        .find(|partition| partition.is_efi);
    match (guest.architecture()?, efi) {
        (_, Some(partition)) => Verdict::pass(format!("partition {}", partition.number)),
        (Some("aarch64"), None) => {
            let repair = Repair::ByHand("install anew with an EFI system partition");
            Verdict::problem("an aarch64 system without an EFI system partition", [repair])
        }
        (Some(architecture), None) => Verdict::pass(format!("{architecture} starts without")),
        (None, None) => Err(Unavailable::new(
            SkipReason::NotFound,
            "the architecture is unknown: none of the usual programs is there",
        )),
    }
}
