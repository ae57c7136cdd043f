//! Templates as XML: how dumps carry them, and how the core's text-or-XML entry point reads them.

use super::error::{ParseError, WriteError, WriteErrorReason};
use super::parse::needs_prefix;
use super::{Entry, ParseFailure, Repr, Span, Template, Value, Vector, write};
use memchr::memmem;
use roxmltree::{Document, Node, ParsingOptions};

/// The most XML nodes that are read from one document.
pub const MAX_XML_NODES: u32 = 4_000_000;

impl Template {
    /// Parses what the core accepts where a user may send text or XML: XML when the first byte is
    /// `<`, text otherwise. Either way white space is cut from both ends of every value.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); XML must be well formed, UTF-8, without a document type, and of
    /// at most [`MAX_XML_NODES`] nodes.
    pub fn parse_text_or_xml(text: &[u8]) -> Result<Self, Box<ParseFailure>> {
        if text.first() != Some(&b'<') {
            return match Self::parse(text) {
                Ok(template) => Ok(template.trimmed()),
                Err(mut failure) => {
                    failure.partial = std::mem::take(&mut failure.partial).trimmed();
                    Err(failure)
                }
            };
        }
        let fail = |error| Err(Box::new(ParseFailure { error, partial: Self::new() }));
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        let Ok(text) = std::str::from_utf8(&text[..end]) else {
            return fail(ParseError::Xml("it is not UTF-8".to_owned()));
        };
        match document(text) {
            Ok(document) => {
                Self::from_element(document.root_element()).map(Self::trimmed).or_else(fail)
            }
            Err(error) => fail(error),
        }
    }

    /// Reads the children of an XML element (`<TEMPLATE>` of a dump) as attributes, by the core's
    /// rules: a child that holds one text is a single attribute, one that holds elements a vector,
    /// anything else is dropped. Values are taken as they are, blanks included.
    ///
    /// # Errors
    /// When the values add up to more than 4 GiB.
    pub fn from_element(element: Node<'_, '_>) -> Result<Self, ParseError> {
        let mut template = Self::new();
        for child in element.children().filter(Node::is_element) {
            let value = if let Some(text) = single(child) {
                template.store(text.as_bytes()).map(Repr::Single)
            } else if child.children().any(|node| node.is_element()) {
                let mut pairs = std::collections::BTreeMap::new();
                for pair in child.children().filter(Node::is_element) {
                    if let Some(value) = first_text(pair) {
                        pairs.insert(pair.tag_name().name(), value);
                    }
                }
                template.store_pairs(pairs.iter().map(|(key, value)| (*key, value.as_bytes())))
            } else {
                continue;
            };
            let name = template.store(element_name(child).as_bytes());
            let (name, value) = name.zip(value).ok_or(ParseError::TooLarge)?;
            template.attributes.entries.push(Entry { name, value, at: Span::default() });
        }
        template.sort();
        Ok(template)
    }

    fn trimmed(mut self) -> Self {
        let Self { buffer, attributes } = &mut self;
        let trim = |span: &mut Span| {
            let text = span.of(buffer);
            let is_space = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
            let front = text.iter().take_while(|b| is_space(b)).count();
            let back = text[front..].iter().rev().take_while(|b| is_space(b)).count();
            *span = Span::new(span.start as usize + front, span.end as usize - back);
        };
        for entry in &mut attributes.entries {
            if let Repr::Single(value) = &mut entry.value {
                trim(value);
            }
        }
        attributes.pairs.iter_mut().for_each(|pair| trim(&mut pair.value));
        self
    }

    /// Writes the attributes as children of an element, values in CDATA, as dumps hold them. `]]>`
    /// inside a value is split over two sections.
    ///
    /// # Errors
    /// When a name is no XML name, or a value does not survive XML: control characters, carriage
    /// returns, text that is not UTF-8.
    ///
    /// ```
    /// let template = market_core::template::Template::parse(b"BASE_URL=\"http://market/?a&b\"").unwrap();
    /// assert_eq!(template.to_xml("TEMPLATE")?, "<TEMPLATE><BASE_URL><![CDATA[http://market/?a&b]]></BASE_URL></TEMPLATE>");
    /// # Ok::<(), market_core::template::WriteError>(())
    /// ```
    pub fn to_xml(&self, root: &str) -> Result<String, WriteError> {
        let mut out = String::new();
        open(&mut out, root, None, root)?;
        for attribute in self.iter() {
            let name = attribute.name();
            match attribute.value() {
                Value::Single(value) => element(&mut out, name, value)?,
                Value::Vector(vector) => pairs(&mut out, name, vector)?,
            }
        }
        close(&mut out, root);
        Ok(out)
    }
}

/// Writes one element with a text in CDATA, as dumps hold them.
///
/// # Errors
/// When the value is one that XML cannot carry.
pub fn element(out: &mut String, name: &str, value: &[u8]) -> Result<(), WriteError> {
    open(out, name, None, name)?;
    cdata(out, name, None, value)?;
    close(out, name);
    Ok(())
}

fn pairs(out: &mut String, name: &str, vector: Vector<'_>) -> Result<(), WriteError> {
    open(out, name, None, name)?;
    for (key, value) in vector.iter() {
        open(out, name, Some(key), key)?;
        cdata(out, name, Some(key), value)?;
        close(out, key);
    }
    close(out, name);
    Ok(())
}

/// Parses XML without document types (so nothing can expand) and with a bound on its nodes.
pub(crate) fn document(text: &str) -> Result<Document<'_>, ParseError> {
    check_markup(text)?;
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_XML_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|error| ParseError::Xml(error.to_string()))
}

/// The most attributes of one tag, and the most namespace declarations of a document: dumps have
/// none of either, and the XML parser takes quadratic time for many.
const MAX_TAG_ATTRIBUTES: usize = 64;

/// Refuses what the XML parser does not, in one pass: `]]>` in a text (not well formed) and tags
/// that would take for ever.
fn check_markup(text: &str) -> Result<(), ParseError> {
    let bytes = text.as_bytes();
    let refuse = |reason: &str, at: usize| Err(ParseError::Xml(format!("{reason} at byte {at}")));
    let find = |from: usize, what: &[u8]| {
        memmem::find(&bytes[from..], what).map(|n| from + n + what.len())
    };
    let (mut at, mut namespaces) = (0, 0);
    loop {
        let markup = memchr::memchr(b'<', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        if let Some(end) = memmem::find(&bytes[at..markup], b"]]>") {
            return refuse("`]]>` in the text", at + end);
        }
        let rest = &bytes[markup..];
        let end = if rest.is_empty() {
            return Ok(());
        } else if rest.starts_with(b"<![CDATA[") {
            find(markup, b"]]>")
        } else if rest.starts_with(b"<!--") {
            find(markup + 4, b"-->")
        } else if rest.starts_with(b"<?") {
            find(markup, b"?>")
        } else {
            let end = tag_length(rest).map(|length| markup + length);
            let tag = &bytes[markup..end.unwrap_or(bytes.len())];
            namespaces += memmem::find_iter(tag, b"xmlns").count();
            if memchr::memchr_iter(b'=', tag).nth(MAX_TAG_ATTRIBUTES).is_some()
                || namespaces > MAX_TAG_ATTRIBUTES
            {
                return refuse("more attributes than any dump has", markup);
            }
            end
        };
        match end {
            Some(end) => at = end,
            // Not closed: the parser says so better.
            None => return Ok(()),
        }
    }
}

/// The length of the tag at the start of the text, through its `>`; `>` inside a quoted attribute
/// does not end it.
fn tag_length(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    let close = text.iter().position(|&byte| {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(q), b) if q == b => quote = None,
            (None, b'>') => return true,
            _ => {}
        }
        false
    })?;
    Some(close + 1)
}

fn element_name(element: Node<'_, '_>) -> String {
    let name = element.tag_name().name();
    let prefix = if needs_prefix(name.as_bytes()) { "ONE_" } else { "" };
    format!("{prefix}{}", name.to_ascii_uppercase())
}

/// The text of an element whose only child is one text or one run of CDATA sections. The tree joins
/// neighbours of both kinds into one node, so the source decides.
fn single<'a>(element: Node<'a, '_>) -> Option<&'a str> {
    if element.children().count() > 1 || element.children().any(|child| !child.is_text()) {
        return None;
    }
    let inner = inner_source(element)?;
    let mut rest = inner;
    while let Some(section) = rest.strip_prefix("<![CDATA[") {
        rest = &section[section.find("]]>")? + 3..];
    }
    let alone = rest.is_empty() || (rest.len() == inner.len() && !inner.contains('<'));
    (alone && !inner.is_empty()).then(|| element.text().unwrap_or_default())
}

/// The text that an element begins with, if it begins with one.
fn first_text<'a>(element: Node<'a, '_>) -> Option<&'a str> {
    match element.first_child() {
        Some(child) => child.is_text().then(|| child.text().unwrap_or_default()),
        None => single(element),
    }
}

/// What stands between an element's tags; `None` for `<A/>`.
fn inner_source<'a>(element: Node<'a, '_>) -> Option<&'a str> {
    let source = element.document().input_text().get(element.range())?;
    source.get(tag_length(source.as_bytes())?..source.rfind("</")?)
}

fn open(
    out: &mut String,
    attribute: &str,
    key: Option<&str>,
    element: &str,
) -> Result<(), WriteError> {
    let mut chars = element.chars();
    let valid = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !valid {
        return Err(write::error(attribute, key, WriteErrorReason::Name));
    }
    out.push('<');
    out.push_str(element);
    out.push('>');
    Ok(())
}

fn close(out: &mut String, element: &str) {
    out.push_str("</");
    out.push_str(element);
    out.push('>');
}

fn cdata(out: &mut String, name: &str, key: Option<&str>, value: &[u8]) -> Result<(), WriteError> {
    let text = std::str::from_utf8(value).ok().filter(|_| write::survives_xml(value));
    let text = text.ok_or_else(|| write::error(name, key, WriteErrorReason::NotXml))?;
    out.push_str("<![CDATA[");
    out.push_str(&text.replace("]]>", "]]]]><![CDATA[>"));
    out.push_str("]]>");
    Ok(())
}
