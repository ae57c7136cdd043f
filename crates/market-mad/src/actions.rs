//! The three actions: how each is carried out by the executables of drivers, from the request to
//! the answer.

use crate::dump_passing::{DumpPassing, DumpPassings};
use crate::environment::Environment;
use crate::message::{Body, IMAGE, ImportBody, Request, with_source};
use crate::output::{Output, failure, success, success_with};
use crate::process::{ExecContext, Invocation, Outcome, StopReason, TerminationCause};
use crate::protocol::{Action, Level};
use crate::redaction::Redaction;
use crate::repeated_lines::{MonitorHistory, MonitorLines};
use crate::settings::Settings;
use crate::termination::Termination;
use market_core::action::DUMP_ON_STDIN;
use market_core::model::Secret;
use market_core::report::ExportedElements;
use market_core::template::Template;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How much a `monitor` may print: as much as a message of `oned` may hold.
const MAX_REPORT_BYTES: usize = 64 << 20;

/// How much `export` and `import` may print.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The longest argument that Linux passes to a program (MAX_ARG_STRLEN, 128 KiB), without its
/// terminating zero.
const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;

/// How long DISPOSE_CMD may take.
const DISPOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Carries out actions. All actions share it.
pub(crate) struct Executor {
    settings: Settings,
    environment: Environment,
    output: Output,
    /// What executables get in their environment.
    variables: Vec<(String, String)>,
    dump_passings: DumpPassings,
    monitor_history: MonitorHistory,
}

/// The result of an action.
pub(crate) struct ActionResult {
    /// The line to answer.
    pub(crate) answer: String,
    /// Of an import that has succeeded: the SOURCE of the app.
    pub(crate) source: Option<String>,
}

/// What became of the import that a delete of the same app ended, or crossed on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndedImport {
    /// It was ended before there was an app.
    Cancelled,
    /// It had already published the app, at this SOURCE.
    Published(String),
}

impl Executor {
    pub(crate) fn new(settings: Settings, environment: Environment, output: Output) -> Self {
        let mut variables: Vec<_> = environment.variables.clone().into_iter().collect();
        if let Some(proxy) = &settings.proxy {
            variables
                .extend(["http_proxy", "https_proxy"].map(|name| (name.to_owned(), proxy.clone())));
        }
        Self {
            settings,
            environment,
            output,
            variables,
            dump_passings: DumpPassings::default(),
            monitor_history: MonitorHistory::default(),
        }
    }

    /// The directory of a market driver, when it is installed and the settings allow it.
    pub(crate) fn market_driver(&self, name: &str) -> Result<PathBuf, String> {
        let allowed = self.settings.market_types.as_ref();
        let is_allowed = allowed.is_none_or(|types| types.iter().any(|allowed| allowed == name));
        let directory = self.environment.installation.market_driver(name).filter(|_| is_allowed);
        directory.ok_or_else(|| format!("Marketplace driver '{name}' not available"))
    }

    /// Carries out an action. `ended_import` is for a delete: what became of an import of the app
    /// that ended after `oned` wrote the message of the delete.
    pub(crate) async fn execute(
        &self,
        request: Request,
        stop: watch::Receiver<Option<StopReason>>,
        ended_import: Option<EndedImport>,
    ) -> ActionResult {
        let (action, id) = (request.action, request.id);
        let mut redaction = redaction_of(&request.body).await;
        for (name, value) in &self.variables {
            redaction.hide_variable(name, value);
        }
        let is_monitor = action == Action::Monitor;
        let monitor_lines = is_monitor.then(|| self.monitor_history.begin(id));
        let mut run = Run { executor: self, id, action, stop, redaction, monitor_lines };
        run.warn_when_all_is_hidden();
        let result = run.execute(request, ended_import).await;
        if let Some(lines) = run.monitor_lines.take() {
            self.monitor_history.finish(id, lines);
        }
        result.unwrap_or_else(|cause| ActionResult {
            answer: failure(action, id, &cause),
            source: None,
        })
    }
}

/// What must not be shown of a message. It is computed on another thread, because that takes a
/// while for a large message; on this one when no thread can be started.
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

/// An action that runs. Its errors are the text of the FAILURE.
struct Run<'a> {
    executor: &'a Executor,
    id: i64,
    action: Action,
    stop: watch::Receiver<Option<StopReason>>,
    redaction: Redaction,
    monitor_lines: Option<MonitorLines>,
}

impl Run<'_> {
    async fn execute(
        &mut self,
        request: Request,
        ended_import: Option<EndedImport>,
    ) -> Result<ActionResult, String> {
        let mad = &request.market_mad;
        let driver = self.executor.market_driver(mad)?;
        match Arc::unwrap_or_clone(request.body) {
            Body::Import(body) => self.import(&driver, mad, &body).await,
            Body::Dump(dump) if self.action == Action::Monitor => {
                self.monitor(&driver, mad, dump).await
            }
            Body::Dump(dump) => {
                let ended_import = ended_import.filter(|_| !request.has_source);
                self.delete(&driver, mad, dump, ended_import).await
            }
        }
    }

    async fn monitor(
        &mut self,
        driver: &Path,
        mad: &str,
        dump: Vec<u8>,
    ) -> Result<ActionResult, String> {
        let outcome = self.run_driver(driver, mad, dump, Some(MAX_REPORT_BYTES)).await?;
        self.check(&outcome, &format!("market/{mad}/monitor"))?;
        let answer = success_with(self.action, self.id, &outcome.stdout);
        Ok(ActionResult { answer, source: None })
    }

    async fn delete(
        &mut self,
        driver: &Path,
        mad: &str,
        dump: Vec<u8>,
        ended_import: Option<EndedImport>,
    ) -> Result<ActionResult, String> {
        let dump = match &ended_import {
            Some(EndedImport::Published(source)) => {
                with_source(&dump, source).ok_or("Wrong driver message format")?
            }
            _ => dump,
        };
        let succeeded = ActionResult { answer: success(self.action, self.id), source: None };
        let outcome = self.run_driver(driver, mad, dump, None).await;
        let checked =
            outcome.and_then(|outcome| self.check(&outcome, &format!("market/{mad}/delete")));
        match checked {
            Err(cause) if ended_import == Some(EndedImport::Cancelled) => {
                // The import discarded what it had when it was stopped, and some drivers fail on a
                // delete without a SOURCE.
                let text =
                    format!("one_market: nothing was published, and the driver says: {cause}");
                self.log(Level::Debug, &text);
                Ok(succeeded)
            }
            checked => checked.map(|()| succeeded),
        }
    }

    /// In two steps: the datastore's `export` tells where the image is, the market driver's
    /// `import` fetches it from there.
    async fn import(
        &mut self,
        driver: &Path,
        mad: &str,
        body: &ImportBody,
    ) -> Result<ActionResult, String> {
        let elements = match self.export(body).await {
            Ok(elements) => elements,
            Err(cause) if self.stop.borrow().is_some() => return Err(cause),
            Err(cause) => return Err(format!("Error exporting image to file: {cause}")),
        };
        let stopped = *self.stop.borrow();
        let outcome = if let Some(stop) = stopped {
            Err(TerminationCause::Stopped(stop).describe(""))
        } else {
            let dump = body.for_import(&elements.xml);
            self.run_driver(driver, mad, dump, Some(MAX_ANSWER_BYTES)).await
        };
        // A driver removes the temporary itself, unless it never ran or was killed.
        let must_dispose = outcome.as_ref().map_or(true, was_killed);
        if let (Some(command), true) = (&elements.dispose, must_dispose) {
            self.dispose(command).await;
        }
        let outcome = outcome?;
        let is_success = outcome.termination.is_success();
        let source = is_success.then(|| source_in(&outcome.stdout)).flatten();
        if source.is_none() {
            self.check(&outcome, &format!("market/{mad}/import"))?;
        }
        // With a SOURCE it had published the app before the request to stop could end it.
        Ok(ActionResult { answer: success_with(self.action, self.id, &outcome.stdout), source })
    }

    /// Runs the datastore's `export`: what it tells about the image.
    async fn export(&mut self, body: &ImportBody) -> Result<ExportedElements, String> {
        let mad = &body.ds_mad;
        let directory = self.executor.environment.installation.datastore_driver(mad);
        let directory =
            directory.ok_or_else(|| format!("Datastore driver '{mad}' not available"))?;
        let invocation = Invocation {
            executable: directory.join("export"),
            arguments: vec![self.id.to_string().into()],
            stdin: Some(body.for_export()),
            max_stdout_bytes: Some(MAX_ANSWER_BYTES),
            timeout: self.executor.settings.timeout,
        };
        let name = format!("datastore/{mad}/export");
        let outcome = self.run(invocation, &name).await?;
        // One that finished in spite of a request to stop may have left a temporary: its answer is
        // read, so that the temporary is removed.
        if !outcome.termination.is_success() || outcome.stdout.is_empty() {
            self.check(&outcome, &name)?;
        }
        let printed = String::from_utf8(outcome.stdout)
            .map_err(|_| format!("{name} printed what is not UTF-8"))?;
        let elements = ExportedElements::read(&printed).map_err(|error| {
            let no_elements = || {
                let error = error.to_string();
                format!("{name} printed no IMPORT_INFO: {}", self.redaction.apply(&error))
            };
            outcome.terminated.map_or_else(no_elements, |cause| cause.describe(&name))
        })?;
        self.redaction.hide_exported(&elements.xml);
        Ok(elements)
    }

    /// Runs the market driver's executable of this action.
    async fn run_driver(
        &mut self,
        directory: &Path,
        mad: &str,
        dump: Vec<u8>,
        max_stdout_bytes: Option<usize>,
    ) -> Result<Outcome, String> {
        let executable = directory.join(self.action.executable());
        let name = format!("market/{mad}/{}", self.action.executable());
        let passing = self.executor.dump_passings.of(&executable);
        if passing == (DumpPassing::Argument { ignores_marker: true }) {
            let text = format!(
                "one_market: {name} gets its message as an argument, although there is a \
                 .dump-on-stdin beside it: it is not seen to read standard input, and does not \
                 hold the word {DUMP_ON_STDIN}"
            );
            self.log(Level::Warn, &text);
        }
        let (dump, stdin) = match passing {
            DumpPassing::Stdin => (OsString::from("-"), Some(dump)),
            DumpPassing::Argument { .. } if dump.len() <= MAX_ARGUMENT_BYTES => {
                (OsString::from_vec(dump), None)
            }
            DumpPassing::Argument { .. } => return Err(too_long_for_argument(&name, dump.len())),
        };
        let arguments = vec![dump, self.id.to_string().into()];
        let timeout = self.executor.settings.timeout;
        let invocation = Invocation { executable, arguments, stdin, max_stdout_bytes, timeout };
        let outcome = self.run(invocation, &name).await?;
        if outcome.termination.is_success() && outcome.ignored_stdin {
            return Err(format!(
                "{name} has read nothing of its message, and so it did something else: an \
                 executable with the word {DUMP_ON_STDIN} must read standard input"
            ));
        }
        Ok(outcome)
    }

    async fn run(&self, invocation: Invocation, name: &str) -> Result<Outcome, String> {
        let path = invocation.executable.clone();
        let outcome = self.exec_context(self.stop.clone()).run(invocation).await;
        outcome.map_err(|error| format!("{name} cannot be run ({}): {error}", path.display()))
    }

    fn exec_context(&self, stop: watch::Receiver<Option<StopReason>>) -> ExecContext<'_> {
        let Executor { output, variables, .. } = self.executor;
        let (id, redaction) = (self.id, &self.redaction);
        let monitor_lines = self.monitor_lines.as_ref();
        ExecContext { output, id, redaction, monitor_lines, stop, variables }
    }

    /// Fails, with the text for the answer, unless the executable exited by itself with code 0.
    fn check(&self, outcome: &Outcome, name: &str) -> Result<(), String> {
        let Outcome { terminated, termination, message, .. } = outcome;
        let cause = match (terminated, termination) {
            (None, termination) if termination.is_success() => return Ok(()),
            (Some(cause), _) => cause.describe(name),
            (None, Termination::Exited(code)) if message.is_empty() => {
                format!("{name} failed with {code} and said nothing")
            }
            (None, Termination::Exited(code)) if !code.reports_signal() => message.clone(),
            (None, Termination::Exited(code)) => {
                format!("{name} failed with {code}. Its last words: {message}")
            }
            (None, Termination::Killed(killed)) if message.is_empty() => {
                format!("{name} was {killed}")
            }
            (None, Termination::Killed(killed)) => {
                format!("{name} was {killed}. Its last words: {message}")
            }
        };
        self.log(Level::Info, &format!("one_market: {name} failed ({termination})"));
        Err(cause)
    }

    /// Runs DISPOSE_CMD, which removes the temporary of an export. The command comes from the
    /// datastore's driver.
    async fn dispose(&self, command: &Secret) {
        let invocation = Invocation {
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), command.expose().into()],
            stdin: None,
            max_stdout_bytes: None,
            timeout: Some(DISPOSE_TIMEOUT),
        };
        // It runs to its end even though the action was stopped: this channel never says stop.
        let (_sender, stop) = watch::channel(None);
        let failed = match self.exec_context(stop).run(invocation).await {
            Ok(outcome) if outcome.termination.is_success() => None,
            Ok(outcome) => Some(format!("{}: {}", outcome.termination, outcome.message)),
            Err(error) => Some(error.to_string()),
        };
        let (level, text) = match failed {
            None => (
                Level::Info,
                "one_market: the temporary of the export was removed (DISPOSE_CMD)".to_owned(),
            ),
            Some(cause) => (
                Level::Warn,
                format!(
                    "one_market: DISPOSE_CMD failed ({cause}): the temporary of the export may be \
                     left behind"
                ),
            ),
        };
        self.log(level, &text);
    }

    fn warn_when_all_is_hidden(&self) {
        if self.redaction.hides_all() {
            self.log(
                Level::Warn,
                "one_market: the templates hold more values than are looked for: no line of a \
                 driver is shown",
            );
        }
    }

    /// Logs a line of `one_market` itself. Text from elsewhere in it must be redacted before.
    fn log(&self, level: Level, text: &str) {
        self.executor.output.log(level, Some(self.id), text);
    }
}

fn too_long_for_argument(name: &str, bytes: usize) -> String {
    format!(
        "the message has {bytes} bytes, and {name} takes it as an argument, which may have \
         {MAX_ARGUMENT_BYTES}: the driver must read it from standard input, and say so by the word \
         {DUMP_ON_STDIN} in its executable"
    )
}

/// Whether it had no chance to clean up.
fn was_killed(outcome: &Outcome) -> bool {
    matches!(outcome.termination, Termination::Killed(_))
}

/// The SOURCE in the answer of an import.
fn source_in(answer: &[u8]) -> Option<String> {
    let template = Template::parse_text_or_xml(answer).ok()?;
    template.text("SOURCE").ok()?.filter(|source| !source.is_empty()).map(str::to_owned)
}

/// Why an app of this type cannot be imported; `None` when it can.
pub(crate) fn unsupported(app_type: Option<i64>) -> Option<String> {
    let number = app_type.unwrap_or(0);
    (number != IMAGE).then(|| format!("Type {number} not supported"))
}
