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

    /// The first attribute of that name (names are in upper case).
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.get_all(name).next()
    }

    /// Every attribute of that name, in order.
    pub fn get_all(
        &self,
        name: &str,
    ) -> impl DoubleEndedIterator<Item = Value<'_>> + ExactSizeIterator + Clone {
        self.attributes.entries[self.range(name)].iter().map(|entry| self.value(entry.value))
    }

    /// The first attribute of that name as text; `None` when there is none.
    ///
    /// # Errors
    /// When it is a vector, or its bytes are not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ValueError> {
        self.get(name).map(|value| value.as_text(name)).transpose()
    }

    fn range(&self, name: &str) -> Range<usize> {
        let entries = &self.attributes.entries;
        let start = entries.partition_point(|entry| entry.name.of(&self.buffer) < name.as_bytes());
        let count = entries[start..]
            .iter()
            .take_while(|entry| entry.name.of(&self.buffer) == name.as_bytes())
            .count();
        start..start + count
    }

    fn value(&self, value: Repr) -> Value<'_> {
        match value {
            Repr::Single(span) => Value::Single(span.of(&self.buffer)),
            Repr::Vector(pairs) => Value::Vector(Vector { template: self, pairs }),
        }
    }

    /// Adds an attribute behind those of the same name. What the value may hold is checked when the
    /// template is written.
    ///
    /// # Errors
    /// When the name is not one of the syntax.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        write::check_name(name)?;
        self.insert(name, |template| Some(Repr::Single(template.store(value.as_ref())?)))
    }

    /// Adds a vector attribute behind those of the same name.
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
        write::check_name(name)?;
        let mut sorted = std::collections::BTreeMap::new();
        for (key, value) in pairs {
            write::check_key(name, key.as_ref())?;
            if sorted.insert(key.as_ref().to_owned(), value.as_ref().to_vec()).is_some() {
                return Err(write::error(name, Some(key.as_ref()), WriteErrorReason::DuplicateKey));
            }
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
        write::check_name(name)?;
        self.remove(name);
        self.push(name, value)
    }

    /// Removes every attribute of that name; says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        self.attributes.entries.drain(self.range(name)).count()
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

    /// Where the attribute stands in the text it was parsed from, from its name to the end of its
    /// value; `None` when it was added later or came from XML.
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

    /// The value of a key, when this is a vector that has it.
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

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
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
