//! The main loop of `one_market`: takes messages, starts actions when the queue allows it, and
//! shuts down in an orderly way.

use crate::actions::{ActionResult, EndedImport, Executor, unsupported};
use crate::environment::Environment;
use crate::message::{Message, Request};
use crate::output::{Output, failure, success};
use crate::process::StopReason;
use crate::protocol::{Action, Level};
use crate::queue::{Length, Queue, Subject, Ticket};
use crate::settings::Settings;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How long running actions may go on after FINALIZE: `oned` kills its drivers after 10 seconds.
const FINISH_TIMEOUT: Duration = Duration::from_secs(8);

/// How long they may clean up after that.
const CLEANUP_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How many bytes of messages may wait before further imports and monitors fail.
const MAX_WAITING_BYTES: usize = 1 << 30;

/// How many bytes of messages may wait before deletes fail too. It is more, because `oned` does not
/// repeat a delete, and forgets the app whatever the answer is.
const MAX_WAITING_BYTES_FOR_DELETES: usize = 2 << 30;

/// How many imported apps are remembered; `oned` reads an answer within moments.
const MAX_REMEMBERED_APPS: usize = 1_000;

/// A longer SOURCE is not remembered.
const MAX_SOURCE_BYTES: usize = 4 << 10;

/// How many ignored messages are logged.
const MAX_IGNORED_LOGGED: u32 = 100;

/// Serves until standard input ends, FINALIZE comes, or a signal asks for the end.
pub(crate) async fn serve(
    settings: Settings,
    environment: Environment,
    output: Output,
    mut messages: Receiver<Message>,
) {
    let mut service = Service {
        queue: Queue::new(settings.threads),
        executor: Arc::new(Executor::new(settings, environment, output.clone())),
        output,
        tasks: JoinSet::new(),
        running: HashMap::new(),
        ended_imports: EndedImports::default(),
        waiting_bytes: 0,
        ignored_messages: 0,
    };
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let mut signals = signals.map(|kind| signal(kind).ok());
    let [terminate, interrupt, hangup] = &mut signals;
    loop {
        tokio::select! {
            message = messages.recv() => {
                match message {
                    None | Some(Message::Finalize) => break,
                    Some(message) => service.handle(message),
                }
            }
            Some(result) = service.tasks.join_next() => service.finished(result),
            () = received(terminate) => break,
            () = received(interrupt) => break,
            () = received(hangup) => break,
        }
        service.start_ready();
    }
    service.shut_down().await;
}

/// Waits for a signal; for ever when no handler could be installed.
async fn received(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending().await
    }
}

struct Service {
    executor: Arc<Executor>,
    output: Output,
    queue: Queue<Box<Request>>,
    tasks: JoinSet<(Ticket, ActionResult)>,
    running: HashMap<Subject, RunningAction>,
    ended_imports: EndedImports,
    /// The memory of all messages in the queue.
    waiting_bytes: usize,
    ignored_messages: u32,
}

struct RunningAction {
    action: Action,
    stop: watch::Sender<Option<StopReason>>,
}

/// What became of imports, for a delete that `oned` wrote before it had read the answer of the
/// import.
#[derive(Default)]
struct EndedImports {
    /// The apps whose import was cancelled by a delete.
    cancelled: HashSet<Subject>,
    /// The last imported apps and their SOURCE, the oldest first.
    published: VecDeque<(Subject, String)>,
}

impl EndedImports {
    fn add_published(&mut self, subject: Subject, source: String) {
        // It succeeded in spite of a request to stop.
        self.cancelled.remove(&subject);
        if source.len() > MAX_SOURCE_BYTES {
            return;
        }
        if self.published.len() >= MAX_REMEMBERED_APPS {
            self.published.pop_front();
        }
        self.published.push_back((subject, source));
    }

    /// What a delete of the app has to know.
    fn take(&mut self, subject: Subject) -> Option<EndedImport> {
        let cancelled = self.cancelled.remove(&subject).then_some(EndedImport::Cancelled);
        let index = self.published.iter().rposition(|(published, _)| *published == subject);
        let published = index.and_then(|index| self.published.remove(index));
        published.map(|(_, source)| EndedImport::Published(source)).or(cancelled)
    }
}

impl Service {
    fn handle(&mut self, message: Message) {
        match message {
            Message::Init => self.output.init(),
            Message::Finalize => {}
            Message::Cancel(id) => self.cancel(id),
            Message::Request(request) => self.handle_request(request),
            Message::Refused { action, id, cause, detail } => {
                self.output.log(Level::Info, Some(id), &format!("one_market: {detail}"));
                self.output.send_answer(failure(action, id, cause));
            }
            Message::Ignored(reason) => self.log_ignored(reason),
        }
    }

    fn log_ignored(&mut self, reason: &str) {
        self.ignored_messages = self.ignored_messages.saturating_add(1);
        if self.ignored_messages > MAX_IGNORED_LOGGED {
            return;
        }
        let is_last = self.ignored_messages == MAX_IGNORED_LOGGED;
        let more = if is_last { "; further ones are not logged" } else { "" };
        let text = format!("one_market: a message was ignored: {reason}{more}");
        self.output.log(Level::Warn, None, &text);
    }

    /// Answers a request that needs no executable, and queues every other one.
    fn handle_request(&mut self, request: Box<Request>) {
        let (action, id) = (request.action, request.id);
        if !request.has_bytes() && action != Action::Monitor {
            return self.answer_without_bytes(action, id);
        }
        if let Err(cause) = self.check(&request) {
            return self.output.send_answer(failure(action, id, &cause));
        }
        let is_monitor = action == Action::Monitor;
        let subject = if is_monitor { Subject::Market(id) } else { Subject::App(id) };
        match action {
            Action::Delete => {
                let never_ran = self.cancel_import(subject) && !self.queue.has(subject);
                if never_ran && !request.has_source {
                    // The import had not started, so there is nothing to delete.
                    self.ended_imports.cancelled.remove(&subject);
                    return self.output.send_answer(success(action, id));
                }
            }
            // oned asks again in every cycle, whether it has got an answer or not.
            Action::Monitor => {
                for blocked in self.queue.remove_blocked(subject) {
                    self.fail_waiting(
                        &blocked,
                        "a later monitor of this marketplace takes its place",
                    );
                }
            }
            Action::Import => {}
        }
        self.waiting_bytes += request.memory_bytes();
        let length = if action == Action::Import { Length::Long } else { Length::Short };
        self.queue.push(Ticket { market: request.market, subject, length }, request);
    }

    /// An import or a delete of an app that has no bytes in a marketplace.
    fn answer_without_bytes(&self, action: Action, id: i64) {
        if action == Action::Import {
            // The core has set the app READY already, and any answer would make it fail.
            let text = "one_market: an app without an image needs no import";
            self.output.log(Level::Debug, Some(id), text);
        } else {
            self.output.send_answer(success(action, id));
        }
    }

    /// Refuses a request that cannot be carried out; the error is the text of the answer.
    fn check(&self, request: &Request) -> Result<(), String> {
        if request.action == Action::Import
            && let Some(cause) = unsupported(request.app_type)
        {
            return Err(cause);
        }
        self.executor.market_driver(&request.market_mad)?;
        let max_bytes = match request.action {
            Action::Delete => MAX_WAITING_BYTES_FOR_DELETES,
            _ => MAX_WAITING_BYTES,
        };
        if self.waiting_bytes >= max_bytes {
            return Err(format!("too many actions wait: {} GiB of messages", max_bytes >> 30));
        }
        Ok(())
    }

    /// Cancels the import of an app that is to be deleted; whether one was waiting.
    fn cancel_import(&mut self, subject: Subject) -> bool {
        let waiting =
            self.queue.remove_waiting(subject, |request| request.action == Action::Import);
        for request in &waiting {
            self.fail_waiting(request, "cancelled: the app is deleted");
            self.ended_imports.cancelled.insert(subject);
        }
        let running = self.running.get(&subject);
        if let Some(running) = running.filter(|running| running.action == Action::Import) {
            running.stop.send_replace(Some(StopReason::Cancelled));
            self.ended_imports.cancelled.insert(subject);
        }
        !waiting.is_empty()
    }

    /// Cancels every action with this id, of an app or a marketplace.
    fn cancel(&mut self, id: i64) {
        for subject in [Subject::App(id), Subject::Market(id)] {
            for request in self.queue.remove_waiting(subject, |_| true) {
                self.fail_waiting(&request, "cancelled");
            }
            if let Some(running) = self.running.get(&subject) {
                running.stop.send_replace(Some(StopReason::Cancelled));
            }
        }
        self.output.log(Level::Info, Some(id), &format!("Driver command for {id} cancelled"));
    }

    /// Answers a request that was removed from the queue.
    fn fail_waiting(&mut self, request: &Request, cause: &str) {
        self.waiting_bytes -= request.memory_bytes();
        self.output.send_answer(failure(request.action, request.id, cause));
    }

    /// Starts every action that may start.
    fn start_ready(&mut self) {
        while let Some((ticket, request)) = self.queue.next() {
            self.waiting_bytes -= request.memory_bytes();
            let (stop, stop_requested) = watch::channel(None);
            let is_delete = request.action == Action::Delete;
            self.running.insert(ticket.subject, RunningAction { action: request.action, stop });
            let ended_import =
                if is_delete { self.ended_imports.take(ticket.subject) } else { None };
            let (executor, output) = (Arc::clone(&self.executor), self.output.clone());
            self.tasks.spawn(async move {
                let mut result = executor.execute(*request, stop_requested, ended_import).await;
                // The slot is kept until the answer is written: so the answers that wait for oned
                // to read take a bounded amount of memory.
                output.answer(std::mem::take(&mut result.answer)).await;
                (ticket, result)
            });
        }
    }

    fn finished(&mut self, result: Result<(Ticket, ActionResult), JoinError>) {
        // A task fails only by a panic, and with the release profile a panic ends the process.
        let Ok((ticket, result)) = result else { return };
        self.running.remove(&ticket.subject);
        if let Some(source) = result.source {
            self.ended_imports.add_published(ticket.subject, source);
        }
        self.queue.finish(ticket);
    }

    /// Fails all waiting actions, gives the running ones time to finish, then stops them.
    async fn shut_down(mut self) {
        for request in self.queue.remove_all_waiting() {
            let cause = "cancelled: one_market ends";
            self.output.send_answer(failure(request.action, request.id, cause));
        }
        self.wait_for_tasks(FINISH_TIMEOUT).await;
        for running in self.running.values() {
            running.stop.send_replace(Some(StopReason::Shutdown));
        }
        self.wait_for_tasks(CLEANUP_TIMEOUT).await;
    }

    async fn wait_for_tasks(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while let Ok(Some(result)) = timeout_at(deadline, self.tasks.join_next()).await {
            self.finished(result);
        }
    }
}
