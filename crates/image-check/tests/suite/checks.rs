//! Every check on images that real tools made: one in which all pass, and for each check one that
//! fails it and nothing else.

use super::{finding, lines};
use image_check::checksum::{Digests, Md5};
use image_check::{Declared, Image, Options, Outcome, Policy, Report, checks};
use market_testkit::guest::{Division, Guest, ImageFactory, elf};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MIB: u64 = 64;

fn check_guest(place: &ImageFactory, guest: &Guest) -> Report {
    check(&place.qcow2(guest, Division::Gpt, &[]))
}

fn check(image: &Path) -> Report {
    check_with(image, &Options::default())
}

fn check_with(image: &Path, options: &Options) -> Report {
    Image::open(image).unwrap().check(options).unwrap()
}

fn ids(report: &Report, outcome: Outcome) -> Vec<&'static str> {
    report.with(outcome).map(|finding| finding.id).collect()
}

/// What nobody has declared is not compared.
const UNDECLARED: [&str; 3] = ["format-as-declared", "checksum-as-declared", "size-as-declared"];

fn assert_good(report: &Report) {
    assert_eq!(ids(report, Outcome::Fail), [""; 0], "{}", lines(report));
    assert_eq!(ids(report, Outcome::Warn), [""; 0], "{}", lines(report));
    assert_eq!(ids(report, Outcome::Skip), UNDECLARED, "{}", lines(report));
}

/// One check does not pass, with the outcome that the documentation says; all others do.
fn assert_only(report: &Report, id: &str, part: &str) {
    let severity = checks().find(|check| check.id == id).unwrap().severity;
    let outcome =
        if severity == image_check::Severity::Fail { Outcome::Fail } else { Outcome::Warn };
    let other = if outcome == Outcome::Fail { Outcome::Warn } else { Outcome::Fail };
    assert_eq!(ids(report, outcome), [id], "{}", lines(report));
    assert_eq!(ids(report, other), [""; 0], "{}", lines(report));
    let finding = report.with(outcome).next().unwrap();
    assert!(finding.found.contains(part), "{id}: {}", finding.found);
    assert!(!finding.repairs.is_empty(), "{id} has no repair");
}

#[test]
fn good_images_pass_every_check() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    for guest in [Guest::debian(), Guest::alpine(), Guest::ubuntu_1204()] {
        assert_good(&check_guest(&place, &guest));
    }
}

#[test]
fn a_system_is_found_however_the_disk_is_divided() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    for division in
        [Division::Gpt, Division::GptEfi, Division::Mbr, Division::MbrLogical, Division::Whole]
    {
        assert_good(&check(&place.qcow2(&Guest::debian(), division, &[])));
    }
}

#[test]
fn every_kind_of_container_is_read() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let raw = place.path("disk.raw");
    Guest::debian().disk(&place.tools, &raw, MIB, Division::Gpt);
    let kinds: [&[&str]; 8] = [
        &["-O", "raw", "-S", "4k"],
        &["-O", "qcow2"],
        &["-O", "qcow2", "-c"],
        &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "qcow2", "-o", "cluster_size=512"],
        &["-O", "qcow2", "-o", "cluster_size=2M,refcount_bits=1"],
        &["-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"],
    ];
    for kind in kinds {
        let image = place.path("disk.image");
        place.tools.convert(&raw, &image, kind);
        let report = check(&image);
        assert_eq!(ids(&report, Outcome::Fail), [""; 0], "{kind:?}: {}", lines(&report));
        assert_eq!(ids(&report, Outcome::Skip), UNDECLARED, "{kind:?}: {}", lines(&report));
    }
}

#[test]
fn every_kind_of_ext_is_read() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let kinds: [&[&str]; 6] = [
        &["-t", "ext2"],
        &["-t", "ext3"],
        &["-b", "1024", "-O", "^has_journal"],
        &["-O", "inline_data"],
        &["-O", "^64bit,^metadata_csum"],
        &["-O", "bigalloc", "-C", "16384"],
    ];
    for kind in kinds {
        let image = place.path("disk.raw");
        std::fs::File::create(&image).unwrap().set_len(MIB << 20).unwrap();
        let options = [&["-L", "root"][..], kind].concat();
        Guest::debian().ext4(&place.tools, &image, 0, MIB, &options);
        let report = check(&image);
        assert_eq!(ids(&report, Outcome::Fail), [""; 0], "{kind:?}: {}", lines(&report));
        assert_eq!(ids(&report, Outcome::Skip), UNDECLARED, "{kind:?}: {}", lines(&report));
    }
}

/// A guest in which one thing is wrong, and what a check says of it.
type Wrong = (&'static str, fn(&Guest) -> &Guest, &'static str);

#[rustfmt::skip]
const CONTEXT: [Wrong; 9] = [
    ("contextualization-installed",
        |g| g.remove("/usr/sbin/one-contextd").remove("/var/lib/dpkg/status"),
        "neither the package"),
    ("contextualization-enabled",
        |g| g.remove("/etc/systemd/system/multi-user.target.wants/one-context-local.service"),
        "no init system"),
    ("contextualization-enabled",
        |g| g.write("/usr/lib/systemd/system/one-context-local.service", b"[Unit]\n\
              After=network.target\n"),
        "not before the network"),
    ("contextualization-enabled",
        |g| g.link("/etc/systemd/system/one-context-local.service", "/dev/null"),
        "no init system"),
    ("cloud-init-not-competing", |g| g.program("/usr/bin/cloud-init", b""), "not disabled"),
    ("guest-agent-present", |g| g.remove("/usr/bin/qemu-ga"), "qemu-ga"),
    ("growpart-present", |g| g.remove("/usr/bin/growpart"), "growpart"),
    ("contextualization-enabled",
        |g| g.remove("/usr/lib/systemd/system/one-context-local.service"),
        "no init system"),
    ("contextualization-enabled",
        |g| g.link("/etc/systemd/system/one-context-local.service", "/dev/null")
            .program("/etc/init.d/one-context-local", b"# X-Start-Before: $network\n")
            .link("/etc/rc2.d/S01one-context-local", "../init.d/one-context-local"),
        "no init system"),
];

#[rustfmt::skip]
const UDEV: [Wrong; 3] = [
    ("persistent-net-rules-empty",
        |g| g.write("/etc/udev/rules.d/70-persistent-net.rules", b"# x\n\
              SUBSYSTEM==\"net\", NAME=\"eth0\"\n"),
        "1 rules"),
    ("persistent-net-generator-off",
        |g| g.write("/lib/udev/rules.d/75-persistent-net-generator.rules", b"DRIVERS==\"?*\", \
              IMPORT{program}=\"write_net_rules\"\n"),
        "writes rules"),
    ("persistent-net-generator-off",
        |g| g.write("/usr/lib/udev/rules.d/75-persistent-net-generator.rules",
              b"IMPORT{program}=\"write_net_rules\"\n"),
        "/usr/lib"),
];

#[rustfmt::skip]
const IDENTITY: [Wrong; 11] = [
    ("machine-id-empty",
        |g| g.write("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        "/etc/machine-id"),
    ("machine-id-empty",
        |g| g.write("/var/lib/dbus/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        "dbus"),
    ("no-ssh-host-keys",
        |g| g.write("/etc/ssh/ssh_host_ed25519_key", b"key"),
        "ssh_host_ed25519_key"),
    ("no-mac-in-network-config",
        |g| g.write("/etc/netplan/50-cloud-init.yaml", b"match:\n\
                macaddress: 52:54:00:12:34:56\n"),
        "50-cloud-init"),
    ("no-mac-in-network-config",
        |g| g.write("/etc/sysconfig/network-scripts/ifcfg-eth0", b"HWADDR=\"52:54:00:12:34:56\"\n"),
        "ifcfg-eth0"),
    ("no-mac-in-network-config",
        |g| g.write("/etc/systemd/network/10.link", b"[Match]\nMACAddress=52:54:00:12:34:56\n"),
        "10.link"),
    ("no-mac-in-network-config",
        |g| g.write("/etc/NetworkManager/system-connections/eth0", b"[ethernet]\n\
              mac-address=52:54:00:12:34:56\n"),
        "eth0"),
    ("hostname-generic", |g| g.write("/etc/hostname", b"build17.example.com\n"), "build17"),
    ("no-dhcp-leases",
        |g| g.write("/var/lib/dhcp/dhclient.eth0.leases", b"lease {}\n"),
        "dhclient"),
    ("no-random-seed", |g| g.write("/var/lib/systemd/random-seed", b"seed"), "random-seed"),
    ("no-ssh-host-keys",
        |g| g.write("/etc/dropbear/dropbear_ed25519_host_key", b"key"),
        "dropbear"),
];

#[rustfmt::skip]
const CREDENTIALS: [Wrong; 15] = [
    ("root-password-locked",
        |g| g.write("/etc/shadow", b"root:$6$salt$hash:19000::::::\n"),
        "root has a password"),
    ("root-password-locked",
        |g| g.write("/etc/shadow", b"root::19000::::::\n"),
        "needs no password"),
    ("root-password-locked",
        |g| g.write("/etc/passwd", b"root::0:0:root:/root:/bin/sh\n"),
        "needs no password"),
    ("no-user-passwords",
        |g| g.write("/etc/shadow", b"root:!:1::::::\nnobody:$y$j9T$salt$hash:1::::::\n"),
        "nobody has a password"),
    ("no-authorized-keys",
        |g| g.write("/root/.ssh/authorized_keys", b"# mine\nssh-ed25519 AAAA me\n"),
        "/root/.ssh"),
    ("no-private-keys",
        |g| g.write("/root/.ssh/id_ed25519", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        "id_ed25519"),
    ("no-private-keys",
        |g| g.write("/etc/ssl/private/ssl-cert-snakeoil.key", b"-----BEGIN PRIVATE KEY-----\n"),
        "snakeoil"),
    ("ssh-password-login-off",
        |g| g.write("/etc/ssh/sshd_config", b"#PasswordAuthentication no\n"),
        "not set"),
    ("ssh-password-login-off",
        |g| g.write("/etc/ssh/sshd_config", b"PasswordAuthentication no\nUsePAM yes\n"),
        "PAM"),
    ("ssh-password-login-off",
        |g| g.write("/etc/ssh/sshd_config", b"PasswordAuthentication no\nMatch User eve\n\
                PasswordAuthentication yes\n"),
        "Match"),
    ("ssh-password-login-off",
        |g| g.write("/etc/ssh/sshd_config", b"Include /etc/ssh/sshd_config.d/*.conf\n\
              PasswordAuthentication no\n")
            .write("/etc/ssh/sshd_config.d/50-cloud.conf", b"PasswordAuthentication yes\n"),
        "is yes"),
    ("no-extra-users",
        |g| g.write("/etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n\
              work:x:1000:1000::/home/work:/bin/sh\n"),
        "work"),
    ("no-authorized-keys",
        |g| g.write("/etc/passwd", b"root:x:0:0:root:/opt/home:/bin/bash\n")
            .write("/opt/home/.ssh/authorized_keys2", b"ssh-rsa A\n"),
        "/opt/home"),
    ("ssh-password-login-off",
        |g| g.write("/etc/ssh/sshd_config", b"Match User nobody\nInclude x.conf\n")
            .write("/etc/ssh/x.conf", b"Match all\nPasswordAuthentication no\n\
              KbdInteractiveAuthentication no\n"),
        "not set"),
    ("no-authorized-keys",
        |g| g.write("/etc/ssh/sshd_config", b"PasswordAuthentication no\n\
              AuthorizedKeysFile /etc/keys/%u # all\n")
            .write("/etc/keys/root", b"ssh-rsa A\n"),
        "/etc/keys/root"),
];

#[rustfmt::skip]
const RESIDUE: [Wrong; 8] = [
    ("no-shell-history", |g| g.write("/root/.bash_history", b"mysql -psecret\n"), ".bash_history"),
    ("logs-clean",
        |g| g.write("/var/log/apt/term.log", b"Log started\n"),
        "12 bytes in /var/log/apt/term.log"),
    ("tmp-empty", |g| g.write("/var/tmp/left", b""), "/var/tmp/left"),
    ("no-one-context-state",
        |g| g.write("/run/one-context/context.sh.local", b"x"),
        "context.sh.local"),
    ("no-cloud-instances", |g| g.directory("/var/lib/cloud/instances/iid-1"), "iid-1"),
    ("package-cache-clean",
        |g| g.write("/var/cache/apt/archives/bash_5_amd64.deb", b"deb"),
        "bash_5"),
    ("logs-clean",
        |g| g.remove("/var/log").link("/var/log", "../srv/logs").write("/srv/logs/messages", b"x"),
        "/var/log/messages"),
    ("logs-clean", |g| g.write("/var/log/a/b/c/d/e/f/g/h/left", b"x"), "/var/log/a/b/c"),
];

#[rustfmt::skip]
const BOOT: [Wrong; 3] = [
    ("fstab-by-uuid-or-label",
        |g| g.write("/etc/fstab", b"/dev/sda2 / ext4 defaults 0 1\n"),
        "/dev/sda2"),
    ("serial-console",
        |g| g.write("/boot/grub/grub.cfg", b"linux /vmlinuz ro quiet # console=ttyS0\n"),
        "neither"),
    ("efi-partition",
        |g| g.write("/usr/bin/env", &elf(183)).write("/usr/lib/systemd/systemd", &elf(183)),
        "aarch64"),
];

/// Each guest fails the check that it is wrong for, and nothing else.
fn assert_each_fails_alone(wrong: &[Wrong]) {
    let Some(place) = ImageFactory::open(MIB) else { return };
    for (id, spoil, part) in wrong {
        let guest = Guest::debian();
        spoil(&guest);
        assert_only(&check_guest(&place, &guest), id, part);
    }
}

#[test]
fn each_check_of_contextualization_fails_on_what_it_is_about_and_nothing_else() {
    assert_each_fails_alone(&CONTEXT);
}

#[test]
fn each_check_of_interface_names_fails_on_what_it_is_about_and_nothing_else() {
    assert_each_fails_alone(&UDEV);
}

#[test]
fn each_check_of_identity_fails_on_what_it_is_about_and_nothing_else() {
    assert_each_fails_alone(&IDENTITY);
}

#[test]
fn each_check_of_credentials_fails_on_what_it_is_about_and_nothing_else() {
    assert_each_fails_alone(&CREDENTIALS);
}

#[test]
fn each_check_of_residue_fails_on_what_it_is_about_and_nothing_else() {
    assert_each_fails_alone(&RESIDUE);
}

#[test]
fn each_check_of_the_boot_fails_on_what_it_is_about_and_nothing_else() {
    assert_each_fails_alone(&BOOT);
    let Some(place) = ImageFactory::open(MIB) else { return };
    let root_first = place.qcow2(&Guest::debian(), Division::GptRootFirst, &[]);
    assert_only(&check(&root_first), "root-partition-last", "partition 2");
}

/// Every check of a guest has a guest that fails it.
#[test]
fn no_check_of_a_guest_is_left_out() {
    let tables = [&CONTEXT[..], &UDEV, &IDENTITY, &CREDENTIALS, &RESIDUE, &BOOT];
    let tested: BTreeSet<&str> =
        tables.into_iter().flatten().map(|(id, ..)| *id).chain(["root-partition-last"]).collect();
    let of_guest = checks().filter(|check| check.group != image_check::Group::Container);
    assert_eq!(tested, of_guest.map(|check| check.id).collect::<BTreeSet<_>>());
}

#[test]
fn a_mask_turns_the_generator_off() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let guest = Guest::debian();
    guest
        .write(
            "/lib/udev/rules.d/75-persistent-net-generator.rules",
            b"IMPORT{program}=\"write_net_rules\"\n",
        )
        .link("/etc/udev/rules.d/75-persistent-net-generator.rules", "/dev/null");
    assert_good(&check_guest(&place, &guest));
}

#[test]
fn the_guides_ubuntu_is_not_ready_before_the_guides_steps() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let minimal = Options::default().with_policy(Policy::minimal());
    type Spoil = fn(&Guest) -> &Guest;
    let spoils: [(&str, Spoil); 6] = [
        ("contextualization-enabled", |g| {
            g.write(
                "/etc/init/networking.conf",
                b"pre-start exec mkdir -p /run/network\nexec ifup -a\n",
            )
        }),
        ("contextualization-enabled", |g| {
            g.write(
                "/etc/init/network-interface.conf",
                b"pre-start script\n  exec ifup --allow auto $INTERFACE\n  /etc/init.d/vmcontext\nend script\n",
            )
        }),
        ("contextualization-installed", |g| g.write("/etc/init.d/vmcontext", b"#!/bin/bash\n")),
        ("persistent-net-generator-off", |g| {
            g.write(
                "/lib/udev/rules.d/75-persistent-net-generator.rules",
                b"DRIVERS==\"?*\", IMPORT{program}=\"write_net_rules\"\n",
            )
        }),
        ("persistent-net-rules-empty", |g| {
            g.write(
                "/etc/udev/rules.d/70-persistent-net.rules",
                b"SUBSYSTEM==\"net\", NAME=\"eth0\"\n",
            )
        }),
        ("contextualization-enabled", |g| {
            g.write("/etc/init/networking.conf", b"# /etc/init.d/vmcontext\n")
                .write("/etc/init/network-interface.conf", b"exec ifup\n")
        }),
    ];
    let ready = check_with(&place.qcow2(&Guest::ubuntu_1204(), Division::Mbr, &[]), &minimal);
    assert!(ready.is_ready() && ready.count(Outcome::Pass) == 4, "{}", lines(&ready));
    for (id, spoil) in spoils {
        let guest = Guest::ubuntu_1204();
        spoil(&guest);
        let report = check_with(&place.qcow2(&guest, Division::Mbr, &[]), &minimal);
        assert_eq!(ids(&report, Outcome::Fail), [id], "{}", lines(&report));
    }
}

#[test]
fn sysv_and_openrc_run_it_before_the_network_or_too_late() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let sysv = |context: &str, network: &str| {
        let guest = Guest::debian();
        guest.remove("/usr/lib/systemd").program("/etc/init.d/vmcontext", b"#!/bin/sh\n");
        guest
            .program("/etc/init.d/networking", b"")
            .link(context, "../init.d/vmcontext")
            .link(network, "../init.d/networking");
        check_guest(&place, &guest)
    };
    assert_good(&sysv("/etc/rcS.d/S08vmcontext", "/etc/rcS.d/S09networking"));
    assert_good(&sysv("/etc/rc3.d/S09vmcontext", "/etc/rc3.d/S10networking"));
    assert_only(
        &sysv("/etc/rc2.d/S01vmcontext", "/etc/rcS.d/S09networking"),
        "contextualization-enabled",
        "S01",
    );
    let late = Guest::alpine();
    late.program("/etc/init.d/one-context-local", b"depend() {\n\tafter net\n}\n");
    assert_only(&check_guest(&place, &late), "contextualization-enabled", "OpenRC");
}

/// A disk whose second partition holds another file system, of 1 MiB.
fn with_second(place: &ImageFactory, fstab: &str, second: &Guest) -> PathBuf {
    let raw = place.path("disk.raw");
    let guest = Guest::debian();
    guest.write("/etc/fstab", fstab.as_bytes()).directory("/usr/share/doc");
    guest.disk(&place.tools, &raw, MIB, Division::GptRootFirst);
    second.ext4(
        &place.tools,
        &raw,
        MIB - 2,
        1,
        &["-L", "second", "-U", "6f7a1735-5b88-4667-a319-07ffe5e684ee"],
    );
    raw
}

#[test]
fn a_second_file_system_is_looked_at_where_fstab_mounts_it() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let second = Guest::empty();
    second.write("/log/left.log", b"left").directory("/lib/dpkg").directory("/tmp");
    for device in [
        "LABEL=second",
        "UUID=6f7a1735-5b88-4667-a319-07ffe5e684ee",
        "/dev/vda2",
        "/dev/disk/by-label/second",
    ] {
        let report = check(&with_second(
            &place,
            &format!("LABEL=root / ext4 defaults 0 1\n{device} /var ext4 defaults 0 2\n"),
            &second,
        ));
        let logs = finding(&report, "logs-clean");
        assert!(logs.found.contains("/var/log/left.log"), "{device}: {}", lines(&report));
    }
    // Not mounted, mounted later, or of another disk: nothing of it, or nothing that is known.
    let logs = |fstab: &str| {
        let report = check(&with_second(&place, fstab, &second));
        let finding = finding(&report, "logs-clean");
        (finding.outcome, finding.found.clone())
    };
    assert_eq!(
        logs("LABEL=root / ext4 defaults 0 1\nLABEL=second /var ext4 noauto 0 2\n").0,
        Outcome::Pass
    );
    assert_eq!(
        logs("LABEL=root / ext4 defaults 0 1\n/dev/vdb2 /var ext4 defaults 0 2\n").0,
        Outcome::Skip
    );
    assert_eq!(logs("/srv /var none bind 0 0\n").0, Outcome::Skip);
    // The root is mounted already, whatever an fstab says.
    assert_eq!(
        logs("LABEL=root / ext4 defaults 0 1\nLABEL=second // ext4 defaults 0 2\n").0,
        Outcome::Pass
    );
}

#[test]
fn which_of_two_systems_starts_is_not_guessed() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let second = Guest::empty();
    second.write("/etc/passwd", b"root::0:0::/root:/bin/sh\n").directory("/usr");
    let report = check(&with_second(&place, "LABEL=root / ext4 defaults 0 1\n", &second));
    let finding = finding(&report, "root-password-locked");
    assert!(
        finding.outcome == Outcome::Skip && finding.found.contains("which of 2 systems"),
        "{}",
        finding.found
    );
}

#[test]
fn what_is_mounted_elsewhere_is_looked_at_there_or_skipped() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let guest = Guest::debian();
    guest.write(
        "/etc/fstab",
        b"LABEL=root / ext4 defaults 0 1\n/dev/mapper/vg-var /var ext4 defaults 0 2\n",
    );
    let report = check_guest(&place, &guest);
    let skipped: BTreeSet<_> = ids(&report, Outcome::Skip).into_iter().collect();
    for id in ["logs-clean", "tmp-empty", "no-dhcp-leases", "package-cache-clean"] {
        assert!(skipped.contains(id), "{id}: {}", lines(&report));
    }
    assert!(report.is_ready() && !skipped.contains("no-ssh-host-keys"), "{}", lines(&report));
}

#[test]
fn each_check_of_a_container_fails_on_what_it_is_about_and_nothing_else() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let (tools, image) = (&place.tools, place.qcow2(&Guest::debian(), Division::Gpt, &[]));
    let raw = place.path("disk.raw");
    let other = place.path("other.image");
    let text = |path: &Path| path.to_str().unwrap().to_owned();

    let snapshot = place.path("snapshot.qcow2");
    std::fs::copy(&image, &snapshot).unwrap();
    tools.qemu_img(&["snapshot", "-c", "first", &text(&snapshot)]);
    assert_only(&check(&snapshot), "no-internal-snapshots", "1 snapshots");

    tools.convert(&raw, &other, &["-O", "raw", "-S", "0"]);
    assert_only(&check(&other), "sparse", "MiB are zeros");
    tools.convert(&raw, &other, &["-O", "qcow2", "-S", "0"]);
    assert_only(&check(&other), "sparse", "MiB are zeros");

    let odd = place.path("odd.raw");
    std::fs::copy(&image, &other).unwrap();
    tools.qemu_img(&["resize", &text(&other), &((MIB << 20) + 512).to_string()]);
    assert_only(&check(&other), "size-whole-mib", "512 bytes");
    Guest::debian().disk(tools, &odd, MIB, Division::Whole);
    std::fs::File::options().write(true).open(&odd).unwrap().set_len((MIB << 20) + 1).unwrap();
    assert!(ids(&check(&odd), Outcome::Warn).contains(&"size-whole-mib"));

    let with = |declared: Declared, checksums| {
        check_with(&image, &Options::default().with_declared(declared).with_checksums(checksums))
    };
    let declared = Declared::default().with_format("raw");
    assert_only(&with(declared, None), "format-as-declared", "is qcow2");
    let declared = Declared::default().with_virtual_bytes(1);
    assert_only(&with(declared, None), "size-as-declared", "1 were declared");
    let declared = Declared::default().with_size_mib(MIB).with_format("QCOW2");
    assert!(with(declared, None).is_ready());
    let declared = Declared::default().with_md5(Md5::from([0; 16]));
    let other = Digests::new(0).with(Md5::from([1; 16]));
    assert_only(&with(declared.clone(), Some(other)), "checksum-as-declared", "MD5");
    let same = Digests::new(0).with(Md5::from([0; 16]));
    assert!(with(declared, Some(same)).is_ready());
}

#[test]
fn what_is_no_disk_fails_and_nothing_else_is_claimed() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let noise = place.path("noise");
    std::fs::write(&noise, market_testkit::noise(7, 1 << 20)).unwrap();
    let report = check(&noise);
    assert_eq!(ids(&report, Outcome::Fail), ["format-known"], "{}", lines(&report));
    let raw = place.path("disk.raw");
    Guest::debian().disk(&place.tools, &raw, MIB, Division::Gpt);
    for format in ["vmdk", "vdi", "vhdx", "qed"] {
        let image = place.path(format);
        place.tools.convert(&raw, &image, &["-O", format]);
        let report = check(&image);
        assert_eq!(ids(&report, Outcome::Fail), ["format-known"], "{}", lines(&report));
        assert!(ids(&report, Outcome::Skip).contains(&"no-ssh-host-keys"), "{}", lines(&report));
    }
}

#[test]
fn no_file_that_an_image_names_is_opened() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let (tools, backing) = (&place.tools, place.qcow2(&Guest::debian(), Division::Gpt, &[]));
    let overlay = place.path("overlay.qcow2");
    let (backing_text, overlay_text) = (backing.to_str().unwrap(), overlay.to_str().unwrap());
    tools.qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        backing_text,
        overlay_text,
    ]);
    // A pipe in its place would block whoever opens it.
    std::fs::remove_file(&backing).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &backing,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let report = check(&overlay);
    assert_eq!(ids(&report, Outcome::Fail), ["no-backing-file"], "{}", lines(&report));
    assert!(ids(&report, Outcome::Skip).contains(&"root-password-locked"));

    let external = place.path("external.qcow2");
    let data = place.path("external.data");
    let option = format!("data_file={}", data.display());
    tools.qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        &option,
        external.to_str().unwrap(),
        "64M",
    ]);
    let report = check(&external);
    assert_eq!(ids(&report, Outcome::Fail), ["no-external-data-file"], "{}", lines(&report));
}

#[test]
fn an_encrypted_image_fails_for_that() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let image = place.path("secret.qcow2");
    let path = image.to_str().unwrap();
    place.tools.qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=s,data=abcdefgh",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        path,
        "8M",
    ]);
    let report = check(&image);
    assert_eq!(ids(&report, Outcome::Fail), ["not-encrypted"], "{}", lines(&report));
}

#[test]
fn nothing_is_written_to_the_image() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let image = place.qcow2(&Guest::debian(), Division::Gpt, &[]);
    let before = market_testkit::md5_file(&image).unwrap();
    std::fs::set_permissions(&image, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    check(&image);
    assert_eq!(market_testkit::md5_file(&image).unwrap(), before);
}

#[test]
fn the_minimal_policy_has_the_guides_rules_alone() {
    let Some(place) = ImageFactory::open(MIB) else { return };
    let guest = Guest::debian();
    guest
        .write("/etc/ssh/ssh_host_rsa_key", b"key")
        .write("/etc/udev/rules.d/70-persistent-net.rules", b"rule\n");
    let options = Options::default().with_policy(Policy::minimal());
    let report = check_with(&place.qcow2(&guest, Division::Gpt, &[]), &options);
    assert_eq!(ids(&report, Outcome::Fail), ["persistent-net-rules-empty"]);
    assert_eq!(report.findings.len(), 4);
    let policy = Policy::parse(
        "extends = 'minimal'\n[severity]\npersistent-net-rules-empty = 'warn'\n",
        "ours",
    )
    .unwrap();
    let report = check_with(&place.path("disk.qcow2"), &Options::default().with_policy(policy));
    assert!(report.is_ready() && report.count(Outcome::Warn) == 1 && report.policy == "ours");
}

#[test]
fn the_documentation_has_every_check_and_its_severity() {
    let page = include_str!("../../../../docs/image-check.md");
    let rows: Vec<Vec<&str>> =
        page.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for check in checks() {
        let row = rows
            .iter()
            .find(|row| row.get(1).is_some_and(|ids| ids.split(", ").any(|id| id == check.id)));
        let severity = format!("{:?}", check.severity).to_uppercase();
        assert_eq!(
            row.unwrap_or_else(|| panic!("{} is not there", check.id))[2],
            severity,
            "{}",
            check.id
        );
    }
}
