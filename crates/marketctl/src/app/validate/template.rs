//! The template of an entry.

use super::entry::Entry;
use super::problem::{Level, Problems, cut};
use super::service;
use crate::app::entry_template::unfit_between_quotes;
use serde_json::Value;
use std::collections::BTreeSet;

impl Problems {
    /// The field `opennebula_template`; `kind` is the type of the app.
    pub(super) fn template(&mut self, entry: &Entry, kind: &str) {
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
        let mut report = |level: Level, field: &str, problem: String| {
            self.add(level, &entry.file, &entry.label, field, problem);
        };
        if kind == "SERVICE_TEMPLATE" {
            let apps = entry.object.get("roles").and_then(Value::as_object);
            service::check(object, FIELD, apps, &mut report);
        } else if let Some((name, inputs)) =
            object.iter().find(|(name, _)| name.eq_ignore_ascii_case("user_inputs"))
        {
            service::inputs(inputs, &format!("{FIELD}.{name}"), &mut report);
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
}

/// A quote that is not escaped: the byte before it decides, and backslashes do not come in pairs.
fn has_bare_quote(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, &byte)| byte == b'"' && (at == 0 || bytes[at - 1] != b'\\'))
}
