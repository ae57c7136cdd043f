//! Names that an image's author has chosen, as they may be printed.

/// The most characters of a name that are printed.
const MAX_CHARS: usize = 120;

/// A name on one line: control characters and those that change the direction of text are escaped,
/// and at most 120 characters are left.
pub(crate) fn printable(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut printable = String::new();
    for c in text.chars().take(MAX_CHARS) {
        if c.is_control() || is_format_control(c) {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Line and paragraph separators, and the controls of bidirectional text.
fn is_format_control(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first names of many, and how many more there are.
pub(crate) fn first_of<T: AsRef<[u8]>>(names: &[T]) -> String {
    const MAX_NAMES: usize = 4;
    let first: Vec<String> =
        names.iter().take(MAX_NAMES).map(|name| printable(name.as_ref())).collect();
    match names.len().checked_sub(MAX_NAMES) {
        Some(more @ 1..) => format!("{} and {more} more", first.join(", ")),
        _ => first.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(printable(b"a\nb\x1b[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(printable(&[b'x'; 1_000]).len(), 120);
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        assert_eq!(first_of(&["a", "b", "c", "d"]), "a, b, c, d");
        assert_eq!(first_of(&["a", "b", "c", "d", "e"]), "a, b, c, d and 1 more");
    }
}
