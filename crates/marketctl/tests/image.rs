//! `marketctl image` as people call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::guest::{Division, Guest, ImageFactory};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::md5_file;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_marketctl");

fn raw(place: &ImageFactory, guest: &Guest) -> PathBuf {
    place.raw(guest, Division::Gpt)
}

fn qcow2(place: &ImageFactory, guest: &Guest) -> PathBuf {
    place.qcow2(guest, Division::Gpt, &[])
}

/// Everything in the directory, by its name.
fn names(place: &ImageFactory) -> Vec<String> {
    let entries = fs::read_dir(place.directory.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn image(task: &str, path: &Path, more: &[&str]) -> Output {
    Command::new(EXECUTABLE).args(["image", task]).arg(path).args(more).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line that says what stands in the way.
fn line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn with_key() -> Guest {
    let guest = Guest::debian();
    guest.write("/etc/ssh/ssh_host_rsa_key", b"key");
    guest
}

#[test]
fn the_exit_code_says_how_a_check_ended() {
    let Some(place) = ImageFactory::open(64) else { return };
    let ready = image("check", &qcow2(&place, &Guest::debian()), &[]);
    assert_eq!(ready.status.code(), Some(0), "{}", stdout(&ready));
    assert!(
        stdout(&ready)
            .lines()
            .last()
            .unwrap()
            .contains("nothing failed (37 passed, 0 warnings, 0 failed, 3 could not")
    );
    let wanting = qcow2(&place, &with_key());
    let output = image("check", &wanting, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("FAIL  no-ssh-host-keys"), "{}", stdout(&output));
    assert!(output.stderr.is_empty());
    let absent = image("check", &place.path("absent"), &[]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(line(&absent).contains("No such file"));
    assert_eq!(image("check", &wanting, &["--policy", "nobodys"]).status.code(), Some(2));
    assert_eq!(image("check", &wanting, &["--no-such-option"]).status.code(), Some(2));
}

#[test]
fn a_policy_file_changes_what_a_check_means() {
    let Some(place) = ImageFactory::open(64) else { return };
    let (wanting, policy) = (qcow2(&place, &with_key()), place.path("policy.toml"));
    fs::write(&policy, "[severity]\nno-ssh-host-keys = \"warn\"\nserial-console = \"off\"\n")
        .unwrap();
    let output = image("check", &wanting, &["--policy", policy.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("WARN  no-ssh-host-keys")
            && !stdout(&output).contains("serial-console")
    );
    fs::write(&policy, "[severity]\nno-ssh-host-keys = \"perhaps\"\n").unwrap();
    let output = image("check", &wanting, &["--policy", policy.to_str().unwrap()]);
    assert!(line(&output).contains("policy.toml: line 2"), "{}", line(&output));
}

#[test]
fn a_report_for_programs_has_every_finding() {
    let Some(place) = ImageFactory::open(64) else { return };
    let report = json(&image("check", &qcow2(&place, &with_key()), &["--format", "json"]));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 40);
    let failed: Vec<&Value> =
        findings.iter().filter(|finding| finding["outcome"] == "FAIL").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0]["id"].as_str(), failed[0]["group"].as_str()),
        (Some("no-ssh-host-keys"), Some("identity"))
    );
    assert!(failed[0]["repairs"][0].as_str().unwrap().starts_with("virt-customize"));
}

#[test]
fn the_script_is_one_that_a_shell_takes() {
    let Some(place) = ImageFactory::open(64) else { return };
    let guest = with_key();
    guest
        .write(
            "/etc/passwd",
            b"root:x:0:0::/root:/bin/sh\na'b$(touch x):x:1000:1000::/home/q'uote:/bin/sh\n",
        )
        .write("/etc/shadow", b"a'b$(touch x):$6$hash:::::::\n")
        .write("/home/q'uote/.ssh/authorized_keys", b"ssh-rsa A\n");
    let output = image("check", &qcow2(&place, &guest), &["--fix-script"]);
    let script = place.path("fix.sh");
    fs::write(&script, &output.stdout).unwrap();
    // A shell that runs it with a virt-customize that shows its words.
    let tool = place.path("virt-customize");
    fs::write(&tool, "#!/bin/sh\nprintf '<%s>\\n' \"$@\"\n").unwrap();
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", place.directory.path().display(), std::env::var("PATH").unwrap());
    let run = Command::new("sh")
        .arg(&script)
        .env("PATH", path)
        .current_dir(place.directory.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let words = stdout(&run);
    for word in [
        "<a'b$(touch x):locked:disabled>",
        "</home/q'uote/.ssh/authorized_keys>",
        "<rm -f /etc/ssh/ssh_host_*_key ",
    ] {
        assert!(words.contains(word), "{words}");
    }
    assert!(!place.path("x").exists());
}

#[test]
fn what_is_declared_is_compared() {
    let Some(place) = ImageFactory::open(64) else { return };
    let path = qcow2(&place, &Guest::debian());
    let md5 = md5_file(&path).unwrap();
    let right = ["--expect-format", "qcow2", "--expect-size", "67108864", "--expect-md5", &md5];
    let output = image("check", &path, &right);
    assert!(
        stdout(&output).contains("(40 passed, 0 warnings, 0 failed, 0 could not be looked at;"),
        "{}",
        stdout(&output)
    );
    let output = image("check", &path, &["--expect-sha256", &"0".repeat(64)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("FAIL  checksum-as-declared"));
}

#[test]
fn an_image_is_checked_where_it_is_served() {
    let Some(place) = ImageFactory::open(64) else { return };
    let bytes = fs::read(qcow2(&place, &with_key())).unwrap();
    let cut = bytes.len() as u64 / 2;
    let server = HttpServer::start(move |request, _| {
        let reply = Reply::bytes(bytes.clone());
        if request.path.starts_with("/cut") { reply.cut_after(cut) } else { reply }
    });
    let check = |path: &str| {
        Command::new(EXECUTABLE).args(["image", "check", &server.url(path)]).output().unwrap()
    };
    let output = check("/image?token=secret");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        stdout(&output).contains("FAIL  no-ssh-host-keys") && !stdout(&output).contains("secret")
    );
    assert_eq!(check("/cut").status.code(), Some(2));
}

#[test]
fn what_an_image_is_is_told() {
    let Some(place) = ImageFactory::open(64) else { return };
    let path = place.path("packed.qcow2");
    place.tools.convert(&raw(&place, &Guest::debian()), &path, &["-c", "-O", "qcow2"]);
    let info = json(&image("info", &path, &["--format", "json"]));
    assert_eq!(info["format"], "qcow2");
    assert_eq!(info["compression"], "zlib");
    assert_eq!(info["virtual_bytes"], 64 << 20);
    assert_eq!(info["file_bytes"], path.metadata().unwrap().len());
    assert_eq!(info["md5"], md5_file(&path).unwrap());
    assert_eq!(info["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(info["table"], "gpt");
    let root: Vec<_> =
        info["partitions"].as_array().unwrap().iter().filter(|p| p["is_root"] == true).collect();
    assert_eq!(
        (root.len(), &root[0]["number"], &root[0]["content"]),
        (1, &Value::from(2), &Value::from("ext"))
    );
    assert_eq!(info["os"], "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(info["architecture"], "x86_64");
    assert_eq!(info["context_version"], "6.10.0-3");
    let text = stdout(&image("info", &path, &["--no-checksums"]));
    assert!(text.contains("one-context      6.10.0-3") && !text.contains("MD5"), "{text}");
}

#[test]
fn a_prepared_copy_is_qcow2_without_zeros_and_whole() {
    let Some(place) = ImageFactory::open(64) else { return };
    let raw = raw(&place, &Guest::debian());
    let thick = place.path("thick.raw");
    place.tools.convert(&raw, &thick, &["-O", "raw", "-S", "0"]);
    let file = fs::File::options().append(true).open(&thick).unwrap();
    std::io::Write::write_all(&mut &file, &[7; 100]).unwrap();
    let target = place.path("ready.qcow2");
    let output = image("prepare", &thick, &[target.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let info = json(&image("info", &target, &["--format", "json"]));
    assert_eq!(
        (&info["format"], &info["virtual_bytes"]),
        (&Value::from("qcow2"), &Value::from(65 << 20))
    );
    assert!(info["allocated_bytes"].as_u64().unwrap() < 8 << 20);
    assert!(stdout(&output).contains(info["sha256"].as_str().unwrap()), "{}", stdout(&output));
    // What is in it is what was in its source.
    place.tools.qemu_img(&[
        "compare",
        "-f",
        "raw",
        "-F",
        "qcow2",
        thick.to_str().unwrap(),
        target.to_str().unwrap(),
    ]);
    let again = image("prepare", &thick, &[target.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2));
    assert!(line(&again).contains("nothing was replaced"));
}

#[test]
fn a_copy_that_cannot_be_right_is_not_made() {
    let Some(place) = ImageFactory::open(64) else { return };
    let raw = raw(&place, &Guest::debian());
    let target = place.path("ready.qcow2");
    let wrong =
        image("prepare", &raw, &[target.to_str().unwrap(), "--expect-md5", &"0".repeat(32)]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(line(&wrong).contains("checksum-as-declared"), "{}", line(&wrong));
    for declared in [["--expect-size", "1"], ["--expect-format", "vmdk"]] {
        let wrong = image("prepare", &raw, &[&[target.to_str().unwrap()], &declared[..]].concat());
        assert!(line(&wrong).contains("as-declared"), "{}", line(&wrong));
    }
    let page = place.path("page");
    fs::write(&page, "<html>not found</html>").unwrap();
    assert!(line(&image("prepare", &page, &[target.to_str().unwrap()])).contains("format-known"));
    fs::remove_file(page).unwrap();
    let overlay = place.path("overlay.qcow2");
    place.tools.qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        raw.to_str().unwrap(),
        overlay.to_str().unwrap(),
    ]);
    let refused = image("prepare", &overlay, &[target.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(line(&refused).contains("backing file"), "{}", line(&refused));
    assert_eq!(names(&place), ["disk.raw", "overlay.qcow2"]);
}

#[test]
fn a_signal_leaves_nothing_of_a_copy() {
    let Some(place) = ImageFactory::open(64) else { return };
    let big = place.path("big.raw");
    Guest::debian().disk(&place.tools, &big, 2 << 10, Division::Gpt);
    let file = fs::File::options().write(true).open(&big).unwrap();
    for part in 0..8 {
        let data = market_testkit::noise(part, 100 << 20);
        std::os::unix::fs::FileExt::write_all_at(&file, &data, (600 + part * 120) << 20).unwrap();
    }
    let target = place.path("ready.qcow2");
    let mut child = Command::new(EXECUTABLE)
        .args(["image", "prepare"])
        .args([&big, &target])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // As soon as something is staged.
    while names(&place).len() == 1 && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("SIGTERM"), "{said}");
    assert_eq!(names(&place), ["big.raw"]);
}

#[test]
fn a_copy_that_qemu_img_has_damaged_or_complained_about_is_not_made() {
    let Some(place) = ImageFactory::open(64) else { return };
    let raw = raw(&place, &Guest::debian());
    let real = market_testkit::require::program("qemu-img", "qemu-utils")
        .expect("the factory has used it");
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for (damage, told) in [
        (
            "printf damage | dd of=\"$last\" bs=1 seek=400000 conv=notrunc 2>/dev/null",
            "is not what it read",
        ),
        ("echo 'Failed to flush the L2 table cache' >&2", "Failed to flush"),
    ] {
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\n[ \"$1\" = convert ] || exec {0} \"$@\"\n{0} \"$@\" || exit 1\n{damage}\nexit 0\n",
            real.display()
        );
        fs::write(bin.join("qemu-img"), script).unwrap();
        fs::set_permissions(
            bin.join("qemu-img"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let target = place.path("ready.qcow2");
        let mut command = Command::new(EXECUTABLE);
        let output = command
            .args(["image", "prepare"])
            .args([&raw, &target])
            .env("PATH", &path)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(line(&output).contains(told), "{}", line(&output));
        assert_eq!(names(&place), ["bin", "disk.raw"]);
    }
}
