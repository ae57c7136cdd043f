//! The files of an entry: where its image is served, and what it is.

use super::entry::{Entry, Object};
use super::problem::Problems;
use crate::app::vocabulary::{IMAGE_TYPES, PREFIXES, is_public};
use market_core::checksum::Algorithm;
use serde_json::Value;

impl Problems {
    /// The list of files; `required` says that it is an app with exactly one.
    pub(super) fn files(&mut self, entry: &Entry, required: bool) {
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
        for (name, words) in [("type", &IMAGE_TYPES[..]), ("dev_prefix", &PREFIXES)] {
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
}
