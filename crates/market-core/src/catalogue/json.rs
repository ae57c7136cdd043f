//! JSON of other people's servers, read leniently and within limits.

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

/// The most members of an object, and items of an array, that are read.
const MAX_ITEMS: usize = 50_000;

/// The largest entry of a catalogue that is read, in bytes.
const MAX_ENTRY_BYTES: usize = 4 << 20;

/// What a document or an entry of a catalogue is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The document is not JSON.
    #[error("is no JSON")]
    NotJson,
    /// The document, or what must be a list in it, is of another type.
    #[error("is not of the form that it must have")]
    WrongType,
    /// The document lacks the list.
    #[error("lacks a list that must be there")]
    NoList,
    /// The list has more than 50,000 items.
    #[error("holds more than 50,000 items")]
    TooManyItems,
    /// The entry is no object, or one with more than 50,000 members.
    #[error("it is no object")]
    NotAnObject,
    /// The entry has more than 4 MiB.
    #[error("it is larger than 4 MiB")]
    EntryTooLarge,
}

/// A value in a JSON document whose form is not certain: each method returns what is there, or
/// `None`. It is parsed as far as it is asked for, so that a document of many entries takes little
/// memory.
///
/// ```
/// use market_core::catalogue::Json;
///
/// let json = Json::parse(br#"{"size": 7, "tags": ["a", null], "name": "x\ud800"}"#).unwrap();
/// let object = json.object().unwrap();
/// assert_eq!(object.get("size").unwrap().text().unwrap(), "7");
/// assert_eq!(object.get("tags").unwrap().list().unwrap().len(), 2);
/// // Half of a surrogate pair is no reason to lose the rest.
/// assert!(object.get("name").unwrap().text().unwrap().starts_with("x\u{fffd}"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(&'a RawValue);

impl<'a> Json<'a> {
    /// Checks that a document is JSON from its start to its end; `None` when it is not.
    pub fn parse(document: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<&RawValue>(document).ok().map(Self)
    }

    /// The items of an array that is a member of the document's object. The document is parsed once.
    ///
    /// # Errors
    /// When the document is no JSON, no object with such an array, or the array has more than
    /// 50,000 items.
    pub fn list_in(document: &'a [u8], member: &'static str) -> Result<Vec<Self>, JsonError> {
        let mut reader = serde_json::Deserializer::from_slice(document);
        let found =
            reader.deserialize_map(ListIn(member)).and_then(|found| reader.end().map(|()| found));
        match found {
            Ok(Some(Items::Some(list))) => Ok(list),
            Ok(Some(Items::TooMany)) => Err(JsonError::TooManyItems),
            Ok(None) => Err(JsonError::NoList),
            Err(error) if error.is_data() => Err(JsonError::WrongType),
            Err(_) => Err(JsonError::NotJson),
        }
    }

    /// As [`parse`](Self::parse), of a text.
    pub fn parse_str(document: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(document).ok().map(Self)
    }

    /// An entry of a catalogue: an object of at most 4 MiB.
    ///
    /// # Errors
    /// When it is larger, or no object.
    pub fn entry(self) -> Result<Object<'a>, JsonError> {
        if self.0.get().len() > MAX_ENTRY_BYTES {
            return Err(JsonError::EntryTooLarge);
        }
        self.object().ok_or(JsonError::NotAnObject)
    }

    fn begins_with(self, byte: u8) -> bool {
        self.0.get().as_bytes().first() == Some(&byte)
    }

    /// The members of an object, in their order; `None` for anything else, and for an object of more
    /// than 50,000 members.
    pub fn object(self) -> Option<Object<'a>> {
        if !self.begins_with(b'{') {
            return None;
        }
        serde_json::Deserializer::from_str(self.0.get()).deserialize_map(Members).ok()
    }

    /// The items of an array; `None` for anything else, and for an array of more than 50,000 items.
    pub fn list(self) -> Option<Vec<Self>> {
        if !self.begins_with(b'[') {
            return None;
        }
        match serde_json::Deserializer::from_str(self.0.get()).deserialize_seq(ItemsSeed) {
            Ok(Items::Some(list)) => Some(list),
            _ => None,
        }
    }

    /// A string, or a number or boolean as its text; `None` for `null`, the empty string, objects
    /// and arrays.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0.get();
        let text = match raw.as_bytes().first()? {
            b'{' | b'[' | b'n' => return None,
            b'"' => string(raw)?,
            _ => Cow::Borrowed(raw),
        };
        (!text.is_empty()).then_some(text)
    }

    /// A whole number, also one in a string; `None` for anything else.
    pub fn integer(self) -> Option<i64> {
        self.text()?.trim().parse().ok()
    }

    /// The JSON text itself.
    pub fn raw(self) -> &'a str {
        self.0.get()
    }
}

/// The characters of a string literal; halves of surrogate pairs are replaced by U+FFFD.
fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len() - 1)?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let bytes = serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes).ok()?;
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The members of a JSON object, in their order. A name may occur more than once.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    /// The last member with a name.
    pub fn get(&self, name: &str) -> Option<Json<'a>> {
        self.0.iter().rev().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// The text of the last member with a name, as [`Json::text`] returns it.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// All members, in their order.
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
            if members.len() == MAX_ITEMS {
                return Err(M::Error::custom("too many members"));
            }
            members.push((string(name.get()).unwrap_or_default(), Json(value)));
        }
        Ok(Object(members))
    }
}

/// An array, when it is not too long.
enum Items<'a> {
    Some(Vec<Json<'a>>),
    TooMany,
}

struct ItemsSeed;

impl<'de> Visitor<'de> for ItemsSeed {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Items<'de>, S::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            if list.len() == MAX_ITEMS {
                // The rest must be JSON too; it is not kept.
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Items::TooMany);
            }
            list.push(Json(item));
        }
        Ok(Items::Some(list))
    }
}

impl<'de> DeserializeSeed<'de> for ItemsSeed {
    type Value = Items<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

/// Finds one member of an object, an array.
struct ListIn(&'static str);

impl<'de> Visitor<'de> for ListIn {
    type Value = Option<Items<'de>>;

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
