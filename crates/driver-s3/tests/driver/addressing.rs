//! A bucket that is looked for at the wrong place: what is not found there is not gone.

use crate::common::{self, Attributes, EXECUTABLE, dump, export_options, image, market_file, open};
use market_core::error::ErrorKind;
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::s3::{DOMAIN, Fate, S3Server};
use market_testkit::{block_on, md5_hex};
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A place that is not the bucket's: what its template says, the code of a failure, and what it
/// says.
struct Place<'a> {
    more: Vec<(&'a str, String)>,
    code: i32,
    expected: &'a str,
}

fn market(server: &S3Server, more: &[(&str, String)]) -> Attributes {
    let more: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.market("apps", &more)
}

/// Everything that asks whether the app is there, at one place.
fn asked(server: &S3Server, pathwise: &S3Server, place: &Place<'_>) {
    let Place { more, code, expected } = place;
    let directory = TempDir::new().unwrap();
    let plain = dump(market(server, more), &image(directory.path(), b"another"), "");
    // A server plays the proxy that knows every name.
    let plain_style = more.iter().any(|(_, value)| value.contains("plain.test"));
    let proxy = if plain_style { pathwise } else { server }.endpoint();
    let call = |arguments: &[&str], message: String| -> Output {
        let mut command = Command::new(EXECUTABLE);
        run(command.args(arguments).env("http_proxy", &proxy).env("no_proxy", "127.0.0.1"), message)
    };
    let source = "s3://apps/marketapp-30";
    let delete = Dump { app_source: source.to_owned(), ..plain.clone() }.delete();
    for output in [
        call(&["delete", "-"], delete),
        call(&["import", "-"], plain.import()),
        call(&["monitor", "-"], plain.monitor()),
    ] {
        let line = failure(&output, *code);
        assert!(line.contains(expected), "{more:?}: {line}");
        assert!(line.contains("; ") && line.contains("s3://apps/"), "an advice: {line}");
    }
    let market = market_file(directory.path(), &plain.market);
    let apps = directory.path().join("apps.xml");
    let app = format!(
        "<MARKETPLACEAPP><ID>30</ID><SOURCE>{source}</SOURCE><MD5>{}</MD5><MARKETPLACE_ID>100</MARKETPLACE_ID><TYPE>1</TYPE>\
         </MARKETPLACEAPP>",
        md5_hex(b"bytes")
    );
    fs::write(&apps, format!("<MARKETPLACEAPP_POOL>{app}</MARKETPLACEAPP_POOL>")).unwrap();
    let output = call(&["audit", &market, "--apps", apps.to_str().unwrap()], String::new());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("UNREADABLE") && !table.contains("MISSING"), "{more:?}: {table}");
    for server in [server, pathwise] {
        assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"bytes");
        assert_eq!((server.keys("apps").len(), server.uploads()), (1, 0), "{more:?}");
    }
}

#[test]
fn what_is_not_found_at_the_wrong_place_is_not_gone() {
    let server = S3Server::start();
    server.create_bucket("apps");
    server.put("apps", "marketapp-30", b"bytes");
    let pathwise = S3Server::start_without_hosts();
    pathwise.create_bucket("apps");
    pathwise.put("apps", "marketapp-30", b"bytes");
    let page = HttpServer::start(|_, _| Reply::status(404));
    let html = "<html><head><title>404 Not Found</title></head></html>";
    let pages = S3Server::start_with(move |_, _| Fate::Says(404, html.into()));
    let other = S3Server::start();
    for place in [
        Place {
            more: vec![("ENDPOINT", format!("{}/apps", server.endpoint()))],
            code: 4,
            expected: "the endpoint holds a bucket already",
        },
        Place {
            more: vec![("ENDPOINT", format!("{}/apps/", server.endpoint())), ("AWS", "no".into())],
            code: 4,
            expected: "check ENDPOINT: it is the service's URL, without the bucket",
        },
        Place {
            more: vec![("ENDPOINT", "http://plain.test".into()), ("FORCE_PATH_STYLE", "NO".into())],
            code: 4,
            expected: "no buckets are served as hosts there; set FORCE_PATH_STYLE=\"YES\"",
        },
        Place {
            more: vec![
                ("ENDPOINT", format!("http://apps.{DOMAIN}")),
                ("FORCE_PATH_STYLE", "NO".into()),
            ],
            code: 4,
            expected: "there is no such bucket; check ENDPOINT: it is the service's URL, without the bucket",
        },
        Place {
            more: vec![("ENDPOINT", page.url("/"))],
            code: 10,
            expected: "is ENDPOINT an S3 service?",
        },
        Place { more: vec![("ENDPOINT", page.url("/apps"))], code: 10, expected: "404 Not Found" },
        Place {
            more: vec![("ENDPOINT", pages.endpoint())],
            code: 10,
            expected: "is ENDPOINT an S3 service?",
        },
    ] {
        asked(&server, &pathwise, &place);
    }
    // Another service, which has no such bucket.
    let directory = TempDir::new().unwrap();
    let market = other.market("apps", &[]);
    let plain = dump(market.clone(), &image(directory.path(), b"another"), "");
    let line = failure(&common::delete(&plain, "s3://apps/marketapp-30"), 4);
    assert!(line.contains("there is no such bucket"), "{line}");
    let read = block_on(async {
        market_core::transfer::Source::open("s3://apps/marketapp-30", &export_options(&market))
            .await
            .err()
    });
    assert_ne!(read.unwrap().kind, market_core::transfer::ErrorKind::Absent);
}

#[test]
fn an_export_tells_absence_from_a_wrong_place() {
    let server = S3Server::start();
    server.create_bucket("apps");
    server.put("apps", "marketapp-30", b"bytes");
    let kind = |more: &[(&str, &str)], source: &str| {
        let options = export_options(&server.market("apps", more));
        block_on(async { market_core::transfer::Source::open(source, &options).await.err() })
            .map(|error| error.kind)
    };
    use market_core::transfer::ErrorKind as Kind;
    assert_eq!(kind(&[], "s3://apps/marketapp-30"), None);
    assert_eq!(kind(&[], "s3://apps/marketapp-31"), Some(Kind::Absent));
    assert_eq!(
        kind(&[("ENDPOINT", &format!("{}/apps", server.endpoint()))], "s3://apps/marketapp-30"),
        Some(Kind::Malformed)
    );
    let page = HttpServer::start(|_, _| Reply::status(404));
    assert_eq!(
        kind(&[("ENDPOINT", &page.url("/"))], "s3://apps/marketapp-30"),
        Some(Kind::Unreachable)
    );
}

#[test]
fn a_server_that_says_yes_to_everything_deletes_nothing() {
    let server = S3Server::start_with(|_, _| Fate::Says(200, "<html>welcome</html>".into()));
    let plain = dump(server.market("apps", &[]), "", "");
    let context = common::impatient();
    let outcome = block_on(async {
        let market = open(&plain.market, &context).await;
        market_core::backend::StorageBackend::delete(
            &market,
            &common::located(&market, "s3://apps/marketapp-30"),
        )
        .await
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.cause.contains("still has it"), "{error}");
}

#[test]
fn an_object_that_is_listed_is_not_gone() {
    // A proxy in front that answers HEAD badly.
    let server = S3Server::start_with(|seen, _| match seen.what() {
        "head" => Fate::Says(404, String::new()),
        _ => Fate::Whole,
    });
    server.create_bucket("apps");
    server.put("apps", "marketapp-30", b"bytes");
    let plain = dump(server.market("apps", &[]), "", "");
    let error = block_on(async {
        let market = open(&plain.market, &common::impatient()).await;
        let key = common::located(&market, "s3://apps/marketapp-30");
        market_core::backend::StorageBackend::delete(&market, &key).await.unwrap_err()
    });
    assert!(error.cause.contains("lists the object and does not find it"), "{error}");
    // The key of another app begins with the same digits.
    let server = S3Server::start();
    server.create_bucket("apps");
    server.put("apps", "marketapp-300", b"bytes");
    let plain = dump(server.market("apps", &[]), "", "");
    let output = common::delete(&plain, "s3://apps/marketapp-30");
    assert!(stderr(&output).contains("was already gone"), "{}", stderr(&output));
}
