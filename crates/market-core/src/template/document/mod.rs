//! A template's text with its comments, its order and its spacing.

mod edit;
mod layout;

use super::error::{WriteError, WriteErrorReason};
use super::lexer::{Lexer, Sink};
use super::span::Span;
use super::{Entry, ParseFailure, Template, parse, write};
use edit::{Edit, NewValue, Splice, Style};
use layout::{Layout, PairLayout, ValueLayout, ValueToken};
use std::fmt;

/// A template's text that can be edited without losing anything that people wrote into it.
///
/// ```
/// use market_core::template::Document;
///
/// let mut document = Document::parse(
/// b"# the corporate market
/// NAME       = \"corporate apps\"
/// MARKET_MAD = http   # or s3
/// DISK       = [ IMAGE = \"Debian 12\",
///                SIZE  = 10240 ]  # MiB
/// ")?;
/// document.set("market_mad", "s3")?;
/// document.set_key("DISK", 0, "SIZE", "20480")?;
/// document.set_key("DISK", 0, "FORMAT", "qcow2")?;
/// document.push("BUCKET", "apps")?;
/// assert_eq!(
///     std::str::from_utf8(document.as_bytes())?,
///     "# the corporate market
/// NAME       = \"corporate apps\"
/// MARKET_MAD = s3   # or s3
/// DISK       = [ IMAGE = \"Debian 12\",
///                SIZE  = 20480,
///                FORMAT = \"qcow2\" ]  # MiB
/// BUCKET = \"apps\"
/// ",
/// );
/// assert_eq!(document.template().text("BUCKET")?, Some("apps"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The text of a document that was not edited is the text that was parsed, byte for byte. An edit
/// keeps every comment, the order of the attributes and the spacing of what it does not touch; a
/// value without quotes stays without them where that can be. Names and keys may be given in any
/// letter case.
///
/// After each edit the text parses to exactly the [`Template`] that the same edit of
/// [`template`](Self::template) gives. Where the text around an edit would change its meaning (a
/// quote that is never closed, `]]>` further on in the line), the edited attribute goes on lines of
/// its own; if that does not help, the quotes of the other values are written anew as well. An edit
/// takes time linear in the text.
///
/// `Debug` hides secrets, as that of a template does.
#[derive(Clone, Default)]
pub struct Document {
    /// What the text parses to. Its buffer begins with the text.
    template: Template,
    /// Bytes of the text.
    length: usize,
    /// Bytes of it that are read: those before the first NUL.
    body_length: usize,
}

impl Document {
    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a text and keeps it. What stands behind a NUL byte is kept and never read.
    ///
    /// # Errors
    /// As [`Template::parse`]: a text that OpenNebula refuses is not edited.
    pub fn parse(text: &[u8]) -> Result<Self, Box<ParseFailure>> {
        Ok(Self::of(Template::parse(text)?, text.len()))
    }

    /// The attributes.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.template.buffer[..self.length]
    }

    /// The text.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.template.buffer.truncate(self.length);
        self.template.buffer
    }

    /// Puts a single value in the place of the first attribute of that name and removes the others;
    /// where there is none, one is added at the end.
    ///
    /// # Errors
    /// When the syntax cannot express the name or the value, there or at all; then nothing is
    /// changed. This holds for every edit.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        let name = &name.to_ascii_uppercase();
        self.edit(&Edit::Set { name, value: value.as_ref() })
    }

    /// Adds an attribute behind those of the same name, or else at the end.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        let name = &name.to_ascii_uppercase();
        self.edit(&Edit::Push { name, value: NewValue::Single(value.as_ref()) })
    }

    /// Adds a vector attribute behind those of the same name, or else at the end: one pair a line.
    ///
    /// # Errors
    /// As [`set`](Self::set), and when a key stands twice.
    pub fn push_vector<K, V>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), WriteError>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let name = &name.to_ascii_uppercase();
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|(key, value)| (key.as_ref().to_ascii_uppercase(), value.as_ref().to_vec()))
            .collect();
        self.edit(&Edit::Push { name, value: NewValue::Vector(&pairs) })
    }

    /// Sets a key of a vector: `index` counts the attributes of that name from 0.
    ///
    /// # Errors
    /// As [`set`](Self::set), and [`WriteErrorReason::NoVector`] when there is no such vector.
    pub fn set_key(
        &mut self,
        name: &str,
        index: usize,
        key: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<(), WriteError> {
        let (name, key) = (&name.to_ascii_uppercase(), &key.to_ascii_uppercase());
        self.edit(&Edit::SetKey { name, index, key, value: value.as_ref() })
    }

    /// Removes every attribute of that name; says how many there were. Comments beside them stay.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn remove(&mut self, name: &str) -> Result<usize, WriteError> {
        let count = self.template.get_all(name).len();
        if count > 0 {
            self.edit(&Edit::Remove { name: &name.to_ascii_uppercase(), index: None })?;
        }
        Ok(count)
    }

    /// Removes one of the attributes of that name (`index` counts them from 0); says whether it was
    /// there.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn remove_at(&mut self, name: &str, index: usize) -> Result<bool, WriteError> {
        let found = index < self.template.get_all(name).len();
        if found {
            self.edit(&Edit::Remove { name: &name.to_ascii_uppercase(), index: Some(index) })?;
        }
        Ok(found)
    }

    /// Removes a key of a vector (`index` counts the attributes of that name from 0); says whether
    /// it was there.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn remove_key(&mut self, name: &str, index: usize, key: &str) -> Result<bool, WriteError> {
        let value = self.template.get_all(name).nth(index);
        let found = value.is_some_and(|value| value.key(key).is_some());
        if found {
            let (name, key) = (&name.to_ascii_uppercase(), &key.to_ascii_uppercase());
            self.edit(&Edit::RemoveKey { name, index, key })?;
        }
        Ok(found)
    }

    fn edit(&mut self, edit: &Edit<'_>) -> Result<(), WriteError> {
        edit.check()?;
        let mut expected = self.template.clone();
        edit.apply(&mut expected)?;
        let edited = self
            .edited(edit, &expected)
            .or_else(|| self.quoted_anew()?.edited(edit, &expected))
            .ok_or_else(|| write::error(edit.name(), None, WriteErrorReason::Surroundings))?;
        *self = edited;
        Ok(())
    }

    /// The document after an edit, in the first style in which it means what it should.
    fn edited(&self, edit: &Edit<'_>, expected: &Template) -> Option<Self> {
        Style::ALL.into_iter().find_map(|style| {
            self.spliced(&edit.splices(self, style)?).filter(|edited| edited.template == *expected)
        })
    }

    /// The same template with every value quoted as the [`Writer`](super::Writer) does it, and no
    /// `#` that begins no comment.
    fn quoted_anew(&self) -> Option<Self> {
        let mut splices = Vec::new();
        for layout in self.layouts_of(&self.template.attributes.entries)? {
            match layout.value {
                ValueLayout::Empty(_) => {}
                ValueLayout::Single(value) => {
                    let written = self.quoted(value);
                    splices.extend(written.map(|written| (value.token.range(), written)));
                }
                ValueLayout::Vector(vector) => {
                    for (at, pair) in vector.pairs.iter().enumerate() {
                        // A key that stood there before is dropped, whatever its value is.
                        let dropped = || vector.pairs[..at].iter().any(|one| self.same(one, pair));
                        let written = self.quoted(pair.value);
                        let written = written.or_else(|| dropped().then(|| b"\"\"".to_vec()));
                        splices.extend(written.map(|written| (pair.value.token.range(), written)));
                    }
                }
            }
        }
        let hashes = parse::parse(self.as_bytes(), Hashes { text: self.body(), at: Vec::new() });
        splices.extend(hashes.sink.at.into_iter().map(|at| (at..at + 1, b" ".to_vec())));
        splices.sort_by_key(|(range, _)| range.start);
        self.spliced(&splices).filter(|anew| anew.template == self.template)
    }

    /// A value as the writer writes it, when it can.
    fn quoted(&self, value: ValueToken) -> Option<Vec<u8>> {
        edit::quoted(&value.value(self.body()))
    }

    fn same(&self, one: &PairLayout, other: &PairLayout) -> bool {
        one.key.of(self.body()).eq_ignore_ascii_case(other.key.of(self.body()))
    }

    /// The text with some ranges replaced, when it parses. The ranges are in order and apart.
    fn spliced(&self, splices: &[Splice]) -> Option<Self> {
        let old = self.as_bytes();
        let mut text = Vec::with_capacity(old.len() + 64);
        let mut copied = 0;
        for (range, with) in splices {
            text.extend_from_slice(old.get(copied..range.start)?);
            text.extend_from_slice(with);
            copied = range.end;
        }
        text.extend_from_slice(old.get(copied..)?);
        let length = text.len();
        Some(Self::of(Template::parse_owned(text).ok()?, length))
    }

    /// The document of a template whose buffer begins with its text.
    fn of(template: Template, length: usize) -> Self {
        let body_length = memchr::memchr(0, &template.buffer[..length]).unwrap_or(length);
        Self { template, length, body_length }
    }

    /// The text that is read: up to the first NUL.
    fn body(&self) -> &[u8] {
        &self.template.buffer[..self.body_length]
    }

    fn layout(&self, entry: &Entry) -> Option<Layout> {
        self.layouts_of(std::slice::from_ref(entry))?.pop()
    }

    /// The attributes of that name (in upper case), in order.
    fn layouts(&self, name: &str) -> Option<Vec<Layout>> {
        self.layouts_of(&self.template.attributes.entries[self.template.range(name)])
    }

    /// The attributes of some entries, in the order of the text: one lexer goes through it once.
    fn layouts_of(&self, entries: &[Entry]) -> Option<Vec<Layout>> {
        let mut starts: Vec<usize> = entries.iter().map(|entry| entry.at.range().start).collect();
        starts.sort_unstable();
        let text = self.body();
        let mut lexer = Lexer::new(text, ());
        starts.into_iter().map(|start| Layout::read(text, lexer.move_to(start))).collect()
    }
}

/// Finds every `#` outside of values that begins no comment.
struct Hashes<'a> {
    text: &'a [u8],
    at: Vec<usize>,
}

impl Sink for Hashes<'_> {
    fn skipped(&mut self, at: usize, in_value: bool) {
        if !in_value && self.text.get(at) == Some(&b'#') {
            self.at.push(at);
        }
    }

    fn value(&mut self, _: Span, _: Span) {}

    fn key(&mut self, _: Span, _: Span) {}
}

impl PartialEq for Document {
    /// Whether the texts are the same.
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Document {}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.length)
            .field("template", &self.template)
            .finish()
    }
}
