//! An entry of a public marketplace as it was read.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(super) type Object = Map<String, Value>;

/// An entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// The file that it was read from.
    pub(super) file: String,
    /// Its name, or its place in the file, for messages.
    pub(super) label: String,
    pub(super) id: Option<String>,
    pub(super) object: Object,
    /// It is in the form of a marketplace's repository (YAML), not as it is served (JSON).
    pub(super) is_yaml: bool,
}

impl Entry {
    /// The text of a field; `None` when it is missing or something else.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.object.get(field).and_then(Value::as_str)
    }

    /// Its name; empty when it has none.
    pub(super) fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    /// The field of its id.
    pub(super) fn id_field(&self) -> &'static str {
        if self.is_yaml { "id" } else { "_id" }
    }

    /// The release series that the entry is for, each once. A number is taken for one too: YAML
    /// makes one of `7.0`.
    pub(super) fn series(&self) -> BTreeSet<String> {
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

    /// The apps that it consists of: the field that names each, and its name.
    pub(super) fn references(&self) -> Vec<(&'static str, &str)> {
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
