//! The cases that must hold on every S3 service, on a server in this process and on a gateway of
//! Ceph: `s3s::<case>` and `ceph::<case>`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod breaks;
mod cases;
#[path = "../common/mod.rs"]
mod common;

use cases::CASES;
use common::{EXECUTABLE, Service, dump, image, import};
use libtest_mimic::{Arguments, Trial};
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::s3::{CephGateway, S3Server};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let server = Arc::new(S3Server::start());
    let ceph = Arc::new(Ceph::default());
    let mut trials = Vec::new();
    for &(name, case) in CASES {
        let server = Arc::clone(&server);
        trials.push(Trial::test(format!("s3s::{name}"), move || {
            case(&|bucket, more| server.market(bucket, more));
            Ok(())
        }));
        trials.push(
            ceph.trial(name, move |gateway| case(&|bucket, more| gateway.market(bucket, more))),
        );
    }
    trials.push(ceph.trial("what_breaks_is_whole_or_nothing", |gateway| {
        let service: Service<'_> = &|bucket, more| gateway.market(bucket, more);
        breaks::what_breaks_is_whole_or_nothing(gateway.address(), service, 40);
    }));
    trials.push(ceph.trial(
        "a_bucket_at_the_wrong_place_is_not_empty",
        a_bucket_at_the_wrong_place_is_not_empty,
    ));
    let left = Arc::clone(&server);
    let conclusion = libtest_mimic::run(&arguments, trials);
    assert_eq!(left.uploads(), 0, "uploads are left on the server");
    conclusion.exit_code()
}

/// The gateway, started by the first case that runs on it, and stopped after the last one.
#[derive(Default)]
struct Ceph(OnceLock<Option<CephGateway>>);

impl Ceph {
    /// A case on the gateway; where Ceph is not installed, it says that it is skipped, or fails
    /// where it is required.
    fn trial(
        self: &Arc<Self>,
        name: &str,
        case: impl FnOnce(&CephGateway) + Send + 'static,
    ) -> Trial {
        let ceph = Arc::clone(self);
        Trial::test(format!("ceph::{name}"), move || {
            if let Some(gateway) = ceph.0.get_or_init(CephGateway::start) {
                case(gateway);
            }
            Ok(())
        })
    }
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
        stderr(&common::delete(&right, "s3://apart/marketapp-30")).contains("removed"),
        "it was there all the time"
    );
}
