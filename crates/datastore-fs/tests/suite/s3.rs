//! `datastore-fs cp` of apps in an S3 marketplace.

use crate::EXECUTABLE;
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::{Dump, owned};
use market_testkit::proxy::{Break, Proxy};
use market_testkit::s3::{self, S3Server};
use market_testkit::{md5_hex, noise};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const KEY: &str = "apps/of us-30";

fn dump(source: &str, market: Vec<(String, String)>, base: &Path, md5: &str) -> Dump {
    Dump {
        image_path: source.to_owned(),
        market,
        base_path: base.to_str().unwrap().to_owned(),
        image: owned(&[("FROM_APP", "30"), ("FROM_APP_MD5", md5)]),
        ..Dump::default()
    }
}

fn copy(dump: &Dump) -> Output {
    let mut command = Command::new(EXECUTABLE);
    let output = run(command.args(["cp", "7"]), dump.copy());
    assert!(!stderr(&output).contains("hunter2"), "a key is shown");
    output
}

fn copied(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", stderr(output));
    let line = String::from_utf8(output.stdout.clone()).unwrap();
    fs::read(PathBuf::from(line.split(' ').next().unwrap())).unwrap()
}

#[test]
fn an_app_is_fetched_with_the_keys_of_its_marketplace_and_verified() {
    let (server, base) = (S3Server::start(), TempDir::new().unwrap());
    server.create_bucket("apps");
    let bytes = noise(1, 3_000_001);
    server.put("apps", KEY, &bytes);
    let source = format!("s3://apps/{KEY}");
    let market = |more: &[(&str, &str)]| server.market("apps", more);
    let good = dump(&source, market(&[]), base.path(), &md5_hex(&bytes));
    assert!(copied(&copy(&good)) == bytes);
    // As web forms write it, and as the stock download side asks for path style.
    for more in [
        [("FORCE_PATH_STYLE", ""), ("AWS", "No")],
        [("ENDPOINT", &format!("{}/", server.endpoint())), ("AWS", "")],
    ] {
        assert!(
            copied(&copy(&dump(&source, market(&more), base.path(), &md5_hex(&bytes)))) == bytes
        );
    }
    let kept = fs::read_dir(base.path()).unwrap().count();
    let wrong = dump(&source, market(&[]), base.path(), &md5_hex(b"another"));
    assert!(failure(&copy(&wrong), 9).contains("FROM_APP_MD5 declared"));
    for (source, more, code, expected) in [
        (
            source.as_str(),
            [("SECRET_ACCESS_KEY", "hunter2")],
            5,
            "403 SignatureDoesNotMatch: the secret key is wrong",
        ),
        (&source, [("ACCESS_KEY_ID", "hunter2")], 5, "the access key is unknown there"),
        (&source, [("ENDPOINT", "http://127.0.0.1:1")], 10, "onnection refused"),
        (
            &source,
            [("ENDPOINT", "s3.local")],
            4,
            "attribute ENDPOINT: is no http:// or https:// URL",
        ),
        (&source, [("REGION", "a/b")], 4, "attribute REGION: is empty, or holds"),
        ("s3://apps/none-30", [("X", "")], 6, "s3://apps/none-30 at 127.0.0.1"),
        ("s3://none/none-30", [("X", "")], 4, "404 NoSuchBucket: there is no such bucket"),
        ("s3://apps/../x", [("X", "")], 4, "no URL can hold"),
        ("s3://a%2Fb/x", [("X", "")], 4, "is not the name of a bucket"),
    ] {
        let mut dump = dump(source, market(&more), base.path(), "");
        dump.market.extend(owned(&[("CONNECT_TIMEOUT", "2")]));
        let line = failure(&copy(&dump), code);
        assert!(line.contains(expected), "{line}");
    }
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), kept, "a failed copy leaves something");
}

#[test]
fn a_transfer_that_breaks_is_resumed_within_the_same_object() {
    let (server, base) = (S3Server::start(), TempDir::new().unwrap());
    server.create_bucket("apps");
    let bytes = noise(2, 4_000_000);
    server.put("apps", KEY, &bytes);
    let proxy = Proxy::start(server.address(), |nth| match nth {
        0 => Break::Reset(1_500_000),
        1 => Break::Close(900_000),
        _ => Break::Never,
    });
    let endpoint = format!("http://127.0.0.1:{}", proxy.port());
    let market = s3::market(&endpoint, "default", "apps", &[]);
    let broken = dump(&format!("s3://apps/{KEY}"), market, base.path(), &md5_hex(&bytes));
    assert!(copied(&copy(&broken)) == bytes);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn an_object_that_is_replaced_in_the_middle_is_no_app() {
    let base = TempDir::new().unwrap();
    let server = S3Server::start();
    server.create_bucket("apps");
    server.put("apps", KEY, &noise(3, 1_000_000));
    let path = server.path("apps", KEY);
    let proxy = Proxy::start(server.address(), move |nth| {
        if nth == 0 {
            return Break::Close(500_000);
        }
        fs::write(&path, noise(4, 1_000_000)).unwrap();
        Break::Never
    });
    let endpoint = format!("http://127.0.0.1:{}", proxy.port());
    let market = s3::market(&endpoint, "default", "apps", &[]);
    let line = failure(&copy(&dump(&format!("s3://apps/{KEY}"), market, base.path(), "")), 9);
    assert!(line.contains("changed between two requests"), "{line}");
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}
