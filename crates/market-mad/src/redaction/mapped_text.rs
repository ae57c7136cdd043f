//! A decoded text, in which each byte knows the part of the original text that it stands for.

use std::ops::Range;

/// Bytes, and for each of them the range of the original text that it stands for.
pub(super) struct MappedText {
    pub(super) bytes: Vec<u8>,
    /// Where the range of each byte begins.
    starts: Vec<usize>,
    /// Where it ends.
    ends: Vec<usize>,
}

impl MappedText {
    /// The original text.
    pub(super) fn of(text: &str) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            starts: (0..text.len()).collect(),
            ends: (1..=text.len()).collect(),
        }
    }

    /// An empty text, with capacity for what another one is decoded to.
    fn with_capacity_of(other: &Self) -> Self {
        let room = other.bytes.len() + 1;
        Self {
            bytes: Vec::with_capacity(room),
            starts: Vec::with_capacity(room),
            ends: Vec::with_capacity(room),
        }
    }

    /// The range of the original text that a range of this one stands for.
    pub(super) fn origin(&self, part: Range<usize>) -> Range<usize> {
        let (start, end) = (self.starts[part.start], self.ends[part.end - 1]);
        start..end.max(start)
    }

    /// Whether a range neither begins nor ends in the middle of a word.
    pub(super) fn is_word(&self, part: &Range<usize>) -> bool {
        self.is_edge(part.start) && self.is_edge(part.end)
    }

    /// Whether a word begins or ends at this place, or there is none. Bytes of the original that
    /// were dropped here end a word too.
    pub(super) fn is_edge(&self, at: usize) -> bool {
        let is_in_word = |at: usize| self.bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        !at.checked_sub(1).is_some_and(|before| {
            is_in_word(before) && is_in_word(at) && self.ends[before] >= self.starts[at]
        })
    }

    /// Adds a byte that stands for a range of another text.
    fn push(&mut self, byte: u8, of: &Self, part: Range<usize>) {
        self.bytes.push(byte);
        self.starts.push(of.starts[part.start]);
        self.ends.push(of.ends[part.end - 1]);
    }

    /// Without blanks, line breaks, quotes and backslashes, which stand in a text when it is
    /// wrapped, quoted or escaped.
    pub(super) fn unwrapped(&self) -> Self {
        self.without(|byte| byte.is_ascii_whitespace() || b"\"'\\".contains(&byte))
    }

    /// The form in which values and texts are compared: also without `+`, which stands for a blank
    /// in forms.
    pub(super) fn compacted(&self) -> Self {
        self.without(|byte| byte.is_ascii_whitespace() || b"\"'\\+".contains(&byte))
    }

    fn without(&self, dropped: impl Fn(u8) -> bool) -> Self {
        let mut rest = Self::with_capacity_of(self);
        for (at, &byte) in self.bytes.iter().enumerate().filter(|(_, byte)| !dropped(**byte)) {
            rest.push(byte, self, at..at + 1);
        }
        rest
    }

    /// With the escapes of XML, URLs, JSON and shells decoded; `None` when there are none.
    pub(super) fn unescaped(&self) -> Option<Self> {
        memchr::memchr3(b'%', b'&', b'\\', &self.bytes)?;
        let mut unescaped = Self::with_capacity_of(self);
        let mut at = 0;
        while at < self.bytes.len() {
            match escape(&self.bytes[at..]) {
                Some((escaped, length)) => {
                    let mut buffer = [0; 4];
                    let decoded = match escaped {
                        Escaped::Byte(byte) => {
                            buffer[0] = byte;
                            &buffer[..1]
                        }
                        Escaped::Char(c) => c.encode_utf8(&mut buffer).as_bytes(),
                    };
                    decoded.iter().for_each(|&byte| unescaped.push(byte, self, at..at + length));
                    at += length;
                }
                None => {
                    unescaped.push(self.bytes[at], self, at..at + 1);
                    at += 1;
                }
            }
        }
        (unescaped.bytes != self.bytes).then_some(unescaped)
    }

    /// Every run of base64 digits decoded, when the first group of four begins at this digit of it
    /// (0 to 3). A zero stands between two runs.
    pub(super) fn decoded_base64(&self, alignment: usize) -> Self {
        let mut decoded = Self::with_capacity_of(self);
        let mut at = 0;
        while at < self.bytes.len() {
            let run =
                self.bytes[at..].iter().take_while(|byte| base64_digit(**byte).is_some()).count();
            let mut group = at + alignment;
            while group < at + run {
                self.decode_group(group..(group + 4).min(at + run), &mut decoded);
                group += 4;
            }
            self.separate(at + run, &mut decoded);
            at += run + 1;
        }
        decoded
    }

    /// Adds the zero behind a run. It stands for the byte that ends the run, or for the last byte
    /// of the text.
    fn separate(&self, end: usize, decoded: &mut Self) {
        let at = end.min(self.bytes.len() - 1);
        decoded.push(0, self, at..at + 1);
    }

    fn decode_group(&self, group: Range<usize>, decoded: &mut Self) {
        let bits =
            |at: usize| u32::from(self.bytes.get(at).copied().and_then(base64_digit).unwrap_or(0));
        let start = group.start;
        let value = (0..4).fold(0, |value, at| {
            value << 6 | if start + at < group.end { bits(start + at) } else { 0 }
        });
        let bytes = value.to_be_bytes();
        for (index, at) in (start..group.end.saturating_sub(1)).enumerate().take(3) {
            decoded.push(bytes[index + 1], self, at..at + 2);
        }
    }

    /// Every run of hexadecimal digits decoded, when the first pair begins at this digit of it (0
    /// or 1). A zero stands between two runs.
    pub(super) fn decoded_hex(&self, alignment: usize) -> Self {
        let mut decoded = Self::with_capacity_of(self);
        let mut at = 0;
        while at < self.bytes.len() {
            let run = self.bytes[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            for (index, pair) in self.bytes[at..at + run]
                .get(alignment..)
                .unwrap_or_default()
                .chunks_exact(2)
                .enumerate()
            {
                let first = at + alignment + 2 * index;
                let byte = number(pair, 16).and_then(|byte| u8::try_from(byte).ok()).unwrap_or(0);
                decoded.push(byte, self, first..first + 2);
            }
            self.separate(at + run, &mut decoded);
            at += run + 1;
        }
        decoded
    }
}

/// What an escape stands for.
enum Escaped {
    Byte(u8),
    Char(char),
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// The escape that a text begins with: what it stands for, and its length in bytes.
fn escape(text: &[u8]) -> Option<(Escaped, usize)> {
    let byte =
        |digits: &[u8], radix| Some(Escaped::Byte(u8::try_from(number(digits, radix)?).ok()?));
    match text {
        [b'%', rest @ ..] => Some((byte(rest.get(..2)?, 16)?, 3)),
        [b'\\', b'x', rest @ ..] => Some((byte(rest.get(..2)?, 16)?, 4)),
        [b'\\', b'u', rest @ ..] => {
            Some((Escaped::Char(char::from_u32(number(rest.get(..4)?, 16)?)?), 6))
        }
        [b'\\', b'0'..=b'3', ..] => Some((byte(text.get(1..4)?, 8)?, 4)),
        [b'\\', b'n' | b'r' | b't', ..] => Some((Escaped::Byte(b'\n'), 2)),
        [b'&', rest @ ..] => {
            let name = &rest[..rest.iter().take(10).position(|&byte| byte == b';')?];
            let c = match name {
                b"lt" => '<',
                b"gt" => '>',
                b"amp" => '&',
                b"quot" => '"',
                b"apos" => '\'',
                [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
                [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
                _ => return None,
            };
            Some((Escaped::Char(c), name.len() + 2))
        }
        _ => None,
    }
}

/// The value of a base64 digit, of the standard and the URL-safe alphabet (RFC 4648).
pub(super) fn base64_digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
