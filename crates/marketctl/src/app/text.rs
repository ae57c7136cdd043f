//! A VM template as names and texts, in their order: as JSON or YAML of a public marketplace, and in OpenNebula's syntax.

use market_core::error::{Error, ErrorKind};
use market_core::template::{Rules, WriteError, Writer};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// An attribute's value. There is nothing but text in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Single(String),
    Vector(Vec<(String, String)>),
    /// Several attributes of the same name.
    Vectors(Vec<Vec<(String, String)>>),
}

impl Value {
    pub(super) fn vector(pairs: &[(&str, &str)]) -> Self {
        Self::Vector(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }
}

/// Attributes in their order, upper-cased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(pub(super) Vec<(String, Value)>);

impl Attributes {
    /// Sets an attribute, in its place when it is there; the pairs of two vectors are joined, the new ones win.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let name = name.to_uppercase();
        match self.0.iter_mut().find(|(found, _)| *found == name) {
            None => self.0.push((name, value)),
            Some((_, Value::Vector(pairs))) if matches!(value, Value::Vector(_)) => {
                let Value::Vector(new) = value else { return };
                for (key, value) in new {
                    match pairs.iter_mut().find(|(found, _)| found.eq_ignore_ascii_case(&key)) {
                        Some((_, found)) => *found = value,
                        None => pairs.push((key, value)),
                    }
                }
            }
            Some((_, found)) => *found = value,
        }
    }

    /// In OpenNebula's syntax.
    pub(super) fn write(&self) -> Result<Vec<u8>, Error> {
        let refused = |error: WriteError| Error::new(ErrorKind::Config, "the template", error.to_string());
        let mut writer = Writer::new(Rules::Oned);
        for (name, value) in &self.0 {
            match value {
                Value::Single(text) => writer.single(name, text).map_err(refused)?,
                Value::Vector(pairs) => vector(&mut writer, name, pairs).map_err(refused)?,
                Value::Vectors(all) => {
                    for pairs in all {
                        vector(&mut writer, name, pairs).map_err(refused)?;
                    }
                }
            }
        }
        Ok(writer.finish())
    }
}

fn vector(writer: &mut Writer, name: &str, pairs: &[(String, String)]) -> Result<(), WriteError> {
    writer.vector(name, pairs.iter().map(|(key, value)| (key.to_uppercase(), value)))
}

struct Pairs<'a>(&'a [(String, String)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(&key.to_lowercase(), &escaped(value))?;
        }
        map.end()
    }
}

/// Public marketplaces hand values on as they are, inside of quotes.
fn escaped(text: &str) -> String {
    text.replace('"', "\\\"")
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            let name = name.to_lowercase();
            match value {
                Value::Single(text) => map.serialize_entry(&name, &escaped(text))?,
                Value::Vector(pairs) => map.serialize_entry(&name, &Pairs(pairs))?,
                Value::Vectors(all) => {
                    let all: Vec<Pairs<'_>> = all.iter().map(|pairs| Pairs(pairs)).collect();
                    map.serialize_entry(&name, &all)?;
                }
            }
        }
        map.end()
    }
}
