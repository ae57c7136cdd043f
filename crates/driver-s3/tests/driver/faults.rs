//! Five hundred imports over connections that break, to a server that misbehaves: an app that is
//! whole, or nothing and one line.

use crate::common::{PART, broken, contents, image, impatient, import_with, open};
use market_core::upkeep::gc::{self, Rules};
use market_testkit::proxy::{Break, Proxy};
use market_testkit::s3::{self, Fate, S3Server, Seen};
use market_testkit::{Random, block_on, md5_hex, noise};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// What a seed does to the requests that come first.
fn fate(random: &mut Random) -> Fate {
    match random.below(30) {
        0 => Fate::Refused(500, "InternalError", None),
        1 => Fate::Refused(503, "SlowDown", Some(0)),
        2 => Fate::Refused(503, "ServiceUnavailable", None),
        3 => Fate::Refused(403, "RequestTimeTooSkewed", None),
        4 => Fate::Refused(403, "ExpiredToken", None),
        5 => Fate::Lost,
        6 => Fate::Dropped,
        7 => Fate::Truncated,
        8 => Fate::WrongETag,
        9 => Fate::Flipped,
        _ => Fate::Whole,
    }
}

/// One import; whether it succeeded.
fn run(seed: u64) -> bool {
    let mut random = Random::new(seed);
    let small = random.below(4) > 0;
    let length =
        usize::try_from(random.below(400_000)).unwrap() + 1 + if small { 0 } else { PART.1 };
    let bytes = noise(seed, length);
    let fates: Vec<Fate> = (0..14).map(|_| fate(&mut random)).collect();
    let breaks: Vec<Break> = (0..6).map(|_| broken(&mut random, length)).collect();
    let over = Arc::new(AtomicBool::new(false));
    let quiet = Arc::clone(&over);
    let (planned, told) = (fates.clone(), format!("seed {seed}, {fates:?}, {breaks:?}"));
    let server = S3Server::start_with(move |_: &Seen, nth| {
        if quiet.load(Ordering::SeqCst) {
            Fate::Whole
        } else {
            planned.get(nth).cloned().unwrap_or_default()
        }
    });
    if random.below(3) > 0 {
        server.create_bucket("apps");
    }
    let proxy =
        Proxy::start(server.address(), move |nth| breaks.get(nth).copied().unwrap_or(Break::Never));
    let endpoint = format!("http://127.0.0.1:{}", proxy.port());
    let directory = TempDir::new().unwrap();
    let source = image(directory.path(), &bytes);
    let md5 = if random.below(4) == 0 { String::new() } else { md5_hex(&bytes) };
    let context = impatient();
    let outcome = block_on(import_with(
        &s3::market(&endpoint, "here", "apps", &[("READ_LENGTH", PART.0)]),
        &source,
        &md5,
        &context,
    ));
    over.store(true, Ordering::SeqCst);
    let log = context.log.lines().join(" | ");
    assert!(!log.contains("hunter2") && !log.contains(s3::ACCESS_KEY_ID), "{told}: {log}");
    let object = server.object("apps", "marketapp-30");
    let published = outcome.is_ok();
    match outcome {
        Ok(app) => {
            assert_eq!(
                (app.source.as_str(), app.md5),
                ("s3://apps/marketapp-30", market_testkit::md5(&bytes))
            );
            assert!(object == Some(bytes), "{told}: other bytes were published");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(
                object.is_none(),
                "{told}: {line}, and there is an object of {} bytes",
                object.unwrap().len()
            );
            assert!(!line.contains('\n') && line.len() > 20, "{told}: {line:?}");
            assert!(
                !line.contains("hunter2") && !line.contains(s3::ACCESS_KEY_ID),
                "{told}: {line}"
            );
        }
    }
    if server.uploads() > 0 {
        // Only what was said, and gc finds it.
        assert!(
            log.contains("could not be discarded")
                || log.contains("an upload is left")
                || log.contains("may be left"),
            "{told}: {log}"
        );
        let rules = Rules::default().with_older_than(Duration::ZERO);
        let market = server.market("apps", &[]);
        block_on(async {
            let market = open(&market, &context).await;
            for (object, _) in gc::find(&market, &rules, &context).await.unwrap().garbage {
                gc::remove(&market, &object, &context).await.unwrap();
            }
        });
    }
    assert_eq!(server.uploads(), 0, "{told}: {log}");
    if server.keys("apps").is_empty() && !published {
        return false;
    }
    assert_eq!(contents(&server.market("apps", &[])).len(), usize::from(published), "{told}");
    published
}

#[test]
fn of_500_faulted_imports_each_is_whole_or_nothing() {
    let published: usize = std::thread::scope(|scope| {
        let quarter =
            |first| scope.spawn(move || (first..500).step_by(4).filter(|&seed| run(seed)).count());
        (0..4)
            .map(quarter)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(
        (150..400).contains(&published),
        "{published} of 500: the faults are not what they were"
    );
}
