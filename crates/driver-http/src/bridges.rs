//! A marketplace on bridges: hosts that hold the directory instead of this one, and are reached over ssh.
//!
//! An import goes to one bridge: the one that the stock driver would take (the app's id modulo their number), or the next one
//! that answers and has room. Where an app is, is nowhere recorded: deleting one looks everywhere before it calls it gone.

use crate::bridge::{Bridge, script};
use crate::config::HttpConfig;
use crate::directory::STAGING;
use crate::market::report;
use crate::name;
use market_core::backend::{Context, Deleted, ObjectState, Proof, Published, StoredObject};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::model::{AppId, MiB};
use market_core::report::MonitorReport;
use market_core::stop::Stop;
use market_core::transfer::ssh::Host;
use market_core::transfer::{Piece, Process, Source, ZEROS};
use std::collections::HashSet;
use std::time::Duration;
use tokio::process::Command;

/// How long `onehost list` may take.
const ONEHOST_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to remove what a stage that failed may have begun.
const TIDYING: Duration = Duration::from_secs(10);

/// The hosts, and which of them OpenNebula has switched off.
pub(crate) struct Bridges {
    config: HttpConfig,
    on: Vec<Bridge>,
    off: Vec<Bridge>,
    log: Log,
    stop: Stop,
}

impl Bridges {
    pub(crate) async fn open(config: HttpConfig, hosts: Vec<Host>, context: &Context) -> Self {
        let off = hosts_off(&context.log).await;
        let bridges =
            hosts.into_iter().map(|host| Bridge::new(host, config.public_dir.clone(), context.options.clone()));
        let (off, on) = bridges.partition(|bridge| off.contains(bridge.host.as_str()));
        Self { config, on, off, log: context.log.clone(), stop: context.stop.clone() }
    }

    /// The bridges that may be used, beginning at one of them.
    fn from(&self, start: usize) -> Result<impl Iterator<Item = &Bridge>, Error> {
        if self.on.is_empty() {
            let cause = "All hosts from 'BRIDGE_LIST' are offline, error or disabled";
            return Err(Error::new(ErrorKind::Unreachable, "attribute BRIDGE_LIST", cause));
        }
        let start = start % self.on.len();
        Ok(self.on[start..].iter().chain(&self.on[..start]))
    }

    fn for_app(&self, app: AppId) -> Result<impl Iterator<Item = &Bridge>, Error> {
        let count = i64::try_from(self.on.len()).unwrap_or(1).max(1);
        self.from(usize::try_from(app.0.rem_euclid(count)).unwrap_or_default())
    }

    /// Every bridge, those in use first: what is stored on one that is switched off is still stored.
    fn all(&self, app: AppId) -> impl Iterator<Item = &Bridge> {
        self.for_app(app).into_iter().flatten().chain(&self.off)
    }

    pub(crate) async fn monitor(&self) -> Result<MonitorReport, Error> {
        let nanoseconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos();
        let mut failures = Failures::default();
        for bridge in self.from(nanoseconds as usize)? {
            match space(bridge).await {
                Ok(report) => return Ok(report),
                Err(error) => failures.add(error, &self.log),
            }
        }
        Err(failures.into_error("no bridge tells its space"))
    }

    /// Opens an upload on the first bridge that takes it.
    pub(crate) async fn stage(&self, app: AppId, needed_bytes: Option<u64>) -> Result<Upload, Error> {
        let mut failures = Failures::default();
        for bridge in self.for_app(app)? {
            let name = name::staged(app)?;
            let error = match self.stop.or(Upload::start(bridge, name.clone(), needed_bytes)).await {
                Ok(upload) => return Ok(upload),
                Err(error) => error,
            };
            if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Unreachable) {
                // It may have begun there all the same.
                let _ = tokio::time::timeout(TIDYING, remove(bridge, &staged(&name))).await;
            }
            if error.kind == ErrorKind::Cancelled {
                return Err(error);
            }
            failures.add(error, &self.log);
        }
        Err(failures.into_error("no bridge takes the image"))
    }

    pub(crate) async fn publish(&self, upload: &Upload) -> Published {
        let (bridge, names) = (&upload.bridge, [upload.name.as_str(), upload.published_name.as_str()]);
        match bridge.ask(script!("publish.sh"), &names).await.as_deref() {
            Ok("published") => Published::At(self.config.source(&upload.published_name)),
            Ok("exists") => Published::Exists(self.config.source(&upload.published_name)),
            Ok("gone") => {
                let cause = "is gone: the app was deleted, or the marketplace cleaned, while it was imported";
                Published::NotPublished(Error::new(ErrorKind::Absent, upload.subject(), cause))
            }
            Ok(other) => Published::Unknown(bridge.strange(other)),
            // It may have run there, whatever became of its answer.
            Err(error) => Published::Unknown(error.clone()),
        }
    }

    pub(crate) async fn resolve(&self, upload: &Upload) -> Published {
        let (bridge, names) = (&upload.bridge, [upload.name.as_str(), upload.published_name.as_str()]);
        match bridge.ask(script!("resolve.sh"), &names).await.as_deref() {
            Ok("published") => Published::At(self.config.source(&upload.published_name)),
            Ok("gone") => {
                let error = Error::new(ErrorKind::Unreachable, upload.subject(), "the bridge did not publish it");
                Published::NotPublished(error.remedy("nothing was published; import again"))
            }
            Ok(other) => Published::Unknown(bridge.strange(other)),
            Err(error) => Published::Unknown(error.clone()),
        }
    }

    pub(crate) async fn delete(&self, app: AppId, name: &str) -> Result<Deleted, Error> {
        let mut failures = Failures::default();
        for bridge in self.all(app) {
            match remove(bridge, name).await {
                Ok(Deleted::Removed) => return Ok(Deleted::Removed),
                Ok(Deleted::Absent) => {}
                Err(error) => failures.add(error, &self.log),
            }
        }
        if failures.is_empty() {
            return Ok(Deleted::Absent);
        }
        let path = self.config.public_dir.join(name).display().to_string();
        let error = failures.into_error("it is on no bridge that answers");
        Err(error.remedy(format!("remove {path} there, or run gc, once it answers")))
    }

    pub(crate) async fn stored(&self, app: AppId, name: &str) -> Result<Option<Source>, Error> {
        let mut failures = Failures::default();
        for bridge in self.all(app) {
            match Source::open_on(&bridge.host, &bridge.path(name), bridge.options()).await.map_err(Error::from) {
                Ok(source) => return Ok(Some(source)),
                Err(error) if error.kind == ErrorKind::Absent => {}
                Err(error) => failures.add(error, &self.log),
            }
        }
        if failures.is_empty() { Ok(None) } else { Err(failures.into_error("it is on no bridge that answers")) }
    }

    pub(crate) async fn objects(&self, sink: &mut dyn FnMut(StoredObject)) -> Result<(), Error> {
        let mut failures = Failures::default();
        for bridge in self.on.iter().chain(&self.off) {
            match list(bridge).await {
                Ok(objects) => objects.into_iter().for_each(&mut *sink),
                Err(error) => failures.add(error, &self.log),
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.into_error("not every bridge could be listed")) }
    }

    pub(crate) async fn remove(&self, object: &StoredObject) -> Result<Deleted, Error> {
        let known = self.on.iter().chain(&self.off).find(|bridge| bridge.host.as_str() == object.place);
        let bridge =
            known.ok_or_else(|| Error::new(ErrorKind::Denied, &object.place, "is no bridge of this marketplace"))?;
        match object.state {
            ObjectState::Published => remove(bridge, &object.key).await,
            ObjectState::Staged => remove(bridge, &staged(&object.key)).await,
        }
    }
}

/// The path of a staging file below PUBLIC_DIR.
fn staged(name: &str) -> String {
    format!("{}/{name}", STAGING)
}

async fn space(bridge: &Bridge) -> Result<MonitorReport, Error> {
    let line = bridge.ask(script!("space.sh"), &[]).await?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [block, blocks, free, available] => Ok(report(block, blocks, free, available)),
        _ => Err(bridge.strange(&line)),
    }
}

async fn remove(bridge: &Bridge, path: &str) -> Result<Deleted, Error> {
    match bridge.ask(script!("remove.sh"), &[path]).await?.as_str() {
        "removed" => Ok(Deleted::Removed),
        "absent" => Ok(Deleted::Absent),
        other => Err(bridge.strange(other)),
    }
}

async fn list(bridge: &Bridge) -> Result<Vec<StoredObject>, Error> {
    let lines = bridge.run(script!("list.sh"), &[&"[0-9a-f]".repeat(32)]).await?;
    let now = lines.first().and_then(|line| line.strip_prefix("now ")?.parse::<u64>().ok());
    let now = now.ok_or_else(|| bridge.strange(lines.first().map_or("", String::as_str)))?;
    let object = |line: &String| {
        let words: Vec<_> = line.split(' ').collect();
        let (state, bytes, written, busy, key) = match words[..] {
            ["published", bytes, written, key] if name::is_published(key) => {
                (ObjectState::Published, bytes, written, false, key)
            }
            ["staged", bytes, written, busy, key] => {
                (ObjectState::Staged, bytes, written, busy == "1", key.strip_prefix("./")?)
            }
            _ => return None,
        };
        let app = name::app_of_staged(key);
        if state == ObjectState::Staged && app.is_none() {
            return None;
        }
        let age = Duration::from_secs(now.saturating_sub(written.parse().ok()?));
        let place = bridge.host.to_string();
        Some(StoredObject { key: key.to_owned(), place, state, app, bytes: bytes.parse().ok()?, age, busy })
    };
    Ok(lines[1..].iter().filter_map(object).collect())
}

/// The hosts that OpenNebula shows as off, in error or disabled; none when it cannot be asked.
async fn hosts_off(log: &Log) -> HashSet<String> {
    let mut command = Command::new("onehost");
    command.args(["list", "--operator", "OR", "--no-pager", "--csv"]);
    command.args(["--filter=STAT=off,STAT=err,STAT=dsbl", "--list=NAME,STAT"]);
    let listed = async {
        let mut process = Process::start(command, ONEHOST_PATIENCE)?;
        process.close_input();
        let mut hosts = HashSet::new();
        let mut header = true;
        while let Some(line) = process.read_line().await? {
            if !std::mem::take(&mut header) {
                hosts.extend(line.split(',').next().map(str::to_owned));
            }
        }
        Ok::<_, std::io::Error>(if process.wait().await?.status.success() { hosts } else { HashSet::new() })
    };
    match tokio::time::timeout(ONEHOST_PATIENCE, listed).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(_)) | Err(_) => {
            log.debug("onehost cannot be asked: every host of BRIDGE_LIST counts as on");
            HashSet::new()
        }
    }
}

/// Blocks and their size, as bytes.
fn product(text: &str) -> Option<u64> {
    let (blocks, size) = text.split_once(' ')?;
    Some(blocks.parse::<u64>().ok()?.saturating_mul(size.parse().ok()?))
}

/// What went wrong on some bridges while others were tried.
#[derive(Default)]
struct Failures(Vec<Error>);

impl Failures {
    fn add(&mut self, error: Error, log: &Log) {
        log.warn(&error);
        self.0.push(error);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One error for all of them: the single one, or what they have in common and each of them.
    fn into_error(mut self, common: &str) -> Error {
        match self.0.len() {
            1 => self.0.remove(0),
            _ => {
                // No room says more than no answer: it is what the operator can do something about.
                let full = self.0.iter().find(|error| error.kind == ErrorKind::Full);
                let kind = full.or(self.0.first()).map_or(ErrorKind::Unreachable, |error| error.kind);
                let each: Vec<_> = self.0.iter().map(|error| format!("{}: {}", error.subject, error.cause)).collect();
                Error::new(kind, "attribute BRIDGE_LIST", format!("{common}: {}", each.join("; ")))
            }
        }
    }
}

/// An import under way on a bridge.
pub(crate) struct Upload {
    bridge: Bridge,
    name: String,
    published_name: String,
    process: Process,
}

impl Upload {
    async fn start(bridge: &Bridge, name: String, needed_bytes: Option<u64>) -> Result<Self, Error> {
        let published_name = name::published()?;
        let needed = needed_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let process = bridge.for_bulk().await.start(script!("receive.sh"), &[&name, &needed])?;
        let mut upload = Self { bridge: bridge.clone(), name, published_name, process };
        match upload.line().await?.as_str() {
            "ready" => Ok(upload),
            line => match line.strip_prefix("full ").and_then(product) {
                Some(available) => {
                    let (needed, free) = (MiB::containing(needed_bytes.unwrap_or_default()), MiB::within(available));
                    let cause = format!("{needed} are needed, {free} are free");
                    let error = Error::new(ErrorKind::Full, format!("the bridge {}", bridge.host), cause);
                    Err(error.remedy("free some space"))
                }
                None => Err(bridge.strange(line)),
            },
        }
    }

    fn subject(&self) -> String {
        format!("{} on {}", self.bridge.path(&staged(&self.name)), self.bridge.host)
    }

    /// The next line of the script that is an answer; an error that it tells, or how it ended, when there is none.
    async fn line(&mut self) -> Result<String, Error> {
        let mut line = Some("working".to_owned());
        while line.as_deref() == Some("working") {
            line = self.process.read_line().await.map_err(|error| self.bridge.broken(&error))?;
        }
        match line {
            Some(line) => match line.strip_prefix("error ") {
                Some(cause) => {
                    let kind = if cause.contains("No space left") { ErrorKind::Full } else { ErrorKind::Failed };
                    Err(Error::new(kind, self.subject(), cause))
                }
                None => Ok(line),
            },
            None => {
                self.bridge.end(&mut self.process).await?;
                Err(self.bridge.strange(""))
            }
        }
    }

    pub(crate) async fn write(&mut self, piece: &Piece) -> Result<(), Error> {
        match piece {
            Piece::Data(data) => self.send(data).await,
            Piece::Hole(length) => {
                let mut left = *length;
                while left > 0 {
                    let step = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
                    self.send(&ZEROS[..step]).await?;
                    left -= step as u64;
                }
                Ok(())
            }
        }
    }

    async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        let Err(error) = self.process.write(data).await else { return Ok(()) };
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            return Err(self.bridge.broken(&error));
        }
        // It does not listen any more: it has said why.
        self.process.close_input();
        match self.line().await {
            Err(error) => Err(error),
            Ok(line) => Err(self.bridge.strange(&line)),
        }
    }

    pub(crate) fn written(&mut self) -> Result<(), Error> {
        self.process.close_input();
        Ok(())
    }

    /// Waits until the bridge has hashed what it holds, and has it on its disk.
    pub(crate) async fn seal(&mut self) -> Result<Proof, Error> {
        let line = self.line().await?;
        let md5 = line.strip_prefix("hashed ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        let md5 = md5.ok_or_else(|| self.bridge.strange(&line))?;
        match self.line().await?.as_str() {
            "synced" => {}
            other => return Err(self.bridge.strange(other)),
        }
        self.bridge.end(&mut self.process).await?;
        Ok(Proof::Md5(md5))
    }

    pub(crate) async fn discard(self) -> Result<(), Error> {
        let Self { bridge, name, process, .. } = self;
        // The connection goes first; the script there writes into a file without a name then.
        drop(process);
        remove(&bridge, &staged(&name)).await.map(drop)
    }
}
