//! The commands `gc` and `audit`: their arguments, their tables, their JSON.

use super::audit::{Audited, Verdict, apps_of, audit};
use super::gc::{self, KnownApps, Reason, Rules};
use crate::action::{read_apps, read_marketplace};
use crate::backend::{Context, Deleted, ObjectState, StorageBackend, StoredObject};
use crate::configuration::connect;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use crate::model::{MarketplaceApp, MiB};
use crate::runtime::command_line::MarketAction;
use crate::runtime::input::read_file;
use crate::runtime::output::print;
use market_checksum::{Malformed, Mismatch};
use market_transfer::Rate;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// Which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Gc,
    Audit,
}

/// What a command line asks for.
pub(crate) struct Task {
    work: Work,
    market: PathBuf,
    apps: Option<PathBuf>,
    json: bool,
    delete: bool,
    rules: Rules,
    limit: Option<Rate>,
}

impl Work {
    /// The command of a command line, when it has one. An executable that is called by the name of
    /// an action has none.
    pub(crate) fn of(arguments: &[OsString]) -> Option<Self> {
        if MarketAction::of_executable(arguments.first()?).is_some() {
            return None;
        }
        match arguments.get(1)?.to_str()? {
            "gc" => Some(Self::Gc),
            "audit" => Some(Self::Audit),
            _ => None,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Audit => "audit",
        }
    }

    /// Reads the rest of the command line; `None` for `--help`.
    pub(crate) fn parse(self, name: &str, arguments: &[OsString]) -> Result<Option<Task>, Error> {
        let usage = |cause: &str| {
            let error =
                Error::new(ErrorKind::Usage, format!("{name} {}", self.word()), one_line(cause));
            error.remedy(format!("see {name} {} --help", self.word()))
        };
        let refused = |error: lexopt::Error| usage(&error.to_string());
        let mut parser = lexopt::Parser::from_args(arguments.iter().skip(2));
        let mut market = None;
        let mut task = Task {
            work: self,
            market: PathBuf::new(),
            apps: None,
            json: false,
            delete: false,
            rules: Rules::default(),
            limit: None,
        };
        while let Some(argument) = parser.next().map_err(refused)? {
            use lexopt::Arg::{Long, Short, Value};
            match argument {
                Short('h') | Long("help") => return Ok(None),
                Long("json") => task.json = true,
                Long("apps") => task.apps = Some(parser.value().map_err(refused)?.into()),
                Long("delete") if self == Self::Gc => task.delete = true,
                Long("running") if self == Self::Gc => task.rules.running = true,
                Long("older-than") if self == Self::Gc => {
                    let text = parser.value().map_err(refused)?;
                    let age = text.to_str().and_then(age);
                    task.rules.older_than =
                        age.ok_or_else(|| usage("--older-than: expected 30m, 24h, 7d or 0"))?;
                }
                Long("limit") if self == Self::Audit => {
                    let text = parser.value().map_err(refused)?.to_string_lossy().into_owned();
                    task.limit =
                        Some(text.parse().map_err(|error| usage(&format!("--limit: {error}")))?);
                }
                Value(file) if market.is_none() => market = Some(PathBuf::from(file)),
                other => return Err(usage(&other.unexpected().to_string())),
            }
        }
        task.market = market.ok_or_else(|| usage("the marketplace is missing"))?;
        if self == Self::Audit && task.apps.is_none() {
            return Err(usage("--apps is missing: an audit compares with what is recorded there"));
        }
        if task.market.as_os_str() == "-"
            && task.apps.as_ref().is_some_and(|apps| apps.as_os_str() == "-")
        {
            return Err(usage("only one of the two can come on standard input"));
        }
        Ok(Some(task))
    }

    pub(crate) fn help(self, name: &str) -> String {
        let files = "MARKET is a file with the output of \"onemarket show -x ID\", or a driver message in base64; - is\n\
                     standard input.\n";
        match self {
            Self::Gc => format!(
                "{name} gc - finds what interrupted imports have left, and what belongs to no app\n\n\
                 Usage: {name} gc MARKET [--apps FILE] [--delete] [--older-than AGE] [--running] [--json]\n\n{files}\n\
                 --apps FILE       the output of \"onemarketapp list -x\" (as oneadmin: all apps), or a SOURCE a line;\n                  \
                 published objects that none of these apps has are found too\n\
                 --delete          removes what is found\n\
                 --older-than AGE  30m, 24h, 7d, 0; what was written more recently is spared (24h)\n\
                 --running         also what an import that still runs is writing: it will fail\n\
                 --json            JSON instead of a table\n"
            ),
            Self::Audit => format!(
                "{name} audit - reads stored apps again and compares them with their recorded MD5 and SHA-256\n\n\
                 Usage: {name} audit MARKET --apps FILE [--limit RATE] [--json]\n\n{files}\n\
                 --apps FILE   the output of \"onemarketapp list -x\"\n\
                 --limit RATE  the most bytes a second: 500k, 10M\n\
                 --json        JSON instead of a table\n\n\
                 Exit code 9 when an app is corrupt, missing or unreadable.\n"
            ),
        }
    }
}

/// A number with one of the units s, m, h, d; 0 needs none.
fn age(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    number.checked_mul(unit).map(Duration::from_secs)
}

/// Does what a command line asks for.
pub(crate) async fn run<B: StorageBackend>(task: Task, mut context: Context) -> Result<(), Error> {
    let (text, _) = read_file(&task.market)?;
    let marketplace = read_marketplace(&text).map_err(|error| {
        Error::new(
            ErrorKind::Usage,
            format!("the marketplace in {}", task.market.display()),
            error.to_string(),
        )
    })?;
    if marketplace.market_mad != B::MAD {
        let mad = one_line(&marketplace.market_mad);
        let cause = format!("is one of \"{mad}\", not of \"{}\"", B::MAD);
        return Err(Error::new(ErrorKind::Usage, format!("marketplace {}", marketplace.id), cause));
    }
    let apps = task.apps.as_ref().map(|path| read_file(path)).transpose()?;
    context.options.limit = task.limit;
    let backend = connect::<B>(&marketplace, &mut context).await?;
    match task.work {
        Work::Gc => {
            let apps =
                apps.map(|(text, age)| KnownApps::read(&text, age, &marketplace)).transpose()?;
            if apps.is_none() {
                context.log.info("published objects are not looked at without --apps");
            }
            let rules = Rules { apps, ..task.rules };
            run_gc(&backend, &rules, task.delete, task.json, &context).await
        }
        Work::Audit => {
            let text = apps.map(|(text, _)| text).unwrap_or_default();
            let apps = read_apps(&text).map_err(|error| {
                Error::new(ErrorKind::Usage, "the list of apps", error.to_string())
            })?;
            run_audit(&backend, &apps_of(&marketplace, &apps), task.json, &context).await
        }
    }
}

async fn run_gc<B: StorageBackend>(
    backend: &B,
    rules: &Rules,
    delete: bool,
    json: bool,
    context: &Context,
) -> Result<(), Error> {
    let findings = gc::find(backend, rules, context).await?;
    let mut rows = Vec::new();
    let (mut failed, mut stopped) = (None, None);
    for (object, reason) in &findings.garbage {
        let outcome = if delete { Some(gc::remove(backend, object, context).await) } else { None };
        if let Some(Err(error)) = &outcome {
            if error.kind == ErrorKind::Cancelled {
                stopped = Some(error.clone());
                break;
            }
            context.log.error(format_args!("{}: {error}", named(object)));
            failed.get_or_insert_with(|| error.clone());
        }
        rows.push((object, *reason, outcome));
    }
    if findings.spared > 0 {
        let spared = findings.spared;
        context
            .log
            .info(format_args!("spared, as it is recent or being written: {spared} object(s)"));
    }
    print(if json { gc_json(&rows) } else { gc_table(&rows) }.as_bytes())?;
    match (stopped, failed) {
        (Some(error), _) => Err(error),
        (None, None) => Ok(()),
        (None, Some(error)) => {
            let stays =
                rows.iter().filter(|(_, _, outcome)| matches!(outcome, Some(Err(_)))).count();
            Err(Error::new(error.kind, format!("{stays} object(s) stay"), error.to_string()))
        }
    }
}

type GcRow<'a, K> = (&'a StoredObject<K>, Reason, Option<Result<Deleted, Error>>);

fn named<K: Display>(object: &StoredObject<K>) -> String {
    let separator = if object.place.is_empty() { "" } else { ":" };
    one_line(&format!("{}{separator}{}", object.place, object.key))
}

fn gc_table<K: Display>(rows: &[GcRow<'_, K>]) -> String {
    let mut table = String::new();
    let mut bytes = 0;
    for (object, reason, outcome) in rows {
        bytes += object.bytes;
        let hours = object.age.as_secs() / 3_600;
        let size = MiB::containing(object.bytes).to_string();
        let why = match reason {
            Reason::Unfinished => "unfinished import",
            Reason::NoApp => "no app has it",
        };
        let app = object.app.map_or_else(String::new, |app| format!(" of app {app}"));
        let outcome = match outcome {
            None => "",
            Some(Ok(Deleted::Removed)) => "; removed",
            Some(Ok(Deleted::Absent)) => "; gone by now",
            Some(Err(_)) => "; STAYS",
        };
        let _ = writeln!(table, "{size:>12} {hours:>7} h  {}  {why}{app}{outcome}", named(object));
    }
    let _ = writeln!(table, "{} object(s), {}", rows.len(), MiB::containing(bytes));
    table
}

fn gc_json<K: Display>(rows: &[GcRow<'_, K>]) -> String {
    let objects: Vec<Value> = rows
        .iter()
        .map(|(object, reason, outcome)| {
            json!({
                "key": object.key.to_string(),
                "place": object.place,
                "state": match object.state { ObjectState::Staged => "staged", ObjectState::Published => "published" },
                "app": object.app.map(|app| app.0),
                "bytes": object.bytes,
                "age_seconds": object.age.as_secs(),
                "reason": match reason { Reason::Unfinished => "unfinished", Reason::NoApp => "no app" },
                "removed": matches!(outcome, Some(Ok(_))),
                "error": outcome.as_ref().and_then(|outcome| outcome.as_ref().err()).map(ToString::to_string),
            })
        })
        .collect();
    format!("{}\n", json!({ "objects": objects }))
}

async fn run_audit<B: StorageBackend>(
    backend: &B,
    apps: &[&MarketplaceApp],
    json: bool,
    context: &Context,
) -> Result<(), Error> {
    let mut bad = Vec::new();
    let mut objects = Vec::new();
    for app in apps {
        let audited = audit(backend, app, context).await?;
        if audited.verdict.is_bad() {
            bad.push(app.id.to_string());
        }
        // Line by line: an audit takes hours.
        if json {
            objects.push(audit_json(app, &audited));
        } else {
            print(audit_row(app, &audited).as_bytes())?;
        }
    }
    if json {
        print(format!("{}\n", json!({ "apps": objects })).as_bytes())?;
    } else {
        print(format!("{} app(s) read, {} bad\n", apps.len(), bad.len()).as_bytes())?;
    }
    if bad.is_empty() {
        return Ok(());
    }
    let cause = format!(
        "{} of {} apps are not what their record says: {}",
        bad.len(),
        apps.len(),
        bad.join(", ")
    );
    Err(Error::new(ErrorKind::Mismatch, "audit", cause)
        .remedy("import them again from a good image"))
}

fn audit_row(app: &MarketplaceApp, audited: &Audited) -> String {
    let size = MiB::containing(audited.bytes).to_string();
    let detail = match &audited.verdict {
        Verdict::Unreadable(error) => format!("  {}", one_line(&error.to_string())),
        Verdict::Corrupt => differences(app, audited),
        _ => String::new(),
    };
    let name = one_line(&app.name);
    format!("{:>7}  {:<10}  {size:>12}  {name}{detail}\n", app.id, audited.verdict.word())
}

/// The checksums of a record that the bytes do not have.
fn differences(app: &MarketplaceApp, audited: &Audited) -> String {
    let recorded = match app.recorded() {
        Ok(recorded) => recorded,
        Err(malformed) => {
            return format!("  the recorded {} is {malformed}", malformed.algorithm());
        }
    };
    let mismatches =
        recorded.mismatches(&audited.digests).map(|Mismatch { expected, computed, .. }| {
            let computed =
                computed.map_or_else(|| "unknown".to_owned(), |computed| computed.to_string());
            format!("  {} {computed}, recorded {expected}", expected.algorithm())
        });
    mismatches.collect()
}

/// A checksum as its record has it.
fn recorded<C: Display>(checksum: &Result<Option<C>, Malformed>) -> Option<String> {
    match checksum {
        Ok(checksum) => checksum.as_ref().map(C::to_string),
        Err(malformed) => Some(malformed.text().to_owned()),
    }
}

fn audit_json(app: &MarketplaceApp, audited: &Audited) -> Value {
    json!({
        "app": app.id.0,
        "name": app.name,
        "verdict": audited.verdict.word().to_ascii_lowercase(),
        "bytes": audited.bytes,
        "md5": audited.digests.md5.map(|md5| md5.to_string()),
        "recorded_md5": recorded(&app.md5).unwrap_or_default(),
        "sha256": audited.digests.sha256.map(|sha256| sha256.to_string()),
        "recorded_sha256": recorded(&app.sha256()),
        "error": match &audited.verdict { Verdict::Unreadable(error) => Some(error.to_string()), _ => None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        for (text, seconds) in
            [("0", 0), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("5s", 5)]
        {
            assert_eq!(age(text).map(|age| age.as_secs()), Some(seconds), "{text}");
        }
        for text in ["", "1", "h", "-1h", "1w", "99999999999999999999d", "é"] {
            assert_eq!(age(text), None, "{text}");
        }
    }
}
