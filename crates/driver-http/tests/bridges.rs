//! `market-http` on bridges: a real sshd that plays three hosts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::driver::{answer, failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{md5_hex, noise};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_market-http");
const BASE_URL: &str = "http://market.example:8080/";

/// Three hosts: `one` and `two` have a directory of their own at the same path; `small` has no
/// space there; `down` is down.
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
        Dump::of_market(&[
            ("BASE_URL", BASE_URL),
            ("PUBLIC_DIR", public.to_str().unwrap()),
            ("BRIDGE_LIST", bridges),
        ])
    }

    fn import_of(&self, bridges: &str, bytes: &[u8]) -> Dump {
        let image = self.path("image");
        fs::write(&image, bytes).unwrap();
        Dump {
            import_source: image.to_str().unwrap().into(),
            md5: md5_hex(bytes),
            ..self.dump(bridges)
        }
    }

    fn call(&self, action: &str, dump: &str) -> Output {
        let mut command = Command::new(EXECUTABLE);
        command.args([action, "-"]).env("SSH", self.sshd.ssh());
        run(&mut command, dump)
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

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.symlink_metadata().unwrap().is_file()).collect()
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
    let [published] = &hosts.published("two")[..] else {
        panic!("not one file on the second bridge")
    };
    assert!(fs::read(published).unwrap() == bytes);
    assert_eq!(source, format!("{BASE_URL}{}", published.file_name().unwrap().to_str().unwrap()));
    assert_eq!(published.metadata().unwrap().mode() & 0o7777, 0o644);
    assert_eq!(
        hosts.path("two").join(".market-staging").metadata().unwrap().permissions().mode() & 0o7777,
        0o700
    );
    assert_eq!(hosts.staged("two"), Vec::<PathBuf>::new());

    let space = rustix::fs::statvfs(hosts.path("one")).unwrap();
    let report = hosts.call("monitor", &dump.monitor());
    assert_eq!(
        answer(&report, "TOTAL_MB"),
        (space.f_blocks * space.f_frsize).div_ceil(1 << 20).to_string()
    );

    // The order of the list has changed: it is looked for everywhere.
    dump.market.last_mut().unwrap().1 = "two one".to_owned();
    dump.app_source = source;
    assert!(hosts.call("delete", &dump.delete()).status.success());
    hosts.assert_nothing();
    let again = hosts.call("delete", &dump.delete());
    assert!(again.status.success() && stderr(&again).contains("was already gone"), "{again:?}");
}

#[test]
fn a_bridge_that_is_down_or_full_is_passed_over() {
    let Some(hosts) = Hosts::start() else { return };
    let bytes = noise(2, 3_000_000);
    // 30 modulo 3: the first one.
    let dump = hosts.import_of("down small one", &bytes);
    let output = hosts.call("import", &dump.import());
    answer(&output, "SOURCE");
    let log = stderr(&output);
    assert!(log.contains("WARN: import: ssh to down: connect to host 127.0.0.1 port"), "{log}");
    assert!(
        log.contains(
            "WARN: import: the bridge small: 3 MiB are needed, 1 MiB are free; free some space"
        ),
        "{log}"
    );
    assert_eq!(hosts.published("one").len(), 1);
    for _ in 0..4 {
        answer(&hosts.call("monitor", &hosts.dump("down one down").monitor()), "FREE_MB");
    }
    let line = failure(&hosts.call("import", &hosts.import_of("down small", &bytes).import()), 8);
    assert!(
        line.contains("no bridge takes the image: ssh to down: ")
            && line.contains("3 MiB are needed"),
        "{line}"
    );
    let line = failure(&hosts.call("monitor", &hosts.dump("down").monitor()), 10);
    assert!(line.starts_with("ssh to down: connect to host"), "{line}");
    assert_eq!(hosts.published("one").len(), 1);
}

#[test]
fn an_app_is_not_called_gone_while_a_bridge_cannot_be_asked() {
    let Some(hosts) = Hosts::start() else { return };
    let output = hosts.call("import", &hosts.import_of("one", &noise(3, 1_000)).import());
    let source = answer(&output, "SOURCE");
    let delete = |bridges: &str| {
        let dump = Dump { app_source: source.clone(), ..hosts.dump(bridges) };
        hosts.call("delete", &dump.delete())
    };
    let line = failure(&delete("down two"), 10);
    assert!(line.contains("ssh to down") && line.contains("once it answers"), "{line}");
    assert!(delete("down two one").status.success());
    hosts.assert_nothing();
}

#[test]
fn what_is_staged_on_any_bridge_goes_with_an_app_whose_import_was_cut_off() {
    let Some(hosts) = Hosts::start() else { return };
    answer(&hosts.call("import", &hosts.import_of("two", &noise(4, 1_000)).import()), "SOURCE");
    let staging = hosts.path("two").join(".market-staging");
    for name in ["30-1700000000-0123456789abcdef", "31-1700000000-0123456789abcdef", "notes-x-y"] {
        fs::write(staging.join(name), b"part").unwrap();
    }
    let line = failure(&hosts.call("delete", &hosts.dump("one two down").delete()), 10);
    assert!(line.contains("ssh to down"), "{line}");
    let mut left: Vec<_> =
        files(&staging).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    left.sort();
    assert_eq!(left, ["31-1700000000-0123456789abcdef", "notes-x-y"]);
}

#[test]
fn attributes_are_never_commands() {
    let Some(hosts) = Hosts::start() else { return };
    let bytes = noise(5, 10_000);
    let work = hosts.path("work");
    fs::create_dir(&work).unwrap();
    let nasty = [
        "it's",
        "a b",
        "$(touch pwned)",
        "; touch pwned;",
        "`touch pwned`",
        "a\nb",
        "-n",
        "&& touch pwned",
        "*",
        "\"$HOME\"",
    ];
    for name in nasty {
        let public = hosts.path(name);
        fs::create_dir(&public).unwrap();
        let mut dump = hosts.import_of("plain", &bytes);
        dump.market[1].1 = public.to_str().unwrap().to_owned();
        let image = hosts.path(&format!("image {name}"));
        fs::write(&image, &bytes).unwrap();
        dump.import_source = format!("ssh://plain:{}", image.display());
        let mut command = Command::new(EXECUTABLE);
        command.args(["import", "-"]).env("SSH", hosts.sshd.ssh()).current_dir(&work);
        let output = run(&mut command, dump.import());
        dump.app_source = answer(&output, "SOURCE");
        assert_eq!(files(&public).len(), 1, "{name:?}");
        answer(&hosts.call("monitor", &dump.monitor()), "FREE_MB");
        assert!(hosts.call("delete", &dump.delete()).status.success(), "{name:?}");
        assert_eq!(files(&public).len(), 0, "{name:?}");
        dump.app_source.push_str("/../$(touch pwned)");
        failure(&hosts.call("delete", &dump.delete()), 5);
    }
    for bridges in ["-oProxyCommand=touch\tpwned", "plain;touch", "$(touch)", "plain`x`", "pl'ain"]
    {
        let line = failure(&hosts.call("monitor", &hosts.dump(bridges).monitor()), 4);
        assert!(line.contains("attribute BRIDGE_LIST"), "{line}");
    }
    let pwned = |directory: &Path| directory.join("pwned").exists();
    let home = std::env::var("HOME").unwrap_or_default();
    assert!(
        !pwned(&work) && !pwned(Path::new(&home)) && !pwned(Path::new(".")),
        "something was executed"
    );
}

#[test]
fn a_wrong_directory_over_there_is_told_by_bridge_and_attribute() {
    let Some(hosts) = Hosts::start() else { return };
    let mut dump = hosts.dump("plain");
    let file = hosts.path("file");
    fs::write(&file, b"\0").unwrap();
    for (path, expected) in
        [("/nonexistent", "does not exist"), (file.to_str().unwrap(), "is no directory")]
    {
        dump.market[1].1 = path.to_owned();
        for action in ["monitor", "import"] {
            let mut dump = dump.clone();
            dump.import_source = file.to_str().unwrap().to_owned();
            let message = if action == "monitor" { dump.monitor() } else { dump.import() };
            let line = failure(&hosts.call(action, &message), 4);
            assert!(line.contains(&format!("PUBLIC_DIR {path} on plain: {expected}")), "{line}");
        }
    }
    let staging = hosts.path("public").join(".market-staging");
    fs::create_dir(&staging).unwrap();
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).unwrap();
    let line =
        failure(&hosts.call("import", &hosts.import_of("plain", &noise(5, 600)).import()), 1);
    assert!(line.contains("could be read by others: give it mode 0700"), "{line}");
}

#[test]
fn a_different_md5_or_a_full_disk_on_the_way_publishes_nothing() {
    let Some(hosts) = Hosts::start() else { return };
    let bytes = noise(6, 3_000_000);
    let mut wrong = hosts.import_of("one", &bytes);
    wrong.md5 = md5_hex(b"other");
    let line = failure(&hosts.call("import", &wrong.import()), 9);
    assert!(line.contains(&md5_hex(&bytes)) && line.contains(&md5_hex(b"other")), "{line}");
    hosts.assert_nothing();
    // Of unknown length: nobody can know before that it does not fit.
    let server = market_testkit::http::HttpServer::start(move |_, _| {
        market_testkit::http::Reply::bytes(noise(6, 3_000_000)).chunked()
    });
    let dump = Dump { import_source: server.url("/i"), ..hosts.import_of("small", &bytes) };
    let line = failure(&hosts.call("import", &dump.import()), 8);
    assert!(line.contains("No space left on device"), "{line}");
    hosts.assert_nothing();
}

#[test]
fn hosts_that_opennebula_has_switched_off_are_left_out() {
    let Some(hosts) = Hosts::start() else { return };
    let bin = hosts.path("bin");
    fs::create_dir(&bin).unwrap();
    let onehost = |lines: &str| {
        let script = format!("#!/bin/sh\n[ \"$2\" = --operator ] || exit 1\nprintf '{lines}'\n");
        fs::write(bin.join("onehost"), script).unwrap();
        fs::set_permissions(bin.join("onehost"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let call = |action: &str, dump: &str| {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(EXECUTABLE);
        command.args([action, "-"]).env("SSH", hosts.sshd.ssh()).env("PATH", path);
        run(&mut command, dump)
    };
    onehost("NAME,STAT\\none,off\\n");
    let mut dump = hosts.import_of("one two", &noise(7, 1_000));
    dump.app_source = answer(&call("import", &dump.import()), "SOURCE");
    assert_eq!(hosts.published("two").len(), 1, "app 30 would have gone to the first one");
    onehost("NAME,STAT\\ntwo,err\\none,dsbl\\n");
    let line = failure(&call("monitor", &dump.monitor()), 10);
    assert!(line.contains("All hosts from 'BRIDGE_LIST' are offline, error or disabled"), "{line}");
    // What is stored there is deleted all the same.
    assert!(call("delete", &dump.delete()).status.success());
    hosts.assert_nothing();
}

#[test]
fn a_large_sparse_image_keeps_its_holes_on_a_bridge() {
    let Some(hosts) = Hosts::start() else { return };
    let path = hosts.path("sparse");
    market_testkit::image::sparse_raw(&path, 200 << 20, 500_000).unwrap();
    let md5 = market_testkit::md5_file(&path).unwrap();
    let dump = Dump {
        import_source: path.to_str().unwrap().into(),
        md5: md5.clone(),
        ..hosts.dump("one")
    };
    answer(&hosts.call("import", &dump.import()), "SOURCE");
    let stored = &hosts.published("one")[0];
    assert_eq!(market_testkit::md5_file(stored).unwrap(), md5);
    let (allocated, before) =
        (stored.metadata().unwrap().blocks(), path.metadata().unwrap().blocks());
    assert!(allocated <= before + 10 * 256, "{allocated} blocks of {before}");
}
