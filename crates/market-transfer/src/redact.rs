//! Hides secrets in the messages of others: a command that fails may repeat its arguments.

use crate::redacted;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use market_redact::without_secrets_of_urls;
use std::borrow::Cow;
use std::fmt;
use url::form_urlencoded;

/// What stands in place of what is not shown.
const HIDDEN: &str = "<hidden>";

/// Stands for it while URLs are looked for: no text of others means it, and it ends no URL.
const MARK: &str = "\u{e000}";

/// A line that is longer is cut before it is looked at.
const LONGEST_LINE: usize = 1_024;

/// Fewer characters are in every other word.
const SHORTEST: usize = 3;

/// What has fewer bytes is only hidden where it is a word.
const DISTINCT: usize = 6;

/// The secrets that a message must not show: the user, password and query of a URL, and the values
/// of a driver message.
///
/// ```
/// use market_transfer::Secrets;
///
/// let secrets = Secrets::of_url("tape://me:hunter2@host/7?token=a%20b");
/// assert_eq!(secrets.hide("no tape 7 for hunter2, a b"), "no tape 7 for <hidden>, <hidden>");
/// assert_eq!(secrets.hide("GET http://x:y@h/i?sig=1 failed"), "GET http://<hidden>@h/i?<hidden> failed");
/// ```
pub struct Secrets {
    /// What may be shown although it is a value of something.
    public: String,
    values: Vec<String>,
    /// The driver message as it is handed on.
    dump: String,
}

impl fmt::Debug for Secrets {
    /// Shows nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// The secrets of a URL: what [`redacted`] leaves out of it.
    pub fn of_url(url: &str) -> Self {
        let mut secrets = Self { public: redacted(url), values: Vec::new(), dump: String::new() };
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (place, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
        secrets.add(place.rsplit_once('@').map_or("", |(user, _)| user));
        secrets.add(query);
        for part in rest.split(['@', ':', '/', '?', '#', '&', ';', '=']) {
            secrets.add(part);
        }
        for pair in query.split(['&', '#']) {
            secrets.add(pair.split_once('=').map_or("", |(_, value)| value));
        }
        secrets
    }

    /// Adds the values of a driver message: an XML document in base64.
    #[must_use]
    pub fn and_dump(mut self, dump: &[u8]) -> Self {
        self.dump = String::from_utf8_lossy(dump).into_owned();
        let packed: Vec<u8> =
            dump.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let xml = STANDARD.decode(packed).unwrap_or_default();
        let xml = String::from_utf8_lossy(&xml);
        for text in xml.split(['<', '>']) {
            self.add(&unescaped(
                text.strip_prefix("![CDATA[").unwrap_or(text).trim_end_matches("]]"),
            ));
        }
        self
    }

    /// Adds the values that shell lines assign.
    #[must_use]
    pub fn and_assignments(mut self, lines: &str) -> Self {
        for value in lines.split_ascii_whitespace().flat_map(|word| word.split('=').skip(1)) {
            self.add(value.trim_matches(['"', '\'', '\\', ';']));
        }
        self
    }

    fn add(&mut self, value: &str) {
        let mut push = |value: &str| {
            if value.len() >= SHORTEST && !self.public.contains(value) {
                self.values.push(value.to_owned());
            }
        };
        for value in value.lines().map(str::trim).filter(|value| value.len() >= SHORTEST) {
            push(value);
            let decoded = form_urlencoded::parse(value.as_bytes()).next().map(|(name, _)| name);
            let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let in_path = encoded.replace('+', "%20");
            let (lower, base64) = (lower_case_escapes(&in_path), STANDARD.encode(value));
            for other in
                [decoded.as_deref().unwrap_or_default(), &encoded, &in_path, &lower, &base64]
            {
                if other != value {
                    push(other);
                }
            }
        }
    }

    /// A line with `<hidden>` in place of each of them, and of the secrets of any other URL. Of a
    /// line over 1,024 bytes, the beginning.
    pub fn hide(&self, line: &str) -> String {
        let end = (0..=LONGEST_LINE.min(line.len()))
            .rev()
            .find(|&at| line.is_char_boundary(at))
            .unwrap_or_default();
        // The values first: one with a quote in it would end a URL too early.
        let mut shown = self.without_message(&line[..end]);
        let mut values: Vec<&String> =
            self.values.iter().filter(|value| shown.contains(value.as_str())).collect();
        // What is a part of another one goes with it.
        values.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        for value in values {
            shown = without(&shown, value);
        }
        without_secrets_of_urls(&shown).replace(MARK, HIDDEN)
    }

    /// A line without pieces of the driver message itself.
    fn without_message(&self, line: &str) -> String {
        let is_other = |c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c));
        let pieces =
            line.split(is_other).filter(|piece| piece.len() >= 16 && self.dump.contains(*piece));
        pieces.fold(line.to_owned(), |line, piece| line.replace(piece, MARK))
    }
}

/// A text without a value; a short one is only hidden where it is a word.
fn without(text: &str, value: &str) -> String {
    if value.len() >= DISTINCT {
        return text.replace(value, MARK);
    }
    let mut rest = text;
    let mut shown = String::with_capacity(text.len());
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let word = !shown.ends_with(char::is_alphanumeric) || !before.is_empty();
        let word = word
            && !before.ends_with(char::is_alphanumeric)
            && !after.starts_with(char::is_alphanumeric);
        shown.push_str(before);
        shown.push_str(if word { MARK } else { value });
        rest = after;
    }
    shown + rest
}

/// `%2F` as `%2f`.
fn lower_case_escapes(encoded: &str) -> String {
    let mut digits = 0;
    let lower = |c: char| {
        let escaped = digits > 0;
        digits = if c == '%' { 2_u8 } else { digits.saturating_sub(1) };
        if escaped { c.to_ascii_lowercase() } else { c }
    };
    encoded.chars().map(lower).collect()
}

/// The five entities of XML, undone.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Cow::Owned(entities.iter().fold(text.to_owned(), |text, (entity, is)| text.replace(entity, is)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_would_end_a_url_is_hidden_as_a_whole() {
        let secrets = Secrets::of_url("tape://u:pa\"ss1234@host/x");
        assert_eq!(
            secrets.hide("cannot read tape://u:pa\"ss1234@host/x").matches("1234").count(),
            0
        );
    }

    #[test]
    fn values_of_the_message_are_hidden_in_every_spelling() {
        let xml = "<D><A><![CDATA[p&ss w<rd]]></A><B>it&amp;s&lt;me</B><IMAGE>7</IMAGE><C>abc</C><P>one/one-7</P></D>";
        let dump = STANDARD.encode(xml);
        let secrets = Secrets::of_url("tape://host/one/one-7").and_dump(dump.as_bytes());
        for (said, shown) in [
            ("key p&ss w is wrong".to_owned(), "key <hidden> is wrong"),
            ("key=it&s<me".to_owned(), "key=<hidden>"),
            ("it%26s%3Cme it%26s%3cme".to_owned(), "<hidden> <hidden>"),
            ("key p%26ss%20w".to_owned(), "key <hidden>"),
            (format!("x {}", STANDARD.encode("it&s<me")), "x <hidden>"),
            ("abc in abcd".to_owned(), "<hidden> in abcd"),
            ("no image one/one-7 of 7".to_owned(), "no image one/one-7 of 7"),
            (format!("stdin {}", &dump[..40]), "stdin <hidden>"),
        ] {
            assert_eq!(secrets.hide(&said), shown);
        }
    }
}
