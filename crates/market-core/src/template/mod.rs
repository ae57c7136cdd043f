//! OpenNebula's template syntax: parse, look up, edit, write; as text and as XML.
//!
//! A *template* is the `NAME=value` text in which OpenNebula keeps marketplaces, apps, images and
//! virtual machines:
//!
//! ```
//! use market_core::template::Template;
//!
//! let template = Template::parse(br#"
//!     NAME       = "corporate apps"
//!     MARKET_MAD = http
//!     DISK       = [ IMAGE = "Debian 12", SIZE = 10240 ]
//! "#)?;
//! assert_eq!(template.text("NAME")?, Some("corporate apps"));
//! let disk = template.get("DISK").unwrap();
//! assert_eq!(disk.key("SIZE").unwrap(), b"10240");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The parser accepts and yields exactly what the core's own parser does, quirks included
//! (docs/template-grammar.md lists them): names are upper-cased, attributes are sorted by name with
//! equal names in their order, values are bytes. What parses but surprises is told by [`lint`]. The
//! writer writes what the core reads back byte for byte, or refuses.
//!
//! Work and memory are linear in the input, whatever it holds. Nothing here does I/O.

mod document;
mod error;
mod lexer;
mod lint;
mod parse;
mod secret;
#[cfg(feature = "serde")]
pub mod serde;
mod span;
mod write;
mod xml;

pub use document::Document;
pub use error::{ParseError, Position, ValueError, ValueErrorReason, WriteError, WriteErrorReason};
pub use lint::{Diagnostic, Lint, lint};
pub use secret::{is_harmless, is_secret};
pub use write::{Rules, Writer};
pub use xml::MAX_XML_NODES;
#[cfg(feature = "model")]
pub(crate) use xml::document as xml_document;
pub use xml::element as xml_element;

use span::Span;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

/// A parsed template: attributes sorted by name, those of one name in their order.
///
/// It owns one buffer (the text it was parsed from) into which names and values point. Equality
/// compares names and values. `Debug` hides the values of attributes that hold secrets
/// ([`is_secret`]), and what is secret in URLs.
#[derive(Clone, Default)]
pub struct Template {
    buffer: Vec<u8>,
    attributes: Attributes,
}

#[derive(Clone, Default)]
struct Attributes {
    entries: Vec<Entry>,
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy)]
struct Entry {
    name: Span,
    value: Repr,
    /// The attribute in the text it was parsed from; empty when it came from elsewhere.
    at: Span,
}

#[derive(Clone, Copy)]
enum Repr {
    Single(Span),
    /// A range of `pairs`, sorted by key.
    Vector(Span),
}

#[derive(Clone, Copy)]
struct Pair {
    key: Span,
    value: Span,
}

impl Attributes {
    fn close_vector(&self, first: usize) -> Repr {
        Repr::Vector(Span::new(first, self.pairs.len()))
    }
}

/// A text that is no template: the error, and the attributes before it, which the core keeps too.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct ParseFailure {
    /// What is wrong, and where.
    #[source]
    pub error: ParseError,
    /// The attributes that were complete before the error.
    pub partial: Template,
}

impl Template {
    /// An empty template.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses template text. The input ends at its first NUL, as it does for the core.
    ///
    /// # Errors
    /// [`ParseFailure`] with the place of the error and the attributes before it.
    pub fn parse(text: &[u8]) -> Result<Self, Box<ParseFailure>> {
        Self::parse_owned(text.to_vec())
    }

    /// [`parse`](Self::parse) without a copy of the text: the template keeps the buffer.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_owned(mut text: Vec<u8>) -> Result<Self, Box<ParseFailure>> {
        if u32::try_from(text.len()).is_err() {
            return Err(Box::new(ParseFailure {
                error: ParseError::TooLarge,
                partial: Self::new(),
            }));
        }
        let parse::Parsed { attributes, mut rewritten, error, sink: () } = parse::parse(&text, ());
        if u32::try_from(text.len() + rewritten.len()).is_err() {
            return Err(Box::new(ParseFailure {
                error: ParseError::TooLarge,
                partial: Self::new(),
            }));
        }
        text.append(&mut rewritten);
        let mut template = Self { buffer: text, attributes };
        template.sort();
        match error {
            None => Ok(template),
            Some(error) => Err(Box::new(ParseFailure { error, partial: template })),
        }
    }

    fn sort(&mut self) {
        let Self { buffer, attributes } = self;
        let name = |entry: &Entry| entry.name.of(buffer);
        let entries = &attributes.entries;
        if entries.is_sorted_by(|a, b| name(a) <= name(b)) {
            return;
        }
        // The first sixteen bytes decide nearly every comparison without a look into the buffer.
        let key =
            |(at, entry): (u32, &Entry)| (prefix(name(entry)), at, entry.name.len() > PREFIX_BYTES);
        let mut order: Vec<_> = (0..).zip(entries.iter()).map(key).collect();
        order.sort_by(|&(a, x, x_long), &(b, y, y_long)| {
            a.cmp(&b).then_with(|| {
                // Equal prefixes of names that end within them are equal names: no name holds the
                // NUL that pads a prefix.
                if x_long || y_long {
                    name(&entries[x as usize]).cmp(name(&entries[y as usize]))
                } else {
                    Ordering::Equal
                }
            })
        });
        attributes.entries = order.into_iter().map(|(_, at, _)| entries[at as usize]).collect();
    }

    /// The number of attributes.
    pub fn len(&self) -> usize {
        self.attributes.entries.len()
    }

    /// Whether there is no attribute.
    pub fn is_empty(&self) -> bool {
        self.attributes.entries.is_empty()
    }

    /// All attributes, sorted by name, equal names in their order.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = Attribute<'_>> + ExactSizeIterator + Clone {
        self.attributes.entries.iter().map(|&entry| Attribute { template: self, entry })
    }

    /// The first attribute of that name, in any letter case.
    ///
    /// ```
    /// let template = market_core::template::Template::parse(b"Disk=[image=a]").unwrap();
    /// let disk = template.get("disk").unwrap();
    /// assert_eq!(disk.key("Image"), Some(&b"a"[..]));
    /// ```
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.get_all(name).next()
    }

    /// Every attribute of that name, in any letter case, in order.
    pub fn get_all(
        &self,
        name: &str,
    ) -> impl DoubleEndedIterator<Item = Value<'_>> + ExactSizeIterator + Clone {
        self.attributes.entries[self.range(name)].iter().map(|entry| self.value(entry.value))
    }

    /// The first attribute of that name, in any letter case, as text; `None` when there is none.
    ///
    /// # Errors
    /// When it is a vector, or its bytes are not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ValueError> {
        self.get(name).map(|value| value.as_text(name)).transpose()
    }

    /// The attributes of that name, in any letter case. Names are stored in upper case.
    fn range(&self, name: &str) -> Range<usize> {
        let order = |entry: &Entry| {
            let upper = name.bytes().map(|byte| byte.to_ascii_uppercase());
            entry.name.of(&self.buffer).iter().copied().cmp(upper)
        };
        let entries = &self.attributes.entries;
        let start = entries.partition_point(|entry| order(entry) == Ordering::Less);
        let count =
            entries[start..].iter().take_while(|entry| order(entry) == Ordering::Equal).count();
        start..start + count
    }

    fn value(&self, value: Repr) -> Value<'_> {
        match value {
            Repr::Single(span) => Value::Single(span.of(&self.buffer)),
            Repr::Vector(pairs) => Value::Vector(Vector { template: self, pairs }),
        }
    }

    /// Adds an attribute behind those of the same name. The name may have any letter case. What the
    /// value may hold is checked when the template is written.
    ///
    /// # Errors
    /// When the name is not one of the syntax.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        let name = &checked_name(name)?;
        self.insert(name, |template| Some(Repr::Single(template.store(value.as_ref())?)))
    }

    /// Adds a vector attribute behind those of the same name. Name and keys may have any letter
    /// case.
    ///
    /// # Errors
    /// When the name or a key is not one of the syntax, or a key stands twice.
    pub fn push_vector<K, V>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), WriteError>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let name = &checked_name(name)?;
        let mut sorted = std::collections::BTreeMap::new();
        for (key, value) in pairs {
            let key = checked_key(name, key.as_ref())?;
            if sorted.contains_key(&key) {
                return Err(write::error(name, Some(&key), WriteErrorReason::DuplicateKey));
            }
            sorted.insert(key, value.as_ref().to_vec());
        }
        self.insert(name, |template| {
            template.store_pairs(sorted.iter().map(|(k, v)| (k.as_str(), v.as_slice())))
        })
    }

    /// Puts a single value in the place of every attribute of that name.
    ///
    /// # Errors
    /// As [`push`](Self::push); then nothing is changed.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        let name = &checked_name(name)?;
        self.remove(name);
        self.push(name, value)
    }

    /// Sets a key of a vector attribute, whether it was there or not. `index` counts the attributes
    /// of that name from 0. Name and key may have any letter case.
    ///
    /// ```
    /// use market_core::template::Template;
    ///
    /// let mut template = Template::parse(b"DISK=[IMAGE=a]\nDISK=[IMAGE=b,SIZE=1]\n").unwrap();
    /// template.set_key("DISK", 1, "SIZE", "20480")?;
    /// template.set_key("DISK", 0, "FORMAT", "raw")?;
    /// assert!(template.remove_key("DISK", 0, "IMAGE"));
    /// assert_eq!(template, Template::parse(b"DISK=[FORMAT=raw]\nDISK=[IMAGE=b,SIZE=20480]").unwrap());
    /// # Ok::<(), market_core::template::WriteError>(())
    /// ```
    ///
    /// # Errors
    /// [`WriteErrorReason::NoVector`] when there is no such attribute, or it is no vector;
    /// [`WriteErrorReason::Name`] when the key is not one of the syntax.
    pub fn set_key(
        &mut self,
        name: &str,
        index: usize,
        key: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<(), WriteError> {
        let fail = |reason| write::error(name, Some(key), reason);
        let (at, pairs) =
            self.vector_at(name, index).ok_or_else(|| fail(WriteErrorReason::NoVector))?;
        let stored_key = checked_key(name, key)?;
        let too_large = || fail(WriteErrorReason::TooLarge);
        let value = self.store(value.as_ref()).ok_or_else(too_large)?;
        if let Some(found) = self.find_key(pairs, key) {
            self.attributes.pairs[found].value = value;
            return Ok(());
        }
        let key = self.store(stored_key.as_bytes()).ok_or_else(too_large)?;
        // The pairs of all vectors share one list: a vector that grows moves to its end, once.
        let before = |pair: &Pair| pair.key.of(&self.buffer) < stored_key.as_bytes();
        let place = self.attributes.pairs[pairs.range()].partition_point(before);
        let first = if pairs.range().end == self.attributes.pairs.len() {
            pairs.range().start
        } else {
            self.attributes.pairs.extend_from_within(pairs.range());
            self.attributes.pairs.len() - pairs.range().len()
        };
        self.attributes.pairs.insert(first + place, Pair { key, value });
        self.attributes.entries[at].value = self.attributes.close_vector(first);
        Ok(())
    }

    /// Removes a key of a vector attribute; says whether it was there. `index` counts the attributes
    /// of that name from 0.
    pub fn remove_key(&mut self, name: &str, index: usize, key: &str) -> bool {
        let Some((at, pairs)) = self.vector_at(name, index) else { return false };
        let Some(found) = self.find_key(pairs, key) else { return false };
        let Range { start, end } = pairs.range();
        self.attributes.pairs.copy_within(found + 1..end, found);
        self.attributes.entries[at].value = Repr::Vector(Span::new(start, end - 1));
        true
    }

    /// Removes every attribute of that name; says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        self.attributes.entries.drain(self.range(name)).count()
    }

    /// Removes one of the attributes of that name (`index` counts them from 0); says whether it was
    /// there.
    pub fn remove_at(&mut self, name: &str, index: usize) -> bool {
        let found = self.range(name).nth(index);
        found.is_some_and(|at| {
            self.attributes.entries.remove(at);
            true
        })
    }

    /// A vector attribute: its place, and its pairs.
    fn vector_at(&self, name: &str, index: usize) -> Option<(usize, Span)> {
        let at = self.range(name).nth(index)?;
        match self.attributes.entries[at].value {
            Repr::Single(_) => None,
            Repr::Vector(pairs) => Some((at, pairs)),
        }
    }

    /// The place of a key among all pairs: spelled like this or, when none is, in another case
    /// (keys from XML keep theirs).
    fn find_key(&self, pairs: Span, key: &str) -> Option<usize> {
        let mut found = None;
        for at in pairs.range() {
            let name = self.attributes.pairs[at].key.of(&self.buffer);
            if name == key.as_bytes() {
                return Some(at);
            }
            if found.is_none() && name.eq_ignore_ascii_case(key.as_bytes()) {
                found = Some(at);
            }
        }
        found
    }

    /// Puts an attribute at its place in the order. Names from XML need not be names of the syntax,
    /// so none is checked here.
    fn insert(
        &mut self,
        name: &str,
        value: impl FnOnce(&mut Self) -> Option<Repr>,
    ) -> Result<(), WriteError> {
        let at = self.range(name).end;
        let stored = self.store(name.as_bytes()).and_then(|name| Some((name, value(self)?)));
        let (stored_name, value) =
            stored.ok_or_else(|| write::error(name, None, WriteErrorReason::TooLarge))?;
        self.attributes.entries.insert(at, Entry { name: stored_name, value, at: Span::default() });
        Ok(())
    }

    fn store_pairs<'p>(
        &mut self,
        pairs: impl Iterator<Item = (&'p str, &'p [u8])>,
    ) -> Option<Repr> {
        let first = self.attributes.pairs.len();
        for (key, value) in pairs {
            let (key, value) = (self.store(key.as_bytes())?, self.store(value)?);
            self.attributes.pairs.push(Pair { key, value });
        }
        Some(self.attributes.close_vector(first))
    }

    /// `None` when the buffer would grow past 4 GiB.
    fn store(&mut self, bytes: &[u8]) -> Option<Span> {
        let start = self.buffer.len();
        u32::try_from(start + bytes.len()).ok()?;
        self.buffer.extend_from_slice(bytes);
        Some(Span::new(start, self.buffer.len()))
    }

    /// Writes the template as text that OpenNebula's parser reads back as this very template.
    ///
    /// # Errors
    /// Names the first attribute that the syntax cannot express: see [`WriteErrorReason`].
    pub fn write(&self) -> Result<Vec<u8>, WriteError> {
        let mut writer = Writer::new(Rules::Parser);
        for attribute in self.iter() {
            writer.attribute(&attribute)?;
        }
        Ok(writer.finish())
    }
}

/// The name in upper case, as it is stored.
fn checked_name(name: &str) -> Result<String, WriteError> {
    let upper = name.to_ascii_uppercase();
    write::check_name(&upper)?;
    Ok(upper)
}

/// The key in upper case, as it is stored.
fn checked_key(name: &str, key: &str) -> Result<String, WriteError> {
    let upper = key.to_ascii_uppercase();
    write::check_key(name, &upper)?;
    Ok(upper)
}

const PREFIX_BYTES: usize = 16;

/// The first bytes of a name as a number that sorts as the bytes do.
fn prefix(name: &[u8]) -> u128 {
    let mut bytes = [0; PREFIX_BYTES];
    let taken = name.len().min(PREFIX_BYTES);
    bytes[..taken].copy_from_slice(&name[..taken]);
    u128::from_be_bytes(bytes)
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Template {}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One attribute of a template.
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    template: &'a Template,
    entry: Entry,
}

impl<'a> Attribute<'a> {
    /// The name, in upper case.
    pub fn name(&self) -> &'a str {
        as_str(self.entry.name.of(&self.template.buffer))
    }

    /// The value.
    pub fn value(&self) -> Value<'a> {
        self.template.value(self.entry.value)
    }

    /// Where the attribute stands in the text it was parsed from, in bytes, from its name to the end
    /// of its value; `None` when it was added later or came from XML. (The range of a vector whose
    /// keys were edited is that of the vector before.)
    pub fn source(&self) -> Option<Range<usize>> {
        (self.entry.at != Span::default()).then(|| self.entry.at.range())
    }
}

impl PartialEq for Attribute<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.value() == other.value()
    }
}

impl fmt::Debug for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name())?;
        match self.value() {
            Value::Single(value) => secret::show(f, self.name(), value),
            Value::Vector(_) if is_secret(self.name()) => f.write_str(secret::HIDDEN),
            Value::Vector(vector) => fmt::Debug::fmt(&vector, f),
        }
    }
}

/// Names come from text by the grammar (ASCII) or from XML, which is text: always UTF-8.
fn as_str(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

/// The value of an attribute. Values are bytes: the core never asks whether they are text.
#[derive(Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `NAME=value`
    Single(&'a [u8]),
    /// `NAME=[ KEY=value, ... ]`
    Vector(Vector<'a>),
}

impl<'a> Value<'a> {
    /// The bytes of a single value.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Single(value) => Some(value),
            Self::Vector(_) => None,
        }
    }

    /// The pairs of a vector.
    pub fn as_vector(&self) -> Option<Vector<'a>> {
        match *self {
            Self::Single(_) => None,
            Self::Vector(vector) => Some(vector),
        }
    }

    /// The value of a key, in any letter case, when this is a vector that has it.
    pub fn key(&self, key: &str) -> Option<&'a [u8]> {
        self.as_vector()?.get(key)
    }

    fn as_text(&self, name: &str) -> Result<&'a str, ValueError> {
        let error = |reason| ValueError { attribute: name.to_owned(), reason };
        let bytes = self.as_bytes().ok_or_else(|| error(ValueErrorReason::IsVector))?;
        std::str::from_utf8(bytes).map_err(|_| error(ValueErrorReason::NotUtf8))
    }
}

impl fmt::Debug for Value<'_> {
    /// A value does not know its name, so it cannot know that it is no secret: only its shape is
    /// shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(value) => write!(f, "<{} bytes>", value.len()),
            Self::Vector(vector) => fmt::Debug::fmt(vector, f),
        }
    }
}

/// The pairs of a vector attribute, sorted by key.
#[derive(Clone, Copy)]
pub struct Vector<'a> {
    template: &'a Template,
    pairs: Span,
}

impl<'a> Vector<'a> {
    fn pairs(&self) -> &'a [Pair] {
        self.template.attributes.pairs.get(self.pairs.range()).unwrap_or_default()
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    /// The value of a key: of the one that is spelled like this or, when there is none, of the first
    /// in another letter case.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        let at = self.template.find_key(self.pairs, key)?;
        Some(self.template.attributes.pairs[at].value.of(&self.template.buffer))
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let buffer = &self.template.buffer;
        self.pairs().iter().map(move |pair| (as_str(pair.key.of(buffer)), pair.value.of(buffer)))
    }
}

impl PartialEq for Vector<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Vector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}=", if index == 0 { "" } else { ", " })?;
            secret::show(f, key, value)?;
        }
        f.write_str("]")
    }
}
