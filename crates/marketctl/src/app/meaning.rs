//! What a template means, whatever form it is written in: forms are read back and compared by it.

use super::attributes::{Attributes, Value};
use market_core::error::{Error, ErrorKind};
use std::collections::BTreeMap;

/// Attributes by their names, those of one name in their order.
pub(super) type Meaning = BTreeMap<String, Vec<Meant>>;

/// What an attribute means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Single(String),
    Vector(BTreeMap<String, String>),
}

impl Attributes {
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
}
