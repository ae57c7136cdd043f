//! A VM template as names and texts, in their order.

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
}
