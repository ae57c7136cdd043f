//! Entries in files: one, a list, or an object with the list `appliances`; JSON or YAML.

use super::entry::{Entry, Object};
use super::problem::{Level, Problems, cut};
use crate::app::vocabulary::is_uuid;
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use serde_json::Value;
use std::path::Path;

/// The most entries that are validated together: a hundred times what the public marketplaces have.
const MAX_ENTRIES: usize = 20_000;

/// Adds the entries in a file.
pub(super) fn read(
    path: &Path,
    entries: &mut Vec<Entry>,
    problems: &mut Problems,
) -> Result<(), Error> {
    const COMMON_FIELDS: [&str; 4] = ["name", "publisher", "version", "opennebula_version"];
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
        if !COMMON_FIELDS.iter().any(|field| object.contains_key(*field)) {
            let problem = format!("is no entry: it has none of {}", COMMON_FIELDS.join(", "));
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
                "differs from the UUID that the file is named by: id counts",
            );
        }
        entries.push(Entry { file: file.clone(), label, id: id.or(named), object, is_yaml });
    }
    Ok(())
}

/// The items of a file that should be entries.
fn items(path: &Path, is_yaml: bool) -> Result<Vec<Value>, Error> {
    let (file, text) = (path.display().to_string(), crate::app::read(path)?);
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

/// The id in an entry, whatever it is, and the UUID that the file of a YAML entry is named by.
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
