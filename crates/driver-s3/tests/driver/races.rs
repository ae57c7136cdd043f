//! Two imports of one app at the same time, on services that do not keep the condition that nothing
//! may be replaced: one of them has the app, and the other one says that it exists.

use crate::common::{self, Attributes, app_bytes, delete, dump, image, import_with};
use market_core::error::{Error, ErrorKind};
use market_core::report::ImportedApp;
use market_s3::ObjectOptions;
use market_testkit::s3::{CephGateway, Fate, S3Server, Seen};
use market_testkit::{block_on, context, noise};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// The bytes of an import, and what it has said.
type Import = (Vec<u8>, Result<ImportedApp, Error>);

/// Both imports, of other bytes each; which bytes are there, and what each has said.
fn race(market: &Attributes, round: u64) -> (Vec<u8>, Vec<Import>) {
    let directory = TempDir::new().unwrap();
    let outcomes = std::thread::scope(|scope| {
        let run = |seed: u64| {
            let bytes = noise(seed, 100_000);
            let path = image(directory.path(), &bytes);
            scope.spawn(move || (bytes, block_on(import_with(market, &path, "", &context()))))
        };
        let both = [run(2 * round), run(2 * round + 1)];
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (app_bytes(market, 30, "s3://race/marketapp-30").unwrap(), outcomes)
}

fn one_has_won(market: &Attributes, round: u64) {
    let (object, outcomes) = race(market, round);
    let won: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).collect();
    assert_eq!(
        won.len(),
        1,
        "round {round}: {:?}",
        outcomes.iter().map(|(_, outcome)| outcome).collect::<Vec<_>>()
    );
    assert!(won[0].0 == object, "round {round}: the loser's bytes are there");
    let lost = outcomes.iter().find_map(|(_, outcome)| outcome.as_ref().err()).unwrap();
    assert_eq!(lost.kind, ErrorKind::Exists, "round {round}: {lost}");
    assert!(delete(&dump(market.clone(), "", ""), "s3://race/marketapp-30").status.success());
}

/// A meeting of two, as long as both come within a few seconds.
#[derive(Clone, Default)]
struct Meeting(Arc<(Mutex<usize>, Condvar)>);

impl Meeting {
    fn wait(&self) {
        let (count, changed) = &*self.0;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_all();
        let together = count.next_multiple_of(2);
        drop(
            changed
                .wait_timeout_while(count, Duration::from_secs(3), |count| *count < together)
                .unwrap(),
        );
    }
}

fn race_on(
    what: &'static str,
    rounds: u64,
    prepare: impl Fn(&Seen) -> Option<Fate> + Send + Sync + 'static,
) {
    let meeting = Meeting::default();
    let server = S3Server::start_with(move |seen, _| {
        if let Some(fate) = prepare(seen) {
            return fate;
        }
        if seen.what() == what {
            meeting.wait();
            return Fate::Unconditional;
        }
        Fate::Whole
    });
    server.create_bucket("race");
    for round in 0..rounds {
        one_has_won(&server.market("race", &[]), round);
    }
    assert_eq!(server.uploads(), 0);
}

#[test]
fn one_of_two_imports_wins_where_the_condition_on_completion_is_ignored() {
    race_on("complete", 12, |_| None);
}

#[test]
fn one_of_two_imports_wins_where_it_is_ignored_and_there_are_no_uploads_in_parts() {
    race_on("put", 3, |seen| {
        matches!(seen.what(), "create upload" | "list uploads")
            .then(|| Fate::Refused(501, "NotImplemented", None))
    });
}

#[test]
fn one_of_two_imports_wins_on_a_gateway_of_ceph() {
    let Some(gateway) = CephGateway::start() else { return };
    let market = gateway.market("race", &[]);
    for round in 0..12 {
        one_has_won(&market, round);
    }
}

#[test]
fn an_upload_in_progress_to_the_key_delays_a_success_and_does_not_prevent_it() {
    let server = S3Server::start();
    server.create_bucket("race");
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    let market = server.market("race", &[]);
    let context = context();
    let bucket = common::bucket(&market);
    let options = ObjectOptions::default();
    let id = block_on(bucket.create_upload("marketapp-30", &options)).unwrap();
    let outcome = std::thread::scope(|scope| {
        let import = scope.spawn(|| block_on(import_with(&market, &path, "", &context)));
        common::wait_until("the import waits for the other one", || {
            context.log.lines().iter().any(|line| line.contains("is waited for"))
        });
        block_on(bucket.abort_upload("marketapp-30", &id)).unwrap();
        import.join().unwrap()
    });
    assert_eq!(outcome.unwrap().source.as_str(), "s3://race/marketapp-30");
}
