//! What must hold on every S3 service, with the executable as `one_market` and operators call it.
//! Each case has buckets of its own, so that cases can run at the same time.

use crate::common::{
    PART, Service, app_bytes, bucket, call, command, contents, delete, dump, image, import,
    market_file, open, signal, started, succeeded, wait_until,
};
use market_core::backend::{ObjectState, StorageBackend};
use market_core::model::AppId;
use market_testkit::driver::{answer, failure, stderr};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::{block_on, conformance, context, md5_hex, noise};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use tempfile::TempDir;

/// A case, and its name.
type Case = (&'static str, fn(Service<'_>));

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        &[$((stringify!($case), $case as fn(Service<'_>))),*]
    };
}

/// All cases.
pub(crate) const CASES: &[Case] = cases![
    keeps_every_promise,
    an_app_lives,
    keys_are_made_as_the_stock_driver_makes_them,
    images_of_any_shape_arrive_whole,
    a_wrong_image_leaves_nothing,
    an_operator_is_told_what_is_wrong,
    a_stopped_import_leaves_nothing,
    what_a_killed_import_leaves_is_found,
];

fn keeps_every_promise(service: Service<'_>) {
    let apps = service("promises", &[]);
    // The bucket is made by the first import.
    let directory = TempDir::new().unwrap();
    let dump = dump(apps.clone(), &image(directory.path(), b"first"), "");
    let source = answer(&import(&dump), "SOURCE");
    assert!(delete(&dump, &source).status.success());
    block_on(async {
        let context = context();
        conformance::all(&open(&apps, &context).await, &context).await;
    });
}

fn an_app_lives(service: Service<'_>) {
    let directory = TempDir::new().unwrap();
    let bytes = noise(1, 2_500_000);
    let md5 = md5_hex(&bytes);
    let path = image(directory.path(), &bytes);
    let dump = dump(service("life", &[("TOTAL_MB", "100")]), &path, &md5);
    let output = call("monitor", &dump.monitor());
    assert_eq!(
        stderr(&output),
        "INFO: monitor: there is no bucket life yet: the first import makes it\n"
    );
    assert_eq!(succeeded(&output), "USED_MB=\"0\"\nFREE_MB=\"100\"\nTOTAL_MB=\"100\"\n");
    let output = import(&dump);
    assert_eq!(answer(&output, "SOURCE"), "s3://life/marketapp-30");
    assert_eq!(answer(&output, "MD5"), md5);
    assert_eq!(
        (answer(&output, "SIZE"), answer(&output, "FORMAT")),
        ("1".to_owned(), "raw".to_owned())
    );
    assert!(app_bytes(&dump.market, 30, "s3://life/marketapp-30").unwrap() == bytes);
    let report = succeeded(&call("monitor", &dump.monitor()));
    assert_eq!(report, "USED_MB=\"3\"\nFREE_MB=\"97\"\nTOTAL_MB=\"100\"\n");
    // A quota that is smaller than what is there.
    let small = Dump { market: service("life", &[("TOTAL_MB", "2")]), ..dump.clone() };
    let report = succeeded(&call("monitor", &small.monitor()));
    assert_eq!(report, "USED_MB=\"3\"\nFREE_MB=\"0\"\nTOTAL_MB=\"2\"\n");
    let line = failure(&import(&Dump { app: 31, ..small }), 8);
    assert!(line.contains("needs 3 MiB, the marketplace has 0 MiB free"), "{line}");
    let line = failure(&import(&dump), 7);
    assert!(
        line.contains("s3://life/marketapp-30")
            && line.contains("already exists; nothing was replaced"),
        "{line}"
    );
    assert!(
        app_bytes(&dump.market, 30, "s3://life/marketapp-30").unwrap() == bytes,
        "an app was replaced"
    );

    let market = market_file(directory.path(), &dump.market);
    let apps = directory.path().join("apps.xml");
    let list = |md5: &str| {
        let app = format!(
            "<MARKETPLACEAPP><ID>30</ID><SOURCE>s3://life/marketapp-30</SOURCE><MD5>{md5}</MD5>\
             <MARKETPLACE_ID>100</MARKETPLACE_ID><TYPE>1</TYPE></MARKETPLACEAPP>"
        );
        fs::write(&apps, format!("<MARKETPLACEAPP_POOL>{app}</MARKETPLACEAPP_POOL>")).unwrap();
        apps.to_str().unwrap().to_owned()
    };
    let table = succeeded(&command(&["audit", &market, "--apps", &list(&md5)]));
    assert!(table.contains("intact") && table.ends_with("1 app(s) read, 0 bad\n"), "{table}");
    let output = command(&["audit", &market, "--apps", &list(&md5_hex(b"another"))]);
    assert_eq!(output.status.code(), Some(9));

    let output = delete(&dump, "s3://life/marketapp-30");
    assert!(
        stderr(&output).contains("INFO: delete: app 30: s3://life/marketapp-30 removed"),
        "{}",
        stderr(&output)
    );
    assert!(delete(&dump, "s3://life/marketapp-30").status.success());
    let output = delete(&dump, "s3://life/marketapp-30");
    assert!(
        stderr(&output).contains("WARN: delete: app 30: s3://life/marketapp-30 was already gone")
    );
    let output = command(&["audit", &market, "--apps", &list(&md5)]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("MISSING"));
}

fn keys_are_made_as_the_stock_driver_makes_them(service: Service<'_>) {
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    let plain = dump(service("keys", &[]), &path, "");
    for (app, prefix, source) in [
        (1, "", "s3://keys/marketapp-1"),
        (2, "marketapp-1", "s3://keys/marketapp-1-2"),
        (3, "our apps/of 2026", "s3://keys/our apps/of 2026-3"),
        (4, "a+b&c=d%20e/\u{e9}", "s3://keys/a+b&c=d%20e/\u{e9}-4"),
    ] {
        let dump =
            Dump { app, market: service("keys", &[("APP_PREFIX", prefix)]), ..plain.clone() };
        assert_eq!(answer(&import(&dump), "SOURCE"), source);
        // It is found under the prefix, read, and counted alone.
        let found: Vec<_> =
            contents(&dump.market).into_iter().map(|object| (object.app, object.bytes)).collect();
        assert_eq!(found, [(Some(AppId(app)), 5)], "{prefix}");
        assert_eq!(app_bytes(&dump.market, app, source).unwrap(), b"bytes");
    }
    for prefix in ["/apps", "a//b", "../a", "a/./b", "a\nb", &"a".repeat(1_022)] {
        let dump = Dump { market: service("keys", &[("APP_PREFIX", prefix)]), ..plain.clone() };
        assert!(failure(&import(&dump), 4).contains("APP_PREFIX"));
    }
    // A prefix that no import takes any more: what is there can be counted and deleted.
    let slash = Dump { market: service("keys", &[("APP_PREFIX", "a//b")]), ..plain.clone() };
    assert!(call("monitor", &slash.monitor()).status.success());
    assert!(stderr(&delete(&slash, "s3://keys/a//b-30")).contains("was already gone"));
    assert_eq!(delete(&slash, "s3://keys/a/../apps-30").status.code(), Some(5));
    // The prefix was another one then; the bucket is another one.
    let renamed =
        Dump { app: 3, market: service("keys", &[("APP_PREFIX", "new")]), ..plain.clone() };
    assert!(stderr(&delete(&renamed, "s3://keys/our apps/of 2026-3")).contains("removed"));
    let moved = Dump { app: 4, market: service("elsewhere", &[]), ..plain.clone() };
    let output = delete(&moved, "s3://keys/a+b&c=d%20e/\u{e9}-4");
    assert!(
        stderr(&output).contains("WARN: delete: the app is in another bucket")
            && stderr(&output).contains("removed")
    );
    let line = failure(&delete(&plain, "s3://keys/marketapp-1"), 5);
    assert!(
        line.contains("names no object of app 30") && line.contains("nothing was touched"),
        "{line}"
    );
    for app in [1, 2] {
        let prefix = if app == 1 { "" } else { "marketapp-1" };
        let dump =
            Dump { app, market: service("keys", &[("APP_PREFIX", prefix)]), ..plain.clone() };
        let source = if app == 1 { "s3://keys/marketapp-1" } else { "s3://keys/marketapp-1-2" };
        assert!(delete(&dump, source).status.success());
    }
}

fn images_of_any_shape_arrive_whole(service: Service<'_>) {
    let directory = TempDir::new().unwrap();
    let (length, mut holes) = (PART.1, noise(2, 3 * PART.1 + 1));
    holes[length / 2..2 * length + 70_000].fill(0);
    let sparse = directory.path().join("sparse");
    let file = fs::File::create(&sparse).unwrap();
    file.set_len(12 << 20).unwrap();
    let sparse = sparse.to_str().unwrap().to_owned();
    let text = noise(3, 2 * length);
    let served = text.clone();
    let server = HttpServer::start(move |_, _| Reply::bytes(served.clone()).chunked());
    for (source, bytes, parts) in [
        (image(directory.path(), &noise(4, 1)), noise(4, 1), 1),
        (image(directory.path(), &noise(5, length)), noise(5, length), 1),
        (image(directory.path(), &holes), holes.clone(), 4),
        (sparse, vec![0; 12 << 20], 3),
        // Nobody says how long it is.
        (server.url("/image"), text, 2),
    ] {
        let market = service("shapes", &[("READ_LENGTH", PART.0)]);
        let dump = dump(market, &source, &md5_hex(&bytes));
        let source = answer(&import(&dump), "SOURCE");
        assert!(app_bytes(&dump.market, 30, &source).unwrap() == bytes, "{source}: other bytes");
        assert_eq!(parts_of(&dump.market, "marketapp-30"), Some(parts));
        assert!(delete(&dump, &source).status.success());
    }
    assert!(contents(&service("shapes", &[])).is_empty());
}

fn a_wrong_image_leaves_nothing(service: Service<'_>) {
    let directory = TempDir::new().unwrap();
    let bytes = noise(6, PART.1 + 1_000_000);
    let path = image(directory.path(), &bytes);
    let market = service("wrong", &[("READ_LENGTH", PART.0)]);
    let line = failure(&import(&dump(market.clone(), &path, &md5_hex(b"another"))), 9);
    assert!(
        line.contains("the datastore declared")
            && line.ends_with("check the source and import again"),
        "{line}"
    );
    let cut = bytes.clone();
    let server = HttpServer::start(move |_, nth| match nth {
        0 => Reply::bytes(cut.clone()).cut_after(PART.1 as u64 + 300_000),
        _ => Reply::status(404),
    });
    let line = failure(&import(&dump(market.clone(), &server.url("/image"), "")), 6);
    assert!(line.contains("404"), "{line}");
    let empty = image(directory.path(), b"");
    let line = failure(&import(&dump(market.clone(), &empty, "")), 9);
    assert!(line.contains("holds no bytes"), "{line}");
    assert_eq!(contents(&market), []);
}

fn an_operator_is_told_what_is_wrong(service: Service<'_>) {
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    for (more, code, expected) in [
        (
            ("SECRET_ACCESS_KEY", "hunter2"),
            5,
            "403 SignatureDoesNotMatch: the secret key is wrong, or the region is",
        ),
        (("ACCESS_KEY_ID", "hunter2"), 5, ": the access key is unknown there"),
        (("ACCESS_KEY_ID", " "), 4, "attribute ACCESS_KEY_ID: is empty"),
        (("SECRET_ACCESS_KEY", " "), 4, "attribute SECRET_ACCESS_KEY: is empty"),
        (
            ("ACCESS_KEY_ID", "\u{e9}"),
            4,
            "attribute ACCESS_KEY_ID: is empty, or holds what no request can be signed with",
        ),
        (("BUCKET", "a/b"), 4, "attribute BUCKET: is not the name of a bucket"),
        (("REGION", "a/b"), 4, "attribute REGION: is empty, or holds"),
        (("REGION", "eu west"), 4, "attribute REGION: holds a blank"),
        (("SESSION_TOKEN", "a b"), 4, "attribute SESSION_TOKEN: is empty, or holds"),
        (("MAX_PARTS", "0"), 4, "attribute MAX_PARTS: is not between 1 and 10000"),
        (
            ("STORAGE_CLASS", "GLACIER"),
            4,
            "attribute STORAGE_CLASS: keeps objects where no export can read them",
        ),
        (
            ("SERVER_SIDE_ENCRYPTION", "AES 256"),
            4,
            "attribute SERVER_SIDE_ENCRYPTION: holds what no request",
        ),
        (("ENDPOINT", "s3.local:80"), 4, "attribute ENDPOINT: is no http:// or https:// URL"),
        (("TOTAL_MB", "many"), 4, "TOTAL_MB: expected a whole number"),
        (("ENDPOINT", "http://{host}"), 4, "attribute ENDPOINT: is no http:// or https:// URL"),
        (("READ_LENGTH", "-1"), 4, "READ_LENGTH: expected a whole number"),
        (("FORCE_PATH_STYLE", "perhaps"), 4, "FORCE_PATH_STYLE: expected yes or no"),
    ] {
        let dump = dump(service("operator", &[more]), &path, "");
        let lines =
            [import(&dump), call("monitor", &dump.monitor())].map(|output| failure(&output, code));
        assert!(lines.iter().all(|line| line.contains(expected)), "{lines:?}");
    }
    let odd = dump(service("operator", &[("READ_LENGTH", "0")]), &path, "");
    assert!(
        stderr(&call("monitor", &odd.monitor()))
            .contains("WARN: monitor: READ_LENGTH: parts have 5 to 5120 MiB; 5 MiB")
    );
    let versioned = dump(service("operator", &[("SIGNATURE_VERSION", "s3")]), &path, "");
    assert!(
        stderr(&call("monitor", &versioned.monitor()))
            .contains("WARN: monitor: SIGNATURE_VERSION: requests are signed in")
    );
}

/// An import whose source stops in the middle, once a part is there.
fn stuck(service: Service<'_>, bucket: &str) -> (HttpServer, Dump, Child) {
    let server =
        HttpServer::start(|_, _| Reply::bytes(noise(7, 3 * PART.1)).stall_after(2 * PART.1 as u64));
    let dump = dump(service(bucket, &[("READ_LENGTH", PART.0)]), &server.url("/image"), "");
    let child = started(&dump);
    wait_until("a part is stored", || {
        let mut found = Vec::new();
        let listed = block_on(async {
            let market = open(&dump.market, &context()).await;
            StorageBackend::list(&market, &mut |object| found.push(object)).await
        });
        if let Err(error) = listed {
            assert!(error.cause.contains("there is no such bucket"), "{error}");
        }
        found
            .iter()
            .any(|object| object.state == ObjectState::Staged && object.bytes >= PART.1 as u64)
    });
    (server, dump, child)
}

fn a_stopped_import_leaves_nothing(service: Service<'_>) {
    let (_server, dump, child) = stuck(service, "stopped");
    signal(&child, Signal::TERM);
    let line = failure(&child.wait_with_output().unwrap(), 12);
    assert!(line.contains("SIGTERM"), "{line}");
    assert_eq!(contents(&dump.market), []);
    // The app is deleted while it is imported: the core sends an empty SOURCE then.
    let (source, dump, child) = stuck(service, "stopped");
    let output = delete(&dump, "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(contents(&dump.market), []);
    // The source is gone too, so that the import ends: it has nothing to publish.
    drop(source);
    signal(&child, Signal::TERM);
    failure(&child.wait_with_output().unwrap(), 12);
    assert_eq!(contents(&dump.market), []);
}

fn what_a_killed_import_leaves_is_found(service: Service<'_>) {
    let (_server, dump, mut child) = stuck(service, "killed");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let directory = TempDir::new().unwrap();
    let market = market_file(directory.path(), &dump.market);
    let table = succeeded(&command(&["gc", &market]));
    assert!(table.starts_with("0 object(s)"), "an upload of this minute is spared: {table}");
    let table = succeeded(&command(&["gc", &market, "--older-than", "0"]));
    assert!(
        table.contains("marketapp-30?uploadId=") && table.contains("unfinished import of app 30"),
        "{table}"
    );
    assert_eq!(contents(&dump.market).len(), 1, "nothing is removed without --delete");
    let table = succeeded(&command(&["gc", &market, "--older-than", "0", "--delete"]));
    assert!(table.contains("; removed"), "{table}");
    assert_eq!(contents(&dump.market), []);
    // An object that no app has.
    let path = image(directory.path(), b"orphan");
    let orphan = Dump { app: 77, import_source: path, ..dump };
    let source = answer(&import(&orphan), "SOURCE");
    let list = directory.path().join("sources");
    fs::write(&list, "s3://killed/marketapp-30\n").unwrap();
    let gc = |more: &[&str]| {
        let apps = ["gc", &market, "--apps", list.to_str().unwrap(), "--older-than", "0", "--json"];
        serde_json::from_str::<serde_json::Value>(&succeeded(&command(&[&apps[..], more].concat())))
            .unwrap()
    };
    // What is younger than the list is spared, and the service tells whole seconds.
    wait_until("gc finds the orphan", || {
        fs::write(&list, "s3://killed/marketapp-30\n").unwrap();
        gc(&[])["objects"][0]["key"] == "marketapp-77"
    });
    // An app that is being imported has no SOURCE yet: what its key names is not touched.
    let app = |id: i64, source: &str| {
        format!(
            "<MARKETPLACEAPP><ID>{id}</ID><SOURCE>{source}</SOURCE><MARKETPLACE_ID>100</MARKETPLACE_ID><TYPE>1</TYPE></MARKETPLACEAPP>"
        )
    };
    let listed = [app(30, "s3://killed/marketapp-30"), app(77, "")].concat();
    fs::write(&list, format!("<MARKETPLACEAPP_POOL>{listed}</MARKETPLACEAPP_POOL>")).unwrap();
    assert_eq!(gc(&["--delete"])["objects"].as_array().unwrap().len(), 0);
    wait_until("gc removes the orphan", || {
        fs::write(&list, "s3://killed/marketapp-30\n").unwrap();
        gc(&["--delete"])["objects"][0]["removed"] == true
    });
    assert_eq!(app_bytes(&orphan.market, 77, &source), None);
}

/// How many parts an object was made of: services tell it in its ETag.
fn parts_of(attributes: &[(String, String)], key: &str) -> Option<u64> {
    let object = block_on(bucket(attributes).head(key)).unwrap().unwrap();
    object.etag.unwrap().parts()
}
