//! The main function of a driver.
//!
//! ```no_run
//! # use market_core::backend::StorageBackend;
//! # fn main_of<MyMarket: StorageBackend>() -> std::process::ExitCode {
//! // fn main() -> std::process::ExitCode {
//! market_core::shim::run::<MyMarket>()
//! // }
//! # }
//! ```
//!
//! One executable answers to three names, and has two commands for operators ([`upkeep`]). Which
//! action is meant is told by the name it is called by (`monitor`, `import`, `delete`; what follows
//! a dot does not count, so that `import.real` still is an import) or else by its first argument.
//! The dump comes in the next argument, or on standard input when that argument is `-`.

use crate::action::{
    DeleteAction, DumpError, ImportAction, MAX_DUMP_BYTES, MonitorAction, read_marketplace,
};
use crate::attributes::TransferAttributes;
use crate::backend::{Context, MarketBackend, StorageBackend};
use crate::discovery::{self, DiscoveryBackend, Printer};
use crate::dispose::dispose;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use crate::log::Log;
use crate::model::Marketplace;
use crate::pipeline;
use crate::readiness;
use crate::report::ImportedApp;
use crate::stop::{StopReason, StopSwitch};
use crate::template::serde::from_template;
use crate::upkeep::{self, Work};
use market_transfer::{Helpers, Options};
use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use serde::de::DeserializeOwned;
use standard_output::StandardOutput;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// An executable's command line: which action, on which dump.
pub struct Call<A> {
    /// The action, as one of those that [`Program::parse`] was given.
    pub action: A,
    /// The word of the action: what log lines begin with.
    pub script: &'static str,
    /// The base64 text.
    pub dump: Vec<u8>,
    /// The id behind the dump, when there is one.
    pub id: Option<i64>,
}

/// What an executable is called and which actions it has, for its command line and its messages.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a, A: 'static> {
    /// The executable's own name (`market-http`).
    pub name: &'a str,
    /// Its version.
    pub version: &'static str,
    /// One line on what it is.
    pub about: &'a str,
    /// The actions by their words.
    pub actions: &'static [(&'static str, A)],
    /// Actions whose dump always comes on standard input, with the id as their only argument.
    pub dump_on_stdin: bool,
}

/// What a command line asks for.
pub enum Request<A> {
    /// An action.
    Action(Call<A>),
    /// A text to print, for `--help` and `--version`.
    Print(String),
}

impl<A: Copy> Program<'_, A> {
    /// Reads the command line, and the dump where the command line says that it is.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`], or [`ErrorKind::Dump`] when there is no dump or it is too large.
    pub fn parse(
        &self,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Request<A>, Error> {
        let mut arguments = arguments.into_iter();
        let called = arguments.next().unwrap_or_default();
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut action = self.action_of(&called);
        let mut words = Vec::new();
        while let Some(argument) = parser.next().map_err(|error| self.usage(&error.to_string()))? {
            match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                    return Ok(Request::Print(self.help()));
                }
                lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => {
                    return Ok(Request::Print(format!("{} {}\n", self.name, self.version)));
                }
                lexopt::Arg::Value(word) if action.is_none() => {
                    action = self.actions.iter().find(|(name, _)| *name == word).copied();
                    if action.is_none() {
                        // A long word is a dump in the wrong place, and may hold keys.
                        let shown = word
                            .to_str()
                            .filter(|word| word.len() <= 32)
                            .map_or("of that name".to_owned(), |word| {
                                format!("\"{}\"", one_line(word))
                            });
                        return Err(self.usage(&format!("there is no action {shown}")));
                    }
                }
                lexopt::Arg::Value(word) => words.push(word),
                other => return Err(self.usage(&one_line(&other.unexpected().to_string()))),
            }
        }
        let Some((script, action)) = action else {
            return Err(self.usage("the action is missing"));
        };
        let (dump, id) = self.dump(words)?;
        Ok(Request::Action(Call { action, script, dump, id }))
    }

    /// The action by the name that the executable was called by.
    fn action_of(&self, called: &OsString) -> Option<(&'static str, A)> {
        let name = Path::new(called).file_name()?.to_str()?;
        let stem = name.split('.').next()?;
        self.actions.iter().find(|(action, _)| *action == stem).copied()
    }

    fn dump(&self, words: Vec<OsString>) -> Result<(Vec<u8>, Option<i64>), Error> {
        let mut words = words.into_iter();
        let first = if self.dump_on_stdin { Some(OsString::from("-")) } else { words.next() };
        let dump = match first {
            Some(word) if word == "-" => read_stdin()?,
            Some(word) => word.into_vec(),
            None => return Err(self.usage("the dump is missing")),
        };
        let id = words.next().map(|word| {
            let number =
                std::str::from_utf8(word.as_bytes()).ok().and_then(|text| text.parse().ok());
            number.ok_or_else(|| self.usage("the id is not a whole number"))
        });
        match words.next() {
            Some(_) => Err(self.usage("there are too many arguments")),
            None => Ok((dump, id.transpose()?)),
        }
    }

    fn usage(&self, cause: &str) -> Error {
        Error::new(ErrorKind::Usage, self.name, cause).remedy(format!("see {} --help", self.name))
    }

    fn help(&self) -> String {
        let actions: Vec<_> = self.actions.iter().map(|(name, _)| *name).collect();
        let usage = if self.dump_on_stdin {
            format!("{} {} [ID] < DUMP", self.name, actions.join("|"))
        } else {
            format!("{} {} DUMP [ID]", self.name, actions.join("|"))
        };
        let dump = if self.dump_on_stdin {
            "on standard input"
        } else {
            // one_market looks for the word in the bytes of the executable: it is
            // action::DUMP_ON_STDIN.
            "or - to read it from standard input (market-driver.dump-on-stdin)"
        };
        format!(
            "{} {}\n{}\n\nUsage: {usage}\n\nDUMP is the driver message in base64, {dump}.\nID is the id that the \
             message must be about.\nCalled by the name of an action ({}), the action is left out.\n\nExit codes: 0 done, 2 usage, \
             3 message, 4 configuration, 5 denied, 6 absent, 7 exists,\n8 no space, 9 bytes differ, 10 unreachable, 11 \
             unsupported, 12 stopped, 1 anything else.\n",
            self.name,
            self.version,
            self.about,
            actions.join(", ")
        )
    }
}

/// Reads a driver message, or anything as large, from standard input.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Error> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let error = Error::new(
            ErrorKind::Usage,
            "standard input",
            "is a terminal, and a dump was expected there",
        );
        return Err(error.remedy("pipe it in"));
    }
    let mut dump = Vec::new();
    let mut capped = stdin.lock().take(MAX_DUMP_BYTES as u64 + 1);
    capped.read_to_end(&mut dump).map_err(|error| Error::io("standard input", &error))?;
    if dump.len() > MAX_DUMP_BYTES { Err(DumpError::TooLarge.into()) } else { Ok(dump) }
}

/// An id on the command line that is not that of the dump: somebody has mixed two calls up.
pub fn check_id(call: Option<i64>, dump: i64) -> Result<(), Error> {
    match call {
        Some(id) if id != dump => Err(Error::new(
            ErrorKind::Dump,
            "the driver message",
            format!("is about id {dump}, the call about id {id}"),
        )),
        _ => Ok(()),
    }
}

/// Runs an executable: reads the command line, runs `act` until it ends or is told to stop, prints
/// one line for a failure.
///
/// Signals (SIGTERM, SIGINT, SIGHUP) and a caller that closes our standard output reach `act`
/// through the context's `stop`.
pub fn execute<A: Copy>(
    program: &Program<'_, A>,
    act: impl AsyncFnOnce(Call<A>, Context) -> Result<(), Error>,
) -> ExitCode {
    end(ErrorKind::exit_code, || match program.parse(std::env::args_os())? {
        Request::Print(text) => print(text.as_bytes()),
        Request::Action(call) => {
            protect_memory();
            run_until_stopped(call.script, async |context| act(call, context).await)
        }
    })
}

/// Runs the body of a main function: says the one line of a failure, and by an exit code what it is
/// to whoever called.
pub fn end(
    exit_code: impl FnOnce(ErrorKind) -> u8,
    body: impl FnOnce() -> Result<(), Error>,
) -> ExitCode {
    prepare_process();
    one_line_panics();
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one plain line that a user sees; a broken standard error leaves the exit code to
            // speak.
            let _ = writeln!(std::io::stderr(), "{}", one_line(&error.to_string()));
            ExitCode::from(exit_code(error.kind))
        }
    }
}

/// Sets right what a caller hands on: none of it may decide how an action ends.
fn prepare_process() {
    // Callers that block signals hand that on: then nothing here would ever hear of a SIGTERM. The
    // signal of a file that has become too large is blocked: the write fails instead, and what was
    // staged is discarded.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGXFSZ);
    let _ = blocked.thread_set_mask();
    // Nobody but the owner writes to what is made here, and the owner always may.
    let others = Mode::RWXG | Mode::RWXO;
    umask(umask(others) & others | Mode::WGRP | Mode::WOTH);
}

/// For a process that has keys in memory: no core file is written of it, and no other process of
/// its user looks in.
pub fn protect_memory() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Runs a program with a command line of its own until it ends or is told to stop; log lines begin
/// with the word `script`.
///
/// # Errors
/// Those of `act`, and what the system reports before it.
pub fn run_until_stopped(
    script: &str,
    act: impl AsyncFnOnce(Context) -> Result<(), Error>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("the runtime", &error))?;
    let outcome = runtime.block_on(async {
        let switch = StopSwitch::new();
        let context = Context {
            log: Log::stderr(script),
            stop: switch.listen(),
            options: options_of_environment(),
        };
        watch_signals(&switch)?;
        watch_caller(switch).map_err(|error| Error::io("a thread", &error))?;
        act(context).await
    });
    // Threads that still wait for a disk are not waited for.
    runtime.shutdown_background();
    outcome
}

/// The options before any template was read: `SSH` is the command, and `ONE_LOCATION` where
/// OpenNebula's own helpers are.
fn options_of_environment() -> Options {
    let helpers = Helpers { directory: remotes().join("datastore"), dump: None };
    let ssh = std::env::var("SSH").unwrap_or_default();
    Options { ssh, helpers: Some(helpers), ..Options::default() }
}

/// Where OpenNebula keeps its drivers: `/var/lib/one/remotes`, or below `ONE_LOCATION`.
pub fn remotes() -> PathBuf {
    let one = std::env::var_os("ONE_LOCATION").filter(|location| !location.is_empty());
    let var = one.map_or_else(
        || PathBuf::from("/var/lib/one"),
        |location| PathBuf::from(location).join("var"),
    );
    var.join("remotes")
}

/// Runs a storage driver: the whole main of it.
pub fn run<B: StorageBackend>() -> ExitCode {
    let name = format!("market-{}", B::MAD);
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(work) = Work::of(&arguments) {
        return end(ErrorKind::exit_code, || match work.parse(&name, &arguments)? {
            None => print(work.help(&name).as_bytes()),
            Some(task) => {
                protect_memory();
                run_until_stopped(work.word(), async |context| {
                    upkeep::run::<B>(task, context).await
                })
            }
        });
    }
    execute(&program_of::<B>(&name), async |call, context| match call.action {
        MarketAction::Monitor => monitor::<B>(call, context).await,
        MarketAction::Import => import::<B>(call, context).await,
        MarketAction::Delete => delete::<B>(call, context).await,
    })
}

/// Runs a driver that discovers apps: the whole main of it. Import and delete are refused.
pub fn run_discovery<B: DiscoveryBackend>() -> ExitCode {
    let name = format!("market-{}", B::MAD);
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.iter().any(|argument| argument == "--dry-run") {
        return end(ErrorKind::exit_code, || {
            let preview = Preview::parse(&name, &arguments)?;
            protect_memory();
            run_until_stopped("dry-run", async |context| preview_apps::<B>(preview, context).await)
        });
    }
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        let about = format!("{}\n\nFor people: {}", B::ABOUT, Preview::usage(&name));
        let program = Program { about: &about, ..program_of::<B>(&name) };
        return end(ErrorKind::exit_code, || print(program.help().as_bytes()));
    }
    execute(&program_of::<B>(&name), async |call, context| {
        let refused = |what: &str| {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("Cannot {what} {}", B::PLACE),
                "its apps are made elsewhere",
            ))
        };
        match call.action {
            MarketAction::Monitor => discover::<B>(call, context).await,
            MarketAction::Import => {
                // What the export step made must not stay.
                if let Some(command) =
                    ImportAction::decode(&call.dump).ok().and_then(|action| action.dispose)
                {
                    dispose(command.expose(), &context).await;
                }
                refused("import app into")
            }
            MarketAction::Delete => refused("delete app from"),
        }
    })
}

async fn discover<B: DiscoveryBackend>(
    call: Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = MonitorAction::decode(&call.dump)?;
    check_id(call.id, action.marketplace.id)?;
    let backend = open::<B>(&action.marketplace, &mut context).await?;
    let mut printer = Printer::new(answer_to()?);
    context.stop.or(backend.discover(&mut |app| printer.app(&app))).await?;
    if printer.apps == 0 {
        context.log.warn(discovery::empty::<B>());
    }
    printer.finish()
}

/// What a person wants to see of a catalogue.
struct Preview {
    market: Option<OsString>,
    json: bool,
}

impl Preview {
    fn usage(name: &str) -> String {
        format!(
            "{name} --dry-run [MARKET] [--format table|json] tells what would be reported; MARKET is a file with the output of \
             \"onemarket show -x\""
        )
    }

    fn parse(name: &str, arguments: &[OsString]) -> Result<Self, Error> {
        let usage = |cause: &str| {
            let error = Error::new(ErrorKind::Usage, format!("{name} --dry-run"), one_line(cause));
            error.remedy(Self::usage(name))
        };
        let mut preview = Self { market: None, json: false };
        let mut parser = lexopt::Parser::from_args(arguments.iter().skip(1));
        while let Some(argument) = parser.next().map_err(|error| usage(&error.to_string()))? {
            match argument {
                lexopt::Arg::Long("dry-run") => {}
                lexopt::Arg::Long("format") => {
                    let format = parser.value().map_err(|error| usage(&error.to_string()))?;
                    preview.json = match format.to_str() {
                        Some("table") => false,
                        Some("json") => true,
                        _ => return Err(usage("--format: expected table or json")),
                    };
                }
                lexopt::Arg::Value(word) if word == "monitor" => {}
                lexopt::Arg::Value(word) if preview.market.is_none() => preview.market = Some(word),
                other => return Err(usage(&other.unexpected().to_string())),
            }
        }
        Ok(preview)
    }

    /// The marketplace of a file, of standard input or of a dump; one without attributes when none
    /// is named.
    fn marketplace(&self, mad: &str) -> Result<Marketplace, Error> {
        let text = match &self.market {
            None => format!(
                "<MARKETPLACE><ID>-1</ID><NAME>default</NAME><MARKET_MAD>{mad}</MARKET_MAD><TEMPLATE/></MARKETPLACE>"
            )
            .into_bytes(),
            Some(word) if word == "-" || Path::new(word).exists() => upkeep::read_file(Path::new(word))?.0,
            Some(word) => word.as_bytes().to_vec(),
        };
        read_marketplace(&text)
            .map_err(|error| Error::new(ErrorKind::Usage, "the marketplace", error.to_string()))
    }
}

async fn preview_apps<B: DiscoveryBackend>(
    preview: Preview,
    mut context: Context,
) -> Result<(), Error> {
    let backend = open::<B>(&preview.marketplace(B::MAD)?, &mut context).await?;
    let apps = context.stop.or(backend.monitor()).await?.apps;
    if apps.is_empty() {
        context.log.warn(discovery::empty::<B>());
    }
    let text = if preview.json { discovery::json(&apps) } else { discovery::table(&apps) };
    print(text.as_bytes())
}

fn program_of<B: MarketBackend>(name: &str) -> Program<'_, MarketAction> {
    Program {
        name,
        version: B::VERSION,
        about: B::ABOUT,
        actions: MarketAction::ALL,
        dump_on_stdin: false,
    }
}

/// The actions of a market driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketAction {
    /// Report space or apps.
    Monitor,
    /// Store an app.
    Import,
    /// Remove an app.
    Delete,
}

impl MarketAction {
    /// The actions by the names of their executables.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("monitor", Self::Monitor), ("import", Self::Import), ("delete", Self::Delete)];
}

async fn monitor<B: StorageBackend>(
    call: Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = MonitorAction::decode(&call.dump)?;
    check_id(call.id, action.marketplace.id)?;
    let backend = open::<B>(&action.marketplace, &mut context).await?;
    readiness::check_attributes(&action.marketplace)?;
    let report = context.stop.or(backend.monitor()).await?;
    print(&report.write()?)
}

async fn import<B: StorageBackend>(
    call: Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = ImportAction::decode(&call.dump)?;
    if let Some(helpers) = &mut context.options.helpers {
        helpers.dump = Some(call.dump.as_slice().into());
    }
    let outcome = published::<B>(&call, &action, &mut context).await;
    if let Some(command) = &action.dispose {
        dispose(command.expose(), &context).await;
    }
    let (backend, app) = outcome?;
    let Err(undelivered) = app.write().map_err(Error::from).and_then(|answer| print(&answer))
    else {
        return Ok(());
    };
    // Nobody will ever know of this app: it must not stay.
    match backend.delete(action.app.id, &app.source).await {
        Ok(_) => context.log.warn("the answer could not be delivered: the app was removed again"),
        Err(error) => context
            .log
            .error(format_args!("the answer could not be delivered, and the app stays: {error}")),
    }
    Err(undelivered)
}

async fn published<B: StorageBackend>(
    call: &Call<MarketAction>,
    action: &ImportAction,
    context: &mut Context,
) -> Result<(B, ImportedApp), Error> {
    check_id(call.id, action.app.id.0)?;
    answer_to()?;
    let backend = open::<B>(&action.marketplace, context).await?;
    let app = pipeline::import(&backend, action, context).await?;
    Ok((backend, app))
}

async fn delete<B: StorageBackend>(
    call: Call<MarketAction>,
    mut context: Context,
) -> Result<(), Error> {
    let action = DeleteAction::decode(&call.dump)?;
    check_id(call.id, action.app.id.0)?;
    let backend = open::<B>(&action.marketplace, &mut context).await?;
    pipeline::delete(&backend, &action, &context).await
}

/// Reads a configuration from a marketplace's template.
pub(crate) fn configuration<C: DeserializeOwned>(marketplace: &Marketplace) -> Result<C, Error> {
    from_template(&marketplace.template).map_err(|error| {
        in_marketplace(marketplace, Error::new(ErrorKind::Config, "", error.to_string()))
    })
}

/// Says which marketplace a wrong attribute belongs to, and how to correct it.
pub(crate) fn in_marketplace(marketplace: &Marketplace, error: Error) -> Error {
    if !matches!(error.kind, ErrorKind::Config | ErrorKind::Unsupported) {
        return error;
    }
    let cause = if error.subject.is_empty() {
        error.cause
    } else {
        format!("{}: {}", error.subject, error.cause)
    };
    // One that a person describes, not one of an OpenNebula.
    let (subject, advice) = if marketplace.id < 0 {
        ("the marketplace".to_owned(), "name a MARKET file with it, or correct it there".to_owned())
    } else {
        let subject = format!("marketplace {} ({})", marketplace.id, marketplace.name);
        (subject, format!("correct it with \"onemarket update {}\"", marketplace.id))
    };
    let remedy = error.remedy.unwrap_or(advice);
    Error::new(error.kind, subject, cause).remedy(remedy)
}

/// Opens the backend of a marketplace, and makes the context follow the marketplace's template.
pub(crate) async fn open<B: MarketBackend>(
    marketplace: &Marketplace,
    context: &mut Context,
) -> Result<B, Error> {
    let attributes: TransferAttributes = configuration(marketplace)?;
    let options = Options {
        user_agent: format!("market-{}/{}", B::MAD, B::VERSION),
        ..context.options.clone()
    };
    context.options = attributes
        .apply(options, &context.log)
        .map_err(|error| in_marketplace(marketplace, error))?;
    let config = configuration(marketplace)?;
    context
        .stop
        .or(B::connect(config, context))
        .await
        .map_err(|error| in_marketplace(marketplace, error))
}

/// Writes an answer to standard output.
///
/// # Errors
/// When not all of it is taken: then whoever asked does not know of what was done, and it must be
/// undone.
pub fn print(answer: &[u8]) -> Result<(), Error> {
    answer_to()?.write_all(answer).map_err(|error| undelivered(&error))
}

/// Where answers go. An action that leaves something behind asks for it before it begins.
///
/// # Errors
/// When standard output is closed, or not open for writing: no answer could be delivered.
pub fn answer_to() -> Result<StandardOutput, Error> {
    StandardOutput::open().map_err(|error| undelivered(&error))
}

/// An answer that was not taken.
pub(crate) fn undelivered(error: &std::io::Error) -> Error {
    Error {
        kind: ErrorKind::Failed,
        ..Error::io("standard output", error).remedy("the answer could not be delivered")
    }
}

/// SIGTERM, SIGINT and SIGHUP ask to stop.
fn watch_signals(switch: &StopSwitch) -> Result<(), Error> {
    let kinds = [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::hangup(), "SIGHUP"),
    ];
    for (kind, name) in kinds {
        let mut received = signal(kind).map_err(|error| Error::io(name, &error))?;
        let switch = switch.clone();
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                switch.stop(StopReason::Signal(name));
            }
        });
    }
    Ok(())
}

/// A pipe that nobody reads any more reports an error, without a byte being written.
fn watch_caller(switch: StopSwitch) -> std::io::Result<()> {
    let watch = move || {
        let stdout = std::io::stdout();
        loop {
            let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut descriptors, None) {
                Ok(_) => return switch.stop(StopReason::CallerGone),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().spawn(watch).map(drop)
}

/// A defect of ours is one line too, in what reaches the user.
fn one_line_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let _ =
            writeln!(std::io::stderr(), "internal error at {}: please report it", one_line(&place));
    }));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_a_marketplace_that_no_opennebula_has() {
        let said = |id: i64| {
            let xml = format!(
                "<MARKETPLACE><ID>{id}</ID><NAME>m</NAME><MARKET_MAD>x</MARKET_MAD><TEMPLATE/></MARKETPLACE>"
            );
            let marketplace = read_marketplace(xml.as_bytes()).unwrap();
            in_marketplace(&marketplace, Error::config("BUCKET", "is missing")).to_string()
        };
        assert_eq!(
            said(7),
            "marketplace 7 (m): attribute BUCKET: is missing; correct it with \"onemarket update 7\""
        );
        assert_eq!(
            said(-1),
            "the marketplace: attribute BUCKET: is missing; name a MARKET file with it, or correct it there"
        );
    }
}
