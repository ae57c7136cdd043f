//! The serializer: text that OpenNebula's parser reads back byte for byte, or a refusal.

use super::error::{WriteError, WriteErrorReason};
use super::lexer::is_stop;
use super::{Attribute, Value};
use memchr::{memchr, memchr_iter, memmem};

/// Which values a [`Writer`] lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rules {
    /// Everything that the template parser reads back unchanged.
    Parser,
    /// Only what also survives `oned`, which stores every template as XML in its database: no `]]>`
    /// in any form (inside an `APP` record it crashes `oned`), UTF-8 only, no control characters
    /// but tab and newline, no empty vector, no key that begins with a digit. (Blanks at the ends
    /// of a value survive in an answer; where users send templates, `oned` cuts them off.)
    Oned,
}

/// Writes attributes in the order of the calls.
///
/// ```
/// use market_core::template::{Rules, Writer};
///
/// let mut writer = Writer::new(Rules::Oned);
/// writer.single("NAME", r#"the "best" app"#)?;
/// writer.vector("DISK", [("IMAGE", "Debian 12"), ("SIZE", "10240")])?;
/// assert_eq!(
///     writer.finish(),
///     b"NAME=\"the \\\"best\\\" app\"\nDISK=[\nIMAGE=\"Debian 12\",\nSIZE=\"10240\"\n]\n",
/// );
/// # Ok::<(), market_core::template::WriteError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    out: Vec<u8>,
    rules: Rules,
}

impl Writer {
    /// An empty text.
    pub fn new(rules: Rules) -> Self {
        Self { out: Vec::new(), rules }
    }

    /// An empty text with room for so many bytes.
    pub fn with_capacity(rules: Rules, bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), rules }
    }

    /// Writes `NAME="value"`.
    ///
    /// # Errors
    /// When the syntax or the rules cannot hold the name or the value; then nothing is written.
    pub fn single(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), WriteError> {
        let start = self.out.len();
        check_name(name)?;
        self.name(name);
        let written = put_value(&mut self.out, self.rules, (name, None), value.as_ref());
        written.inspect_err(|_| self.out.truncate(start))?;
        self.out.push(b'\n');
        Ok(())
    }

    /// Writes `NAME=[ KEY="value", ... ]`, one pair a line.
    ///
    /// # Errors
    /// When the syntax or the rules cannot hold a name or a value, or a key stands twice; then
    /// nothing is written.
    pub fn vector<K, V>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), WriteError>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let start = self.out.len();
        let written = self.pairs(name, pairs);
        if written.is_err() {
            self.out.truncate(start);
        }
        written
    }

    fn pairs<K, V>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), WriteError>
    where
        K: AsRef<str>,
        V: AsRef<[u8]>,
    {
        check_name(name)?;
        self.name(name);
        self.out.push(b'[');
        let mut keys = std::collections::BTreeSet::new();
        for (key, value) in pairs {
            let key = key.as_ref();
            check_key(name, key)?;
            if self.rules == Rules::Oned && key.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(error(name, Some(key), WriteErrorReason::Name));
            }
            // The newline after the bracket and between pairs keeps each value alone on its line,
            // which `]]>` needs.
            self.out.extend_from_slice(if keys.is_empty() { b"\n" } else { b",\n" });
            if !keys.insert(key.to_owned()) {
                return Err(error(name, Some(key), WriteErrorReason::DuplicateKey));
            }
            self.out.extend_from_slice(key.as_bytes());
            self.out.push(b'=');
            put_value(&mut self.out, self.rules, (name, Some(key)), value.as_ref())?;
        }
        if keys.is_empty() && self.rules == Rules::Oned {
            return Err(error(name, None, WriteErrorReason::EmptyVector));
        }
        self.out.extend_from_slice(if keys.is_empty() { b"]\n" } else { b"\n]\n" });
        Ok(())
    }

    /// Writes an attribute of a template.
    ///
    /// # Errors
    /// As [`single`](Self::single) and [`vector`](Self::vector).
    pub fn attribute(&mut self, attribute: &Attribute<'_>) -> Result<(), WriteError> {
        match attribute.value() {
            Value::Single(value) => self.single(attribute.name(), value),
            Value::Vector(vector) => self.vector(attribute.name(), vector.iter()),
        }
    }

    /// The text so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// The text.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    fn name(&mut self, name: &str) {
        put_name(&mut self.out, name);
        self.out.push(b'=');
    }
}

/// Writes a name so that it is read back as it is: in upper case, `XML...` would gain `ONE_`; with a
/// small first letter it does not.
pub(super) fn put_name(out: &mut Vec<u8>, name: &str) {
    match name.strip_prefix('X') {
        Some(rest) if name.starts_with("XML") => {
            out.push(b'x');
            out.extend_from_slice(rest.as_bytes());
        }
        _ => out.extend_from_slice(name.as_bytes()),
    }
}

/// Writes a value with its quotes, or refuses it and writes nothing. `place` is the attribute and the
/// key that an error names.
pub(super) fn put_value(
    out: &mut Vec<u8>,
    rules: Rules,
    place: (&str, Option<&str>),
    value: &[u8],
) -> Result<(), WriteError> {
    let refuse = |reason| Err(error(place.0, place.1, reason));
    if memchr(0, value).is_some() {
        return refuse(WriteErrorReason::Nul);
    }
    if memmem::find(value, b"]]>").is_some()
        && (rules == Rules::Oned || memchr(b'\n', value).is_none())
    {
        return refuse(WriteErrorReason::CdataEnd);
    }
    if rules == Rules::Oned && !survives_xml(value) {
        return refuse(WriteErrorReason::NotXml);
    }
    let bare = value.ends_with(b"\\");
    if bare && value.iter().any(|&b| is_stop(b)) {
        return refuse(WriteErrorReason::TrailingBackslash);
    }
    if !bare {
        out.push(b'"');
    }
    let mut copied = 0;
    for quote in memchr_iter(b'"', value) {
        out.extend_from_slice(&value[copied..quote]);
        out.push(b'\\');
        copied = quote;
    }
    out.extend_from_slice(&value[copied..]);
    if !bare {
        out.push(b'"');
    }
    Ok(())
}

/// Whether a value comes back from XML as it went in: UTF-8, the characters of XML 1.0, no carriage
/// return (read back as a newline).
pub(super) fn survives_xml(value: &[u8]) -> bool {
    // Plain ASCII, nearly always: looked at many bytes at a time.
    if value
        .iter()
        .fold(true, |plain, &b| plain & ((b' '..0x80).contains(&b) | (b == b'\n') | (b == b'\t')))
    {
        return true;
    }
    std::str::from_utf8(value).is_ok_and(|text| {
        text.chars().all(|c| match c {
            '\t' | '\n' => true,
            '\u{fffe}' | '\u{ffff}' => false,
            c => c >= ' ',
        })
    })
}

pub(super) fn error(name: &str, key: Option<&str>, reason: WriteErrorReason) -> WriteError {
    let shown = |name: &str| name.chars().take(64).collect::<String>().escape_debug().to_string();
    let attribute = match key {
        Some(key) => format!("{}/{}", shown(name), shown(key)),
        None => shown(name),
    };
    WriteError { attribute, reason }
}

pub(super) fn check_name(name: &str) -> Result<(), WriteError> {
    if name.starts_with(|c: char| c.is_ascii_digit()) || !is_key(name) {
        return Err(error(name, None, WriteErrorReason::Name));
    }
    Ok(())
}

pub(super) fn check_key(name: &str, key: &str) -> Result<(), WriteError> {
    if is_key(key) { Ok(()) } else { Err(error(name, Some(key), WriteErrorReason::Name)) }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
