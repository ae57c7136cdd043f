//! The third party's driver of examples/minimal_driver.rs keeps the core's promises, as an
//! executable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::template::Template;
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::{md5_hex, noise};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// `cargo test` builds the examples beside the tests, but not when it is told which test to run.
fn executable() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap().join("examples/minimal_driver");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/minimal_driver.rs");
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    assert!(
        time(&built).is_ok_and(|time_built| time_built >= time(&source).unwrap()),
        "{} is missing or old; build it with: cargo build --examples",
        built.display()
    );
    built
}

fn call(action: &str, dump: &str) -> Output {
    Command::new(executable()).args([action, dump]).output().unwrap()
}

#[test]
fn a_driver_in_one_file_imports_verified_bytes_and_deletes_them() {
    let directory = TempDir::new().unwrap();
    let bytes = noise(1, 600_000);
    let image = directory.path().join("image");
    fs::write(&image, &bytes).unwrap();
    let market = directory.path().join("market");
    fs::create_dir(&market).unwrap();
    let count = || fs::read_dir(&market).unwrap().count();
    let mut dump = Dump {
        import_source: image.to_str().unwrap().into(),
        md5: md5_hex(&bytes),
        ..Dump::of_market(&[("DIRECTORY", market.to_str().unwrap())])
    };
    let output = call("import", &dump.import());
    assert!(output.status.success(), "{output:?}");
    let answer = Template::parse(&output.stdout).unwrap();
    let source = answer.text("SOURCE").unwrap().unwrap().to_owned();
    assert!(fs::read(&source).unwrap() == bytes);
    assert!(call("monitor", &dump.monitor()).stdout.starts_with(b"USED_MB=\"1\""));
    assert_eq!(count(), 1);

    dump.app_source = "/etc/passwd".into();
    assert_eq!(call("delete", &dump.delete()).status.code(), Some(5));
    dump.app_source = source;
    assert!(call("delete", &dump.delete()).status.success());
    assert_eq!(count(), 0);

    dump.md5 = md5_hex(b"other");
    assert_eq!(call("import", &dump.import()).status.code(), Some(9));
    let server = HttpServer::start(|_, _| Reply::status(404));
    dump.import_source = server.url("/image");
    assert_eq!(call("import", &dump.import()).status.code(), Some(6));
    assert_eq!(count(), 0);
}
