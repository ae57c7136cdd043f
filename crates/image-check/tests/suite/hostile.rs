//! Images whose author means harm: every look ends, soon and in little memory, without a panic, and
//! claims nothing that it has not seen.

use super::{finding, found, lines};
use image_check::{Image, Options, Outcome, Report, SkipReason, check_head};
use market_testkit::guest::{Division, Guest, ImageFactory};
use market_testkit::{Random, require};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A raw image without partitions.
fn whole(place: &ImageFactory, guest: &Guest) -> PathBuf {
    place.raw(guest, Division::Whole)
}

/// A qcow2 image without partitions.
fn qcow2(place: &ImageFactory, options: &[&str]) -> PathBuf {
    place.qcow2(&Guest::debian(), Division::Whole, options)
}

fn check(image: &Path) -> Report {
    let options = Options::default().with_time_limit(Duration::from_secs(20));
    Image::open(image).unwrap().check(&options).unwrap()
}

/// No check of the guest has passed: nothing was seen of it.
fn assert_guest_unseen(report: &Report) {
    for finding in &report.findings {
        let of_guest = !matches!(finding.group, image_check::Group::Container);
        assert!(!of_guest || finding.outcome != Outcome::Pass, "{}", lines(report));
    }
}

fn patch(image: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(image).unwrap().write_all_at(bytes, at).unwrap();
}

fn big_u64(image: &Path, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(image).unwrap().read_exact_at(&mut bytes, at).unwrap();
    u64::from_be_bytes(bytes)
}

#[test]
fn headers_that_make_no_sense_are_told() {
    let Some(place) = ImageFactory::open(32) else { return };
    let absurd: [(u64, &[u8], &str); 10] = [
        (4, &9_u32.to_be_bytes(), "version 9"),
        (20, &4_u32.to_be_bytes(), "clusters of 2^4"),
        (20, &63_u32.to_be_bytes(), "clusters of 2^63"),
        (24, &u64::MAX.to_be_bytes(), "cannot exist"),
        (24, &(1_u64 << 62).to_be_bytes(), "larger L1 table than QEMU opens"),
        (24, &(1_u64 << 40).to_be_bytes(), "has 1 entries and needs 2048"),
        (36, &u32::MAX.to_be_bytes(), "larger L1 table than QEMU opens"),
        (40, &3_u64.to_be_bytes(), "begins inside a cluster"),
        (72, &(1_u64 << 40).to_be_bytes(), "features that are unknown"),
        (96, &7_u32.to_be_bytes(), "reference counts of 2^7"),
    ];
    for (at, bytes, part) in absurd {
        let image = qcow2(&place, &[]);
        patch(&image, at, bytes);
        let report = check(&image);
        let (outcome, text) = found(&report, "not-corrupt");
        assert_eq!(outcome, Outcome::Fail, "{part}: {}", lines(&report));
        assert!(text.contains(part), "{part}: {text}");
        assert_guest_unseen(&report);
    }
    let mut head = std::fs::read(qcow2(&place, &[])).unwrap();
    head.truncate(40);
    std::fs::write(place.path("short"), &head).unwrap();
    assert_eq!(found(&check(&place.path("short")), "not-corrupt").0, Outcome::Fail);
}

#[test]
fn tables_that_lead_astray_are_told() {
    let Some(place) = ImageFactory::open(32) else { return };
    let flaw = |spoil: &dyn Fn(&Path, u64, u64)| {
        let image = qcow2(&place, &[]);
        let l1 = big_u64(&image, 40);
        let l2 = big_u64(&image, l1) & 0x00ff_ffff_ffff_fe00;
        spoil(&image, l1, l2);
        let report = check(&image);
        let (outcome, text) = found(&report, "not-corrupt");
        assert_eq!(outcome, Outcome::Fail, "{}", lines(&report));
        text.to_owned()
    };
    let text = flaw(&|image, l1, _| patch(image, l1, &(1_u64 << 63 | 1 << 40).to_be_bytes()));
    assert!(text.contains("behind the file's end"), "{text}");
    let text = flaw(&|image, l1, _| patch(image, l1, &(1_u64 << 63 | 0x200).to_be_bytes()));
    assert!(text.contains("inside a cluster"), "{text}");
    let text = flaw(&|image, _, l2| patch(image, l2, &(1_u64 << 63 | 1 << 40).to_be_bytes()));
    assert!(text.contains("behind the file's end"), "{text}");
    // Two of the disk's clusters in one of the file's, and one that holds the header.
    let text = flaw(&|image, _, l2| patch(image, l2 + 8, &big_u64(image, l2).to_be_bytes()));
    assert!(text.contains("another owner"), "{text}");
    let text = flaw(&|image, l1, l2| patch(image, l2 + 8, &(1 << 63 | l1).to_be_bytes()));
    assert!(text.contains("another owner"), "{text}");
    // The count of the first cluster of data.
    let text = flaw(&|image, _, l2| {
        let block = big_u64(image, big_u64(image, 48));
        let data = (big_u64(image, l2) & 0x00ff_ffff_ffff_fe00) / (64 << 10);
        patch(image, block + data * 2, &[0, 0]);
    });
    assert!(text.contains("counted as free"), "{text}");
    let text = flaw(&|image, _, _| {
        let file = File::options().write(true).open(image).unwrap();
        file.set_len(file.metadata().unwrap().len() - (64 << 10)).unwrap();
    });
    assert!(text.contains("cut short"), "{text}");
}

#[test]
fn compressed_clusters_that_are_broken_or_too_long_end_the_look() {
    let Some(place) = ImageFactory::open(32) else { return };
    for kind in [&["-c"][..], &["-c", "-o", "compression_type=zstd"]] {
        let image = qcow2(&place, kind);
        let l2 = big_u64(&image, big_u64(&image, 40)) & 0x00ff_ffff_ffff_fe00;
        // The superblock of the file system is in the first cluster.
        let offset = big_u64(&image, l2) & ((1 << 54) - 1);
        patch(&image, offset, &market_testkit::noise(3, 64));
        let report = check(&image);
        assert_guest_unseen(&report);
        assert!(
            found(&report, "root-password-locked").1.contains("compressed cluster"),
            "{}",
            lines(&report)
        );
    }
}

#[test]
fn links_in_circles_and_names_of_control_characters_are_survived() {
    let Some(place) = ImageFactory::open(32) else { return };
    let guest = Guest::debian();
    guest
        .remove("/etc/ssh")
        .link("/etc/ssh", "../etc/ssh2")
        .link("/etc/ssh2", "/etc/ssh")
        .link("/etc/udev", "../../../../../../../proc/self")
        .write("/var/tmp/a\nPASS  fake\x1b[2J", b"")
        .remove("/etc/hostname")
        .link("/etc/hostname", "/dev/zero");
    let report = check(&whole(&place, &guest));
    assert_eq!(found(&report, "no-ssh-host-keys").0, Outcome::Skip);
    assert!(found(&report, "no-ssh-host-keys").1.contains("circle"));
    assert_eq!(found(&report, "persistent-net-rules-empty").0, Outcome::Pass);
    let (outcome, text) = found(&report, "tmp-empty");
    assert!(outcome == Outcome::Warn && text.contains("a\\nPASS  fake\\u{1b}[2J"), "{text}");
    assert!(!lines(&report).contains('\x1b') && !report.repair_script().contains('\x1b'));
}

#[test]
fn directories_in_circles_end() {
    let (Some(place), Some(debugfs)) =
        (ImageFactory::open(32), require::program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    let guest = Guest::debian();
    guest.write("/var/log/deep/file", b"x");
    let raw = whole(&place, &guest);
    for name in ["a", "b", "c"] {
        let link = format!("ln /var/log /var/log/deep/{name}");
        assert!(
            Command::new(&debugfs)
                .args(["-w", "-R", &link])
                .arg(&raw)
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    let report = check(&raw);
    assert_eq!(found(&report, "logs-clean").0, Outcome::Warn, "{}", lines(&report));
}

#[test]
fn the_beginning_of_a_superblock_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("short.raw");
    for bytes in (1_000..2_100).step_by(7) {
        let mut content = vec![0; bytes];
        for (at, magic) in [(0x438, [0x53, 0xef]), (0x428, [1, 0])] {
            if let Some(place) = content.get_mut(at..at + 2) {
                place.copy_from_slice(&magic);
            }
        }
        std::fs::write(&image, content).unwrap();
        assert_guest_unseen(&check(&image));
    }
}

#[test]
fn a_script_never_opens_what_names_another_file_whatever_the_policy() {
    let Some(place) = ImageFactory::open(32) else { return };
    let image = qcow2(&place, &[]);
    // A backing file by the name in the header's place, and the mark of corruption.
    patch(&image, 8, &512_u64.to_be_bytes());
    patch(&image, 16, &11_u32.to_be_bytes());
    patch(&image, 512, b"/etc/shadow");
    patch(&image, 79, &[2]);
    let policy =
        image_check::Policy::parse("[severity]\nno-backing-file = 'off'\n", "ours").unwrap();
    let report =
        Image::open(&image).unwrap().check(&Options::default().with_policy(policy)).unwrap();
    assert_eq!(found(&report, "not-corrupt").0, Outcome::Fail);
    let script = report.repair_script();
    assert!(script.contains("exit 1") && !script.contains("qemu-img"), "{script}");
}

#[test]
fn a_directory_in_itself_and_long_links_end_in_little_memory() {
    let (Some(place), Some(debugfs)) =
        (ImageFactory::open(32), require::program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    let guest = Guest::debian();
    guest
        .remove("/etc/hostname")
        .link("/etc/hostname", &format!("/d{}", "/d".repeat(480)))
        .directory("/d");
    let raw = whole(&place, &guest);
    assert!(
        Command::new(&debugfs)
            .args(["-w", "-R", "ln /d /d/d"])
            .arg(&raw)
            .output()
            .unwrap()
            .status
            .success()
    );
    let report = check(&raw);
    assert!(found(&report, "hostname-generic").1.contains("too deep"), "{}", lines(&report));
}

#[test]
fn the_last_cluster_of_a_file_may_be_short() {
    let (Some(place), Some(qemu_io)) =
        (ImageFactory::open(32), require::program("qemu-io", "qemu-utils"))
    else {
        return;
    };
    let image = place.path("short.qcow2");
    let path = image.to_str().unwrap();
    place.tools.qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "extended_l2=on,cluster_size=128k",
        path,
        "64M",
    ]);
    assert!(
        Command::new(qemu_io).args(["-c", "write 0 4k", path]).output().unwrap().status.success()
    );
    assert!(std::fs::metadata(&image).unwrap().len() % (128 << 10) != 0);
    place.tools.qemu_img(&["check", "-q", path]);
    let report = check(&image);
    let (outcome, text) = found(&report, "not-corrupt");
    assert_eq!(outcome, Outcome::Pass, "{text}");
}

#[test]
fn a_table_that_linux_does_not_believe_is_not_believed() {
    let Some(place) = ImageFactory::open(32) else { return };
    let raw = place.path("disk.raw");
    Guest::debian().disk(&place.tools, &raw, 32, Division::Gpt);
    // The protective entry's type.
    patch(&raw, 446 + 4, &[0x83]);
    assert_guest_unseen(&check(&raw));
}

#[test]
fn a_transaction_of_a_wrong_checksum_is_not_believed() {
    let (Some(place), Some(debugfs)) =
        (ImageFactory::open(32), require::program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    let raw = place.path("disk.raw");
    File::create(&raw).unwrap().set_len(64 << 20).unwrap();
    let guest = Guest::debian();
    guest.write("/etc/shadow", b"root:$6$real$hash:1::::::\n");
    guest.ext4(&place.tools, &raw, 0, 64, &["-L", "root", "-b", "4096", "-J", "size=4"]);
    let ask = |request: &str| {
        let output = Command::new(&debugfs).args(["-R", request]).arg(&raw).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (blocks, script) = (place.path("blocks"), place.path("script"));
    std::fs::write(&blocks, [b"root:!:1::::::\n".to_vec(), vec![b'\n'; 4_096 - 15]].concat())
        .unwrap();
    let block = ask("bmap /etc/shadow 0");
    std::fs::write(&script, format!("jo -c\njw -b {block} {}\njc\n", blocks.display())).unwrap();
    assert!(
        Command::new(&debugfs)
            .args(["-w", "-f"])
            .arg(&script)
            .arg(&raw)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(found(&check(&raw), "root-password-locked").0, Outcome::Pass);
    // The commit is the journal's fourth block: superblock, descriptor, data, commit.
    let commit: u64 = ask("bmap <8> 3").parse().unwrap();
    patch(&raw, commit * 4_096 + 0x10, &[0xde, 0xad]);
    assert_eq!(found(&check(&raw), "root-password-locked").0, Outcome::Fail);
}

#[test]
fn sizes_that_an_inode_claims_are_not_believed() {
    let (Some(place), Some(debugfs)) =
        (ImageFactory::open(32), require::program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    for (path, id) in [
        ("/etc", "machine-id-empty"),
        ("/etc/passwd", "root-password-locked"),
        ("/etc/ssh", "no-ssh-host-keys"),
    ] {
        let raw = whole(&place, &Guest::debian());
        let claim = format!("set_inode_field {path} size 1099511627776");
        assert!(
            Command::new(&debugfs)
                .args(["-w", "-R", &claim])
                .arg(&raw)
                .output()
                .unwrap()
                .status
                .success()
        );
        let report = check(&raw);
        assert_eq!(found(&report, id).0, Outcome::Skip, "{path}: {}", lines(&report));
    }
}

#[test]
fn an_extent_tree_that_shares_its_nodes_ends() {
    let (Some(place), Some(debugfs)) =
        (ImageFactory::open(32), require::program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    let raw = place.path("disk.raw");
    File::create(&raw).unwrap().set_len(32 << 20).unwrap();
    let guest = Guest::debian();
    guest.write("/srv/node", &market_testkit::noise(5, 5 * 4_096));
    guest.ext4(&place.tools, &raw, 0, 32, &["-L", "root", "-b", "4096", "-O", "^metadata_csum"]);
    let ask = |request: &str| {
        let output = Command::new(&debugfs).args(["-R", request]).arg(&raw).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let node: u64 = ask("bmap /srv/node 0").trim().parse().unwrap();
    // Four levels of nodes, each entry of which leads to the same next one; the leaf holds extents
    // of no length.
    for depth in 0..4_u16 {
        let mut block = vec![0; 4_096];
        block[..8].copy_from_slice(&[0x0a, 0xf3, 0x54, 0x01, 0x54, 0x01, depth as u8, 0]);
        for entry in block[12..].chunks_exact_mut(12) {
            let next = u32::try_from(node + u64::from(depth.saturating_sub(1))).unwrap();
            if depth > 0 {
                entry[4..8].copy_from_slice(&next.to_le_bytes());
            }
        }
        patch(&raw, (node + u64::from(depth)) * 4_096, &block);
    }
    // "stat" tells where the inode is: "located at block N, offset M".
    let imap = ask("imap /etc/passwd");
    let number = |after: &str| -> u64 {
        let rest = imap.split(after).nth(1).unwrap().trim_start();
        let digits: String =
            rest.trim_start_matches("0x").chars().take_while(char::is_ascii_hexdigit).collect();
        if rest.starts_with("0x") {
            u64::from_str_radix(&digits, 16).unwrap()
        } else {
            digits.parse().unwrap()
        }
    };
    let at = number("located at block") * 4_096 + number("offset");
    let mut root = vec![0; 60];
    root[..8].copy_from_slice(&[0x0a, 0xf3, 4, 0, 4, 0, 4, 0]);
    for entry in root[12..].chunks_exact_mut(12) {
        entry[4..8].copy_from_slice(&u32::try_from(node + 3).unwrap().to_le_bytes());
    }
    patch(&raw, at + 0x28, &root);
    let report = check(&raw);
    assert_ne!(found(&report, "machine-id-empty").0, Outcome::Skip, "{}", lines(&report));
    assert_ne!(found(&report, "no-user-passwords").0, Outcome::Fail, "{}", lines(&report));
}

#[test]
fn partition_tables_that_lead_astray_end() {
    let Some(place) = ImageFactory::open(32) else { return };
    let raw = place.path("disk.raw");
    let disk = |division| Guest::debian().disk(&place.tools, &raw, 32, division);
    // A chain of logical partitions that leads back to itself.
    disk(Division::MbrLogical);
    let mut link = [0; 16];
    link[4] = 5;
    link[12] = 1;
    patch(&raw, 2_048 * 512 + 446 + 16, &link);
    assert!(check(&raw).is_ready());
    // The primary table is broken: its copy is at the end.
    disk(Division::Gpt);
    patch(&raw, 512 + 80, &u32::MAX.to_le_bytes());
    assert!(check(&raw).is_ready(), "{}", lines(&check(&raw)));
    // Both are.
    patch(&raw, (32 << 20) - 512 + 84, &u32::MAX.to_le_bytes());
    let report = check(&raw);
    assert_guest_unseen(&report);
}

#[test]
fn any_damage_ends_in_a_report() {
    let Some(place) = ImageFactory::open(32) else { return };
    let mut random = Random::new(20_261_122);
    let originals = [whole(&place, &Guest::debian()), qcow2(&place, &[]), qcow2(&place, &["-c"])]
        .map(|path| std::fs::read(path).unwrap());
    let image = place.path("damaged");
    for round in 0..150_u64 {
        let mut bytes = originals[usize::try_from(round % 3).unwrap()].clone();
        // Where metadata are: the first 2 MiB, half of the time; anywhere, otherwise.
        let reach = if random.below(2) == 0 { 2 << 20 } else { bytes.len() as u64 };
        for _ in 0..=random.below(200) {
            let at = usize::try_from(random.below(reach.min(bytes.len() as u64))).unwrap();
            bytes[at] = random.below(256) as u8;
        }
        if random.below(8) == 0 {
            bytes.truncate(usize::try_from(random.below(bytes.len() as u64)).unwrap());
        }
        std::fs::write(&image, &bytes).unwrap();
        let report = check(&image);
        assert!(report.findings.len() > 30, "round {round}");
        let head =
            check_head(&bytes, "stream", &Options::default().policy, &Options::default().declared);
        assert_eq!(head.findings.len(), report.findings.len());
        let summary = Image::open(&image).unwrap().summary(Duration::from_secs(20)).unwrap();
        let texts = [&summary.os, &summary.os_id, &summary.os_version, &summary.context_version];
        let mut texts = texts.into_iter().flatten().chain(&summary.notes);
        assert!(!texts.any(|text| text.contains(char::is_control)), "round {round}: {summary:?}");
        assert_eq!(summary.format, report.format, "round {round}");
    }
}

#[test]
fn what_takes_too_long_is_a_skip() {
    let Some(place) = ImageFactory::open(32) else { return };
    let image = qcow2(&place, &[]);
    let options = Options::default().with_time_limit(Duration::ZERO);
    let report = Image::open(&image).unwrap().check(&options).unwrap();
    assert_guest_unseen(&report);
    let late = finding(&report, "no-ssh-host-keys");
    assert_eq!(late.skipped, Some(SkipReason::TimeLimit), "{}", lines(&report));
    assert!(late.found.contains("longer than 0 seconds"), "{}", lines(&report));
    assert!(report.ran_out_of_time());
}

#[test]
fn an_image_cannot_pretend_that_the_time_was_over() {
    let Some(place) = ImageFactory::open(32) else { return };
    let guest = Guest::debian();
    let name = "looking took longer than 60 seconds";
    guest.remove("/etc/ssh").link("/etc/ssh", name).link(&format!("/etc/{name}"), name);
    let report = check(&whole(&place, &guest));
    let keys = finding(&report, "no-authorized-keys");
    assert_eq!(keys.outcome, Outcome::Skip, "{}", lines(&report));
    assert_ne!(keys.skipped, Some(SkipReason::TimeLimit), "{}", lines(&report));
    assert!(!report.ran_out_of_time());
}

#[test]
fn of_a_stream_nothing_is_claimed_beyond_its_head() {
    let options = Options::default();
    let report = check_head(&[0; 64 << 10], "stream", &options.policy, &options.declared);
    assert_guest_unseen(&report);
    let keys = finding(&report, "no-ssh-host-keys");
    assert_eq!(keys.skipped, Some(SkipReason::HeadOnly), "{}", lines(&report));
    assert!(!report.ran_out_of_time());
}

#[test]
fn pipes_and_directories_are_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for path in [&pipe, directory.path()] {
        let error = Image::open(path).err().unwrap().to_string();
        assert!(error.contains("neither a file nor a block device"), "{error}");
    }
}

#[test]
fn what_is_only_in_the_journal_is_seen() {
    let (Some(place), Some(debugfs)) =
        (ImageFactory::open(32), require::program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    let fsck = require::program("e2fsck", "e2fsprogs").unwrap();
    for (options, open) in
        [(&[][..], ""), (&[], "-c"), (&["-O", "^64bit,^metadata_csum"], ""), (&["-t", "ext3"], "")]
    {
        let raw = place.path("disk.raw");
        File::create(&raw).unwrap().set_len(64 << 20).unwrap();
        let base = ["-L", "root", "-b", "4096", "-J", "size=4"];
        Guest::debian().ext4(&place.tools, &raw, 0, 64, &[&base[..], options].concat());
        let debug = |flags: &[&str], request: &str| {
            let output = Command::new(&debugfs)
                .args(flags)
                .args(["-R", request])
                .arg(&raw)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let block = debug(&[], "bmap /etc/shadow 0").trim().to_owned();
        let name = debug(&[], "bmap /etc/hostname 0").trim().to_owned();
        // Two transactions: the second one has the last word on the one block, and revokes the
        // other.
        let block_of = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(4_096, b'\n');
            bytes
        };
        let (script, file) = (place.path("script"), place.path("blocks"));
        let write = |request: &str, blocks: &[u8]| {
            std::fs::write(&file, blocks).unwrap();
            std::fs::write(&script, format!("jo {open}\njw {request} {}\njc\n", file.display()))
                .unwrap();
            let output =
                Command::new(&debugfs).args(["-w", "-f"]).arg(&script).arg(&raw).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let first =
            [block_of("root:$6$first$hash:1::::::\n"), block_of("first.example.com\n")].concat();
        write(&format!("-b {block},{name}"), &first);
        write(
            &format!("-r {name} -b {block}"),
            &block_of("root:$6$second$hash:1::::::\nnobody::1::::::\n"),
        );
        assert!(debug(&[], "features").contains("needs_recovery"), "{}", debug(&[], "features"));
        let before = market_testkit::md5_file(&raw).unwrap();
        let report = check(&raw);
        assert!(
            found(&report, "no-user-passwords").1.contains("needs no password"),
            "{options:?}: {}",
            lines(&report)
        );
        assert_eq!(found(&report, "root-password-locked").0, Outcome::Fail);
        assert_eq!(found(&report, "hostname-generic").1, "localhost");
        assert_eq!(market_testkit::md5_file(&raw).unwrap(), before);
        // The kernel's own tool finds the same.
        Command::new(&fsck).args(["-fy"]).arg(&raw).output().unwrap();
        assert!(debug(&[], "cat /etc/shadow").starts_with("root:$6$second"));
        let after = check(&raw);
        let outcomes = |report: &Report| {
            report.findings.iter().map(|finding| finding.outcome).collect::<Vec<_>>()
        };
        assert_eq!(outcomes(&after), outcomes(&report), "{}", lines(&after));
    }
}
