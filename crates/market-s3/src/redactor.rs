//! What a service says, without secrets: services repeat keys and signatures in their messages.

use crate::access::Access;
use percent_encoding::percent_decode_str;

/// A word of so many characters that keys, tokens and signatures are made of, with a digit, is
/// taken for one of them.
const MIN_SECRET_LOOKING_CHARS: usize = 32;

/// A secret that is shorter may be a part of any word by chance.
const MIN_DISTINCT_SECRET_BYTES: usize = 8;

/// Removes the credentials of an access, and what looks like one, from what a service says.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Vec<String>);

impl Redactor {
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.is_empty()).collect())
    }

    pub(crate) fn of(access: &Access) -> Self {
        let token = access.session_token.as_ref();
        let secrets = [Some(&access.secret_access_key), token].into_iter().flatten();
        Self::new(
            secrets.map(|secret| secret.expose().to_owned()).chain([access.access_key_id.clone()]),
        )
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| without(text, secret) != text)
    }

    /// A code or a region: one word, or nothing.
    pub(crate) fn word(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        ((1..=64).contains(&text.len()) && plain && !self.is_in(text)).then(|| text.to_owned())
    }

    /// A sentence on one line, without what may be a key, a token, a signature or the query of a
    /// URL. Nothing is left of one that holds a secret in another spelling.
    pub(crate) fn sentence(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        for secret in &self.0 {
            text = without(&text, secret);
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy();
        let words = text.split_whitespace().collect::<String>();
        if self.is_in(&decoded) || self.is_in(&decoded.replace('+', " ")) || self.is_in(&words) {
            return String::new();
        }
        let words: Vec<_> = text.split_whitespace().map(without_secret_runs).collect();
        market_transfer::redacted_line(&words.join(" "))
    }
}

/// The text without a secret. A short secret is only taken out where it is a word of its own.
fn without(text: &str, secret: &str) -> String {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let apart =
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        redacted.push_str(before);
        redacted.push_str(if apart || secret.len() >= MIN_DISTINCT_SECRET_BYTES {
            ".."
        } else {
            secret
        });
        rest = after;
    }
    redacted + rest
}

fn without_secret_runs(word: &str) -> String {
    let word = match word.split_once('?') {
        Some((address, _)) if address.contains("://") => format!("{address}?.."),
        _ => word.to_owned(),
    };
    let mut redacted = String::new();
    for run in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !"+/=%_".contains(c)) {
        let secret =
            run.len() >= MIN_SECRET_LOOKING_CHARS && run.bytes().any(|b| b.is_ascii_digit());
        redacted.push_str(if secret { ".." } else { run });
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor(vec!["AKIAKEY0".into(), "hun/ter+2".into(), "to=ken".into(), "id".into()])
    }

    #[test]
    fn a_message_is_repeated_on_one_line_without_keys_tokens_and_signatures() {
        for (text, expected) in [
            (" Transaction cap\n exceeded. ", "Transaction cap exceeded."),
            (
                "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: s3:ListBucket",
                "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: s3:ListBucket",
            ),
            ("key AKIAKEY0, secret hun/ter+2 and 'to=ken'", "key .., secret .. and '..'"),
            ("key id is invalid", "key .. is invalid"),
            ("encoded hun%2Fter%2B2", ""),
            ("wrapped hun/\nter+2", ""),
            ("see https://h/a?X-Amz-Signature=1", "see https://h/a?.."),
            ("Signature=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.", ".."),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
        ] {
            assert_eq!(redactor().sentence(text), expected);
        }
        assert!(redactor().sentence(&"word ".repeat(1_000)).len() < 300);
    }
}
