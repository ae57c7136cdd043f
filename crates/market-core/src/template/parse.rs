//! The grammar over the tokens: attributes are stored as soon as they are complete, so that an
//! error leaves the earlier ones.

use super::error::{ParseError, Position};
use super::lexer::{Lexer, Sink, Token};
use super::span::Span;
use super::{Attributes, Entry, Pair, Repr};
use memchr::{memchr, memchr_iter, memrchr};

/// Reads `input` up to its first NUL into attributes whose spans point into `input` followed by
/// `rewritten`.
pub(super) struct Parser<'a, S> {
    input: &'a [u8],
    lexer: Lexer<'a, S>,
    parsed: Attributes,
    rewritten: Vec<u8>,
}

/// What came of a parse: the attributes in the order of the text, and bytes to append to the input
/// (names in upper case, values without their escapes).
pub(super) struct Parsed<S> {
    pub(super) attributes: Attributes,
    pub(super) rewritten: Vec<u8>,
    pub(super) error: Option<ParseError>,
    pub(super) sink: S,
}

pub(super) fn parse<S: Sink>(input: &[u8], sink: S) -> Parsed<S> {
    let text = memchr(0, input).map_or(input, |nul| &input[..nul]);
    let mut parser = Parser {
        input,
        lexer: Lexer::new(text, sink),
        parsed: Attributes::default(),
        rewritten: Vec::new(),
    };
    let error = parser.template().err();
    Parsed {
        attributes: parser.parsed,
        rewritten: parser.rewritten,
        error,
        sink: parser.lexer.sink,
    }
}

impl<S: Sink> Parser<'_, S> {
    fn template(&mut self) -> Result<(), ParseError> {
        loop {
            match self.lexer.next() {
                Token::End => return Ok(()),
                Token::Variable => self.attribute()?,
                other => return Err(self.unexpected(other, "$end", &[])),
            }
        }
    }

    fn attribute(&mut self) -> Result<(), ParseError> {
        let source = self.lexer.last;
        let name = self.name(source, true);
        let value = match self.lexer.next() {
            Token::EqualEmpty => Repr::Single(Span::default()),
            Token::Equal => match self.lexer.next_value() {
                Token::Text { text, escaped } => Repr::Single(self.value(text, escaped)),
                Token::OpenBracket => self.vector(source)?,
                Token::Cdata => return Err(self.cdata_end(&[source])),
                other => {
                    return Err(self.unexpected(other, "OBRACKET or CCDATA or STRING", &[source]));
                }
            },
            other => return Err(self.unexpected(other, "EQUAL or EQUAL_EMPTY", &[source])),
        };
        let at = Span { start: source.start, end: self.lexer.last.end };
        self.parsed.entries.push(Entry { name, value, at });
        Ok(())
    }

    fn vector(&mut self, name: Span) -> Result<Repr, ParseError> {
        let first = self.parsed.pairs.len();
        let mut token = self.lexer.next();
        if token == Token::CloseBracket {
            return Ok(self.parsed.close_vector(first));
        }
        let mut expected = "CBRACKET or VARIABLE";
        let outcome = loop {
            if token != Token::Variable {
                break Err(self.unexpected(token, expected, &[name]));
            }
            if let Err(error) = self.pair(name) {
                break Err(error);
            }
            match self.lexer.next() {
                Token::CloseBracket => break Ok(()),
                Token::Comma => expected = "VARIABLE",
                other => break Err(self.unexpected(other, "COMMA or CBRACKET", &[name])),
            }
            token = self.lexer.next();
        };
        if outcome.is_err() {
            self.parsed.pairs.truncate(first);
        }
        outcome.map(|()| {
            sort_pairs(&mut self.parsed.pairs, first, self.input, &self.rewritten);
            self.parsed.close_vector(first)
        })
    }

    fn pair(&mut self, name: Span) -> Result<(), ParseError> {
        let source = self.lexer.last;
        self.lexer.sink.key(name, source);
        let key = self.name(source, false);
        match self.lexer.next() {
            Token::Equal => {}
            other => return Err(self.unexpected(other, "EQUAL", &[name, source])),
        }
        match self.lexer.next_value() {
            Token::Text { text, escaped } => {
                let value = self.value(text, escaped);
                self.parsed.pairs.push(Pair { key, value });
                Ok(())
            }
            other => Err(self.unexpected(other, "STRING", &[name, source])),
        }
    }

    /// The name in upper case; an attribute's name (not a vector's key) that starts with a digit or
    /// with `XML` gains `ONE_`.
    fn name(&mut self, source: Span, attribute: bool) -> Span {
        let text = source.of(self.input);
        let prefixed = attribute && needs_prefix(text);
        if !prefixed && !text.iter().any(u8::is_ascii_lowercase) {
            return source;
        }
        let start = self.input.len() + self.rewritten.len();
        if prefixed {
            self.rewritten.extend_from_slice(b"ONE_");
        }
        self.rewritten.extend(text.iter().map(u8::to_ascii_uppercase));
        Span::new(start, self.input.len() + self.rewritten.len())
    }

    /// The value with every `\"` turned into `"`.
    fn value(&mut self, text: Span, escaped: bool) -> Span {
        if !escaped {
            return text;
        }
        let start = self.input.len() + self.rewritten.len();
        unescape(text.of(self.input), &mut self.rewritten);
        Span::new(start, self.input.len() + self.rewritten.len())
    }

    fn unexpected(&self, found: Token, expected: &'static str, path: &[Span]) -> ParseError {
        ParseError::Unexpected {
            position: position(self.input, self.lexer.last),
            attribute: self.path(path),
            found: found.name(),
            expected,
        }
    }

    fn cdata_end(&self, path: &[Span]) -> ParseError {
        ParseError::CdataEnd {
            position: position(self.input, self.lexer.last),
            attribute: self.path(path),
        }
    }

    fn path(&self, spans: &[Span]) -> Option<String> {
        let names: Vec<_> = spans
            .iter()
            .map(|span| {
                let name = span.of(self.input);
                let shown = String::from_utf8_lossy(&name[..name.len().min(64)]).to_uppercase();
                if name.len() > 64 { format!("{shown}...") } else { shown }
            })
            .collect();
        (!names.is_empty()).then(|| names.join("/"))
    }
}

/// The rule of the core for names that would be no XML element.
pub(super) fn needs_prefix(name: &[u8]) -> bool {
    name.starts_with(b"XML") || !name.first().is_some_and(|&b| b.is_ascii_alphabetic() || b == b'_')
}

/// One left-to-right pass of `\"` to `"`; there is no other escape.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for quote in memchr_iter(b'"', text) {
        if quote > copied && text[quote - 1] == b'\\' {
            out.extend_from_slice(&text[copied..quote - 1]);
            copied = quote;
        }
    }
    out.extend_from_slice(&text[copied..]);
}

/// Sorts the pairs from `first` on by key; of equal keys the first stays, as in the core's map.
fn sort_pairs(pairs: &mut Vec<Pair>, first: usize, input: &[u8], rewritten: &[u8]) {
    let key = |pair: &Pair| {
        let range = pair.key.range();
        if range.start < input.len() {
            &input[range]
        } else {
            &rewritten[range.start - input.len()..range.end - input.len()]
        }
    };
    if pairs[first..].is_sorted_by(|a, b| key(a) < key(b)) {
        return;
    }
    pairs[first..].sort_by(|a, b| key(a).cmp(key(b)));
    let mut tail = pairs.split_off(first);
    tail.dedup_by(|later, kept| key(later) == key(kept));
    pairs.append(&mut tail);
}

/// Line and column in that line are counted only for an error, so that the parse itself does not
/// pay for them.
pub(super) fn position(input: &[u8], token: Span) -> Position {
    let start = (token.start as usize).min(input.len());
    let before = &input[..start];
    let line_start = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    Position {
        line: 1 + memchr_iter(b'\n', before).count() as u64,
        column: 1 + (start - line_start) as u64,
        columns: (1 + u64::from(token.start), 1 + u64::from(token.end)),
    }
}
