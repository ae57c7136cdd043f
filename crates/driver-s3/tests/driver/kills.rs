//! Imports that are killed at each of their requests, before the service has done it or before it
//! is answered: the app is whole or is not there, and gc leaves nothing else.

use crate::common::{
    PART, command, dump, image, market_file, signal, started, succeeded, wait_until,
};
use market_testkit::driver::stderr;
use market_testkit::dump::Dump;
use market_testkit::s3::{Fate, S3Server};
use market_testkit::{md5_hex, noise};
use rustix::process::Signal;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What becomes of one request of an import, counted from 0; all others are done and answered.
#[derive(Default)]
struct Plan {
    request: usize,
    fate: Fate,
    seen: usize,
}

/// A server, an image of three parts, and what imports it.
struct Market {
    server: S3Server,
    plan: Arc<Mutex<Plan>>,
    dump: Dump,
    bytes: Vec<u8>,
    file: String,
    _directory: TempDir,
}

impl Market {
    fn new() -> Self {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let planned = Arc::clone(&plan);
        let server = S3Server::start_with(move |_, _| {
            let mut plan = planned.lock().unwrap();
            plan.seen += 1;
            if plan.seen == plan.request + 1 { plan.fate.clone() } else { Fate::Whole }
        });
        server.create_bucket("apps");
        let directory = TempDir::new().unwrap();
        let bytes = noise(1, 2 * PART.1 + 500_000);
        let path = image(directory.path(), &bytes);
        let dump = dump(server.market("apps", &[("READ_LENGTH", PART.0)]), &path, &md5_hex(&bytes));
        let file = market_file(directory.path(), &dump.market);
        Self { server, plan, dump, bytes, file, _directory: directory }
    }

    fn plan(&self, request: usize, fate: Fate) {
        *self.plan.lock().unwrap() = Plan { request, fate, seen: 0 };
    }

    fn object(&self) -> Option<Vec<u8>> {
        self.server.object("apps", "marketapp-30")
    }

    /// How many requests a whole import makes.
    fn requests(&self) -> usize {
        let child = started(&self.dump);
        assert!(child.wait_with_output().unwrap().status.success());
        assert!(self.object().unwrap() == self.bytes);
        self.remove_object();
        self.server.seen().len()
    }

    fn remove_object(&self) {
        fs::remove_file(self.server.path("apps", "marketapp-30")).unwrap();
    }

    /// Sends a signal to an import while a request of it is held; whether the object is there
    /// afterwards.
    fn kill_at(&self, request: usize, fate: Fate, sent: Signal) -> bool {
        let round = format!("{sent:?} at request {request}, {fate:?}");
        self.plan(request, fate);
        let child = started(&self.dump);
        wait_until(&format!("held: {round}"), || self.server.held() == 1);
        signal(&child, sent);
        if sent == Signal::TERM {
            self.end(child, &round);
        } else {
            let output = child.wait_with_output().unwrap();
            assert_eq!((output.status.signal(), output.stdout.len()), (Some(9), 0), "{round}");
        }
        wait_until(&format!("the request has ended: {round}"), || {
            self.server.release();
            self.server.held() == 0
        });
        self.plan(usize::MAX - 1, Fate::Whole);
        // What was on its way when it was killed may arrive later.
        wait_until(&format!("gc leaves nothing: {round}"), || {
            succeeded(&command(&["gc", &self.file, "--older-than", "0", "--delete"]));
            self.server.uploads() == 0
        });
        let Some(object) = self.object() else { return false };
        assert!(object == self.bytes, "a wrong app: {round}");
        self.remove_object();
        true
    }

    /// A stopped import ends by itself: it says that the app is there, or that it has stopped and
    /// what it has left.
    fn end(&self, child: std::process::Child, round: &str) {
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        let told = String::from_utf8_lossy(&output.stdout).contains("SOURCE=");
        assert_eq!(output.status.success(), told, "{round}: {said}");
        if told {
            assert!(self.object().unwrap() == self.bytes, "{round}");
        } else {
            assert_eq!(output.status.code(), Some(12), "{round}: {said}");
            let left = self.server.uploads();
            assert!(left == 0 || said.contains("may be"), "{round}: {left} left, {said}");
        }
    }
}

/// Kills at every request; how many of the killed imports had published.
fn kill_at_every_request(sent: Signal, fate: &Fate) -> (usize, usize) {
    let market = Market::new();
    let requests = market.requests();
    // It looks, creates an upload, sends three parts, compares, completes, and looks again.
    assert!(requests >= 10, "{requests} requests");
    let published =
        (0..requests).filter(|&request| market.kill_at(request, fate.clone(), sent)).count();
    (published, requests)
}

#[test]
fn an_import_that_is_killed_before_a_request_is_done_leaves_a_whole_app_or_none() {
    let (published, requests) = kill_at_every_request(Signal::KILL, &Fate::held());
    assert!((1..requests - 5).contains(&published), "{published} of {requests}");
}

#[test]
fn an_import_that_is_killed_before_a_request_is_answered_leaves_a_whole_app_or_none() {
    let (published, requests) = kill_at_every_request(Signal::KILL, &Fate::Unanswered);
    assert!((2..requests - 5).contains(&published), "{published} of {requests}");
}

#[test]
fn an_import_that_is_stopped_at_a_request_ends_by_itself_and_says_what_it_leaves() {
    let (published, requests) = kill_at_every_request(Signal::TERM, &Fate::Unanswered);
    assert!((1..requests).contains(&published), "{published} of {requests}");
}
