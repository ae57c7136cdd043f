//! Garbage collection: finds and removes what interrupted imports have left, and published objects
//! that belong to no app.

use crate::action::{self, DumpError};
use crate::backend::{Context, Deleted, ObjectState, StorageBackend, StoredObject};
use crate::error::{Error, ErrorKind};
use crate::model::{AppId, Marketplace, SourceUrl};
use market_transfer::redacted;
use std::collections::HashSet;
use std::time::Duration;

/// The SOURCEs of the apps that there are: what they name is not garbage.
#[derive(Clone, Debug, Default)]
pub struct KnownApps {
    sources: Vec<SourceUrl>,
    /// The apps with their ids, where the list has those. An app that is being imported has an
    /// empty SOURCE.
    ids: Vec<(AppId, SourceUrl)>,
    /// Whether it is a list of SOURCEs that a person has made: then each must be one of this
    /// marketplace.
    by_hand: bool,
    /// How long ago the list was made: apps that were published since are missing in it.
    age: Duration,
}

impl KnownApps {
    /// Reads the output of `onemarketapp list -x`, or a text with a SOURCE a line. `age` tells how
    /// long ago it was made. Apps of other marketplaces count too: two marketplaces may share a
    /// store.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it cannot be read, is empty, or lacks an app that `marketplace`
    /// has: with an incomplete list, good apps would be removed.
    pub fn read(text: &[u8], age: Duration, marketplace: &Marketplace) -> Result<Self, Error> {
        let text = text.trim_ascii();
        if !text.starts_with(b"<") {
            let text = String::from_utf8(text.to_vec())
                .map_err(|_| Self::unreadable(&DumpError::NotUtf8))?;
            let sources: Vec<_> = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(SourceUrl::new)
                .collect();
            if let Some(other) = sources
                .iter()
                .map(SourceUrl::as_str)
                .find(|source| !source.contains("://") && !source.starts_with('/'))
            {
                let cause =
                    format!("line \"{}\" is no SOURCE", other.chars().take(40).collect::<String>());
                return Err(Error::new(ErrorKind::Usage, "the list of apps", cause));
            }
            if sources.is_empty() {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "the list of apps",
                    "is empty: every app would be garbage",
                ));
            }
            return Ok(Self { sources, ids: Vec::new(), by_hand: true, age });
        }
        let apps = action::read_apps(text).map_err(|error| Self::unreadable(&error))?;
        let listed: HashSet<_> = apps.iter().map(|app| app.id).collect();
        if let Some(missing) = marketplace.apps.iter().find(|id| !listed.contains(id)) {
            let cause = format!("lacks app {missing} of marketplace {}", marketplace.id);
            let error = Error::new(ErrorKind::Usage, "the list of apps", cause);
            return Err(error.remedy(
                "make it as oneadmin with \"onemarketapp list -x\", after \"onemarket show -x\"",
            ));
        }
        let ids: Vec<_> = apps.iter().map(|app| (app.id, app.source.clone())).collect();
        let sources = ids
            .iter()
            .map(|(_, source)| source.clone())
            .filter(|source| !source.is_empty())
            .collect();
        Ok(Self { sources, ids, by_hand: false, age })
    }

    fn unreadable(error: &DumpError) -> Error {
        Error::new(ErrorKind::Usage, "the list of apps", error.to_string())
    }
}

/// What counts as garbage.
///
/// ```
/// use market_core::upkeep::gc::Rules;
/// use std::time::Duration;
///
/// let rules = Rules::default().with_older_than(Duration::from_secs(3_600));
/// assert!(rules.apps.is_none() && !rules.running);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rules {
    /// The apps that there are; without them only unfinished imports are looked for.
    pub apps: Option<KnownApps>,
    /// What was written more recently is spared. The default is a day.
    pub older_than: Duration,
    /// Whether what an import writes that still runs is garbage too: that import will fail. The
    /// default is `false`.
    pub running: bool,
}

impl Default for Rules {
    /// Unfinished imports older than a day.
    fn default() -> Self {
        Self { apps: None, older_than: Duration::from_secs(24 * 3_600), running: false }
    }
}

impl Rules {
    /// Published objects that none of these apps has are garbage too.
    #[must_use]
    pub fn with_apps(self, apps: KnownApps) -> Self {
        Self { apps: Some(apps), ..self }
    }

    /// What was written more recently is spared.
    #[must_use]
    pub fn with_older_than(self, older_than: Duration) -> Self {
        Self { older_than, ..self }
    }

    /// What an import writes that still runs is garbage too.
    #[must_use]
    pub fn with_running(self) -> Self {
        Self { running: true, ..self }
    }
}

/// Why an object is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// An import was interrupted.
    Unfinished,
    /// It is published, and no app of the list has it.
    NoApp,
}

/// What [`find`] has found; `K` is the backend's [`Key`](StorageBackend::Key).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Findings<K> {
    /// What is garbage, and why.
    pub garbage: Vec<(StoredObject<K>, Reason)>,
    /// How many objects would be garbage if they were older, or not being written.
    pub spared: usize,
}

/// Looks for garbage, sorted by place and key; changes nothing.
///
/// An object is spared when its name tells an app of the list whose SOURCE is not in this store:
/// that app is being imported, or the marketplace's template was changed since.
///
/// # Errors
/// When the store cannot be listed completely; [`ErrorKind::Usage`] when a SOURCE in a list that a
/// person has made is none of this marketplace; [`ErrorKind::Cancelled`] when told to stop.
pub async fn find<B: StorageBackend>(
    backend: &B,
    rules: &Rules,
    context: &Context,
) -> Result<Findings<B::Key>, Error> {
    let by_hand = rules.apps.iter().filter(|apps| apps.by_hand).flat_map(|apps| &apps.sources);
    let locate = |source: &SourceUrl| backend.locate(source, None).ok();
    if let Some(other) = by_hand.into_iter().find(|source| locate(source).is_none()) {
        let cause =
            format!("{} is no SOURCE of this kind of marketplace", redacted(other.as_str()));
        return Err(Error::new(ErrorKind::Usage, "the list of apps", cause));
    }
    let known: Option<HashSet<B::Key>> =
        rules.apps.as_ref().map(|apps| apps.sources.iter().filter_map(locate).collect());
    let not_located =
        rules.apps.iter().flat_map(|apps| &apps.ids).filter(|(_, source)| locate(source).is_none());
    let not_located: HashSet<AppId> = not_located.map(|(id, _)| *id).collect();
    let list_age = rules.apps.as_ref().map_or(Duration::ZERO, |apps| apps.age);
    let mut findings = Findings { garbage: Vec::new(), spared: 0 };
    let mut judge = |object: StoredObject<B::Key>| {
        let (reason, older_than) = match (object.state, &known) {
            (ObjectState::Staged, _) => (Reason::Unfinished, rules.older_than),
            (ObjectState::Published, Some(known)) if !known.contains(&object.key) => {
                if object.app.is_some_and(|app| not_located.contains(&app)) {
                    findings.spared += 1;
                    return;
                }
                (Reason::NoApp, rules.older_than.saturating_add(list_age))
            }
            (ObjectState::Published, _) => return,
        };
        if object.age < older_than || (object.busy && !rules.running) {
            findings.spared += 1;
        } else {
            findings.garbage.push((object, reason));
        }
    };
    match context.stop.or(backend.list(&mut judge)).await {
        // What is published has been told: objects without an app are found all the same.
        Err(error) if known.is_some() && error.kind == ErrorKind::Unsupported => {
            context.log.warn(format_args!(
                "unfinished imports cannot be listed, and were not looked for ({error})"
            ));
        }
        listed => listed?,
    }
    findings
        .garbage
        .sort_by_cached_key(|(object, _)| (object.place.clone(), object.key.to_string()));
    Ok(findings)
}

/// Removes an object that was found to be garbage.
///
/// # Errors
/// When it may still be there; [`ErrorKind::Cancelled`] when told to stop.
pub async fn remove<B: StorageBackend>(
    backend: &B,
    object: &StoredObject<B::Key>,
    context: &Context,
) -> Result<Deleted, Error> {
    context.stop.or(backend.remove(object)).await
}
