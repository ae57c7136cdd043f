//! Edits, as changes of a template and as replaced ranges of a text.

use super::super::lexer::is_stop;
use super::super::span::Span;
use super::super::{Rules, Template, WriteError, write};
use super::Document;
use super::layout::{Layout, PairLayout, ValueLayout, VectorLayout};
use std::ops::Range;

/// A range of the text, and what stands there afterwards.
pub(super) type Splice = (Range<usize>, Vec<u8>);

/// One edit. Names and keys are in upper case.
pub(super) enum Edit<'a> {
    Set {
        name: &'a str,
        value: &'a [u8],
    },
    Push {
        name: &'a str,
        value: NewValue<'a>,
    },
    /// The one at this index, or all of the name.
    Remove {
        name: &'a str,
        index: Option<usize>,
    },
    SetKey {
        name: &'a str,
        index: usize,
        key: &'a str,
        value: &'a [u8],
    },
    RemoveKey {
        name: &'a str,
        index: usize,
        key: &'a str,
    },
}

pub(super) enum NewValue<'a> {
    Single(&'a [u8]),
    Vector(&'a [(String, Vec<u8>)]),
}

/// How an edit is put into the text.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Style {
    /// As a person would do it.
    Plain,
    /// With a line break on both sides of what changes: `]]>` later in a line concerns every value
    /// before it in that line.
    OwnLines,
    /// Without a line break, and at the front where the place is free: a line break would make a
    /// comment of a `#` in a last line, and a later quote would close one that is open.
    NoLines,
}

impl Style {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::OwnLines, Self::NoLines];

    /// What stands on both sides of what changes.
    fn edge(self) -> &'static [u8] {
        match self {
            Self::Plain => b"",
            Self::OwnLines => b"\n",
            Self::NoLines => b" ",
        }
    }
}

impl Edit<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Set { name, .. }
            | Self::Push { name, .. }
            | Self::Remove { name, .. }
            | Self::SetKey { name, .. }
            | Self::RemoveKey { name, .. } => name,
        }
    }

    /// Whether some text can express the new values.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        let check = |key, value| {
            write::put_value(&mut Vec::new(), Rules::Parser, (self.name(), key), value)
        };
        match self {
            Self::Set { value, .. } | Self::Push { value: NewValue::Single(value), .. } => {
                check(None, value)
            }
            Self::Push { value: NewValue::Vector(pairs), .. } => {
                pairs.iter().try_for_each(|(key, value)| check(Some(key), value))
            }
            Self::SetKey { key, value, .. } => check(Some(key), value),
            Self::Remove { .. } | Self::RemoveKey { .. } => Ok(()),
        }
    }

    /// The edit of the template, which the edited text must parse to.
    pub(super) fn apply(&self, template: &mut Template) -> Result<(), WriteError> {
        match *self {
            Self::Set { name, value } => {
                let (first, count) = (template.range(name).start, template.range(name).len());
                template.push(name, value)?;
                template.attributes.entries.drain(first..first + count);
            }
            Self::Push { name, value: NewValue::Single(value) } => template.push(name, value)?,
            Self::Push { name, value: NewValue::Vector(pairs) } => {
                template.push_vector(name, pairs.iter().map(|(key, value)| (key, value)))?;
            }
            Self::Remove { name, index: None } => drop(template.remove(name)),
            Self::Remove { name, index: Some(index) } => drop(template.remove_at(name, index)),
            Self::SetKey { name, index, key, value } => {
                template.set_key(name, index, key, value)?;
            }
            Self::RemoveKey { name, index, key } => drop(template.remove_key(name, index, key)),
        }
        Ok(())
    }

    /// The edit of the text; `None` when this style has no way of its own to do it.
    pub(super) fn splices(&self, document: &Document, style: Style) -> Option<Vec<Splice>> {
        let text = Text { bytes: document.body(), document, style };
        let layouts = document.layouts(self.name())?;
        match self {
            Self::Set { name, value } => match &layouts[..] {
                [] => text.insertion(name, &NewValue::Single(value), None),
                [first, others @ ..] => Some(text.replacement(first, others, value)),
            },
            Self::Push { name, value } => text.insertion(name, value, layouts.last()),
            Self::Remove { index: None, .. } => {
                Some(layouts.iter().map(|layout| text.removal(layout)).collect())
            }
            Self::Remove { index: Some(index), .. } => {
                Some(vec![text.removal(layouts.get(*index)?)])
            }
            Self::SetKey { index, key, value, .. } => {
                text.key(vector(layouts.get(*index)?)?, key, value)
            }
            Self::RemoveKey { index, key, .. } => {
                Some(text.key_removal(vector(layouts.get(*index)?)?, key))
            }
        }
    }
}

fn vector(layout: &Layout) -> Option<&VectorLayout> {
    match &layout.value {
        ValueLayout::Vector(vector) => Some(vector),
        _ => None,
    }
}

/// A text that is to be edited.
struct Text<'a> {
    /// Up to the first NUL.
    bytes: &'a [u8],
    document: &'a Document,
    style: Style,
}

impl Text<'_> {
    /// A new attribute: on the line behind `anchor`, or at the end.
    fn insertion(
        &self,
        name: &str,
        value: &NewValue<'_>,
        anchor: Option<&Layout>,
    ) -> Option<Vec<Splice>> {
        let mut new = Vec::new();
        write::put_name(&mut new, name);
        let equal = self.equal(anchor);
        new.extend_from_slice(equal);
        match value {
            NewValue::Single(value) => new.extend(quoted(value)?),
            NewValue::Vector(pairs) => put_pairs(&mut new, pairs, equal)?,
        }
        let (at, before, after) = self.gap(anchor);
        Some(vec![(at..at, [before, &new, after].concat())])
    }

    /// Where a new attribute goes, and what goes before and behind it.
    fn gap(&self, anchor: Option<&Layout>) -> (usize, &[u8], &'static [u8]) {
        let end = self.bytes.len();
        match (self.style, anchor) {
            (Style::Plain, None) if self.bytes.last().is_none_or(|&byte| byte == b'\n') => {
                (end, b"", b"\n")
            }
            (Style::Plain, None) => (end, b"\n", b""),
            (Style::OwnLines, None) => (end, b"\n", b"\n"),
            (Style::NoLines, None) => (0, b"", b"\n"),
            (Style::Plain, Some(anchor)) => {
                let (from, to) = (anchor.range().start, anchor.range().end);
                match self.rest_of_line(to) {
                    Rest::Line(next) => (next, self.indentation(from), b"\n"),
                    Rest::End => (end, b"\n", b""),
                    Rest::Other => (to, b" ", b""),
                }
            }
            (style, Some(anchor)) => (anchor.range().end, style.edge(), style.edge()),
        }
    }

    /// How equals signs are spaced around here.
    fn equal(&self, like: Option<&Layout>) -> &'static [u8] {
        let first = || self.document.layout(self.document.template.attributes.entries.first()?);
        let tight = match like {
            Some(layout) => layout.equal.len() == 1,
            None => first().is_some_and(|layout| layout.equal.len() == 1),
        };
        if tight { b"=" } else { b" = " }
    }

    /// Another value for the first attribute, and the end of the others.
    fn replacement(&self, first: &Layout, others: &[Layout], value: &[u8]) -> Vec<Splice> {
        let bare = matches!(&first.value, ValueLayout::Single(old) if old.is_bare());
        let mut splices = self.value(first.name, first.equal, first.value_range(), value, bare);
        splices.extend(others.iter().map(|layout| self.removal(layout)));
        splices
    }

    /// A value in the place of the one at `range`, behind its name or key.
    fn value(
        &self,
        name: Span,
        equal: Span,
        range: Range<usize>,
        value: &[u8],
        bare: bool,
    ) -> Vec<Splice> {
        let bare = bare && self.style == Style::Plain && can_be_bare(value);
        let mut new = if bare { value.to_vec() } else { quoted(value).unwrap_or_default() };
        if self.style == Style::Plain {
            return vec![(range, new)];
        }
        new.extend_from_slice(self.style.edge());
        let start = name.range().start;
        // What the parser skips before a value goes too: with it, the value has another start.
        let range = equal.range().end.min(range.start)..range.end;
        vec![(start..start, self.style.edge().to_vec()), (range, new)]
    }

    /// The end of an attribute and, when nothing else stands there, of its lines.
    fn removal(&self, layout: &Layout) -> Splice {
        let Range { start, end } = layout.range();
        if self.style != Style::Plain {
            return (start..end, self.style.edge().to_vec());
        }
        let blanks = self.blanks_before(start);
        let range = match (self.line_starts(start - blanks), self.rest_of_line(end)) {
            (true, Rest::Line(next)) if !self.has_comment(end, next) => start - blanks..next,
            (true, Rest::End) => start - blanks..self.bytes.len(),
            (false, Rest::Line(next)) if !self.has_comment(end, next) => start - blanks..end,
            (false, Rest::End) => start - blanks..end,
            _ => start..end + self.blanks_behind(end),
        };
        (range, Vec::new())
    }

    /// A key that gets another value, or a new one behind the last.
    fn key(&self, vector: &VectorLayout, key: &str, value: &[u8]) -> Option<Vec<Splice>> {
        if let Some(pair) = vector.pairs.iter().find(|pair| self.is(pair, key)) {
            let (range, bare) = (pair.value.token.range(), pair.value.is_bare());
            return Some(self.value(pair.key, pair.equal, range, value, bare));
        }
        let Some(last) = vector.pairs.last() else {
            return Some(vec![self.only_pair(vector, key, value)?]);
        };
        let new = pair(key, if last.equal.len() == 1 { b"=" } else { b" = " }, value)?;
        let end = last.value.token.range().end;
        if self.style != Style::Plain {
            let edge = self.style.edge();
            return Some(vec![(end..end, [b",", edge, &new, edge].concat())]);
        }
        let start = last.key.range().start;
        let blanks = self.blanks_before(start);
        let separator = if self.line_starts(start - blanks) {
            [b"\n", &self.bytes[start - blanks..start]].concat()
        } else {
            b" ".to_vec()
        };
        let close = vector.close.range().start;
        if close == end {
            return Some(vec![(end..end, [b",", &separator[..], &new].concat())]);
        }
        // Comments stand between the last pair and the bracket: the comma goes before them and the
        // pair behind.
        let line = self.line_starts(close);
        let new = match separator.strip_prefix(b"\n") {
            Some(indentation) if line => [indentation, &new, b"\n"].concat(),
            _ => [&separator, &new[..]].concat(),
        };
        Some(vec![(end..end, b",".to_vec()), (close..close, new)])
    }

    fn only_pair(&self, vector: &VectorLayout, key: &str, value: &[u8]) -> Option<Splice> {
        let at = vector.bracket;
        let tight = self.bytes.get(at.wrapping_sub(1)) == Some(&b'[');
        let edge = match self.style {
            Style::Plain if tight => &b""[..],
            Style::Plain => b" ",
            style => style.edge(),
        };
        let before: &[u8] = if self.style == Style::Plain { b"" } else { edge };
        let new = pair(key, if tight { b"=" } else { b" = " }, value)?;
        Some((at..at, [before, &new, edge].concat()))
    }

    /// Every pair of that key goes with one comma: the one behind it, or the one before it when no
    /// pair that stays follows.
    fn key_removal(&self, vector: &VectorLayout, key: &str) -> Vec<Splice> {
        let pairs = &vector.pairs;
        let last_kept = pairs.iter().rposition(|pair| !self.is(pair, key));
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (at, removed) in pairs.iter().enumerate().filter(|(_, pair)| self.is(pair, key)) {
            let range = removed.key.range().start..removed.value.token.range().end;
            let before = at.checked_sub(1).and_then(|at| pairs[at].comma).map(|span| span.range());
            let behind = removed.comma.map(|span| span.range());
            match (last_kept.is_some_and(|last| last < at), before, behind) {
                (true, Some(comma), _) if comma.end == range.start => {
                    ranges.push(comma.start..range.end);
                }
                (true, Some(comma), _) => ranges.extend([self.comma_in(comma), range]),
                (_, _, Some(comma)) if comma.start == range.end => {
                    ranges.push(range.start..comma.end);
                }
                (_, _, Some(comma)) => ranges.extend([range, self.comma_in(comma)]),
                (_, _, None) => ranges.push(range),
            }
        }
        ranges.into_iter().map(|range| (range, self.style.edge().to_vec())).collect()
    }

    /// The comma alone, without the white space around it.
    fn comma_in(&self, token: Range<usize>) -> Range<usize> {
        let inside = self.bytes[token.clone()].iter().position(|&byte| byte == b',');
        let at = token.start + inside.unwrap_or_default();
        at..at + 1
    }

    fn is(&self, pair: &PairLayout, key: &str) -> bool {
        pair.key.of(self.bytes).eq_ignore_ascii_case(key.as_bytes())
    }

    /// The blanks that a line begins with, when `start` is the first thing on it.
    fn indentation(&self, start: usize) -> &[u8] {
        let blanks = self.blanks_before(start);
        if self.line_starts(start - blanks) { &self.bytes[start - blanks..start] } else { b"" }
    }

    fn line_starts(&self, at: usize) -> bool {
        at == 0 || self.bytes[at - 1] == b'\n'
    }

    fn blanks_before(&self, at: usize) -> usize {
        self.bytes[..at].iter().rev().take_while(|&&byte| is_blank(byte)).count()
    }

    fn blanks_behind(&self, at: usize) -> usize {
        self.bytes[at..].iter().take_while(|&&byte| is_blank(byte)).count()
    }

    fn rest_of_line(&self, at: usize) -> Rest {
        let at = at + self.blanks_behind(at);
        let newline = memchr::memchr(b'\n', &self.bytes[at..]).map(|newline| at + newline + 1);
        match (self.bytes.get(at), newline) {
            (None, _) => Rest::End,
            (Some(b'\n' | b'#'), Some(next)) => Rest::Line(next),
            _ => Rest::Other,
        }
    }

    fn has_comment(&self, from: usize, next_line: usize) -> bool {
        self.bytes[from..next_line].contains(&b'#')
    }
}

/// What stands on a line behind an attribute.
enum Rest {
    /// Blanks or a comment; the next line starts here.
    Line(usize),
    /// Blanks, and then the text ends.
    End,
    Other,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a value is as good without quotes.
fn can_be_bare(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !is_stop(*byte) && !b"\"\\".contains(byte);
    !value.is_empty() && value.iter().all(plain)
}

/// A value as the writer writes it, when it can.
pub(super) fn quoted(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len() + 2);
    write::put_value(&mut out, Rules::Parser, ("", None), value).ok()?;
    Some(out)
}

fn pair(key: &str, equal: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    Some([key.as_bytes(), equal, &quoted(value)?].concat())
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, Vec<u8>)], equal: &[u8]) -> Option<()> {
    out.push(b'[');
    for (at, (key, value)) in pairs.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\n  " } else { b",\n  " });
        out.extend(pair(key, equal, value)?);
    }
    out.extend_from_slice(if pairs.is_empty() { b"]" } else { b"\n]" });
    Some(())
}
