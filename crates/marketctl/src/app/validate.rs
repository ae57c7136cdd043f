//! `marketctl app validate`: entries of public marketplaces, as they are served (JSON) and as they
//! are written (YAML).

use super::description::{ARCHITECTURES, HYPERVISORS, KINDS, PREFIXES, is_public, is_series};
use super::entry::is_uuid;
use super::service;
use super::text::unfit_between_quotes;
use crate::cli::Format;
use crate::image::json;
use market_core::checksum::Algorithm;
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use market_core::report::is_valid_app_name;
use market_core::runtime::print;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Level {
    Error,
    Warn,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize)]
struct Problem {
    level: Level,
    file: String,
    entry: String,
    field: String,
    problem: String,
}

type Object = Map<String, Value>;

/// The most entries that are looked at together: a hundred times what there is.
const MAX_ENTRIES: usize = 20_000;

/// The most problems that are told, and the most characters that are said about each.
const MAX_PROBLEMS: usize = 5_000;
const MAX_CHARACTERS: usize = 400;

struct Entry {
    file: String,
    /// Its name, or its place in the file, as it is told.
    label: String,
    id: Option<String>,
    object: Object,
    /// As it is written, not as it is served.
    is_yaml: bool,
}

pub(super) fn validate(files: &[PathBuf], format: Format) -> Result<bool, Error> {
    let mut entries = Vec::new();
    let mut problems = Problems::default();
    for file in files {
        read(file, &mut entries, &mut problems)?;
    }
    for entry in &entries {
        problems.look_at(entry);
    }
    problems.across(&entries);
    let Problems { found: mut problems, untold } = problems;
    problems.sort_by(|one, other| {
        (&one.file, &one.entry, one.level).cmp(&(&other.file, &other.entry, other.level))
    });
    let errors = problems.iter().filter(|problem| problem.level == Level::Error).count();
    let text = match format {
        Format::Json => json(&problems)?,
        Format::Table => {
            let mut text = String::new();
            for Problem { level, file, entry, field, problem } in &problems {
                let level = if *level == Level::Error { "ERROR" } else { "WARN " };
                let field = if field.is_empty() { String::new() } else { format!("{field} ") };
                text.push_str(&one_line(&format!("{level} {file}: {entry}: {field}{problem}")));
                text.push('\n');
            }
            let warnings = problems.len() - errors;
            if untold > 0 {
                text.push_str(&format!("ERROR {untold} more problems are not told\n"));
            }
            text.push_str(&format!(
                "{} entries, {errors} errors, {warnings} warnings\n",
                entries.len()
            ));
            text
        }
    };
    print(text.as_bytes())?;
    Ok(errors == 0 && untold == 0)
}

fn read(path: &Path, entries: &mut Vec<Entry>, problems: &mut Problems) -> Result<(), Error> {
    const OF_EVERY_ENTRY: [&str; 4] = ["name", "publisher", "version", "opennebula_version"];
    let is_yaml =
        path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let (file, list) = (path.display().to_string(), items(path, is_yaml)?);
    if entries.len() + list.len() > MAX_ENTRIES {
        let cause = format!("brings more than {MAX_ENTRIES} entries together");
        return Err(Error::new(ErrorKind::Config, file, cause));
    }
    for (item, number) in list.into_iter().zip(1..) {
        let place = format!("entry {number}");
        let Value::Object(object) = item else {
            problems.add(Level::Error, &file, &place, "", "is no object");
            continue;
        };
        if !OF_EVERY_ENTRY.iter().any(|field| object.contains_key(*field)) {
            let problem = format!("is no entry: it has none of {}", OF_EVERY_ENTRY.join(", "));
            problems.add(Level::Error, &file, &place, "", problem);
            continue;
        }
        let label = object.get("name").and_then(Value::as_str).map_or(place, cut);
        let (id, named) = ids(&object, path, is_yaml);
        if let (Some(id), Some(named)) = (&id, &named)
            && !named.eq_ignore_ascii_case(id)
        {
            problems.add(
                Level::Warn,
                &file,
                &label,
                "id",
                "is not the UUID that the file is named by: id counts",
            );
        }
        entries.push(Entry { file: file.clone(), label, id: id.or(named), object, is_yaml });
    }
    Ok(())
}

/// What a file holds that should be entries.
fn items(path: &Path, is_yaml: bool) -> Result<Vec<Value>, Error> {
    let (file, text) = (path.display().to_string(), super::read(path)?);
    let malformed = |cause: String| Error::new(ErrorKind::Config, &file, one_line(&cause));
    let document: Value = if is_yaml {
        serde_saphyr::from_str(&text).map_err(|error| malformed(yaml_cause(&error)))?
    } else {
        serde_json::from_str(&text).map_err(|error| malformed(format!("is no JSON: {error}")))?
    };
    match document {
        Value::Array(list) => Ok(list),
        Value::Object(mut object) => match object.remove("appliances") {
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(malformed("appliances is no list".to_owned())),
            None => Ok(vec![Value::Object(object)]),
        },
        _ => Err(malformed("holds no entries".to_owned())),
    }
}

/// The id that an entry says, whatever it is, and the UUID that the file of a written one is named
/// by.
fn ids(object: &Object, path: &Path, is_yaml: bool) -> (Option<String>, Option<String>) {
    if !is_yaml {
        let id = object.get("_id").and_then(|id| id.get("$oid")).and_then(Value::as_str);
        return (id.map(str::to_owned), None);
    }
    let id = object.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    (id, stem.filter(|stem| is_uuid(stem)))
}

/// What is wrong with a YAML document, in a sentence of ours: the library's own are for its users.
fn yaml_cause(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    let cause = match error.without_snippet() {
        Yaml::Budget { .. }
        | Yaml::AliasReplayCounterOverflow { .. }
        | Yaml::AliasReplayLimitExceeded { .. }
        | Yaml::AliasExpansionLimitExceeded { .. }
        | Yaml::AliasReplayStackDepthExceeded { .. } => {
            "it is larger or deeper than any entry, or multiplies itself by aliases"
        }
        Yaml::DuplicateMappingKey { .. } => "a key stands twice in one map",
        Yaml::UnknownAnchor { .. } => "an alias names an anchor that is nowhere",
        Yaml::Eof { .. } => "there is nothing in it",
        Yaml::MultipleDocuments { .. } => "there is more than one document in it",
        _ => "its quotes, colons or indentation make no sense there",
    };
    match error.location() {
        Some(place) if place.line() > 0 => {
            format!(
                "is no YAML of an entry at line {}, column {}: {cause}",
                place.line(),
                place.column()
            )
        }
        _ => format!("is no YAML of an entry: {cause}"),
    }
}

#[derive(Default)]
struct Problems {
    found: Vec<Problem>,
    /// How many there are besides.
    untold: usize,
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

impl Problems {
    fn add(
        &mut self,
        level: Level,
        file: &str,
        entry: &str,
        field: &str,
        problem: impl Into<String>,
    ) {
        if self.found.len() == MAX_PROBLEMS {
            self.untold += 1;
            return;
        }
        let (file, entry, field, problem) =
            (file.to_owned(), cut(entry), cut(field), cut(&problem.into()));
        self.found.push(Problem { level, file, entry, field, problem });
    }

    fn error(&mut self, entry: &Entry, field: &str, problem: impl Into<String>) {
        self.add(Level::Error, &entry.file, &entry.label, field, problem);
    }

    fn warn(&mut self, entry: &Entry, field: &str, problem: impl Into<String>) {
        self.add(Level::Warn, &entry.file, &entry.label, field, problem);
    }

    /// One entry by itself.
    fn look_at(&mut self, entry: &Entry) {
        match &entry.id {
            Some(id) if is_uuid(id) => {}
            Some(id) => self.error(entry, entry.id_field(), format!("{id:?} is no UUID")),
            None if entry.is_yaml => {
                self.error(entry, "id", "is missing, and the file is not named by a UUID")
            }
            None => self.error(entry, "_id", "is missing"),
        }
        for field in [
            "name",
            "version",
            "publisher",
            "description",
            "short_description",
            "opennebula_version",
        ] {
            self.text(entry, field);
        }
        for field in ["type", "format", "logo", "os-id", "os-release"] {
            match entry.object.get(field) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(value) => self.no_text(entry, field, value),
            }
        }
        if entry
            .text("name")
            .is_some_and(|name| !name.trim().is_empty() && !is_valid_app_name(name))
        {
            self.error(entry, "name", "is none that OpenNebula gives an app");
        }
        for series in entry.series().into_iter().filter(|series| !is_series(series)) {
            self.error(
                entry,
                "opennebula_version",
                format!("holds {series:?}, which no client asks for"),
            );
        }
        let kind = entry.text("type").unwrap_or("IMAGE");
        match entry.object.get("tags") {
            Some(Value::Array(tags)) if tags.iter().all(Value::is_string) => {}
            Some(_) => self.error(entry, "tags", "is no list of texts"),
            None => self.error(entry, "tags", "is missing"),
        }
        match entry.object.get("creation_time") {
            Some(Value::Number(time)) if time.is_u64() => {}
            Some(_) => self.error(entry, "creation_time", "is no number of seconds since 1970"),
            None => self.error(entry, "creation_time", "is missing"),
        }
        self.vocabulary(entry);
        self.template(entry, kind);
        match kind {
            "IMAGE" => self.files(entry, true),
            "VMTEMPLATE" | "SERVICE_TEMPLATE" => {
                self.files(entry, false);
                self.parts(entry, kind);
            }
            other => self.error(
                entry,
                "type",
                format!("{other:?} is none of IMAGE, VMTEMPLATE, SERVICE_TEMPLATE"),
            ),
        }
    }

    fn text(&mut self, entry: &Entry, field: &str) {
        match entry.object.get(field) {
            Some(Value::String(text)) if !text.trim().is_empty() => {}
            Some(Value::String(_)) => self.error(entry, field, "is empty"),
            Some(value) => self.no_text(entry, field, value),
            None => self.error(entry, field, "is missing"),
        }
        if !matches!(field, "name" | "description")
            && let Some(cause) = entry.text(field).and_then(unfit_between_quotes)
        {
            self.error(entry, field, format!("{cause}: drivers hand it on between quotes"));
        }
    }

    /// A number has lost its form: 6.10 has become 6.1.
    fn no_text(&mut self, entry: &Entry, field: &str, value: &Value) {
        match value {
            Value::Number(number) => {
                self.warn(
                    entry,
                    field,
                    format!("is the number {number}, where a text is meant: put it in quotes"),
                );
            }
            Value::Bool(_) => self.warn(
                entry,
                field,
                format!("is {value}, where a text is meant: put it in quotes"),
            ),
            _ => self.error(entry, field, "is no text"),
        }
    }

    fn vocabulary(&mut self, entry: &Entry) {
        match entry.object.get("os-arch") {
            None | Some(Value::Null) => {}
            Some(Value::String(arch)) if ARCHITECTURES.contains(&arch.as_str()) => {}
            Some(Value::String(arch)) if matches!(arch.as_str(), "amd64" | "arm64") => {
                self.warn(
                    entry,
                    "os-arch",
                    format!("{arch:?} is what older entries say for x86_64 and aarch64"),
                );
            }
            Some(arch) => {
                self.error(entry, "os-arch", format!("{arch} is none of x86_64, aarch64, all"))
            }
        }
        match entry.object.get("hypervisor") {
            Some(Value::String(name))
                if HYPERVISORS.iter().any(|known| known.eq_ignore_ascii_case(name)) => {}
            // Readers take it for kvm.
            Some(Value::String(name)) if name.is_empty() => {
                self.warn(entry, "hypervisor", "is empty")
            }
            Some(Value::Null) => self.warn(entry, "hypervisor", "is null"),
            Some(name) => self.error(
                entry,
                "hypervisor",
                format!("{name} is none of {}", HYPERVISORS.join(", ")),
            ),
            None => self.error(entry, "hypervisor", "is missing"),
        }
        match entry.text("format") {
            None | Some("qcow2" | "raw" | "qcow") => {}
            Some(other) => self.error(entry, "format", format!("{other:?} is none of qcow2, raw")),
        }
    }

    fn template(&mut self, entry: &Entry, kind: &str) {
        const FIELD: &str = "opennebula_template";
        let parsed = match entry.object.get(FIELD) {
            None | Some(Value::Null) => {
                if kind != "IMAGE" {
                    self.error(entry, FIELD, "is missing");
                }
                return;
            }
            Some(Value::String(text)) if !entry.is_yaml || kind == "SERVICE_TEMPLATE" => {
                match serde_json::from_str::<Value>(text) {
                    Ok(value) => value,
                    Err(error) => return self.error(entry, FIELD, format!("is no JSON: {error}")),
                }
            }
            Some(value @ Value::Object(_)) if entry.is_yaml => value.clone(),
            Some(_) => {
                return self.error(
                    entry,
                    FIELD,
                    if entry.is_yaml { "is no map" } else { "is no text" },
                );
            }
        };
        let Some(object) = parsed.as_object() else {
            return self.error(entry, FIELD, "is no object");
        };
        // A service's template is JSON for OneFlow, and stays that.
        if kind != "SERVICE_TEMPLATE" {
            self.leaves(entry, FIELD, &parsed, 0);
        }
        let mut tell = |level: Level, field: &str, problem: String| {
            self.add(level, &entry.file, &entry.label, field, problem);
        };
        if kind == "SERVICE_TEMPLATE" {
            let apps = entry.object.get("roles").and_then(Value::as_object);
            service::look_at(object, FIELD, apps, &mut tell);
        } else if let Some((name, inputs)) =
            object.iter().find(|(name, _)| name.eq_ignore_ascii_case("user_inputs"))
        {
            service::inputs(inputs, &format!("{FIELD}.{name}"), &mut tell);
        }
    }

    /// Values of a VM template are texts, and stand between quotes as they are; it is attributes,
    /// vectors, and lists of vectors.
    fn leaves(&mut self, entry: &Entry, path: &str, value: &Value, depth: usize) {
        match value {
            Value::Object(object) => {
                if depth > 1 {
                    self.error(entry, path, "is a vector in a vector, which no template holds");
                }
                if object.is_empty() {
                    self.warn(entry, path, "is empty: OpenNebula drops it");
                }
                let mut known = BTreeSet::new();
                for (key, value) in object {
                    if !known.insert(key.to_ascii_uppercase()) {
                        self.error(
                            entry,
                            path,
                            format!("{key:?} stands there twice, in another letter case"),
                        );
                    }
                    let mut bytes = key.bytes();
                    let begins =
                        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                    if !begins || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                        self.error(entry, path, format!("{key:?} is no name of an attribute"));
                    }
                    self.leaves(entry, &cut(&format!("{path}.{}", cut(key))), value, depth + 1);
                }
            }
            Value::Array(items) if depth == 1 && items.iter().all(Value::is_object) => {
                items.iter().for_each(|item| self.leaves(entry, path, item, depth));
            }
            Value::Array(_) => {
                self.error(entry, path, "is a list, and only vectors are listed in a template")
            }
            Value::String(text) if has_bare_quote(text) => {
                self.error(
                    entry,
                    path,
                    "holds a quote without a backslash before it, which ends the value",
                );
            }
            Value::String(text) => {
                if let Some(cause) = unfit_between_quotes(text) {
                    self.error(entry, path, format!("{cause}: what follows is lost"));
                }
            }
            Value::Null => self.warn(entry, path, "is null: OpenNebula gets nothing of it"),
            other => self.warn(entry, path, format!("is {other}, where a text is meant")),
        }
    }

    /// What an app is made of: a list of names, or names of roles.
    fn parts(&mut self, entry: &Entry, kind: &str) {
        let (field, sound) = if kind == "VMTEMPLATE" {
            let list = entry.object.get("disks").and_then(Value::as_array);
            (
                "disks",
                list.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string)),
            )
        } else {
            let map = entry.object.get("roles").and_then(Value::as_object);
            ("roles", map.is_some_and(|map| !map.is_empty() && map.values().all(Value::is_string)))
        };
        if !sound {
            let form = if field == "disks" { "a list of names" } else { "a map of roles to names" };
            self.error(entry, field, format!("is not {form}"));
        }
    }

    fn files(&mut self, entry: &Entry, required: bool) {
        let field = if entry.is_yaml { "images" } else { "files" };
        let files = match entry.object.get(field) {
            Some(Value::Array(files)) => files,
            None | Some(Value::Null) if !required => return,
            None | Some(Value::Null) => return self.error(entry, field, "is missing"),
            Some(_) => return self.error(entry, field, "is no list"),
        };
        if required && files.len() != 1 {
            self.error(entry, field, format!("has {} items, where an image is one", files.len()));
        }
        for file in files {
            match file.as_object() {
                Some(file) => self.file(entry, field, file),
                None => self.error(entry, field, "holds what is no object"),
            }
        }
    }

    fn file(&mut self, entry: &Entry, field: &str, file: &Object) {
        let text =
            |name: &str| file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let at = |name: &str| format!("{field}.{name}");
        if !text("url").is_some_and(is_public) {
            self.error(entry, &at("url"), "is no http or https URL, or holds a user's name");
        }
        if text("name").is_none() {
            self.error(entry, &at("name"), "is missing");
        }
        for (name, words) in [("type", &KINDS[..]), ("dev_prefix", &PREFIXES)] {
            if !text(name).is_some_and(|text| words.contains(&text)) {
                self.error(entry, &at(name), format!("is none of {}", words.join(", ")));
            }
        }
        if file.get("size").and_then(Value::as_u64).unwrap_or_default() == 0 {
            self.error(entry, &at("size"), "is no number of bytes");
        }
        let checksum = |name: &str| {
            file.get("checksum").and_then(|checksum| checksum.get(name)).and_then(Value::as_str)
        };
        for (name, algorithm) in [("md5", Algorithm::Md5), ("sha256", Algorithm::Sha256)] {
            let field = at(&format!("checksum.{name}"));
            match checksum(name).map(|text| algorithm.parse(text)) {
                Some(Ok(_)) => {}
                Some(Err(malformed)) => self.error(entry, &field, format!("is {malformed}")),
                None => self.error(entry, &field, "is missing"),
            }
        }
        if let (Some(one), Some(other)) = (text("md5"), checksum("md5"))
            && one != other
        {
            self.error(entry, &at("md5"), "is not what checksum.md5 is");
        }
        for name in ["format", "driver"] {
            if let (Some(of_file), Some(of_entry)) = (text(name), entry.text("format"))
                && of_file != of_entry
            {
                self.warn(entry, &at(name), format!("is {of_file:?}, and format is {of_entry:?}"));
            }
        }
    }

    /// What entries are to each other.
    fn across(&mut self, entries: &[Entry]) {
        let mut ids: BTreeMap<&str, &Entry> = BTreeMap::new();
        let mut names: BTreeMap<(String, &str), &Entry> = BTreeMap::new();
        for entry in entries {
            if let Some(id) = entry.id.as_deref()
                && let Some(other) = ids.insert(id, entry)
            {
                self.error(
                    entry,
                    entry.id_field(),
                    format!("is that of {:?} in {} too", other.label, other.file),
                );
            }
            for series in entry.series().into_iter().filter(|_| !entry.name().is_empty()) {
                if let Some(other) = names.insert((series.clone(), entry.name()), entry)
                    && !std::ptr::eq(other, entry)
                {
                    self.error(
                        entry,
                        "name",
                        format!("is another entry's too in the series {series}"),
                    );
                }
            }
        }
        let known: BTreeSet<&str> = entries.iter().map(Entry::name).collect();
        for entry in entries {
            for (field, wanted) in entry.references() {
                if wanted == entry.name() {
                    self.error(entry, field, "names the entry itself");
                }
                let is_there = |series: &String| names.contains_key(&(series.clone(), wanted));
                let missing: Vec<String> =
                    entry.series().into_iter().filter(|series| !is_there(series)).collect();
                if !known.contains(wanted) {
                    self.error(
                        entry,
                        field,
                        format!("names {wanted:?}, which none of the files has"),
                    );
                } else if !missing.is_empty() {
                    let series = missing.join(", ");
                    self.error(
                        entry,
                        field,
                        format!("names {wanted:?}, which is not there for the series {series}"),
                    );
                }
            }
        }
    }
}

/// A quote that is not escaped: the byte before it decides, and backslashes do not come in pairs.
fn has_bare_quote(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, &byte)| byte == b'"' && (at == 0 || bytes[at - 1] != b'\\'))
}

impl Entry {
    fn text(&self, field: &str) -> Option<&str> {
        self.object.get(field).and_then(Value::as_str)
    }

    /// Its name; nothing, when it has none.
    fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    /// Where its id stands.
    fn id_field(&self) -> &'static str {
        if self.is_yaml { "id" } else { "_id" }
    }

    /// The release series that the entry is for, each once; a number is one too.
    fn series(&self) -> BTreeSet<String> {
        let all = match self.object.get("opennebula_version") {
            Some(Value::String(text)) => text.clone(),
            Some(number @ Value::Number(_)) => number.to_string(),
            _ => String::new(),
        };
        all.split(',')
            .map(str::trim)
            .filter(|series| !series.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The apps that it is made of.
    fn references(&self) -> Vec<(&'static str, &str)> {
        let mut found = Vec::new();
        if let Some(Value::Array(disks)) = self.object.get("disks") {
            found.extend(disks.iter().filter_map(Value::as_str).map(|name| ("disks", name)));
        }
        if let Some(Value::Object(roles)) = self.object.get("roles") {
            found.extend(roles.values().filter_map(Value::as_str).map(|name| ("roles", name)));
        }
        found
    }
}
