//! `market-http gc` and `market-http audit` as an operator runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::{md5_hex, noise};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_market-http");
const DAYS: u64 = 86_400;

struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir_all(directory.path().join("public/.market-staging")).unwrap();
        let scene = Self { directory };
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(
            scene.public().join(".market-staging"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        scene
    }

    fn public(&self) -> PathBuf {
        self.directory.path().join("public")
    }

    /// A file of the marketplace, written so many seconds ago.
    fn file(&self, name: &str, bytes: &[u8], age: u64) -> PathBuf {
        let path = self.public().join(name);
        fs::write(&path, bytes).unwrap();
        let written = SystemTime::now() - Duration::from_secs(age);
        File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        path
    }

    fn text(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What `onemarket show -x` prints, for a marketplace with these apps.
    fn market(&self, apps: &[i64]) -> String {
        let ids: String = apps.iter().map(|id| format!("<ID>{id}</ID>")).collect();
        let public = self.public();
        self.text(
            "market.xml",
            &format!(
                "<MARKETPLACE><ID>100</ID><NAME>apps</NAME><MARKET_MAD>http</MARKET_MAD>\
                 <MARKETPLACEAPPS>{ids}</MARKETPLACEAPPS><TEMPLATE><BASE_URL>http://m/</BASE_URL>\
                 <PUBLIC_DIR>{}</PUBLIC_DIR></TEMPLATE></MARKETPLACE>\n",
                public.display()
            ),
        )
    }

    /// What `onemarketapp list -x` prints, for apps of (id, file name, MD5, type).
    fn apps(&self, apps: &[(i64, &str, &str, i64)]) -> String {
        let apps: String = apps
            .iter()
            .map(|(id, name, md5, kind)| {
                format!(
                    "<MARKETPLACEAPP><ID>{id}</ID><NAME>app {id}</NAME><SOURCE>http://old.example/x/{name}</SOURCE>\
                     <MD5>{md5}</MD5><MARKETPLACE_ID>100</MARKETPLACE_ID><TYPE>{kind}</TYPE></MARKETPLACEAPP>"
                )
            })
            .collect();
        self.text("apps.xml", &format!("<MARKETPLACEAPP_POOL>{apps}</MARKETPLACEAPP_POOL>"))
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(EXECUTABLE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stdout(output)
}

fn failed(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn name(number: u8) -> String {
    format!("{number:032x}")
}

#[test]
fn gc_finds_what_is_old_and_removes_it_when_told() {
    let scene = Scene::new();
    let market = scene.market(&[]);
    let old = scene.file(".market-staging/30-1700000000-0123456789abcdef", b"part", 2 * DAYS);
    let young = scene.file(".market-staging/31-1700000000-0123456789abcdef", b"part", 60);
    let foreign = scene.file(".market-staging/notes", b"mine", 2 * DAYS);
    let app = scene.file(&name(1), b"app", 9 * DAYS);
    let table = succeeded(&run(&["gc", &market]));
    assert!(
        table.contains("30-1700000000-0123456789abcdef  unfinished import of app 30\n"),
        "{table}"
    );
    assert!(table.ends_with("1 object(s), 1 MiB\n"), "{table}");
    assert!(old.exists(), "nothing is removed without --delete");
    let table = succeeded(&run(&["gc", &market, "--delete"]));
    assert!(table.contains("; removed\n"), "{table}");
    assert!(!old.exists() && young.exists() && foreign.exists() && app.exists());
    succeeded(&run(&["gc", &market, "--delete", "--older-than", "0"]));
    assert!(!young.exists() && foreign.exists() && app.exists());
}

#[test]
fn gc_spares_what_a_running_import_writes_unless_told() {
    let scene = Scene::new();
    let market = scene.market(&[]);
    let path = scene.file(".market-staging/30-1700000000-0123456789abcdef", b"part", 2 * DAYS);
    let running = File::open(&path).unwrap();
    flock(&running, FlockOperation::NonBlockingLockExclusive).unwrap();
    let output = run(&["gc", &market, "--delete", "--older-than", "0"]);
    assert_eq!(succeeded(&output), "0 object(s), 0 MiB\n");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("spared, as it is recent or being written: 1 object(s)")
    );
    assert!(path.exists());
    succeeded(&run(&["gc", &market, "--delete", "--older-than", "0", "--running"]));
    assert!(!path.exists());
}

#[test]
fn gc_finds_apps_that_no_list_has_and_keeps_all_others() {
    let scene = Scene::new();
    let market = scene.market(&[30]);
    let kept = scene.file(&name(1), b"app", 9 * DAYS);
    let orphan = scene.file(&name(2), b"orphan", 9 * DAYS);
    let fresh = scene.file(&name(3), b"published this minute", 30);
    let foreign = scene.file("index.html", b"mine", 9 * DAYS);
    let apps = scene.apps(&[(30, &name(1), "", 1)]);
    let json: Value =
        serde_json::from_str(&succeeded(&run(&["gc", &market, "--apps", &apps, "--json"])))
            .unwrap();
    assert_eq!(json["objects"].as_array().unwrap().len(), 1);
    let object = &json["objects"][0];
    assert_eq!(
        (object["key"].as_str(), object["reason"].as_str()),
        (Some(name(2).as_str()), Some("no app"))
    );
    assert_eq!((object["bytes"].as_u64(), object["removed"].as_bool()), (Some(6), Some(false)));
    let lines = scene.text("sources", &format!("http://m/{}\n\n", name(1)));
    succeeded(&run(&["gc", &market, "--apps", &lines, "--delete"]));
    assert!(kept.exists() && !orphan.exists() && fresh.exists() && foreign.exists());
}

#[test]
fn a_list_that_lacks_apps_or_is_stale_removes_nothing() {
    let scene = Scene::new();
    let market = scene.market(&[30, 31]);
    let app = scene.file(&name(1), b"app", 2 * DAYS);
    let lacking = scene.apps(&[(30, &name(9), "", 1)]);
    let line = failed(&run(&["gc", &market, "--apps", &lacking, "--delete"]), 2);
    assert!(line.contains("the list of apps: lacks app 31 of marketplace 100"), "{line}");
    for (text, expected) in [
        ("<X/>", "holds <X>, not <MARKETPLACEAPP_POOL>"),
        ("hello\n", "\"hello\" is no SOURCE"),
        ("\n", "is empty"),
        ("/srv/public/x\n", "/srv/public/x is no SOURCE of this kind"),
    ] {
        let list = scene.text("list", text);
        let line = failed(&run(&["gc", &market, "--apps", &list, "--delete"]), 2);
        assert!(line.contains(expected), "{line}");
    }
    // Made three days ago: the app is younger than that.
    let stale = scene.text("stale", &format!("http://m/{}\n", name(9)));
    let written = SystemTime::now() - Duration::from_secs(3 * DAYS);
    File::options().write(true).open(&stale).unwrap().set_modified(written).unwrap();
    succeeded(&run(&["gc", &market, "--apps", &stale, "--delete"]));
    assert!(app.exists());
}

#[test]
fn an_audit_tells_apps_that_are_not_what_they_were() {
    let scene = Scene::new();
    let market = scene.market(&[1, 2, 3, 4, 5]);
    let good = noise(1, 300_000);
    scene.file(&name(1), &good, 0);
    scene.file(&name(2), &good[..150_000], 0);
    scene.file(&name(4), b"old", 0);
    let md5 = md5_hex(&good).to_uppercase();
    let intact = [(1, name(1), md5.as_str(), 1), (4, name(4), "", 1), (5, name(5), "", 2)];
    let all =
        [&intact[..], &[(2, name(2), md5.as_str(), 1), (3, name(3), md5.as_str(), 1)]].concat();
    let list = |apps: &[(i64, String, &str, i64)]| {
        scene.apps(
            &apps
                .iter()
                .map(|(id, name, md5, kind)| (*id, name.as_str(), *md5, *kind))
                .collect::<Vec<_>>(),
        )
    };
    let table = succeeded(&run(&["audit", &market, "--apps", &list(&intact)]));
    assert!(table.contains("      1  intact") && table.contains("      4  unrecorded"), "{table}");
    assert!(table.ends_with("2 app(s) read, 0 bad\n"), "{table}");
    let output = run(&["audit", &market, "--apps", &list(&all), "--limit", "100M"]);
    let line = failed(&output, 9);
    assert!(line.contains("2 of 4 apps are not what their record says: 2, 3"), "{line}");
    let table = stdout(&output);
    assert!(table.contains("      2  CORRUPT") && table.contains("      3  MISSING"), "{table}");
    assert!(
        table.contains(&format!("MD5 {}, recorded {}", md5_hex(&good[..150_000]), md5_hex(&good))),
        "{table}"
    );
    let output = run(&["audit", &market, "--apps", &list(&all), "--json"]);
    failed(&output, 9);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let verdicts: Vec<_> = json["apps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["intact", "unrecorded", "corrupt", "missing"]);
}

#[test]
fn a_wrong_command_line_is_one_line() {
    let scene = Scene::new();
    let market = scene.market(&[]);
    let other =
        scene.text("other", "<MARKETPLACE><ID>1</ID><MARKET_MAD>s3</MARKET_MAD></MARKETPLACE>");
    for (arguments, expected) in [
        (&["gc"][..], "the marketplace is missing"),
        (&["gc", &market, "x"], "unexpected argument \"x\""),
        (&["gc", &market, "--older-than", "soon"], "--older-than: expected 30m, 24h, 7d or 0"),
        (&["gc", &market, "--limit", "1"], "--limit"),
        (&["audit", &market], "--apps is missing"),
        (&["audit", &market, "--apps", "x", "--limit", "fast"], "is no rate"),
        (&["gc", "-", "--apps", "-"], "only one of the two"),
        (&["gc", &other], "marketplace 1: is one of \"s3\", not of \"http\""),
    ] {
        let line = failed(&run(arguments), 2);
        assert!(line.contains(expected) && line.lines().count() == 1, "{arguments:?}: {line}");
    }
    failed(&run(&["gc", "/nonexistent"]), 6);
    assert!(succeeded(&run(&["gc", "--help"])).contains("--older-than AGE"));
    assert!(succeeded(&run(&["audit", "--help"])).contains("Exit code 9"));
    assert!(Path::new(&market).exists());
}
