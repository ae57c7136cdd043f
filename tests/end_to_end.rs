//! All of it as `oned` has it: `one_market` over its two pipes with the real executables behind it
//! (http, S3, the public marketplace, a foreign driver), and the download side through the
//! datastore pair and the downloader.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::report::MonitorReport;
use market_core::template::Template;
use market_testkit::driver::{built, run, stderr};
use market_testkit::dump::{Dump, owned};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::oned::{OneLocation, Oned};
use market_testkit::s3::S3Server;
use market_testkit::{md5_hex, noise};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A driver as somebody else writes it: bash, the dump as an argument, no checks.
const FOREIGN: &str = r#"xml=$(printf %s "$1" | base64 -d)
value() { printf %s "$xml" | sed -n "s/.*<$1><!\[CDATA\[\([^]]*\)\]\]><\/$1>.*/\1/p"; }
store=$ONE_LOCATION/foreign
case $(basename "$0") in
monitor) echo 'USED_MB="1"'; echo 'FREE_MB="2"'; echo 'TOTAL_MB="3"' ;;
import)
    mkdir -p "$store" && cp "$(value IMPORT_SOURCE)" "$store/$2" || exit 1
    echo "INFO: import: took $2" >&2
    printf 'SOURCE="%s"\nMD5="%s"\nSIZE="%s"\nFORMAT="%s"\n' "$store/$2" "$(value MD5)" 1 "$(value FORMAT)"
    ;;
delete) rm "$(value SOURCE)" ;;
esac"#;

const HTTP: i64 = 100;
const S3: i64 = 101;
const ONE: i64 = 102;
const OTHERS: i64 = 103;

/// An installation with everything, and a web server for its http marketplace.
struct Cloud {
    location: OneLocation,
    web: HttpServer,
    store: S3Server,
    catalogue: HttpServer,
    image: Vec<u8>,
}

impl Cloud {
    fn new() -> Self {
        let location = OneLocation::new();
        let market = ["monitor", "import", "delete"];
        for (mad, executable) in
            [("http", "market-http"), ("s3", "market-s3"), ("one", "market-one")]
        {
            location.install(&format!("market/{mad}"), &market, &built(executable));
        }
        for action in market {
            location.script(&format!("market/foreign/{action}"), FOREIGN);
        }
        location.install("datastore/fs", &["export", "cp"], &built("datastore-fs"));
        for directory in ["public", "images", "datastore"] {
            fs::create_dir(location.path().join(directory)).unwrap();
        }
        let image = noise(1, 3_000_000);
        fs::write(location.path().join("images/7"), &image).unwrap();
        let web = HttpServer::directory(location.path().join("public"));
        let catalogue = HttpServer::start(|_, _| {
            let entry = json!({"_id": {"$oid": "a-1"}, "name": "App", "files": [{"size": 1 << 20, "md5": "0cc175b9c0f1b6a831c399e269772661"}]});
            Reply::bytes(json!({"sEcho": 1, "appliances": [entry]}).to_string())
        });
        let store = S3Server::start();
        store.create_bucket("apps");
        Self { location, web, store, catalogue, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.location.path().join(name)
    }

    fn dump(&self, market: i64, app: i64) -> Dump {
        let (mad, attributes) = match market {
            HTTP => {
                let public = self.path("public");
                (
                    "http",
                    owned(&[
                        ("BASE_URL", &self.web.url("/")),
                        ("PUBLIC_DIR", public.to_str().unwrap()),
                    ]),
                )
            }
            S3 => ("s3", self.store.market("apps", &[])),
            ONE => ("one", owned(&[("ENDPOINT", &self.catalogue.url("/"))])),
            _ => ("foreign", Vec::new()),
        };
        Dump {
            app,
            market_id: market,
            market_mad: mad.into(),
            market: attributes,
            image_source: self.path("images/7").to_str().unwrap().into(),
            base_path: self.path("datastore").to_str().unwrap().into(),
            ..Dump::default()
        }
    }

    /// An import that takes a minute.
    fn slow(&self, app: i64) -> Dump {
        let mut dump = self.dump(HTTP, app);
        dump.market.push(("LIMIT_TRANSFER_BW".into(), "50k".into()));
        dump
    }

    fn start(&self) -> Oned {
        let mut oned =
            Oned::start(&built("one_market"), &self.location, "-t 15 -m http,s3,one,foreign");
        oned.init();
        oned
    }

    /// Files below a directory, apart from directories without any.
    fn files(&self, directory: &str) -> Vec<PathBuf> {
        fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
                    _ => files.push(entry.path()),
                }
            }
        }
        let mut files = Vec::new();
        collect(&self.path(directory), &mut files);
        files
    }

    /// Waits until an import has begun to write.
    fn wait_for_stage(&self) {
        let start = Instant::now();
        while self.files("public").is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing was staged");
            std::thread::yield_now();
        }
    }
}

fn source_of(answer: &str) -> String {
    Template::parse(answer.as_bytes()).unwrap().text("SOURCE").unwrap().unwrap().to_owned()
}

#[test]
fn apps_live_in_four_marketplaces_at_once() {
    let cloud = Cloud::new();
    let mut oned = cloud.start();
    for market in [HTTP, S3, ONE, OTHERS] {
        oned.ask("MONITOR", market, &cloud.dump(market, 0).monitor());
    }
    let stored = [(HTTP, 1), (S3, 2), (OTHERS, 3)];
    for (market, app) in stored {
        oned.ask("IMPORT", app, &cloud.dump(market, app).import_request());
    }
    for (market, apps) in [(HTTP, 0), (S3, 0), (ONE, 1), (OTHERS, 0)] {
        let report = oned.printed_by("MONITOR", market);
        assert_eq!(MonitorReport::read(report.as_bytes()).unwrap().1.len(), apps, "{report}");
    }
    let sources = stored.map(|(_, app)| source_of(&oned.printed_by("IMPORT", app)));
    assert!(
        sources[0].starts_with(&cloud.web.url("/")) && sources[1] == "s3://apps/marketapp-2",
        "{sources:?}"
    );
    assert!(fs::read(&sources[2]).unwrap() == cloud.image);

    // The way back: an image of each app, and the downloader that others call.
    for ((market, app), source) in stored.into_iter().zip(&sources) {
        let mut dump = cloud.dump(market, app);
        dump.image_path.clone_from(source);
        dump.image = owned(&[("FROM_APP_MD5", &md5_hex(&cloud.image))]);
        dump.datastore = owned(&[("SAFE_DIRS", cloud.location.path().to_str().unwrap())]);
        let mut cp = Command::new(cloud.location.remotes().join("datastore/fs/cp"));
        let output = run(cp.arg("7").env("ONE_LOCATION", cloud.location.path()), dump.copy());
        assert!(output.status.success(), "{}", stderr(&output));
        let path = String::from_utf8(output.stdout).unwrap();
        assert!(fs::read(path.strip_suffix(" raw\n").unwrap()).unwrap() == cloud.image);
        let mut downloader = Command::new(built("downloader"));
        let output =
            downloader.args([source, "-"]).env("DRV_ACTION", dump.copy()).output().unwrap();
        assert!(output.stdout == cloud.image, "{}", stderr(&output));
    }
    for ((market, app), source) in stored.into_iter().zip(sources) {
        let dump = Dump { app_source: source, ..cloud.dump(market, app) };
        assert_eq!(oned.call("DELETE", app, &dump.delete()), "SUCCESS -");
    }
    assert_eq!((cloud.files("public"), cloud.files("foreign")), (Vec::new(), Vec::new()));
    let (lines, status) = oned.end();
    assert!(status.success());
    let answers = lines.iter().filter(|line| !line.starts_with("LOG "));
    assert_eq!(answers.count(), 1 + 4 + 3 + 3, "{lines:#?}");
    assert!(
        !lines.iter().any(|line| line.contains(market_testkit::s3::SECRET_ACCESS_KEY)),
        "a key is shown"
    );
}

#[test]
fn a_delete_during_an_import_leaves_nothing_of_it() {
    let cloud = Cloud::new();
    let mut oned = cloud.start();
    oned.ask("IMPORT", 4, &cloud.slow(4).import_request());
    cloud.wait_for_stage();
    assert_eq!(oned.call("DELETE", 4, &cloud.dump(HTTP, 4).delete()), "SUCCESS -");
    assert_eq!(oned.answer("IMPORT", 4), "FAILURE cancelled");
    assert_eq!(cloud.files("public"), Vec::<PathBuf>::new());
}

#[test]
fn the_end_of_oned_leaves_nothing_of_an_import() {
    let cloud = Cloud::new();
    let mut oned = cloud.start();
    oned.ask("IMPORT", 5, &cloud.slow(5).import_request());
    cloud.wait_for_stage();
    let before = Instant::now();
    assert!(oned.finalize().success());
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert_eq!(cloud.files("public"), Vec::<PathBuf>::new());
}

#[test]
fn a_marketplace_of_a_million_apps_goes_all_the_way() {
    let cloud = Cloud::new();
    let mut oned = cloud.start();
    let mut dump = cloud.dump(HTTP, 999_999);
    dump.market_apps = (0..1_000_000).collect();
    let report = oned.printed("MONITOR", HTTP, &dump.monitor());
    assert!(report.contains("TOTAL_MB="), "{report}");
    let source = source_of(&oned.printed("IMPORT", 999_999, &dump.import_request()));
    assert_eq!(cloud.files("public").len(), 1);
    dump.app_source = source;
    assert_eq!(oned.call("DELETE", 999_999, &dump.delete()), "SUCCESS -");
    assert_eq!(cloud.files("public"), Vec::<PathBuf>::new());
}
