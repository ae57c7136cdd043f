//! What parses but surprises: told beside the parse, for people and editors.

use super::error::Position;
use super::lexer::Sink;
use super::parse;
use super::span::Span;
use memchr::{memchr, memchr_iter};
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

/// Something in a template's text that OpenNebula accepts but most likely does not mean what its
/// author thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What it is.
    pub lint: Lint,
    /// The bytes concerned.
    pub span: Range<usize>,
    /// Where they begin.
    pub position: Position,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.lint)
    }
}

/// The kinds of [`Diagnostic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Lint {
    /// Bytes that no rule takes are passed over (and end up on the core's standard output).
    #[error("these bytes are no part of the syntax and are skipped")]
    Skipped,
    /// `#` right after `=` begins no comment: what follows becomes the value.
    #[error("`#` after `=` begins no comment: the words behind it become the value")]
    HashInValue,
    /// `"a"b`: the value goes on behind its closing quote, so the quotes are part of it.
    #[error("the value goes on behind its closing quote, so its quotes are kept")]
    QuotesKept,
    /// An opening quote without its own closing one.
    #[error("the quote is not closed where it seems to be")]
    UnterminatedQuote,
    /// A value without quotes ends at the first blank.
    #[error("a value without quotes ends at the blank; quote it")]
    CutAtBlank,
    /// The same key twice in one vector: the first one counts.
    #[error("the key stands twice in its vector: this one is dropped")]
    DuplicateKey,
    /// A carriage return before a newline is part of the value.
    #[error("the carriage return before the newline is part of the value")]
    CarriageReturn,
    /// A NUL byte: the rest of the text is not read.
    #[error("the text ends here for OpenNebula: the NUL byte and all behind it is ignored")]
    Nul,
}

/// Collects diagnostics for a text, whether it parses or not, in the order of the text.
///
/// ```
/// use market_core::template::{Lint, lint};
///
/// let found = lint(b"MEMORY = # MiB\n  PATH = \"/tmp/a\"b\n");
/// assert_eq!(found[0].lint, Lint::HashInValue);
/// assert_eq!(found.last().unwrap().lint, Lint::QuotesKept);
/// ```
pub fn lint(text: &[u8]) -> Vec<Diagnostic> {
    let end = memchr(0, text).unwrap_or(text.len());
    let collector = Collector {
        input: &text[..end],
        found: Vec::new(),
        vector: Span::default(),
        keys: HashSet::new(),
    };
    let mut found = parse::parse(text, collector).sink.found;
    if end < text.len() {
        found.push((Lint::Nul, end..text.len()));
    }
    found.sort_by_key(|(_, span)| span.start);
    place(text, found)
}

/// Counts lines once for all diagnostics.
fn place(text: &[u8], found: Vec<(Lint, Range<usize>)>) -> Vec<Diagnostic> {
    let (mut line, mut line_start, mut counted) = (1, 0, 0);
    found
        .into_iter()
        .map(|(lint, span)| {
            for newline in memchr_iter(b'\n', &text[counted..span.start]) {
                line += 1;
                line_start = counted + newline + 1;
            }
            counted = span.start;
            let position = Position {
                line,
                column: 1 + (span.start - line_start) as u64,
                columns: (1 + span.start as u64, 1 + span.end as u64),
            };
            Diagnostic { lint, span, position }
        })
        .collect()
}

struct Collector<'a> {
    input: &'a [u8],
    found: Vec<(Lint, Range<usize>)>,
    /// The name of the vector whose keys are in `keys`.
    vector: Span,
    keys: HashSet<Vec<u8>>,
}

impl Sink for Collector<'_> {
    fn skipped(&mut self, at: usize, in_value: bool) {
        let lint = if in_value && self.input.get(at) == Some(&b'#') {
            Lint::HashInValue
        } else {
            Lint::Skipped
        };
        match self.found.last_mut() {
            Some((last, span)) if *last == lint && span.end == at => span.end += 1,
            _ => self.found.push((lint, at..at + 1)),
        }
    }

    fn value(&mut self, token: Span, text: Span) {
        let bytes = token.of(self.input);
        let bare = token == text;
        let lint = if bare && bytes.first() == Some(&b'"') {
            let closed =
                memchr_iter(b'"', &bytes[1..]).any(|quote| quote == 0 || bytes[quote] != b'\\');
            Some(if closed { Lint::QuotesKept } else { Lint::UnterminatedQuote })
        } else if !bare && self.closes_elsewhere(token, text) {
            Some(Lint::UnterminatedQuote)
        } else if bare && self.cut_at_blank(token) {
            Some(Lint::CutAtBlank)
        } else {
            None
        };
        self.found.extend(lint.map(|lint| (lint, token.range())));
        if bare
            && bytes.ends_with(b"\r")
            && self.input.get(token.range().end).is_none_or(|&b| b == b'\n')
        {
            self.found.push((Lint::CarriageReturn, token.range().end - 1..token.range().end));
        }
    }

    fn key(&mut self, vector: Span, key: Span) {
        if vector != self.vector {
            self.keys.clear();
            self.vector = vector;
        }
        if !self.keys.insert(key.of(self.input).to_ascii_uppercase()) {
            self.found.push((Lint::DuplicateKey, key.range()));
        }
    }
}

impl Collector<'_> {
    fn cut_at_blank(&self, token: Span) -> bool {
        let rest = self.input.get(token.range().end..).unwrap_or_default();
        let blanks = rest.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
        blanks > 0 && rest.get(blanks).is_some_and(|b| !b"\n\r#,]".contains(b))
    }

    /// A quoted text that closes only at an escaped quote, or that runs over a line up to the quote
    /// that opens the next value.
    fn closes_elsewhere(&self, token: Span, text: Span) -> bool {
        let escaped = text.of(self.input).ends_with(b"\\");
        let goes_on = self.input.get(token.range().end).is_some_and(|b| !b" \t\r\n#,]".contains(b));
        escaped || (goes_on && memchr(b'\n', text.of(self.input)).is_some())
    }
}
