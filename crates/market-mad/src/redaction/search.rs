//! Finds what is hidden in a text, and replaces it.

use super::classify::{is_base64, is_part_of_dump};
use super::mapped_text::MappedText;
use super::{Redaction, ShortValue};
use market_core::line::secrets_of_urls;
use std::borrow::Cow;
use std::ops::Range;

/// What stands in the place of a hidden part.
pub(super) const HIDDEN: &str = "<hidden>";

/// How many layers of escapes, one inside the other, are decoded.
const MAX_ESCAPE_LAYERS: usize = 2;

/// The bytes of a text that are hidden.
struct Marks(Vec<bool>);

impl Marks {
    fn mark(&mut self, range: Range<usize>) {
        self.0[range].fill(true);
    }

    fn has_unmarked(&self, range: Range<usize>) -> bool {
        self.0[range].contains(&false)
    }
}

impl Redaction {
    /// The text with everything replaced that must not be shown, in as many lines as before.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut marks = Marks(vec![false; text.len()]);
        if self.hides_all() {
            marks.mark(0..text.len());
        } else {
            self.mark(text, &mut marks);
        }
        if marks.0.contains(&true) {
            Cow::Owned(replace_marked(text, &marks.0))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn mark(&self, text: &str, marks: &mut Marks) {
        let mut mapped = MappedText::of(text);
        self.mark_in(&mapped, text, marks);
        for _ in 0..MAX_ESCAPE_LAYERS {
            let Some(unescaped) = mapped.unescaped() else { break };
            mapped = unescaped;
            self.mark_in(&mapped, text, marks);
        }
        let unwrapped = mapped.unwrapped();
        for alignment in 0..4 {
            self.mark_in_base64(&unwrapped.decoded_base64(alignment), text, marks);
        }
        for alignment in 0..2 {
            let decoded = unwrapped.decoded_hex(alignment).compacted();
            self.for_each_value(&decoded, false, |found| marks.mark(found));
        }
        if self.is_dump_large {
            let runs = runs_of_base64(text);
            runs.filter(|run| is_part_of_dump(&text.as_bytes()[run.clone()]))
                .for_each(|run| marks.mark(run));
        }
    }

    fn mark_in(&self, mapped: &MappedText, text: &str, marks: &mut Marks) {
        for secret in secrets_of_urls(&mapped.bytes) {
            marks.mark(mapped.origin(secret));
        }
        for ShortValue { value, is_secret } in &self.short_values {
            for at in memchr::memmem::find_iter(&mapped.bytes, value) {
                let found = at..at + value.len();
                if *is_secret {
                    marks.mark(lines_around(text, mapped.origin(found)));
                } else if mapped.is_word(&found) {
                    marks.mark(mapped.origin(found));
                }
            }
        }
        self.for_each_value(&mapped.compacted(), true, |found| marks.mark(found));
    }

    /// Calls `each` with the place in the original text of every value that is found. `only_words`:
    /// a value that is hidden as a whole does not count in the middle of a word.
    fn for_each_value(
        &self,
        compacted: &MappedText,
        only_words: bool,
        mut each: impl FnMut(Range<usize>),
    ) {
        self.secrets.find(&compacted.bytes, |found| each(compacted.origin(found)));
        self.whole_values.find(compacted, only_words, |found| each(compacted.origin(found)));
    }

    /// Hides a run of base64 when something is found in what it stands for.
    fn mark_in_base64(&self, decoded: &MappedText, text: &str, marks: &mut Marks) {
        let mut mark_run = |found: Range<usize>| {
            if marks.has_unmarked(found.clone()) {
                marks.mark(run_around(text, found));
            }
        };
        self.dump.find(&decoded.bytes, |found| mark_run(decoded.origin(found)));
        self.for_each_value(&decoded.compacted(), false, &mut mark_run);
        if let Some(unescaped) = decoded.unescaped() {
            self.for_each_value(&unescaped.compacted(), false, &mut mark_run);
        }
    }
}

/// The whole lines that a part of a text is in.
fn lines_around(text: &str, part: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let start = memchr::memrchr(b'\n', &bytes[..part.start]).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'\n', &bytes[part.end..]).map_or(text.len(), |at| part.end + at);
    start..end
}

/// A part of a text, extended to the runs of base64 in which it begins and ends.
fn run_around(text: &str, part: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let before = bytes[..part.start].iter().rev().take_while(|byte| is_base64(**byte)).count();
    let behind = bytes[part.end..].iter().take_while(|byte| is_base64(**byte)).count();
    part.start - before..part.end + behind
}

fn runs_of_base64(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    text.as_bytes().chunk_by(|a, b| is_base64(*a) == is_base64(*b)).filter_map(move |chunk| {
        let start = end;
        end += chunk.len();
        is_base64(chunk[0]).then_some(start..end)
    })
}

/// The text with every marked run replaced by [`HIDDEN`]. Line feeds stay.
fn replace_marked(text: &str, marks: &[bool]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut is_hiding = false;
    for (at, c) in text.char_indices() {
        let is_marked = marks[at..at + c.len_utf8()].contains(&true) && c != '\n';
        if is_marked && !is_hiding {
            shown.push_str(HIDDEN);
        } else if !is_marked {
            shown.push(c);
        }
        is_hiding = is_marked;
    }
    shown
}
