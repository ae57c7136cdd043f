//! A VM template as names and texts, in their order: as JSON or YAML of a public marketplace, and
//! in OpenNebula's syntax.

use market_core::error::{Error, ErrorKind};
use market_core::template::{self, Rules, Template, WriteError, Writer};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

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
        Self::Vector(
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        )
    }
}

/// Attributes in their order, upper-cased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(pub(super) Vec<(String, Value)>);

impl Attributes {
    /// Sets an attribute, in its place when it is there; the pairs of two vectors are joined, the
    /// new ones win.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let name = name.to_ascii_uppercase();
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
            Some((_, Value::Vectors(all))) => all.first().cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        self.set(name, Value::vector(pairs));
        self.set(name, Value::Vector(given));
    }

    /// Whether an entry of a public marketplace can hold the values.
    pub(super) fn check_for_entry(&self) -> Result<(), Error> {
        for (name, value) in &self.0 {
            let texts: Vec<(String, &String)> = match value {
                Value::Single(text) => vec![(name.clone(), text)],
                Value::Vector(pairs) => {
                    pairs.iter().map(|(key, text)| (format!("{name}.{key}"), text)).collect()
                }
                Value::Vectors(all) => all
                    .iter()
                    .flatten()
                    .map(|(key, text)| (format!("{name}.{key}"), text))
                    .collect(),
            };
            if let Some((name, cause)) =
                texts.iter().find_map(|(name, text)| Some((name, unfit_for_entry(text)?)))
            {
                let cause = format!("{cause}, which no entry of a public marketplace can hold");
                return Err(Error::new(ErrorKind::Config, format!("template.{name}"), cause));
            }
        }
        Ok(())
    }

    /// As a template's text is read by OpenNebula.
    pub(super) fn read_template(text: &[u8]) -> Option<Meaning> {
        let template = Template::parse(text).ok()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mut found = Meaning::new();
        for attribute in template.iter() {
            let meant = match attribute.value() {
                template::Value::Single(value) => Meant::Single(text(value)?),
                template::Value::Vector(vector) => Meant::Vector(
                    vector
                        .iter()
                        .map(|(key, value)| Some((key.to_owned(), text(value)?)))
                        .collect::<Option<_>>()?,
                ),
            };
            found.entry(attribute.name().to_owned()).or_default().push(meant);
        }
        Some(found)
    }

    /// As the template of an entry is read by a marketplace's driver.
    pub(super) fn read_entry(template: &serde_json::Value) -> Option<Meaning> {
        let meant = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => Some(Meant::Single(unescaped(text))),
            serde_json::Value::Object(pairs) => Some(Meant::Vector(
                pairs
                    .iter()
                    .map(|(key, value)| {
                        Some((key.to_ascii_uppercase(), unescaped(value.as_str()?)))
                    })
                    .collect::<Option<_>>()?,
            )),
            _ => None,
        };
        let mut found = Meaning::new();
        for (name, value) in template.as_object()? {
            let values = match value {
                serde_json::Value::Array(items) => {
                    items.iter().map(meant).collect::<Option<Vec<_>>>()?
                }
                value => vec![meant(value)?],
            };
            found.entry(name.to_ascii_uppercase()).or_default().extend(values);
        }
        Some(found)
    }

    /// What the attributes mean, in whatever form they are written.
    pub(super) fn meaning(&self) -> Meaning {
        let vector = |pairs: &Vec<(String, String)>| {
            Meant::Vector(
                pairs.iter().map(|(key, text)| (key.to_ascii_uppercase(), text.clone())).collect(),
            )
        };
        let mut meaning = Meaning::new();
        for (name, value) in &self.0 {
            meaning.entry(name.clone()).or_default().extend(match value {
                Value::Single(text) => vec![Meant::Single(text.clone())],
                Value::Vector(pairs) => vec![vector(pairs)],
                Value::Vectors(all) => all.iter().map(vector).collect(),
            });
        }
        meaning
    }

    /// Compares what was read back from a form with what the attributes mean.
    ///
    /// # Errors
    /// Names the attribute that the form does not hold.
    pub(super) fn same_as(&self, found: Option<Meaning>, form: &str) -> Result<(), Error> {
        let unfit = |name: &str| {
            Error::new(
                ErrorKind::Config,
                format!("template{name}"),
                format!("{form} cannot hold it"),
            )
        };
        let (meant, found) = (self.meaning(), found.ok_or_else(|| unfit(""))?);
        let mut names = meant.keys().chain(found.keys());
        match names.find(|&name| meant.get(name) != found.get(name)) {
            Some(name) => Err(unfit(&format!(".{name}"))),
            None => Ok(()),
        }
    }

    /// In OpenNebula's syntax, read back and compared.
    pub(super) fn write(&self) -> Result<Vec<u8>, Error> {
        let refused =
            |error: WriteError| Error::new(ErrorKind::Config, "the template", error.to_string());
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
        let text = writer.finish();
        self.same_as(Self::read_template(&text), "a template")?;
        Ok(text)
    }
}

fn vector(writer: &mut Writer, name: &str, pairs: &[(String, String)]) -> Result<(), WriteError> {
    writer.vector(name, pairs.iter().map(|(key, value)| (key.to_ascii_uppercase(), value)))
}

/// Attributes by their names, those of one name in their order.
pub(super) type Meaning = BTreeMap<String, Vec<Meant>>;

/// What an attribute means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Single(String),
    Vector(BTreeMap<String, String>),
}

/// The letter case of names: repositories of marketplaces have lower case, what is served has upper
/// case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Lower,
    Upper,
}

impl Case {
    fn of(self, name: &str) -> String {
        match self {
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
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

/// Public marketplaces hand values on as they are, inside of quotes: there a quote is escaped by
/// the byte before it, and a backslash before anything else is itself.
fn escaped(text: &str) -> String {
    text.replace('"', "\\\"")
}

fn unescaped(text: &str) -> String {
    text.replace("\\\"", "\"")
}

/// Why no entry can hold a value, beyond what no template can.
fn unfit_for_entry(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("is empty"),
        text => unfit_between_quotes(text),
    }
}

/// Why a value cannot stand between quotes as it is: it would take the quote behind it along, or
/// end the template.
pub(super) fn unfit_between_quotes(text: &str) -> Option<&'static str> {
    match text {
        text if text.ends_with('\\') => Some("ends with a backslash"),
        text if text.contains("]]>") => Some("holds ]]>"),
        _ => None,
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts that have broken something somewhere.
    fn text() -> impl Strategy<Value = String> {
        let nasty = prop::sample::select(vec![
            "\"",
            "\\",
            "\\\"",
            "\\\\\"",
            "]]>",
            "]",
            "[",
            "=",
            ",",
            "\n",
            "\r",
            "\t",
            "\u{1}",
            "#",
            "'",
            "`",
            "$(x)",
            "{\"a\":\"b\"}",
            ": ",
            "- ",
            "? ",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "%",
            "@",
            "~",
            "null",
            "yes",
            "0x1f",
            "1_0",
            "12:30:45",
            "1e3",
            ".inf",
            "2026-11-25",
            "---",
            "...",
            "é",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{fffe}",
            "a",
            " ",
            "  ",
        ]);
        prop::collection::vec(nasty, 0..8).prop_map(|parts| parts.concat())
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        let name = || "[A-Z_][A-Z0-9_]{0,4}";
        let pairs = || {
            prop::collection::btree_map(name(), text(), 1..4)
                .prop_map(|pairs| pairs.into_iter().collect::<Vec<_>>())
        };
        let value = prop_oneof![
            text().prop_map(Value::Single),
            pairs().prop_map(Value::Vector),
            prop::collection::vec(pairs(), 1..3).prop_map(Value::Vectors),
        ];
        prop::collection::btree_map(name(), value, 1..5)
            .prop_map(|all| Attributes(all.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn every_form_means_the_same_or_is_refused_by_name(attributes in attributes()) {
            let names: Vec<&str> = attributes.0.iter().map(|(name, _)| name.as_str()).collect();
            let is_named = |error: &Error| {
                let text = error.to_string();
                names.iter().any(|name| text.contains(name))
            };
            match attributes.write() {
                Ok(text) => prop_assert!(attributes.same_as(Attributes::read_template(&text), "a template").is_ok()),
                Err(error) => {
                    prop_assert!(is_named(&error), "{error}");
                    return Ok(());
                }
            }
            if let Err(error) = attributes.check_for_entry() {
                prop_assert!(is_named(&error), "{error}");
                return Ok(());
            }
            let json = serde_json::to_string(&InEntry(&attributes, Case::Upper)).unwrap();
            let served = serde_json::from_str(&json).unwrap();
            prop_assert!(attributes.same_as(Attributes::read_entry(&served), "JSON").is_ok(), "{json}");
            let yaml = serde_saphyr::to_string(&InEntry(&attributes, Case::Lower)).unwrap();
            let written = serde_saphyr::from_str(&yaml).unwrap_or_default();
            prop_assert!(attributes.same_as(Attributes::read_entry(&written), "YAML").is_ok(), "{yaml}");
        }
    }

    #[test]
    fn what_differs_is_named() {
        let attributes = Attributes(vec![("A".to_owned(), Value::Single("x".to_owned()))]);
        for other in
            ["A=\"y\"\n", "A=[B=\"x\"]\n", "B=\"x\"\n", "A=\"x\"\nA=\"x\"\n", "A=\"x\"\nB=\"\"\n"]
        {
            let error = attributes
                .same_as(Attributes::read_template(other.as_bytes()), "a template")
                .unwrap_err();
            assert!(error.to_string().starts_with("template."), "{error}");
        }
        assert!(attributes.same_as(Attributes::read_template(b"A=\"x\"\n"), "a template").is_ok());
    }
}
