//! Tokens of the template grammar, by the rules of docs/template-grammar.md section 1.
//!
//! The scanner is a longest-match one with two states: right after `=` (a *value*) and everywhere
//! else. Bytes that no rule takes are skipped one at a time and reported to the [`Sink`]. Every
//! look-ahead is remembered, so the whole input is scanned in linear time whatever it holds.

use super::span::Span;
use memchr::{memchr, memchr_iter, memmem, memrchr};

/// A token's kind; `Display` gives the name that the core's own messages use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Variable,
    Equal,
    EqualEmpty,
    Comma,
    CloseBracket,
    OpenBracket,
    /// The rest of a line that holds `]]>`.
    Cdata,
    /// A value: its text without the quotes, and whether it holds `\"`.
    Text {
        text: Span,
        escaped: bool,
    },
}

impl Token {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::End => "$end",
            Self::Variable => "VARIABLE",
            Self::Equal => "EQUAL",
            Self::EqualEmpty => "EQUAL_EMPTY",
            Self::Comma => "COMMA",
            Self::CloseBracket => "CBRACKET",
            Self::OpenBracket => "OBRACKET",
            Self::Cdata => "CCDATA",
            Self::Text { .. } => "STRING",
        }
    }
}

/// Is told of input that the grammar passes over; the parse proper ignores it, diagnostics collect
/// it.
pub(super) trait Sink {
    /// The byte at `at` matched no rule and was skipped; `in_value` when that happened right after
    /// `=`.
    fn skipped(&mut self, at: usize, in_value: bool);
    /// A value token was taken.
    fn value(&mut self, token: Span, text: Span);
    /// A key of the vector named at `vector` was read.
    fn key(&mut self, vector: Span, key: Span);
}

impl Sink for () {
    fn skipped(&mut self, _: usize, _: bool) {}
    fn value(&mut self, _: Span, _: Span) {}
    fn key(&mut self, _: Span, _: Span) {}
}

pub(super) struct Lexer<'a, S> {
    input: &'a [u8],
    position: usize,
    /// The last thing lexed, skipped input included: the place that an error names.
    pub(super) last: Span,
    /// First `]]>` at or after some earlier position: none beyond it when it is `usize::MAX`.
    next_cdata: usize,
    /// First newline at or after some earlier position.
    next_newline: usize,
    /// Last newline of the input, once asked for: a comment needs one behind it.
    last_newline: Option<usize>,
    pub(super) sink: S,
}

const NONE: usize = usize::MAX;

/// What a byte is to the grammar, as bits.
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || b == b'_' {
            table[byte] |= NAME;
        }
        if matches!(b, b' ' | b'\t') {
            table[byte] |= BLANK;
        }
        if matches!(b, b' ' | b'\t' | b'\n') {
            table[byte] |= SPACE;
        }
        if matches!(b, b'=' | b'#' | b' ' | b'\t' | b'\n' | b',' | b'[' | b']') {
            table[byte] |= STOP;
        }
        byte += 1;
    }
    table
}

static CLASSES: [u8; 256] = classes();
const NAME: u8 = 1;
const BLANK: u8 = 2;
const SPACE: u8 = 4;
const STOP: u8 = 8;

fn is(class: u8, byte: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// Whether a byte ends a value without quotes.
pub(super) fn is_stop(byte: u8) -> bool {
    is(STOP, byte)
}

impl<'a, S: Sink> Lexer<'a, S> {
    /// `input` ends before its first NUL, as the core's C string does.
    pub(super) fn new(input: &'a [u8], sink: S) -> Self {
        Self {
            input,
            position: 0,
            last: Span::default(),
            next_cdata: 0,
            next_newline: 0,
            last_newline: None,
            sink,
        }
    }

    /// Goes on from an offset where an attribute starts, behind what was read.
    pub(super) fn move_to(&mut self, position: usize) -> &mut Self {
        debug_assert!(position >= self.position, "what was found ahead is only true further on");
        self.position = position;
        self
    }

    /// The end of the run of bytes of a class that starts at `from`.
    fn run(&self, from: usize, class: u8) -> usize {
        let mut end = from;
        while self.at(end).is_some_and(|byte| is(class, byte)) {
            end += 1;
        }
        end
    }

    fn at(&self, position: usize) -> Option<u8> {
        self.input.get(position).copied()
    }

    fn take(&mut self, end: usize) -> Span {
        self.last = Span::new(self.position, end);
        self.position = end;
        self.last
    }

    fn skip_byte(&mut self, in_value: bool) {
        self.sink.skipped(self.position, in_value);
        self.take(self.position + 1);
    }

    /// The next token outside a value.
    pub(super) fn next(&mut self) -> Token {
        while let Some(byte) = self.at(self.position) {
            let start = self.position;
            if is(NAME, byte) {
                let end = self.run(start, NAME);
                self.take(end);
                return Token::Variable;
            }
            let blanks = self.run(start, BLANK);
            match self.at(blanks) {
                Some(b'=') => return self.equal(blanks),
                Some(b'#') if self.newline_after(blanks) => {
                    let newline = memchr(b'\n', &self.input[blanks..])
                        .map_or(self.input.len(), |n| blanks + n + 1);
                    self.take(newline);
                    continue;
                }
                _ => {}
            }
            let spaces = self.run(blanks, SPACE);
            let token = match self.at(spaces) {
                Some(b',') => Some(Token::Comma),
                Some(b']') => Some(Token::CloseBracket),
                _ => None,
            };
            if let Some(token) = token {
                let end = self.run(spaces + 1, SPACE);
                self.take(end);
                return token;
            }
            if spaces > start {
                self.take(spaces);
            } else {
                self.skip_byte(false);
            }
        }
        Token::End
    }

    fn equal(&mut self, sign: usize) -> Token {
        let end = self.run(sign + 1, BLANK);
        if self.at(end) == Some(b'\n') {
            self.take(end + 1);
            Token::EqualEmpty
        } else {
            self.take(end);
            Token::Equal
        }
    }

    fn newline_after(&mut self, position: usize) -> bool {
        let input = self.input;
        let last = *self.last_newline.get_or_insert_with(|| memrchr(b'\n', input).unwrap_or(NONE));
        last != NONE && last > position
    }

    /// The next token right after `=`: the longest match, the earlier rule on a tie.
    pub(super) fn next_value(&mut self) -> Token {
        while let Some(byte) = self.at(self.position) {
            let start = self.position;
            let blanks = self.run(start, BLANK);
            let bracket = (self.at(blanks) == Some(b'[')).then(|| self.run(blanks + 1, SPACE));
            let line = self.cdata_line();
            let quoted = if byte == b'"' { self.quoted(start) } else { None };
            let bare = match quoted {
                // A quoted value is longest unless the value goes on without a stop behind its
                // closing quote.
                Some((end, _)) if self.at(end).is_none_or(is_stop) => start,
                _ => self.input[start..]
                    .iter()
                    .position(|&b| is_stop(b))
                    .map_or(self.input.len(), |n| start + n),
            };
            let ends = [
                bracket.unwrap_or(start),
                line.unwrap_or(start),
                quoted.map_or(start, |(end, _)| end),
                bare,
            ];
            let longest = ends.into_iter().max().unwrap_or(start);
            if longest == start {
                // What matched nothing before these blanks matches nothing between them either.
                let end = blanks.max(start + 1);
                while self.position < end {
                    self.skip_byte(true);
                }
                continue;
            }
            let rule = ends.iter().position(|&end| end == longest).unwrap_or_default();
            let token = self.take(longest);
            return match rule {
                0 => Token::OpenBracket,
                1 => Token::Cdata,
                2 => self.text(
                    token,
                    Span::new(start + 1, longest - 1),
                    quoted.is_some_and(|(_, escaped)| escaped),
                ),
                _ => {
                    let text = token.of(self.input);
                    let escaped =
                        memchr_iter(b'"', text).any(|quote| quote > 0 && text[quote - 1] == b'\\');
                    self.text(token, token, escaped)
                }
            };
        }
        Token::End
    }

    fn text(&mut self, token: Span, text: Span, escaped: bool) -> Token {
        self.sink.value(token, text);
        Token::Text { text, escaped }
    }

    /// The end of the quoted value that opens at `open`, and whether it holds `\"`. It closes at
    /// the first quote without a backslash before it or, when no such quote follows, at the last
    /// quote of the input.
    fn quoted(&self, open: usize) -> Option<(usize, bool)> {
        let text = &self.input[open + 1..];
        let (mut last, mut quotes) = (None, 0usize);
        for quote in memchr_iter(b'"', text) {
            if quote == 0 || text[quote - 1] != b'\\' {
                return Some((open + quote + 2, quotes > 0));
            }
            last = Some(quote);
            quotes += 1;
        }
        last.map(|quote| (open + quote + 2, quotes > 1))
    }

    /// The end of the physical line when `]]>` stands on what is left of it. (A value never starts
    /// at offset 0, so the initial zeros mean "not looked for yet".)
    fn cdata_line(&mut self) -> Option<usize> {
        let from = self.position;
        if self.next_cdata < from {
            self.next_cdata = memmem::find(&self.input[from..], b"]]>").map_or(NONE, |n| from + n);
        }
        if self.next_cdata == NONE {
            return None;
        }
        if self.next_newline < from {
            self.next_newline =
                memchr(b'\n', &self.input[from..]).map_or(self.input.len(), |n| from + n);
        }
        (self.next_cdata < self.next_newline).then_some(self.next_newline)
    }
}
