//! A thousand imports whose source or bridge goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use driver_http::{HttpConfig, HttpMarket};
use market_core::action::ImportAction;
use market_core::backend::{Context, MarketBackend, ObjectState};
use market_core::error::Error;
use market_core::log::Log;
use market_core::model::AppId;
use market_core::pipeline;
use market_core::report::ImportedApp;
use market_core::stop::StopSwitch;
use market_core::transfer::Options;
use market_core::upkeep::gc::{self, Rules};
use market_testkit::conformance::{objects, stored};
use market_testkit::dump::Dump;
use market_testkit::seeds::{Faulted, Kind};
use market_testkit::shell::{Fate, Shell};
use market_testkit::{Random, block_on, md5_hex, noise};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

fn context(options: Options) -> Context {
    Context::new(Log::memory("import"), StopSwitch::new().listen(), options)
}

async fn market(public: &Path, bridges: &str, context: &Context) -> HttpMarket {
    let mut config = HttpConfig::new("http://market.example/apps", public);
    config.bridge_list = Some(bridges.into());
    HttpMarket::connect(config, context).await.unwrap()
}

async fn import(
    market: &HttpMarket,
    source: &str,
    md5: &str,
    context: &Context,
) -> Result<ImportedApp, Error> {
    let dump = Dump { import_source: source.to_owned(), md5: md5.to_owned(), ..Dump::default() };
    pipeline::import(market, &ImportAction::decode(dump.import().as_bytes()).unwrap(), context)
        .await
}

/// Whatever happened: success means the whole app, failure means nothing and one line; then `gc`
/// leaves nothing.
async fn assert_whole_or_nothing(
    market: &HttpMarket,
    outcome: Result<ImportedApp, Error>,
    truths: &[Vec<u8>],
    context: &Context,
    what: &str,
) -> bool {
    let published = outcome.is_ok();
    match outcome {
        Ok(app) => {
            let bytes = stored(market, AppId(30), &app.source)
                .await
                .unwrap_or_else(|| panic!("{what}: not there"));
            assert!(truths.contains(&bytes), "{what}: other bytes were published");
            assert_eq!(app.md5, market_testkit::md5(&bytes), "{what}");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(
                !line.contains('\n') && !line.contains("hunter2") && line.len() > 20,
                "{what}: {line:?}"
            );
        }
    }
    let all = Rules::default().with_older_than(Duration::ZERO);
    for (object, _) in gc::find(market, &all, context).await.unwrap().garbage {
        gc::remove(market, &object, context).await.unwrap();
    }
    let left = objects(market).await;
    assert!(left.iter().all(|object| object.state == ObjectState::Published), "{what}: {left:?}");
    assert_eq!(left.len(), usize::from(published), "{what}: {left:?}");
    published
}

/// How many seeds hold, tried on four threads: most of the time is waited.
fn count(seeds: u64, holds: impl Fn(u64) -> bool + Sync) -> usize {
    std::thread::scope(|scope| {
        let holds = &holds;
        let quarter = |first| {
            scope.spawn(move || (first..seeds).step_by(4).filter(|&seed| holds(seed)).count())
        };
        (0..4)
            .map(quarter)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

#[test]
fn of_840_imports_from_faulted_sources_each_is_whole_or_nothing() {
    let published = count(840, |seed| {
        let kind = Kind::ALL[usize::try_from(seed).unwrap() % Kind::ALL.len()];
        let directory = TempDir::new().unwrap();
        let public = directory.path().join("public");
        fs::create_dir(&public).unwrap();
        let faulted = Faulted::new(seed, kind, directory.path());
        let context = context(faulted.options.clone());
        block_on(async {
            let market = market(&public, "", &context).await;
            let outcome = import(&market, &faulted.url, &faulted.md5, &context).await;
            assert_whole_or_nothing(
                &market,
                outcome,
                &faulted.truths,
                &context,
                &format!("seed {seed}, {kind:?}"),
            )
            .await
        })
    });
    assert!(
        (200..700).contains(&published),
        "{published} of 840: the faults are not what they were"
    );
}

#[test]
fn of_160_imports_over_faulted_bridges_each_is_whole_or_nothing() {
    let published = count(160, |seed| {
        let directory = TempDir::new().unwrap();
        let public = directory.path().join("public");
        fs::create_dir(&public).unwrap();
        let mut random = Random::new(seed);
        let bytes = noise(seed, usize::try_from(random.below(700_000)).unwrap() + 1);
        let image = directory.path().join("image");
        fs::write(&image, &bytes).unwrap();
        let fates = [0, 1, 2, 3].map(|_| match random.below(9) {
            0 => Fate::Refused,
            1 | 2 => Fate::Input(random.below(bytes.len() as u64 + 10)),
            3 => Fate::Output(random.below(60)),
            4 => Fate::Lost,
            _ => Fate::Whole,
        });
        let shell = Shell::new(&fates);
        // An answer that is lost is waited for so long.
        let options =
            Options::default().with_ssh(shell.ssh()).with_idle_timeout(Duration::from_secs(3));
        let context = context(options);
        let md5 = if random.below(3) == 0 { String::new() } else { md5_hex(&bytes) };
        block_on(async {
            let market = market(&public, "one two", &context).await;
            let outcome = import(&market, image.to_str().unwrap(), &md5, &context).await;
            // The two bridges are one machine here, and now its connections hold.
            let steady = Shell::new(&[]);
            let context = self::context(Options::default().with_ssh(steady.ssh()));
            let market = self::market(&public, "one", &context).await;
            assert_whole_or_nothing(
                &market,
                outcome,
                &[bytes],
                &context,
                &format!("seed {seed}, {fates:?}"),
            )
            .await
        })
    });
    assert!(
        (40..150).contains(&published),
        "{published} of 160: the faults are not what they were"
    );
}
