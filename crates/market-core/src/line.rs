//! Text from elsewhere, made fit for one line of a log or of an answer.

/// Text on one line, control characters escaped; of a longer one the first 2,048 characters.
///
/// ```
/// assert_eq!(market_core::line::one_line("a\nb"), "a\\nb");
/// ```
pub fn one_line(text: &str) -> String {
    const LONGEST: usize = 2_048;
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars().take(LONGEST) {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
