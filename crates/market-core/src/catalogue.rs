//! What drivers share that discover apps in somebody's catalogue: its server's URL; JSON of others,
//! read leniently; names that `oned` takes; values that a template can hold.

use crate::log::Log;
use crate::report::is_valid_app_name;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use url::Url;

/// The most members of an object, and items of an array, that are read.
const MAX_ITEMS: usize = 50_000;

/// The largest entry of a catalogue that is read, in bytes.
const MAX_ENTRY_BYTES: usize = 4 << 20;

/// A value of a JSON document of which nobody knows the form: each look at it takes what is there,
/// or nothing.
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

    /// The items of the array that a member of a document's object is; all of the document is
    /// looked at once.
    ///
    /// # Errors
    /// What it is not: JSON, or an object with such an array, or one of at most 50,000 items.
    pub fn list_in(document: &'a [u8], member: &'static str) -> Result<Vec<Self>, &'static str> {
        let mut reader = serde_json::Deserializer::from_slice(document);
        let found =
            reader.deserialize_map(ListIn(member)).and_then(|found| reader.end().map(|()| found));
        match found {
            Ok(Some(Items::Some(list))) => Ok(list),
            Ok(Some(Items::TooMany)) => Err("holds more than 50,000 items"),
            Ok(None) => Err("lacks a list that must be there"),
            Err(error) if error.is_data() => Err("is not of the form that it must have"),
            Err(_) => Err("is no JSON"),
        }
    }

    /// As [`parse`](Self::parse), of a text.
    pub fn parse_str(document: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(document).ok().map(Self)
    }

    /// An entry of a catalogue: an object of at most 4 MiB.
    ///
    /// # Errors
    /// What it is instead.
    pub fn entry(self) -> Result<Object<'a>, &'static str> {
        if self.0.get().len() > MAX_ENTRY_BYTES {
            return Err("it is larger than 4 MiB");
        }
        self.object().ok_or("it is no object")
    }

    fn begins_with(self, byte: u8) -> bool {
        self.0.get().as_bytes().first() == Some(&byte)
    }

    /// The members of an object, in their order; `None` of anything else, and of an object of more
    /// than 50,000.
    pub fn object(self) -> Option<Object<'a>> {
        if !self.begins_with(b'{') {
            return None;
        }
        serde_json::Deserializer::from_str(self.0.get()).deserialize_map(Members).ok()
    }

    /// The items of an array; `None` of anything else, and of an array of more than 50,000.
    pub fn list(self) -> Option<Vec<Self>> {
        if !self.begins_with(b'[') {
            return None;
        }
        match serde_json::Deserializer::from_str(self.0.get()).deserialize_seq(ItemsSeed) {
            Ok(Items::Some(list)) => Some(list),
            _ => None,
        }
    }

    /// A string, or a number or boolean as its text; `None` of `null`, of what is empty, and of
    /// objects and arrays.
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

/// A web server as a marketplace's template names it. It is asked with the user and password that
/// its URL may hold; what is published of it, and every message, is without them.
///
/// ```
/// use market_core::catalogue::Server;
///
/// let server = Server::parse("HTTPS://me:secret@host/market//")?;
/// assert_eq!(server.as_str(), "https://host/market/");
/// assert_eq!(server.request("list"), "https://me:secret@host/market/list");
/// assert_eq!(server.below("images/a:1/disk.img").unwrap(), "https://host/market/images/a:1/disk.img");
/// assert_eq!(server.below("../other/disk.img"), None);
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    asked: Url,
    published: Url,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.as_str()).finish()
    }
}

impl Server {
    /// Reads a URL; slashes at its end do not matter.
    ///
    /// # Errors
    /// What it is not. The text is never part of that: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const NONE: &str = "is no http:// or https:// URL of a server";
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("holds a blank or a control character");
        }
        let url = Url::parse(text).map_err(|_| NONE)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(NONE);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("holds a query (?) or a fragment (#): paths are put behind it");
        }
        Self::of(url).ok_or(NONE)
    }

    /// The server of which `path` was found at `url`: what is before it, when it ends in exactly
    /// these segments, slashes behind them aside.
    ///
    /// ```
    /// use market_core::catalogue::Server;
    ///
    /// let server = Server::holding("http://me:secret@host/a/streams/v1/images.json?x=y", "streams/v1/images.json").unwrap();
    /// assert_eq!(server.as_str(), "http://host/a/");
    /// assert!(Server::holding("http://host/a/simplestreams/v1/images.json", "streams/v1/images.json").is_none());
    /// ```
    pub fn holding(url: &str, path: &str) -> Option<Self> {
        let mut url = Url::parse(url).ok().filter(Url::has_host)?;
        let before =
            url.path().trim_end_matches('/').strip_suffix(path)?.strip_suffix('/')?.to_owned();
        url.set_path(&before);
        url.set_query(None);
        url.set_fragment(None);
        Self::of(without_user(url)?)
    }

    fn of(mut asked: Url) -> Option<Self> {
        let path = format!("{}/", asked.path().trim_end_matches('/'));
        asked.set_path(&path);
        Some(Self { published: without_user(asked.clone())?, asked })
    }

    /// The URL as it may be published, with a slash at its end.
    pub fn as_str(&self) -> &str {
        self.published.as_str()
    }

    /// The URL of something below it, to be asked for: it may hold a password.
    pub fn request(&self, path: &str) -> String {
        format!("{}{path}", self.asked)
    }

    /// The URL of something below it, as it may be published; `None` when the path leads elsewhere.
    pub fn below(&self, path: &str) -> Option<String> {
        // Not another scheme, nor another host.
        let relative = format!("./{}", path.trim_start_matches('/'));
        let url = self.published.join(&relative).ok()?;
        let is_below =
            url.as_str().strip_prefix(self.as_str()).is_some_and(|rest| !rest.is_empty());
        (is_below && url.query().is_none() && url.fragment().is_none()).then(|| url.into())
    }
}

fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// A text of somebody's as a value that a template can hold and `oned` can store: `]]>` is broken
/// up, a backslash at its end gets a blank behind it, control characters become blanks.
///
/// ```
/// use market_core::catalogue::value;
///
/// assert_eq!(value("a]]>b\r\n\0c\\"), "a]] >b\n c\\ ");
/// ```
pub fn value(text: &str) -> Cow<'_, str> {
    // Nearly always there is nothing to be done; that is found out many bytes at a time.
    if !text.bytes().fold(false, |found, b| found | (b < b' ') | (b == b']') | (b == 0xef))
        && !text.ends_with('\\')
    {
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
    let valid = cut(taken.trim_matches(|c| c == '-' || c == ' '), MAX_NAME_BYTES);
    is_valid_app_name(valid).then(|| valid.to_owned())
}

const MAX_NAME_BYTES: usize = 128;

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end()
}

/// `APP_NAME_PREFIX`: what the names of a marketplace's apps begin with. An app's identity is its
/// name across all marketplaces (docs/driver-contract.md section 4), so two that offer the same
/// names need it.
///
/// ```
/// use market_core::catalogue::NamePrefix;
///
/// let prefix = NamePrefix::new("lab-")?;
/// assert_eq!(prefix.name("Alpine: 3.22").unwrap(), "lab-Alpine- 3.22");
/// assert_eq!(NamePrefix::default().name("Alpine").unwrap(), "Alpine");
/// assert!(NamePrefix::new("a/b").is_err());
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePrefix(String);

/// The longest prefix, in bytes: most of a name stays the app's own.
const MAX_PREFIX_BYTES: usize = 48;

impl NamePrefix {
    /// Takes a prefix of at most 48 bytes; an empty one changes nothing.
    ///
    /// # Errors
    /// Why no name can begin with it.
    pub fn new(prefix: &str) -> Result<Self, &'static str> {
        let prefix = prefix.trim();
        if prefix.len() > MAX_PREFIX_BYTES {
            return Err("is longer than 48 bytes");
        }
        if !prefix.is_empty() && (!is_valid_app_name(prefix) || prefix.contains(unfit)) {
            return Err(
                "holds what no name of an app can: & | : \\ \" ; / ' # { } $ < > or a control character",
            );
        }
        Ok(Self(prefix.to_owned()))
    }

    /// A name as [`valid_name`] makes it, behind the prefix; cut where the two are longer than a
    /// name can be.
    pub fn name(&self, name: &str) -> Option<String> {
        let name = valid_name(name)?;
        if self.0.is_empty() {
            return Some(name);
        }
        Some(cut(&format!("{}{name}", self.0), MAX_NAME_BYTES).to_owned())
    }
}

impl<'de> serde::Deserialize<'de> for NamePrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

/// What is wrong with a catalogue's entries, told as WARN lines: a hundred, and that there are
/// more.
pub struct Complaints<'a> {
    log: &'a Log,
    told: Cell<usize>,
}

/// How many of them an operator reads.
const MAX_COMPLAINTS: usize = 100;

impl<'a> Complaints<'a> {
    /// Tells them to this log.
    pub fn new(log: &'a Log) -> Self {
        Self { log, told: Cell::new(0) }
    }

    /// One more.
    pub fn warn(&self, text: impl fmt::Display) {
        let told = self.told.get();
        self.told.set(told.saturating_add(1));
        match told {
            ..MAX_COMPLAINTS => self.log.warn(text),
            MAX_COMPLAINTS => {
                self.log.warn("more is wrong with the catalogue, which is not listed")
            }
            _ => {}
        }
    }
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

/// The names under which apps are reported, in the order of the entries; equal ones would be taken
/// for one app. Among equal names the oldest (by time, then id) keeps it, the others get their id
/// appended. `None` where even that name is taken.
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
        let name = format!("{} {id}", cut(entry.name, MAX_NAME_BYTES - id.len() - 1));
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
