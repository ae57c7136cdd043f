//! What drivers share that discover apps in somebody's catalogue: JSON of others, read leniently; names that `oned` takes; values
//! that a template can hold.

use crate::report::is_valid_app_name;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// A value of a JSON document of which nobody knows the form: each look at it takes what is there, or nothing.
///
/// ```
/// use market_core::catalogue::Json;
///
/// let json = Json::parse(br#"{"size": 7, "tags": ["a", null], "name": "x\ud800"}"#).unwrap();
/// let object = json.object().unwrap();
/// assert_eq!(object.get("size").unwrap().text().unwrap(), "7");
/// assert_eq!(object.get("tags").unwrap().list().unwrap().len(), 2);
/// // Half of a character is no reason to lose the rest.
/// assert!(object.get("name").unwrap().text().unwrap().starts_with("x\u{fffd}"));
/// ```
#[derive(Clone, Copy)]
pub struct Json<'a>(&'a RawValue);

impl<'a> Json<'a> {
    /// Checks that a document is JSON from its start to its end; `None` when it is not.
    pub fn parse(document: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<&RawValue>(document).ok().map(Self)
    }

    /// The items of the array that a member of a document's object is; all of the document is looked at once.
    ///
    /// # Errors
    /// What it is not: JSON, or an object with such an array.
    pub fn list_in(document: &'a [u8], member: &'static str) -> Result<Vec<Self>, &'static str> {
        let mut reader = serde_json::Deserializer::from_slice(document);
        let found = reader.deserialize_map(ListIn(member)).and_then(|found| reader.end().map(|()| found));
        match found {
            Ok(Some(list)) => Ok(list),
            Ok(None) => Err("lacks a list that must be there"),
            Err(error) if error.is_data() => Err("is not of the form that it must have"),
            Err(_) => Err("is no JSON"),
        }
    }

    /// As [`parse`](Self::parse), of a text.
    pub fn parse_str(document: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(document).ok().map(Self)
    }

    fn begins_with(self, byte: u8) -> bool {
        self.0.get().as_bytes().first() == Some(&byte)
    }

    /// The members of an object, in their order; `None` of anything else.
    pub fn object(self) -> Option<Object<'a>> {
        if !self.begins_with(b'{') {
            return None;
        }
        serde_json::Deserializer::from_str(self.0.get()).deserialize_map(Members).ok()
    }

    /// The items of an array; `None` of anything else.
    pub fn list(self) -> Option<Vec<Self>> {
        if !self.begins_with(b'[') {
            return None;
        }
        serde_json::Deserializer::from_str(self.0.get()).deserialize_seq(Items).ok()
    }

    /// A string, or a number or boolean as its text; `None` of `null`, of what is empty, and of objects and arrays.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0.get();
        let text = match raw.as_bytes().first()? {
            b'{' | b'[' | b'n' => return None,
            b'"' => string(raw)?,
            _ => Cow::Borrowed(raw),
        };
        (!text.is_empty()).then_some(text)
    }

    /// A whole number, also one in a string.
    pub fn integer(self) -> Option<i64> {
        self.text()?.trim().parse().ok()
    }

    /// The text of the JSON itself.
    pub fn raw(self) -> &'a str {
        self.0.get()
    }
}

/// A string's characters; halves of characters are replaced.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len() - 1)?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let bytes = serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes).ok()?;
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The members of a JSON object, in their order.
#[derive(Clone, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    /// The last member of a name.
    pub fn get(&self, name: &str) -> Option<Json<'a>> {
        self.0.iter().rev().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// The text of a member, as [`Json::text`] takes it.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push((string(name.get()).unwrap_or_default(), Json(value)));
        }
        Ok(Object(members))
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Json<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Vec<Json<'de>>, S::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            list.push(Json(item));
        }
        Ok(list)
    }
}

/// Finds one member of an object, an array.
struct ListIn(&'static str);

impl<'de> Visitor<'de> for ListIn {
    type Value = Option<Vec<Json<'de>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the array {}", self.0)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<&RawValue>()? {
            if string(name.get()).is_some_and(|name| name == self.0) {
                found = Some(map.next_value_seed(ItemsSeed)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct ItemsSeed;

impl<'de> DeserializeSeed<'de> for ItemsSeed {
    type Value = Vec<Json<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(Items)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// The URL of a server with one slash at its end; `None` of what begins with neither `http://` nor `https://`.
///
/// ```
/// assert_eq!(market_core::catalogue::server("HTTP://host/a//").unwrap(), "HTTP://host/a/");
/// ```
pub fn server(url: &str) -> Option<String> {
    let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    (begins("http://") || begins("https://")).then(|| format!("{}/", url.trim_end_matches('/')))
}

/// A text of somebody's as a value that a template can hold and `oned` can store: `]]>` is broken up, a backslash at its end gets
/// a blank behind it, control characters become blanks.
///
/// ```
/// use market_core::catalogue::value;
///
/// assert_eq!(value("a]]>b\r\n\0c\\"), "a]] >b\n c\\ ");
/// ```
pub fn value(text: &str) -> Cow<'_, str> {
    // Nearly always there is nothing to be done; that is found out many bytes at a time.
    if !text.bytes().fold(false, |found, b| found | (b < b' ') | (b == b']') | (b == 0xef)) && !text.ends_with('\\') {
        return Cow::Borrowed(text);
    }
    let unfit = |c: char| unfit(c) && c != '\n' && c != '\t';
    if !text.contains(unfit) && !text.contains("]]>") && !text.ends_with('\\') {
        return Cow::Borrowed(text);
    }
    let mut fit = text.replace("\r\n", "\n").replace(unfit, " ").replace("]]>", "]] >");
    if fit.ends_with('\\') {
        fit.push(' ');
    }
    Cow::Owned(fit)
}

/// Characters that XML cannot carry, or that are none to be shown.
fn unfit(c: char) -> bool {
    c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// A name that `oned` takes as it is, made of one of somebody's; `None` when nothing is left of it.
///
/// ```
/// assert_eq!(market_core::catalogue::valid_name(" a: \"b\"\n").unwrap(), "a- -b");
/// ```
pub fn valid_name(name: &str) -> Option<String> {
    let taken: String = name
        .chars()
        .map(|c| if is_valid_app_name(c.encode_utf8(&mut [0; 4])) && !unfit(c) { c } else { '-' })
        .collect();
    // What is good already stays as it is.
    if taken == name && is_valid_app_name(name) && name.trim() == name {
        return Some(taken);
    }
    let valid = cut(taken.trim_matches(|c| c == '-' || c == ' '), MOST_NAME_BYTES);
    is_valid_app_name(valid).then(|| valid.to_owned())
}

const MOST_NAME_BYTES: usize = 128;

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end()
}

/// An app as its catalogue has it.
pub struct Entry<'a> {
    /// Its id there.
    pub id: &'a str,
    /// A name as [`valid_name`] makes it.
    pub name: &'a str,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// The names under which apps are reported, in the order of the entries; equal ones would be taken for one app. Among equal names
/// the oldest (by time, then id) keeps it, the others get their id appended. `None` where even that name is taken.
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
        let id = cut(entry.id, 64);
        let name = format!("{} {id}", cut(entry.name, MOST_NAME_BYTES - id.len() - 1));
        (is_valid_app_name(&name) && taken.insert(name.clone())).then_some(name)
    };
    entries.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_equal_names_keeps_it() {
        let entry = |id, name, created| Entry { id, name, created };
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
        assert_eq!(names, [Some("x c"), None, Some("x"), Some("y"), Some("x b"), Some(&*long), Some(&*shortened)]);
    }

    #[test]
    fn whatever_comes_becomes_a_name_or_nothing() {
        for (name, expected) in
            [("plain (aarch64)-", Some("plain (aarch64)-")), ("a#", Some("a")), ("\n", None), ("#", None), ("", None)]
        {
            assert_eq!(valid_name(name).as_deref(), expected);
        }
        let long = valid_name(&"é".repeat(100)).unwrap();
        assert_eq!(long.len(), 128);
    }
}
