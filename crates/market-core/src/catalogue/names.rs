//! Names of apps: fit for `oned`, with a prefix, each only once.

use super::value::is_unprintable;
use crate::report::is_valid_app_name;
use serde::de::{Deserializer, Error as _};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use thiserror::Error;

/// Makes a name that `oned` takes as it is, of at most 128 bytes: characters that it does not take
/// become hyphens. `None` when nothing is left of it.
///
/// ```
/// assert_eq!(market_core::catalogue::valid_name(" a: \"b\"\n").unwrap(), "a- -b");
/// ```
pub fn valid_name(name: &str) -> Option<String> {
    let taken: String = name
        .chars()
        .map(|c| {
            if is_valid_app_name(c.encode_utf8(&mut [0; 4])) && !is_unprintable(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    // A name that is valid keeps hyphens at its ends.
    if taken == name && is_valid_app_name(name) && name.trim() == name {
        return Some(taken);
    }
    let valid = truncated(taken.trim_matches(|c| c == '-' || c == ' '), MAX_NAME_BYTES);
    is_valid_app_name(valid).then(|| valid.to_owned())
}

/// The longest name of an app that `oned` takes, in bytes.
const MAX_NAME_BYTES: usize = 128;

fn truncated(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end()
}

/// Why no name of an app can begin with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NamePrefixError {
    /// It is longer than 48 bytes.
    #[error("is longer than 48 bytes")]
    TooLong,
    /// It holds a character that `oned` refuses in names.
    #[error(
        "holds what no name of an app can: & | : \\ \" ; / ' # {{ }} $ < > or a control character"
    )]
    InvalidCharacter,
}

/// The attribute `APP_NAME_PREFIX`: what the names of a marketplace's apps begin with. `oned` knows
/// an app by its name across all marketplaces (docs/driver-contract.md section 4), so two
/// marketplaces that offer the same names need prefixes.
///
/// ```
/// use market_core::catalogue::NamePrefix;
///
/// let prefix = NamePrefix::new("lab-")?;
/// assert_eq!(prefix.name("Alpine: 3.22").unwrap(), "lab-Alpine- 3.22");
/// assert_eq!(NamePrefix::default().name("Alpine").unwrap(), "Alpine");
/// assert!(NamePrefix::new("a/b").is_err());
/// # Ok::<(), market_core::catalogue::NamePrefixError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePrefix(String);

/// The longest prefix, in bytes: enough of the 128 bytes stays for the app's own name.
const MAX_PREFIX_BYTES: usize = 48;

impl NamePrefix {
    /// A prefix of at most 48 bytes; blanks around it are removed, an empty one changes nothing.
    ///
    /// # Errors
    /// Why no name can begin with it.
    pub fn new(prefix: &str) -> Result<Self, NamePrefixError> {
        let prefix = prefix.trim();
        if prefix.len() > MAX_PREFIX_BYTES {
            return Err(NamePrefixError::TooLong);
        }
        if !prefix.is_empty() && (!is_valid_app_name(prefix) || prefix.contains(is_unprintable)) {
            return Err(NamePrefixError::InvalidCharacter);
        }
        Ok(Self(prefix.to_owned()))
    }

    /// The prefix and a name as [`valid_name`] makes it, truncated to 128 bytes; `None` when
    /// nothing is left of the name.
    pub fn name(&self, name: &str) -> Option<String> {
        let name = valid_name(name)?;
        if self.0.is_empty() {
            return Some(name);
        }
        Some(truncated(&format!("{}{name}", self.0), MAX_NAME_BYTES).to_owned())
    }
}

impl<'de> serde::Deserialize<'de> for NamePrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

/// What [`unique_names`] needs to know of an entry of a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    id: &'a str,
    name: &'a str,
    created: i64,
}

impl<'a> Entry<'a> {
    /// An entry by its id in the catalogue, its name as [`valid_name`] makes it, and when it was
    /// made, in seconds since 1970 (0 when that is not known).
    pub fn new(id: &'a str, name: &'a str, created: i64) -> Self {
        Self { id, name, created }
    }
}

/// The names under which apps are reported, in the order of the entries: `oned` would take two
/// entries of one name for one app. Of entries with equal names the oldest (by time, then id) keeps
/// the name, the others get their id appended. `None` where that name is taken too.
///
/// ```
/// use market_core::catalogue::{Entry, unique_names};
///
/// let names = unique_names(&[Entry::new("b2", "Alpine", 20), Entry::new("a1", "Alpine", 10)]);
/// assert_eq!(names, [Some("Alpine b2".to_owned()), Some("Alpine".to_owned())]);
/// ```
pub fn unique_names(entries: &[Entry<'_>]) -> Vec<Option<String>> {
    let mut oldest: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let first = oldest.entry(entry.name).or_insert(index);
        if (entry.created, entry.id) < (entries[*first].created, entries[*first].id) {
            *first = index;
        }
    }
    let mut taken: HashSet<String> = oldest.keys().map(|name| (*name).to_owned()).collect();
    let name = |(index, entry): (usize, &Entry<'_>)| {
        if oldest[entry.name] == index {
            return Some(entry.name.to_owned());
        }
        let id = truncated(entry.id, 64);
        let name = format!("{} {id}", truncated(entry.name, MAX_NAME_BYTES - id.len() - 1));
        (is_valid_app_name(&name) && taken.insert(name.clone())).then_some(name)
    };
    entries.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_equal_names_keeps_it() {
        let entry = Entry::new;
        let long = "a".repeat(128);
        let entries = [
            entry("c", "x", 5),
            entry("b", "x", 3),
            entry("a", "x", 3),
            entry("d", "y", 1),
            entry("e", "x b", 1),
            entry("f", &long, 1),
            entry("g", &long, 2),
        ];
        let names = unique_names(&entries);
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        let shortened = format!("{} g", "a".repeat(126));
        // The third is the oldest by its id; the name that the second would get is another's.
        assert_eq!(
            names,
            [Some("x c"), None, Some("x"), Some("y"), Some("x b"), Some(&*long), Some(&*shortened)]
        );
    }

    #[test]
    fn whatever_comes_becomes_a_name_or_nothing() {
        for (name, expected) in [
            ("plain (aarch64)-", Some("plain (aarch64)-")),
            ("a#", Some("a")),
            ("\n", None),
            ("#", None),
            ("", None),
        ] {
            assert_eq!(valid_name(name).as_deref(), expected);
        }
        let long = valid_name(&"é".repeat(100)).unwrap();
        assert_eq!(long.len(), 128);
    }
}
