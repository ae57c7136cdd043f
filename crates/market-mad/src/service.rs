//! The life of `one_market`: takes messages, starts actions when it is their turn, and ends well.

use crate::execution::Stop;
use crate::message::{Message, Request, has_bytes};
use crate::output::{Output, failure, success};
use crate::place::Place;
use crate::protocol::{Action, Level};
use crate::queue::{Length, Queue, Subject, Ticket};
use crate::settings::Settings;
use crate::work::{Done, Executor, Imported, unsupported};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How long running actions may go on after FINALIZE: `oned` kills after 10 seconds.
const LAST_ACTIONS: Duration = Duration::from_secs(8);

/// How long they may clean up then.
const LAST_CLEANING: Duration = Duration::from_millis(1_500);

/// How many bytes of messages may wait. Further imports and monitors fail.
const MAX_WAITING_BYTES: usize = 1 << 30;

/// How many of them with deletes: `oned` does not ask again for one, and forgets the app whatever
/// the answer is.
const MAX_WAITING_WITH_DELETES: usize = 2 << 30;

/// How many apps are remembered after their import: `oned` reads an answer within moments.
const MAX_REMEMBERED: usize = 1_000;

/// A longer SOURCE is not remembered.
const MAX_SOURCE_BYTES: usize = 4 << 10;

/// How many messages that make no sense are told of.
const MAX_COMPLAINTS: u32 = 100;

/// Serves until there are no more messages, FINALIZE comes, or a signal asks for the end.
pub(crate) async fn serve(
    settings: Settings,
    place: Place,
    output: Output,
    mut messages: Receiver<Message>,
) {
    let mut service = Service {
        queue: Queue::new(settings.threads),
        workshop: Arc::new(Executor::new(settings, place, output.clone())),
        output,
        working: JoinSet::new(),
        running: HashMap::new(),
        ended_imports: EndedImports::default(),
        waiting_bytes: 0,
        complaints: 0,
    };
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let mut signals = signals.map(|kind| signal(kind).ok());
    let [terminate, interrupt, hangup] = &mut signals;
    loop {
        tokio::select! {
            message = messages.recv() => {
                match message {
                    None | Some(Message::Finalize) => break,
                    Some(message) => service.take(message),
                }
            }
            Some(done) = service.working.join_next() => service.finished(done),
            () = received(terminate) => break,
            () = received(interrupt) => break,
            () = received(hangup) => break,
        }
        service.start();
    }
    service.end().await;
}

async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if came.is_none() {
        std::future::pending().await
    }
}

struct Service {
    workshop: Arc<Executor>,
    output: Output,
    queue: Queue<Box<Request>>,
    working: JoinSet<(Ticket, Done)>,
    running: HashMap<Subject, Running>,
    ended_imports: EndedImports,
    waiting_bytes: usize,
    complaints: u32,
}

struct Running {
    action: Action,
    stop: watch::Sender<Option<Stop>>,
}

/// What became of imports, for deletes that `oned` wrote before it knew.
#[derive(Default)]
struct EndedImports {
    /// Those that were ended because of a delete.
    given_up: HashSet<Subject>,
    /// Where the last apps have been put, the oldest first.
    apps: VecDeque<(Subject, String)>,
}

impl EndedImports {
    fn published(&mut self, subject: Subject, source: String) {
        // It has ended too late to be given up.
        self.given_up.remove(&subject);
        if source.len() > MAX_SOURCE_BYTES {
            return;
        }
        if self.apps.len() >= MAX_REMEMBERED {
            self.apps.pop_front();
        }
        self.apps.push_back((subject, source));
    }

    /// What a delete without a SOURCE must know.
    fn of(&mut self, subject: Subject) -> Option<Imported> {
        let given_up = self.given_up.remove(&subject).then_some(Imported::Nothing);
        let place = self.apps.iter().rposition(|(of, _)| *of == subject);
        place
            .and_then(|at| self.apps.remove(at))
            .map(|(_, source)| Imported::App(source))
            .or(given_up)
    }
}

impl Service {
    fn take(&mut self, message: Message) {
        match message {
            Message::Init => self.output.init(),
            Message::Finalize => {}
            Message::Cancel(id) => self.cancel(id),
            Message::Request(request) => self.request(request),
            Message::Refused { action, id, cause, detail } => {
                self.output.log(Level::Info, Some(id), &format!("one_market: {detail}"));
                self.output.send_answer(failure(action, id, cause));
            }
            Message::Ignored(reason) => self.complain(reason),
        }
    }

    fn complain(&mut self, reason: &str) {
        self.complaints = self.complaints.saturating_add(1);
        if self.complaints <= MAX_COMPLAINTS {
            let more = if self.complaints == MAX_COMPLAINTS {
                "; further ones are not told of"
            } else {
                ""
            };
            self.output.log(
                Level::Warn,
                None,
                &format!("one_market: a message was ignored: {reason}{more}"),
            );
        }
    }

    /// Answers what needs no work, and puts the rest in the queue.
    fn request(&mut self, request: Box<Request>) {
        let (action, id) = (request.action, request.id);
        match action {
            Action::Import if !has_bytes(request.app_type) => {
                // The core has made it READY already; any answer would make it fail.
                self.output.log(
                    Level::Debug,
                    Some(id),
                    "one_market: an app without an image needs no import",
                );
                return;
            }
            Action::Import => {
                if let Some(cause) = unsupported(request.app_type) {
                    return self.output.send_answer(failure(action, id, &cause));
                }
            }
            Action::Delete if !has_bytes(request.app_type) => {
                return self.output.send_answer(success(action, id));
            }
            _ => {}
        }
        if let Err(cause) = self.workshop.market_driver(&request.market_mad) {
            return self.output.send_answer(failure(action, id, &cause));
        }
        let subject =
            if action == Action::Monitor { Subject::Market(id) } else { Subject::App(id) };
        let most =
            if action == Action::Delete { MAX_WAITING_WITH_DELETES } else { MAX_WAITING_BYTES };
        if self.waiting_bytes >= most {
            let text = format!("too many actions wait: {} GiB of messages", most >> 30);
            return self.output.send_answer(failure(action, id, &text));
        }
        match action {
            Action::Delete => {
                let never_ran = self.give_up_import(subject) && !self.queue.has(subject);
                if never_ran && !request.has_source {
                    // Nothing was begun, so there is nothing to delete.
                    self.ended_imports.given_up.remove(&subject);
                    return self.output.send_answer(success(action, id));
                }
            }
            // oned asks again and again, whether it has been answered or not.
            Action::Monitor => {
                for request in self.queue.take_behind(subject) {
                    self.give_up(&request, "a later monitor of this marketplace takes its place");
                }
            }
            Action::Import => {}
        }
        self.waiting_bytes += request.bytes();
        let length = if action == Action::Import { Length::Long } else { Length::Short };
        self.queue.push(Ticket { market: request.market, subject, length }, request);
    }

    /// Nobody wants the import of an app any more that is to be deleted. Whether one waited.
    fn give_up_import(&mut self, subject: Subject) -> bool {
        let waiting = self.queue.take_out(subject, |request| request.action == Action::Import);
        for request in &waiting {
            self.give_up(request, "cancelled: the app is deleted");
            self.ended_imports.given_up.insert(subject);
        }
        if let Some(running) =
            self.running.get(&subject).filter(|running| running.action == Action::Import)
        {
            running.stop.send_replace(Some(Stop::Cancelled));
            self.ended_imports.given_up.insert(subject);
        }
        !waiting.is_empty()
    }

    /// Ends every action with this id, and takes out those that wait.
    fn cancel(&mut self, id: i64) {
        for subject in [Subject::App(id), Subject::Market(id)] {
            for request in self.queue.take_out(subject, |_| true) {
                self.give_up(&request, "cancelled");
            }
            if let Some(running) = self.running.get(&subject) {
                running.stop.send_replace(Some(Stop::Cancelled));
            }
        }
        self.output.log(Level::Info, Some(id), &format!("Driver command for {id} cancelled"));
    }

    fn give_up(&mut self, request: &Request, cause: &str) {
        self.waiting_bytes -= request.bytes();
        self.output.send_answer(failure(request.action, request.id, cause));
    }

    /// Starts all whose turn it is.
    fn start(&mut self) {
        while let Some((ticket, request)) = self.queue.next() {
            self.waiting_bytes -= request.bytes();
            let (stop, stopped) = watch::channel(None);
            self.running.insert(ticket.subject, Running { action: request.action, stop });
            let imported = if request.action == Action::Delete {
                self.ended_imports.of(ticket.subject)
            } else {
                None
            };
            let (workshop, output) = (Arc::clone(&self.workshop), self.output.clone());
            self.working.spawn(async move {
                let mut done = workshop.work(*request, stopped, imported).await;
                // Its slot is not free before its answer is out: what waits to be read by oned
                // stays within bounds.
                output.answer(std::mem::take(&mut done.answer)).await;
                (ticket, done)
            });
        }
    }

    fn finished(&mut self, done: Result<(Ticket, Done), JoinError>) {
        // Nothing panics; where it did, the released executable would have ended.
        let Ok((ticket, done)) = done else { return };
        self.running.remove(&ticket.subject);
        if let Some(source) = done.source {
            self.ended_imports.published(ticket.subject, source);
        }
        self.queue.finish(ticket);
    }

    /// Lets running actions end, then makes them.
    async fn end(mut self) {
        for request in self.queue.take_all() {
            self.output.send_answer(failure(
                request.action,
                request.id,
                "cancelled: one_market ends",
            ));
        }
        self.wait_for_all(LAST_ACTIONS).await;
        for running in self.running.values() {
            running.stop.send_replace(Some(Stop::Ending));
        }
        self.wait_for_all(LAST_CLEANING).await;
    }

    async fn wait_for_all(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while let Ok(Some(done)) = timeout_at(deadline, self.working.join_next()).await {
            self.finished(done);
        }
    }
}
