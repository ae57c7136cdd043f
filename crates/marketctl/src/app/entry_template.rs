//! A VM template as JSON or YAML in an entry of a public marketplace.

use super::attributes::{Attributes, Value};
use super::meaning::{Meaning, Meant};
use market_core::error::{Error, ErrorKind};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

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

/// Attributes as an entry of a public marketplace has them, serialized.
pub(super) struct InEntry<'a>(pub(super) &'a Attributes, pub(super) Case);

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

/// A value as readers of public marketplaces hand it on: as it is, between quotes. There a quote is
/// escaped by the byte before it, and a backslash before anything else is itself.
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

/// Why a value cannot stand between quotes as it is: it would escape the closing quote, or end the
/// template's CDATA section.
pub(super) fn unfit_between_quotes(text: &str) -> Option<&'static str> {
    match text {
        text if text.ends_with('\\') => Some("ends with a backslash"),
        text if text.contains("]]>") => Some("holds ]]>"),
        _ => None,
    }
}

impl Attributes {
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

    /// What the template of an entry means to a marketplace's driver; `None` if it is none.
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
                Ok(text) => {
                    let read = Attributes::read_template(&text);
                    prop_assert!(attributes.same_as(read, "a template").is_ok());
                }
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
            let read = Attributes::read_entry(&served);
            prop_assert!(attributes.same_as(read, "JSON").is_ok(), "{json}");
            let yaml = serde_saphyr::to_string(&InEntry(&attributes, Case::Lower)).unwrap();
            let written = serde_saphyr::from_str(&yaml).unwrap_or_default();
            let read = Attributes::read_entry(&written);
            prop_assert!(attributes.same_as(read, "YAML").is_ok(), "{yaml}");
        }
    }
}
