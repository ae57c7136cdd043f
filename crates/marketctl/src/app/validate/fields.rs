//! The fields of an entry.

use super::entry::Entry;
use super::problem::Problems;
use crate::app::entry_template::unfit_between_quotes;
use crate::app::vocabulary::{ARCHITECTURES, HYPERVISORS, is_series, is_uuid};
use market_core::report::is_valid_app_name;
use serde_json::Value;

impl Problems {
    /// Checks an entry by itself.
    pub(super) fn check(&mut self, entry: &Entry) {
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

    /// A field that must be a text and not empty.
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

    /// A field that is no text. A number has lost its form: `6.10` has become 6.1.
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

    /// Fields whose words are given.
    fn vocabulary(&mut self, entry: &Entry) {
        match entry.object.get("os-arch") {
            None | Some(Value::Null) => {}
            Some(Value::String(arch)) if ARCHITECTURES.contains(&arch.as_str()) => {}
            Some(Value::String(arch)) if matches!(arch.as_str(), "amd64" | "arm64") => {
                self.warn(
                    entry,
                    "os-arch",
                    format!("{arch:?} is an old word: x86_64 or aarch64 is meant"),
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
}
