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

    /// Adds the pairs that a vector lacks.
    pub(super) fn complete(&mut self, name: &str, pairs: &[(&str, &str)]) {
        let given = match self.0.iter().find(|(found, _)| found == name) {
            Some((_, Value::Vector(given))) => given.clone(),
            _ => Vec::new(),
        };
        self.set(name, Value::vector(pairs));
        self.set(name, Value::Vector(given));
    }

    /// Whether an entry of a public marketplace can hold the values.
    pub(super) fn check_for_entry(&self) -> Result<(), Error> {
        let unfit = |text: &String| !fits_entry(text);
        for (name, value) in &self.0 {
            let found = match value {
                Value::Single(text) => unfit(text),
                Value::Vector(pairs) => pairs.iter().any(|(_, text)| unfit(text)),
                Value::Vectors(all) => all.iter().flatten().any(|(_, text)| unfit(text)),
            };
            if found {
                let cause = "ends with a backslash or holds ]]>, which no entry of a public marketplace can hold";
                return Err(Error::new(ErrorKind::Config, format!("template.{name}"), cause));
            }
        }
        Ok(())
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

/// The letter case of names: repositories of marketplaces have lower case, what is served has upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
}

impl Case {
    fn of(self, name: &str) -> String {
        match self {
            Self::Lower => name.to_lowercase(),
            Self::Upper => name.to_uppercase(),
        }
    }
}

struct Pairs<'a>(&'a [(String, String)], Case);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(&self.1.of(key), &escaped(value))?;
        }
        map.end()
    }
}

/// Attributes as an entry of a public marketplace has them.
pub(super) struct InEntry<'a>(pub(super) &'a Attributes, pub(super) Case);

/// Public marketplaces hand values on as they are, inside of quotes: a quote is escaped by the byte before it, and nothing else is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut last = ' ';
    for c in text.chars() {
        if c == '"' && last != '\\' {
            escaped.push('\\');
        }
        escaped.push(c);
        last = c;
    }
    escaped
}

/// What no entry can hold: its value would take the quote behind it along.
pub(super) fn fits_entry(text: &str) -> bool {
    !text.ends_with('\\') && !text.contains("]]>")
}

impl Serialize for InEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(attributes, case) = *self;
        let mut map = serializer.serialize_map(Some(attributes.0.len()))?;
        for (name, value) in &attributes.0 {
            let name = case.of(name);
            match value {
                Value::Single(text) => map.serialize_entry(&name, &escaped(text))?,
                Value::Vector(pairs) => map.serialize_entry(&name, &Pairs(pairs, case))?,
                Value::Vectors(all) => {
                    let all: Vec<Pairs<'_>> = all.iter().map(|pairs| Pairs(pairs, case)).collect();
                    map.serialize_entry(&name, &all)?;
                }
            }
        }
        map.end()
    }
}
