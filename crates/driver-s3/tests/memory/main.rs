//! How much memory an import takes, whatever comes. In an executable of its own: what the system
//! tells of a child's memory includes that of the process that started it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

#[path = "../common/mod.rs"]
mod common;

use common::{dump, started};
use market_testkit::s3::S3Server;
use market_testkit::{noise, require};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;
use wait4::Wait4;

const SIZE: u64 = 3 << 30;

#[test]
fn a_3_gib_image_arrives_whole_in_little_memory() {
    let directory = TempDir::new().unwrap();
    let space = rustix::fs::statvfs(directory.path()).unwrap();
    if space.f_bavail * space.f_frsize < 8 << 30 {
        return require::missing("8 GiB of space are needed in TMPDIR");
    }
    let path = directory.path().join("image");
    let file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    // Another MiB of noise in every 12: parts have data and holes.
    let noise = noise(1, 1 << 20);
    for at in (0..SIZE).step_by(12 << 20) {
        file.write_all_at(&noise, at).unwrap();
    }
    let server = S3Server::start_in(directory.path(), |_, _| market_testkit::s3::Fate::Whole);
    let mut child = started(&dump(server.market("apps", &[]), path.to_str().unwrap(), ""));
    let (mut answer, mut told) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    let used = child.wait4().unwrap();
    assert!(
        used.status.success() && answer.contains("SOURCE=\"s3://apps/marketapp-30\""),
        "{told}"
    );
    assert!(used.rusage.maxrss < 96 << 20, "{} bytes of memory", used.rusage.maxrss);
    let md5 = market_testkit::md5_file(&path).unwrap();
    assert!(answer.contains(&md5), "{answer}");
    assert_eq!(market_testkit::md5_file(&server.path("apps", "marketapp-30")).unwrap(), md5);
    assert_eq!(server.seen().iter().filter(|seen| seen.what() == "part").count(), 384);
}

#[test]
fn an_image_of_many_small_extents_takes_no_more_memory() {
    let server = S3Server::start();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    let file = File::create(&path).unwrap();
    file.set_len(256 << 20).unwrap();
    for at in (0..256 << 20).step_by(8 << 10) {
        file.write_all_at(&[7; 4 << 10], at).unwrap();
    }
    let mut child = started(&dump(server.market("apps", &[]), path.to_str().unwrap(), ""));
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    let used = child.wait4().unwrap();
    assert!(used.status.success() && answer.contains("SOURCE="), "{answer}");
    assert!(used.rusage.maxrss < 110 << 20, "{} bytes of memory", used.rusage.maxrss);
}
