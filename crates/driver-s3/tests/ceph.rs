//! The suite on a real service: the gateway of Ceph.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod suite;

use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::s3::CephGateway;
use std::process::Command;
use suite::{EXECUTABLE, dump, image, import};
use tempfile::TempDir;

#[test]
fn everything_holds_on_a_gateway_of_ceph() {
    let Some(gateway) = CephGateway::start() else { return };
    let service = |bucket: &str, more: &[(&str, &str)]| gateway.market(bucket, more);
    suite::all(&service);
    suite::what_breaks_is_whole_or_nothing(gateway.address(), &service, 40);
    a_bucket_at_the_wrong_place_is_not_empty(&gateway);
}

fn a_bucket_at_the_wrong_place_is_not_empty(gateway: &CephGateway) {
    let directory = TempDir::new().unwrap();
    let right = dump(gateway.market("apart", &[]), &image(directory.path(), b"bytes"), "");
    assert!(import(&right).status.success());
    let inside = format!("{}/apart", gateway.endpoint());
    for (more, expected) in [
        ([("ENDPOINT", inside.as_str()), ("AWS", "")], "the endpoint holds a bucket already"),
        (
            [("ENDPOINT", "http://s3.test"), ("FORCE_PATH_STYLE", "NO")],
            "no buckets are served as hosts there",
        ),
    ] {
        let wrong = Dump { market: gateway.market("apart", &more), ..right.clone() };
        let delete =
            Dump { app_source: "s3://apart/marketapp-30".into(), ..wrong.clone() }.delete();
        // The gateway plays the proxy that knows the name.
        let call = |action: &str, message: &str| {
            let mut command = Command::new(EXECUTABLE);
            let proxied = command
                .args([action, "-"])
                .env("http_proxy", gateway.endpoint())
                .env("no_proxy", "127.0.0.1");
            failure(&run(proxied, message), 4)
        };
        for line in [
            call("delete", &delete),
            call("monitor", &wrong.monitor()),
            call("import", &wrong.import()),
        ] {
            assert!(line.contains(expected), "{line}");
        }
    }
    assert!(
        stderr(&suite::delete(&right, "s3://apart/marketapp-30")).contains("removed"),
        "it was there all the time"
    );
}
