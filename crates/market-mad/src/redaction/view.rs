//! A text as it reads when something is undone, and where each of its bytes comes from.

use std::ops::Range;

/// The bytes, and for each of them the part of the first text that it stands for.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    from: Vec<usize>,
    to: Vec<usize>,
}

impl View {
    /// A text as it stands.
    pub(super) fn of(text: &str) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            from: (0..text.len()).collect(),
            to: (1..=text.len()).collect(),
        }
    }

    /// An empty one, with room for what another becomes.
    fn like(other: &Self) -> Self {
        let room = other.bytes.len() + 1;
        Self {
            bytes: Vec::with_capacity(room),
            from: Vec::with_capacity(room),
            to: Vec::with_capacity(room),
        }
    }

    /// The part of the first text that a part of this one stands for.
    pub(super) fn origin(&self, part: Range<usize>) -> Range<usize> {
        let (start, end) = (self.from[part.start], self.to[part.end - 1]);
        start..end.max(start)
    }

    /// Whether a part is not in the middle of a word.
    pub(super) fn is_word(&self, part: &Range<usize>) -> bool {
        self.is_edge(part.start) && self.is_edge(part.end)
    }

    /// Whether no word goes on from the byte before this place to the one behind it. What was
    /// dropped in between ends a word too.
    pub(super) fn is_edge(&self, at: usize) -> bool {
        let is_part = |at: usize| self.bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        !at.checked_sub(1).is_some_and(|before| {
            is_part(before) && is_part(at) && self.to[before] >= self.from[at]
        })
    }

    /// Adds a byte that stands for a part of another view.
    fn push(&mut self, byte: u8, of: &Self, part: Range<usize>) {
        self.bytes.push(byte);
        self.from.push(of.from[part.start]);
        self.to.push(of.to[part.end - 1]);
    }

    /// Without what comes in between when a text is wrapped, quoted or escaped with backslashes.
    pub(super) fn unwrapped(&self) -> Self {
        self.without(|byte| byte.is_ascii_whitespace() || b"\"'\\".contains(&byte))
    }

    /// The same without `+`, by which forms write a blank: as values and texts are compared.
    pub(super) fn compact(&self) -> Self {
        self.without(|byte| byte.is_ascii_whitespace() || b"\"'\\+".contains(&byte))
    }

    fn without(&self, dropped: impl Fn(u8) -> bool) -> Self {
        let mut rest = Self::like(self);
        for (at, &byte) in self.bytes.iter().enumerate().filter(|(_, byte)| !dropped(**byte)) {
            rest.push(byte, self, at..at + 1);
        }
        rest
    }

    /// With the escapes of XML, URLs, JSON and shells undone; `None` when there are none.
    pub(super) fn unescaped(&self) -> Option<Self> {
        memchr::memchr3(b'%', b'&', b'\\', &self.bytes)?;
        let mut unescaped = Self::like(self);
        let mut at = 0;
        while at < self.bytes.len() {
            match escape(&self.bytes[at..]) {
                Some((meant, length)) => {
                    let mut buffer = [0; 4];
                    let meant = match meant {
                        Meant::Byte(byte) => {
                            buffer[0] = byte;
                            &buffer[..1]
                        }
                        Meant::Char(c) => c.encode_utf8(&mut buffer).as_bytes(),
                    };
                    meant.iter().for_each(|&byte| unescaped.push(byte, self, at..at + length));
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

    /// Every run of base64 as bytes, when groups of four begin at this place of it (0 to 3).
    /// Between two runs is a zero.
    pub(super) fn decoded_base64(&self, alignment: usize) -> Self {
        let mut decoded = Self::like(self);
        let mut at = 0;
        while at < self.bytes.len() {
            let run = self.bytes[at..].iter().take_while(|byte| sextet(**byte).is_some()).count();
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

    /// The zero behind a run: it stands for what ends the run, at the end of a text for the last
    /// byte.
    fn separate(&self, end: usize, decoded: &mut Self) {
        let at = end.min(self.bytes.len() - 1);
        decoded.push(0, self, at..at + 1);
    }

    fn decode_group(&self, group: Range<usize>, decoded: &mut Self) {
        let bits = |at: usize| u32::from(self.bytes.get(at).copied().and_then(sextet).unwrap_or(0));
        let start = group.start;
        let value = (0..4).fold(0, |value, at| {
            value << 6 | if start + at < group.end { bits(start + at) } else { 0 }
        });
        let bytes = value.to_be_bytes();
        for (index, at) in (start..group.end.saturating_sub(1)).enumerate().take(3) {
            decoded.push(bytes[index + 1], self, at..at + 2);
        }
    }

    /// Every run of hexadecimal digits as bytes, when pairs begin at this place of it (0 or 1).
    /// Between two runs is a zero.
    pub(super) fn decoded_hex(&self, alignment: usize) -> Self {
        let mut decoded = Self::like(self);
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

enum Meant {
    Byte(u8),
    Char(char),
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// What an escape at the beginning of a text means, and how long it is.
fn escape(text: &[u8]) -> Option<(Meant, usize)> {
    let byte = |digits: &[u8], radix| Some(Meant::Byte(u8::try_from(number(digits, radix)?).ok()?));
    match text {
        [b'%', rest @ ..] => Some((byte(rest.get(..2)?, 16)?, 3)),
        [b'\\', b'x', rest @ ..] => Some((byte(rest.get(..2)?, 16)?, 4)),
        [b'\\', b'u', rest @ ..] => {
            Some((Meant::Char(char::from_u32(number(rest.get(..4)?, 16)?)?), 6))
        }
        [b'\\', b'0'..=b'3', ..] => Some((byte(text.get(1..4)?, 8)?, 4)),
        [b'\\', b'n' | b'r' | b't', ..] => Some((Meant::Byte(b'\n'), 2)),
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
            Some((Meant::Char(c), name.len() + 2))
        }
        _ => None,
    }
}

/// The value of a base64 digit, of both alphabets.
pub(super) fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
