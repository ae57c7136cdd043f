//! Imports that are killed at moments spread over an import: the app is whole or is not there, and
//! gc leaves nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod suite;

use market_testkit::s3::S3Server;
use market_testkit::{Random, md5_hex, noise};
use rustix::process::Signal;
use std::fs;
use std::time::Instant;
use suite::{PART, command, dump, image, market_file, signal, started, succeeded, wait_until};
use tempfile::TempDir;

#[test]
fn of_200_killed_imports_none_leaves_a_wrong_app_or_more_than_gc_finds() {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || fifty_kills(seed));
        }
    });
}

fn fifty_kills(seed: u64) {
    let server = S3Server::start();
    server.create_bucket("apps");
    let directory = TempDir::new().unwrap();
    let bytes = noise(seed, 2 * PART.1 + 500_000);
    let path = image(directory.path(), &bytes);
    let dump = dump(server.market("apps", &[("READ_LENGTH", PART.0)]), &path, &md5_hex(&bytes));
    let market = market_file(directory.path(), &dump.market);
    let gc = || drop(succeeded(&command(&["gc", &market, "--older-than", "0", "--delete"])));
    let begin = Instant::now();
    assert!(started(&dump).wait().unwrap().success());
    let whole = begin.elapsed();
    let mut random = Random::new(seed);
    for round in 0..50 {
        let _ = fs::remove_file(server.path("apps", "marketapp-30"));
        let child = started(&dump);
        std::thread::sleep(whole.mul_f64(random.below(1_200) as f64 / 1_000.0));
        signal(&child, if round % 3 == 0 { Signal::TERM } else { Signal::KILL });
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).contains("SOURCE=");
        // A kill may come between the answer and the end.
        let killed_after_answer = told && output.status.code().is_none();
        assert!(
            output.status.success() == told || killed_after_answer,
            "seed {seed}, round {round}"
        );
        if output.status.code() == Some(12) {
            assert_eq!(
                server.uploads(),
                0,
                "seed {seed}, round {round}: a stopped import gives its upload up"
            );
        }
        match server.object("apps", "marketapp-30") {
            Some(object) => assert!(object == bytes, "seed {seed}, round {round}: a wrong app"),
            None => {
                assert!(!told, "seed {seed}, round {round}: an app that is not there was reported")
            }
        }
        // What was on its way when it was killed may arrive later.
        wait_until("gc leaves nothing", || {
            gc();
            server.uploads() == 0
        });
    }
}
