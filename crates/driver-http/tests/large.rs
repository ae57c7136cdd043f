//! A 40 GiB sparse image with 1 GiB of data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::dump::Dump;
use market_testkit::{noise, require};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use wait4::Wait4;

const SIZE: u64 = 40 << 30;
const PART: u64 = 1 << 20;

/// A hundred parts at the start of every tenth.
fn offset(number: u64) -> u64 {
    SIZE / 10 * (number / 100) + number % 100 * PART
}

#[test]
fn a_large_sparse_image_takes_little_memory_and_keeps_its_allocation() {
    let directory = TempDir::new().unwrap();
    let space = rustix::fs::statvfs(directory.path()).unwrap();
    if space.f_bavail * space.f_frsize < 5 << 30 {
        return require::missing("5 GiB of space are needed in TMPDIR");
    }
    let (image, public) = (directory.path().join("image"), directory.path().join("public"));
    fs::create_dir(&public).unwrap();
    let file = File::create(&image).unwrap();
    file.set_len(SIZE).unwrap();
    let part = noise(1, usize::try_from(PART).unwrap());
    for number in 0..1_000 {
        file.write_all_at(&part, offset(number)).unwrap();
    }
    let attributes = [("BASE_URL", "http://market/"), ("PUBLIC_DIR", public.to_str().unwrap())];
    let dump =
        Dump { import_source: image.to_str().unwrap().into(), ..Dump::of_market(&attributes) };
    let mut child = Command::new(env!("CARGO_BIN_EXE_market-http"))
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(dump.import().as_bytes()).unwrap();
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    let used = child.wait4().unwrap();
    assert!(used.status.success());
    assert!(answer.contains("SOURCE="), "{answer}");
    assert!(used.rusage.maxrss < 24 << 20, "{} bytes of memory", used.rusage.maxrss);
    let stored = fs::read_dir(&public)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_file())
        .unwrap();
    // Everything else is holes: there is not more than before.
    let copy = File::open(&stored).unwrap();
    let mut bytes = vec![0; part.len()];
    for number in 0..1_000 {
        copy.read_exact_at(&mut bytes, offset(number)).unwrap();
        assert!(bytes == part, "part {number}");
    }
    let (stored, before) = (stored.metadata().unwrap(), image.metadata().unwrap());
    assert_eq!(stored.len(), SIZE);
    assert!(
        stored.blocks() <= before.blocks() + 1_000,
        "{} blocks of {}",
        stored.blocks(),
        before.blocks()
    );
}
