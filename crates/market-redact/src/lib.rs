#![doc = include_str!("../README.md")]

use std::borrow::Cow;
use std::ops::Range;

/// Text on one line, control characters escaped; of a longer one the first 2,048 characters.
///
/// ```
/// assert_eq!(market_redact::one_line("a\nb"), "a\\nb");
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

/// Where a text holds what is secret in URLs: users with their passwords, and everything behind a
/// `?` or `#`, which may be a signature. Of a URL that was cut off in its password all is. The
/// ranges are in order and do not overlap.
///
/// ```
/// let text = "cannot read http://me:pass@host/a?sig=1 here";
/// let secrets: Vec<_> = market_redact::secrets_of_urls(text.as_bytes()).map(|range| &text[range]).collect();
/// assert_eq!(secrets, ["me:pass", "sig=1"]);
/// ```
pub fn secrets_of_urls(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let begin = from + memchr::memmem::find(&text[from..], b"://")? + 3;
        let ends_url = |byte: &u8| {
            byte.is_ascii_whitespace() || byte.is_ascii_control() || b"\"'<>`".contains(byte)
        };
        let end =
            text[begin..].iter().position(ends_url).map_or(text.len(), |length| begin + length);
        from = end;
        Some(secrets_of_url(text, begin..end))
    })
    .flatten()
    .filter(|range| !range.is_empty())
}

/// Of one URL, from behind its scheme. One inside another is a part of it.
fn secrets_of_url(text: &[u8], url: Range<usize>) -> [Range<usize>; 2] {
    let rest = &text[url.clone()];
    let authority = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let at = |part: &[u8]| part.iter().rposition(|&byte| byte == b'@');
    let user = match at(&rest[..authority]) {
        Some(at) => at,
        None if is_host_and_port(&rest[..authority]) => 0,
        // A password with a bare `/` or `?` ends the authority too early.
        None => match at(rest) {
            Some(at) => at,
            // What follows the colon of `ssh://host:path` is a path.
            None if text[..url.start].ends_with(b"ssh://") => 0,
            None => rest.len(),
        },
    };
    let query = rest[user..]
        .iter()
        .position(|byte| b"?#".contains(byte))
        .map_or(rest.len(), |mark| user + mark + 1);
    [url.start..url.start + user, url.start + query..url.end]
}

/// Whether what stands where a host is has a port of digits, or none.
fn is_host_and_port(authority: &[u8]) -> bool {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    let port = colon.map_or(&[][..], |colon| &authority[colon + 1..]);
    authority.ends_with(b"]") || port.iter().all(u8::is_ascii_digit)
}

/// The text with what is secret in its URLs replaced by `<hidden>`.
///
/// ```
/// assert_eq!(market_redact::without_secrets_of_urls("http://me:pass@host/a"), "http://<hidden>@host/a");
/// ```
pub fn without_secrets_of_urls(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut from = 0;
    for secret in secrets_of_urls(text.as_bytes()) {
        shown.push_str(&text[from..secret.start]);
        shown.push_str("<hidden>");
        from = secret.end;
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_urls_is_found_in_all_of_them() {
        for (text, shown) in [
            ("nothing here", "nothing here"),
            ("http://host:80/a@2x.png", "http://host:80/a@2x.png"),
            (
                "http://a:b@c http://d:e@f/?g=h#i k",
                "http://<hidden>@c http://<hidden>@f/?<hidden> k",
            ),
            ("'https://token@host/' \"s3://b?x\"", "'https://<hidden>@host/' \"s3://b?<hidden>\""),
            ("http://me:pa/s?s@host/x", "http://<hidden>@host/x"),
            ("http://u:p@host/?next=http://u:p@other/", "http://<hidden>@host/?<hidden>"),
            ("rbd://host/pool/image?CEPH_KEY=k", "rbd://host/pool/image?<hidden>"),
            ("ssh://[::1]:/a ://", "ssh://[::1]:/a ://"),
            ("http://[::1]/a http://[::1]:80/a", "http://[::1]/a http://[::1]:80/a"),
            ("ssh://host:path/a", "ssh://host:path/a"),
            ("s3://b/a#hunter2", "s3://b/a#<hidden>"),
            ("http://me:hunter2", "http://<hidden>"),
        ] {
            assert_eq!(without_secrets_of_urls(text), shown);
        }
    }
}
