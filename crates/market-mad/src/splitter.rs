//! Lines out of a stream of bytes, however it is cut into pieces and however long they are.

/// Collects lines; of one that is too long the first bytes.
pub(crate) struct Splitter {
    most: usize,
    line: Vec<u8>,
    cut: bool,
}

/// A collected line, without its end.
pub(crate) struct Line<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether there was more of it.
    pub(crate) cut: bool,
}

impl Splitter {
    /// `most`: how many bytes of a line are kept.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, line: Vec::new(), cut: false }
    }

    /// Takes the next bytes; tells of every line that ends in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            if self.line.is_empty() && !self.cut && end <= self.most {
                each(Line { bytes: &bytes[..end], cut: false });
            } else {
                self.keep(&bytes[..end]);
                self.hand_out(&mut each);
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// The stream has ended: what has no line end is the last line.
    pub(crate) fn end(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.line.is_empty() || self.cut {
            self.hand_out(&mut each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.most - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cut |= bytes.len() > room;
    }

    fn hand_out(&mut self, each: &mut impl FnMut(Line<'_>)) {
        // One that was large gives its memory back.
        let line = std::mem::take(&mut self.line);
        each(Line { bytes: &line, cut: std::mem::take(&mut self.cut) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]], most: usize) -> Vec<(Vec<u8>, bool)> {
        let mut splitter = Splitter::new(most);
        let mut lines = Vec::new();
        let mut each = |line: Line<'_>| lines.push((line.bytes.to_vec(), line.cut));
        for piece in pieces {
            splitter.feed(piece, &mut each);
        }
        splitter.end(&mut each);
        lines
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so() {
        assert_eq!(
            lines(&[b"12345\n12", b"345", b"6\n\n"], 5),
            [(b"12345".to_vec(), false), (b"12345".to_vec(), true), (Vec::new(), false)]
        );
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6), most in 1usize..8) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let expected: Vec<_> = text
                .split_terminator('\n')
                .map(|line| (line.as_bytes()[..line.len().min(most)].to_vec(), line.len() > most))
                .collect();
            prop_assert_eq!(lines(&pieces, most), expected);
        }
    }
}
