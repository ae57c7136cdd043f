//! Where the parts of one attribute stand in a text.

use super::super::lexer::{Lexer, Token};
use super::super::parse::unescape;
use super::super::span::Span;
use std::borrow::Cow;
use std::ops::Range;

/// One attribute, from its name to the end of its value.
pub(super) struct Layout {
    pub(super) name: Span,
    /// The equals sign with the blanks around it.
    pub(super) equal: Span,
    pub(super) value: ValueLayout,
}

pub(super) enum ValueLayout {
    /// Nothing, at this offset: the line ends behind the equals sign.
    Empty(usize),
    Single(ValueToken),
    Vector(VectorLayout),
}

#[derive(Clone, Copy)]
pub(super) struct ValueToken {
    /// With the quotes, when it has some.
    pub(super) token: Span,
    /// Without them.
    pub(super) text: Span,
    /// Whether `\"` stands in it.
    escaped: bool,
}

pub(super) struct VectorLayout {
    /// The opening bracket with the white space around it.
    pub(super) open: Span,
    /// In the order of the text, those that the parser drops among them.
    pub(super) pairs: Vec<PairLayout>,
    /// The closing bracket with the white space around it.
    pub(super) close: Span,
    /// The offset of the closing bracket itself.
    pub(super) bracket: usize,
}

pub(super) struct PairLayout {
    pub(super) key: Span,
    pub(super) equal: Span,
    pub(super) value: ValueToken,
    /// The comma behind the pair with the white space around it.
    pub(super) comma: Option<Span>,
}

impl Layout {
    /// Reads the attribute whose name starts at `start`. `text` ends before its first NUL.
    ///
    /// `None` when no attribute starts there, which the parser has found one at.
    pub(super) fn read(text: &[u8], lexer: &mut Lexer<'_, ()>) -> Option<Self> {
        let name = taken(lexer, Token::Variable)?;
        let token = lexer.next();
        let equal = lexer.last;
        let value = match token {
            Token::EqualEmpty => ValueLayout::Empty(equal.range().end - 1),
            Token::Equal => match lexer.next_value() {
                Token::Text { text, escaped } => {
                    ValueLayout::Single(ValueToken { token: lexer.last, text, escaped })
                }
                Token::OpenBracket => {
                    let open = lexer.last;
                    ValueLayout::Vector(VectorLayout::read(text, open, lexer)?)
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Self { name, equal, value })
    }

    /// The value, brackets and quotes included.
    pub(super) fn value_range(&self) -> Range<usize> {
        match &self.value {
            ValueLayout::Empty(at) => *at..*at,
            ValueLayout::Single(value) => value.token.range(),
            ValueLayout::Vector(vector) => vector.open.range().start..vector.bracket + 1,
        }
    }

    /// From the name to the end of the value.
    pub(super) fn range(&self) -> Range<usize> {
        self.name.range().start..self.value_range().end
    }
}

impl ValueToken {
    pub(super) fn is_bare(self) -> bool {
        self.token == self.text
    }

    pub(super) fn value(self, text: &[u8]) -> Cow<'_, [u8]> {
        let value = self.text.of(text);
        if !self.escaped {
            return Cow::Borrowed(value);
        }
        let mut plain = Vec::with_capacity(value.len());
        unescape(value, &mut plain);
        Cow::Owned(plain)
    }
}

impl VectorLayout {
    fn read(text: &[u8], open: Span, lexer: &mut Lexer<'_, ()>) -> Option<Self> {
        let mut pairs: Vec<PairLayout> = Vec::new();
        loop {
            match lexer.next() {
                Token::Variable => {
                    let key = lexer.last;
                    let equal = taken(lexer, Token::Equal)?;
                    let Token::Text { text, escaped } = lexer.next_value() else { return None };
                    let value = ValueToken { token: lexer.last, text, escaped };
                    pairs.push(PairLayout { key, equal, value, comma: None });
                }
                Token::Comma => pairs.last_mut()?.comma = Some(lexer.last),
                Token::CloseBracket => {
                    let close = lexer.last;
                    let inside = close.of(text).iter().position(|&byte| byte == b']')?;
                    let bracket = close.range().start + inside;
                    return Some(Self { open, pairs, close, bracket });
                }
                _ => return None,
            }
        }
    }
}

fn taken(lexer: &mut Lexer<'_, ()>, token: Token) -> Option<Span> {
    (lexer.next() == token).then_some(lexer.last)
}
