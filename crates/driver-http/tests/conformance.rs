//! Every promise of a storage backend, for a local directory and for one on a bridge: a test for
//! each, with a marketplace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use driver_http::{HttpConfig, HttpMarket};
use libtest_mimic::{Arguments, Failed, Trial};
use market_core::backend::{Context, MarketBackend};
use market_testkit::block_on;
use market_testkit::conformance::{self, Case, Outcome};
use market_testkit::shell::Shell;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

fn main() -> ExitCode {
    let local = conformance::cases().into_iter().map(|case| trial("local", case, keeps_local));
    let bridge =
        conformance::cases().into_iter().map(|case| trial("bridge", case, keeps_on_bridge));
    libtest_mimic::run(&Arguments::from_args(), local.chain(bridge).collect()).exit_code()
}

type Keeps = fn(&Case<HttpMarket>) -> Outcome;

fn trial(place: &'static str, case: Case<HttpMarket>, keeps: Keeps) -> Trial {
    Trial::test(format!("{place}::{}", case.name()), move || match keeps(&case) {
        Outcome::Kept => Ok(()),
        // A local file never waits, and nothing else may be left out.
        Outcome::NotPromised(_)
            if place == "local" && case.name().contains("in_the_middle_of_a_write") =>
        {
            Ok(())
        }
        Outcome::NotPromised(why) => Err(Failed::from(why)),
    })
}

fn keeps_local(case: &Case<HttpMarket>) -> Outcome {
    let directory = TempDir::new().unwrap();
    // A file of somebody else is none of the marketplace's business.
    let foreign = directory.path().join("index.html");
    fs::write(&foreign, "not an app").unwrap();
    let context = market_testkit::context();
    let outcome = keeps(case, directory.path(), None, &context);
    assert!(foreign.exists());
    outcome
}

fn keeps_on_bridge(case: &Case<HttpMarket>) -> Outcome {
    let directory = TempDir::new().unwrap();
    let shell = Shell::new(&[]);
    let mut context = market_testkit::context();
    context.options.ssh = shell.ssh();
    context.options.idle_timeout = Duration::from_secs(60);
    keeps(case, directory.path(), Some("bridge"), &context)
}

fn keeps(
    case: &Case<HttpMarket>,
    public: &Path,
    bridges: Option<&str>,
    context: &Context,
) -> Outcome {
    let mut config = HttpConfig::new("http://market.example/apps", public);
    config.bridge_list = bridges.map(str::to_owned);
    block_on(async {
        let market = HttpMarket::connect(config, context).await.unwrap();
        case.run(&market, context).await
    })
}
