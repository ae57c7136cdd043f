//! `market-http` on bridges: a real sshd that plays three hosts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use market_testkit::dump::Dump;
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{md5_hex, noise};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_market-http");
const BASE_URL: &str = "http://market.example:8080/";

/// Three hosts: `one` and `two` have a directory of their own at the same path; `small` has no space there; `down` is down.
struct Hosts {
    directory: TempDir,
    sshd: Sshd,
}

impl Hosts {
    fn start() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["public", "one", "two"] {
            fs::create_dir(path(name)).unwrap();
        }
        let sshd = Sshd::start(&[
            ("one", Kind::Holding(path("one"), path("public"))),
            ("two", Kind::Holding(path("two"), path("public"))),
            ("small", Kind::Small(path("public"))),
            ("down", Kind::Down),
            ("plain", Kind::Plain),
        ])?;
        Some(Self { directory, sshd })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dump(&self, bridges: &str) -> Dump {
        let public = self.path("public");
        Dump::of_market(&[("BASE_URL", BASE_URL), ("PUBLIC_DIR", public.to_str().unwrap()), ("BRIDGE_LIST", bridges)])
    }

    fn import_of(&self, bridges: &str, bytes: &[u8]) -> Dump {
        let image = self.path("image");
        fs::write(&image, bytes).unwrap();
        Dump { import_source: image.to_str().unwrap().into(), md5: md5_hex(bytes), ..self.dump(bridges) }
    }

    fn call(&self, action: &str, dump: &str) -> Output {
        let mut command = Command::new(EXECUTABLE);
        command.args([action, "-"]).env("SSH", self.sshd.ssh());
        feed(&mut command, dump)
    }

    fn published(&self, host: &str) -> Vec<PathBuf> {
        files(&self.path(host))
    }

    fn staged(&self, host: &str) -> Vec<PathBuf> {
        let staging = self.path(host).join(".market-staging");
        if staging.exists() { files(&staging) } else { Vec::new() }
    }

    fn assert_nothing(&self) {
        for host in ["public", "one", "two"] {
            assert_eq!((self.published(host), self.staged(host)), (vec![], vec![]), "{host}");
        }
    }
}

fn feed(command: &mut Command, dump: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(dump.as_bytes());
    child.wait_with_output().unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.symlink_metadata().unwrap().is_file()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn answer(output: &Output, name: &str) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    let template = market_core::template::Template::parse(&output.stdout).unwrap();
    template.text(name).unwrap().unwrap().to_owned()
}

/// The one plain line of a failure.
fn failure(output: &Output, code: i32) -> String {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let is_log = |line: &&str| ["ERROR: ", "WARN: ", "INFO: ", "DEBUG: "].iter().any(|level| line.starts_with(level));
    let plain: Vec<_> = stderr.lines().filter(|line| !is_log(line)).collect();
    assert_eq!(plain.len(), 1, "{stderr}");
    plain[0].to_owned()
}

#[test]
fn an_app_lives_on_the_bridge_of_its_id() {
    let Some(hosts) = Hosts::start() else { return };
    let bytes = noise(1, 3_000_000);
    let mut dump = Dump { app: 31, ..hosts.import_of("one two", &bytes) };
    let output = hosts.call("import", &dump.import());
    let source = answer(&output, "SOURCE");
    eprintln!("{}", stderr(&output));
    assert_eq!(answer(&output, "MD5"), md5_hex(&bytes));
    assert_eq!(hosts.published("one"), Vec::<PathBuf>::new());
    let [published] = &hosts.published("two")[..] else { panic!("not one file on the second bridge") };
    assert!(fs::read(published).unwrap() == bytes);
    assert_eq!(source, format!("{BASE_URL}{}", published.file_name().unwrap().to_str().unwrap()));
    assert_eq!(published.metadata().unwrap().mode() & 0o7777, 0o644);
    assert_eq!(hosts.path("two").join(".market-staging").metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(hosts.staged("two"), Vec::<PathBuf>::new());

    let space = rustix::fs::statvfs(hosts.path("one")).unwrap();
    let report = hosts.call("monitor", &dump.monitor());
    assert_eq!(answer(&report, "TOTAL_MB"), (space.f_blocks * space.f_frsize).div_ceil(1 << 20).to_string());

    // The order of the list has changed: it is looked for everywhere.
    dump.market.last_mut().unwrap().1 = "two one".to_owned();
    dump.app_source = source;
    assert!(hosts.call("delete", &dump.delete()).status.success());
    hosts.assert_nothing();
    let again = hosts.call("delete", &dump.delete());
    assert!(again.status.success() && stderr(&again).contains("was already gone"), "{again:?}");
}
