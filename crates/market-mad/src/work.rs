//! The three actions, each from its message to its answer.

use crate::death::End;
use crate::declaration::{Declarations, Way};
use crate::execution::{Ended, ExecContext, Job, Outcome, Stop};
use crate::message::{Body, IMAGE, ImportBody, Request, with_source};
use crate::output::{Output, failure, success, success_with};
use crate::place::Place;
use crate::protocol::{Action, Level};
use crate::redaction::Redaction;
use crate::said::{Memory, Said};
use crate::settings::Settings;
use market_core::action::DUMP_ON_STDIN;
use market_core::model::Secret;
use market_core::report::ExportedElements;
use market_core::template::Template;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How much a `monitor` may report: as much as a dump may hold.
const MAX_REPORT_BYTES: usize = 64 << 20;

/// How much the others may answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The longest word that Linux takes in a command line, without the zero at its end.
const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;

/// How long the command that removes a temporary may take.
const DISPOSE_LIMIT: Duration = Duration::from_secs(60);

/// What all actions share.
pub(crate) struct Executor {
    pub(crate) settings: Settings,
    pub(crate) place: Place,
    pub(crate) output: Output,
    /// What executables get in their environment.
    pub(crate) variables: Vec<(String, String)>,
    declarations: Declarations,
    said: Memory,
}

/// What became of an action.
pub(crate) struct Done {
    /// The line to answer.
    pub(crate) answer: String,
    /// Of an import: where the app is now.
    pub(crate) source: Option<String>,
}

impl Executor {
    pub(crate) fn new(settings: Settings, place: Place, output: Output) -> Self {
        let mut variables: Vec<_> = place.variables.clone().into_iter().collect();
        if let Some(proxy) = &settings.proxy {
            variables
                .extend(["http_proxy", "https_proxy"].map(|name| (name.to_owned(), proxy.clone())));
        }
        Self {
            settings,
            place,
            output,
            variables,
            declarations: Declarations::default(),
            said: Memory::default(),
        }
    }

    /// The directory of a market driver that may be used.
    pub(crate) fn market_driver(&self, mad: &str) -> Result<PathBuf, String> {
        let allowed = self
            .settings
            .market_types
            .as_ref()
            .is_none_or(|types| types.iter().any(|name| name == mad));
        let directory = self.place.market(mad).filter(|_| allowed);
        directory.ok_or_else(|| format!("Marketplace driver '{mad}' not available"))
    }

    /// Works on an action. `imported` is what a delete knows of an import of the app that has ended
    /// after `oned` wrote the message.
    pub(crate) async fn work(
        &self,
        request: Request,
        stop: watch::Receiver<Option<Stop>>,
        imported: Option<Imported>,
    ) -> Done {
        let (action, id) = (request.action, request.id);
        let mut redaction = redaction_of(&request.body).await;
        for (name, value) in &self.variables {
            redaction.hide_variable(name, value);
        }
        let said = (action == Action::Monitor).then(|| self.said.of(id));
        let mut run = Run { workshop: self, id, action, stop, redaction, said };
        if run.redaction.hides_all() {
            run.log(
                Level::Warn,
                "one_market: the templates hold more values than are looked for: no line of a driver is shown",
            );
        }
        let done =
            match (self.market_driver(&request.market_mad), Arc::unwrap_or_clone(request.body)) {
                (Err(cause), _) => Err(cause),
                (Ok(driver), Body::Import(body)) => {
                    run.import(&driver, &request.market_mad, &body).await
                }
                (Ok(driver), Body::Dump(dump)) if action == Action::Monitor => {
                    run.monitor(&driver, &request.market_mad, dump).await
                }
                (Ok(driver), Body::Dump(dump)) => {
                    let imported = imported.filter(|_| !request.has_source);
                    run.delete(&driver, &request.market_mad, dump, imported).await
                }
            };
        if let Some(said) = run.said.take() {
            self.said.keep(id, said);
        }
        done.unwrap_or_else(|cause| Done { answer: failure(action, id, &cause), source: None })
    }
}

/// What must not be shown of a message. It is made on another thread, because that may take a while
/// for a large one; when no thread is to be had, here.
async fn redaction_of(body: &Arc<Body>) -> Redaction {
    let (sender, redaction) = oneshot::channel();
    let shared = Arc::clone(body);
    let _ = std::thread::Builder::new().spawn(move || {
        let redaction = shared.redaction();
        drop(shared);
        let _ = sender.send(redaction);
    });
    redaction.await.unwrap_or_else(|_| body.redaction())
}

/// An import that a delete has found at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    /// It was ended before there was an app.
    Nothing,
    /// It could not be ended any more: the app is here.
    App(String),
}

/// An action at work.
struct Run<'a> {
    workshop: &'a Executor,
    id: i64,
    action: Action,
    stop: watch::Receiver<Option<Stop>>,
    redaction: Redaction,
    said: Option<Said>,
}

impl Run<'_> {
    async fn monitor(&mut self, driver: &Path, mad: &str, dump: Vec<u8>) -> Result<Done, String> {
        let outcome = self.driver(driver, mad, dump, Some(MAX_REPORT_BYTES)).await?;
        self.check(&outcome, &format!("market/{mad}/monitor"))?;
        Ok(Done { answer: success_with(self.action, self.id, &outcome.stdout), source: None })
    }

    async fn delete(
        &mut self,
        driver: &Path,
        mad: &str,
        dump: Vec<u8>,
        imported: Option<Imported>,
    ) -> Result<Done, String> {
        let dump = match &imported {
            Some(Imported::App(source)) => {
                with_source(&dump, source).ok_or("Wrong driver message format")?
            }
            _ => dump,
        };
        let done = Done { answer: success(self.action, self.id), source: None };
        let outcome = self.driver(driver, mad, dump, None).await;
        let checked =
            outcome.and_then(|outcome| self.check(&outcome, &format!("market/{mad}/delete")));
        match checked {
            Err(cause) if imported == Some(Imported::Nothing) => {
                // The driver has discarded what it had when it was ended; some do not like a delete
                // without a SOURCE.
                let text =
                    format!("one_market: nothing was published, and the driver says: {cause}");
                self.log(Level::Debug, &text);
                Ok(done)
            }
            checked => checked.map(|()| done),
        }
    }

    /// The two steps: the datastore tells where the image is, the market driver fetches it.
    async fn import(
        &mut self,
        driver: &Path,
        mad: &str,
        body: &ImportBody,
    ) -> Result<Done, String> {
        let elements = match self.export(body).await {
            Ok(elements) => elements,
            Err(cause) if self.stop.borrow().is_some() => return Err(cause),
            Err(cause) => return Err(format!("Error exporting image to file: {cause}")),
        };
        let stopped = *self.stop.borrow();
        let outcome = if let Some(stop) = stopped {
            Err(Ended::Stopped(stop).cause(""))
        } else {
            self.driver(driver, mad, body.for_import(&elements.xml), Some(MAX_ANSWER_BYTES)).await
        };
        // A driver disposes of the temporary by itself, unless it never ran or was killed.
        if let (Some(command), true) =
            (&elements.dispose, outcome.as_ref().map_or(true, was_killed))
        {
            self.dispose(command).await;
        }
        let outcome = outcome?;
        let source = outcome.end.is_success().then(|| source_in(&outcome.stdout)).flatten();
        if source.is_none() {
            self.check(&outcome, &format!("market/{mad}/import"))?;
        }
        // With an app to show for it, it has ended before it was ended.
        Ok(Done { answer: success_with(self.action, self.id, &outcome.stdout), source })
    }

    async fn export(&mut self, body: &ImportBody) -> Result<ExportedElements, String> {
        let mad = &body.ds_mad;
        let directory = self.workshop.place.datastore(mad);
        let directory =
            directory.ok_or_else(|| format!("Datastore driver '{mad}' not available"))?;
        let dump = body.for_export();
        let job = Job {
            executable: directory.join("export"),
            arguments: vec![self.id.to_string().into()],
            stdin: Some(dump),
            most_bytes: Some(MAX_ANSWER_BYTES),
            timeout: self.workshop.settings.timeout,
        };
        let name = format!("datastore/{mad}/export");
        let outcome = self.run(job, &name).await?;
        // One that was done when it was to end has a temporary to be removed all the same.
        if !outcome.end.is_success() || outcome.stdout.is_empty() {
            self.check(&outcome, &name)?;
        }
        let printed = String::from_utf8(outcome.stdout)
            .map_err(|_| format!("{name} printed what is not UTF-8"))?;
        let elements = match ExportedElements::read(&printed) {
            Ok(elements) => elements,
            Err(error) => {
                return Err(match outcome.ended {
                    Some(ended) => ended.cause(&name),
                    None => format!(
                        "{name} printed no IMPORT_INFO: {}",
                        self.redaction.apply(&error.to_string())
                    ),
                });
            }
        };
        self.redaction.hide_exported(&elements.xml);
        Ok(elements)
    }

    /// Runs an executable of a market driver.
    async fn driver(
        &mut self,
        directory: &Path,
        mad: &str,
        dump: Vec<u8>,
        most_bytes: Option<usize>,
    ) -> Result<Outcome, String> {
        let executable = directory.join(self.action.executable());
        let name = format!("market/{mad}/{}", self.action.executable());
        let way = self.workshop.declarations.way(&executable);
        if way == (Way::Argument { contradicts_marker: true }) {
            let text = format!(
                "one_market: {name} gets its message as an argument, although there is a .dump-on-stdin beside it: it is \
                 not seen to read standard input, and does not hold the word {DUMP_ON_STDIN}"
            );
            self.log(Level::Warn, &text);
        }
        let (dump, stdin) = match way {
            Way::StandardInput => (OsString::from("-"), Some(dump)),
            Way::Argument { .. } if dump.len() <= MAX_ARGUMENT_BYTES => {
                (OsString::from_vec(dump), None)
            }
            Way::Argument { .. } => {
                return Err(format!(
                    "the message has {} bytes, and {name} takes it as an argument, which may have {MAX_ARGUMENT_BYTES}: the \
                     driver must read it from standard input, and say so by the word {DUMP_ON_STDIN} in its executable",
                    dump.len()
                ));
            }
        };
        let id: OsString = self.id.to_string().into();
        let arguments = vec![dump, id];
        let timeout = self.workshop.settings.timeout;
        let outcome =
            self.run(Job { executable, arguments, stdin, most_bytes, timeout }, &name).await?;
        if outcome.end.is_success() && outcome.read_nothing {
            return Err(format!(
                "{name} has read nothing of its message, and so it did something else: an executable with the word \
                 {DUMP_ON_STDIN} must read standard input"
            ));
        }
        Ok(outcome)
    }

    async fn run(&self, job: Job, name: &str) -> Result<Outcome, String> {
        let path = job.executable.clone();
        let outcome = self.exec_context(self.stop.clone()).run(job).await;
        outcome.map_err(|error| format!("{name} cannot be run ({}): {error}", path.display()))
    }

    fn exec_context(&self, stop: watch::Receiver<Option<Stop>>) -> ExecContext<'_> {
        let Executor { output, variables, .. } = self.workshop;
        ExecContext {
            output,
            id: self.id,
            redaction: &self.redaction,
            said: self.said.as_ref(),
            stop,
            variables,
        }
    }

    /// Whether it did what it was to do.
    fn check(&self, outcome: &Outcome, name: &str) -> Result<(), String> {
        let words = &outcome.words;
        let cause = match (outcome.ended, outcome.end) {
            (None, _) if outcome.end.is_success() => return Ok(()),
            (Some(ended), _) => ended.cause(name),
            (None, End::Exit(exit)) if words.is_empty() => {
                format!("{name} failed with {exit} and said nothing")
            }
            (None, End::Exit(exit)) if !exit.is_of_a_signal() => words.clone(),
            (None, End::Exit(exit)) => {
                format!("{name} failed with {exit}. Its last words: {words}")
            }
            (None, End::Killed(death)) if words.is_empty() => format!("{name} was {death}"),
            (None, End::Killed(death)) => format!("{name} was {death}. Its last words: {words}"),
        };
        self.log(Level::Info, &format!("one_market: {name} failed ({})", outcome.end));
        Err(cause)
    }

    /// Removes the temporary of an export that no driver will remove. The command comes from the
    /// datastore's driver.
    async fn dispose(&self, command: &Secret) {
        let job = Job {
            executable: "/bin/sh".into(),
            arguments: [OsStr::new("-c"), OsStr::new(command.expose())]
                .map(OsStr::to_os_string)
                .to_vec(),
            stdin: None,
            most_bytes: None,
            timeout: Some(DISPOSE_LIMIT),
        };
        // It must run just because the action was stopped.
        let (_never, stop) = watch::channel(None);
        let failed = match self.exec_context(stop).run(job).await {
            Ok(outcome) if outcome.end.is_success() => None,
            Ok(outcome) => Some(format!("{}: {}", outcome.end, outcome.words)),
            Err(error) => Some(error.to_string()),
        };
        match failed {
            None => self.log(Level::Info, "one_market: the temporary of the export was removed (DISPOSE_CMD)"),
            Some(cause) => self.log(
                Level::Warn,
                &format!("one_market: DISPOSE_CMD failed ({cause}): the temporary of the export may be left behind"),
            ),
        }
    }

    /// A line of our own. What comes from elsewhere must have been looked at before.
    fn log(&self, level: Level, text: &str) {
        self.workshop.output.log(level, Some(self.id), text);
    }
}

/// It could not clean up.
fn was_killed(outcome: &Outcome) -> bool {
    matches!(outcome.end, End::Killed(_))
}

/// Where an import has put the app.
fn source_in(answer: &[u8]) -> Option<String> {
    let template = Template::parse_text_or_xml(answer).ok()?;
    template.text("SOURCE").ok()?.filter(|source| !source.is_empty()).map(str::to_owned)
}

/// Why an import cannot be done at all.
pub(crate) fn unsupported(app_type: Option<i64>) -> Option<String> {
    let number = app_type.unwrap_or(0);
    (number != IMAGE).then(|| format!("Type {number} not supported"))
}
