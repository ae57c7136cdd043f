//! Splits a stream of bytes into lines, whatever the size of the reads and however long a line is.

/// Collects lines. Of a line that is longer than the limit the first bytes are kept.
pub(crate) struct LineSplitter {
    max_line_bytes: usize,
    /// The line that has begun and not ended yet, up to the limit.
    partial: Vec<u8>,
    truncated: bool,
}

/// A line without its line feed.
pub(crate) struct Line<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether bytes behind the limit were dropped.
    pub(crate) truncated: bool,
}

impl LineSplitter {
    /// `max_line_bytes`: how many bytes of a line are kept.
    pub(crate) fn new(max_line_bytes: usize) -> Self {
        Self { max_line_bytes, partial: Vec::new(), truncated: false }
    }

    /// Takes the next bytes, and calls `each` for every line that ends in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let is_whole = self.partial.is_empty() && !self.truncated;
            if is_whole && end <= self.max_line_bytes {
                each(Line { bytes: &bytes[..end], truncated: false });
            } else {
                self.append(&bytes[..end]);
                self.emit(&mut each);
            }
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    /// Ends the stream: bytes behind the last line feed are a line too.
    pub(crate) fn end(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.partial.is_empty() || self.truncated {
            self.emit(&mut each);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = self.max_line_bytes - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.truncated |= bytes.len() > room;
    }

    fn emit(&mut self, each: &mut impl FnMut(Line<'_>)) {
        // Taken, not cleared: the memory of a long line is freed.
        let line = std::mem::take(&mut self.partial);
        each(Line { bytes: &line, truncated: std::mem::take(&mut self.truncated) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(reads: &[&[u8]], max_line_bytes: usize) -> Vec<(Vec<u8>, bool)> {
        let mut splitter = LineSplitter::new(max_line_bytes);
        let mut lines = Vec::new();
        let mut each = |line: Line<'_>| lines.push((line.bytes.to_vec(), line.truncated));
        for bytes in reads {
            splitter.feed(bytes, &mut each);
        }
        splitter.end(&mut each);
        lines
    }

    #[test]
    fn a_line_over_the_limit_is_truncated_and_says_so() {
        assert_eq!(
            lines(&[b"12345\n12", b"345", b"6\n\n"], 5),
            [(b"12345".to_vec(), false), (b"12345".to_vec(), true), (Vec::new(), false)]
        );
    }

    proptest! {
        #[test]
        fn the_size_of_the_reads_does_not_matter(
            text in "[ab\n]{0,60}",
            cuts in prop::collection::vec(0usize..60, 0..6),
            max_line_bytes in 1usize..8,
        ) {
            let mut cuts: Vec<_> =
                cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let reads: Vec<_> =
                cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let expected: Vec<_> = text
                .split_terminator('\n')
                .map(|line| {
                    let kept = line.len().min(max_line_bytes);
                    (line.as_bytes()[..kept].to_vec(), line.len() > max_line_bytes)
                })
                .collect();
            prop_assert_eq!(lines(&reads, max_line_bytes), expected);
        }
    }
}
