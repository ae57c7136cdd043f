//! What a service tells in the body of a refusal, as it may be repeated.

use super::Access;
use percent_encoding::percent_decode_str;

/// A run of so many characters that keys, tokens and signatures are made of is one of them, or
/// nothing that a person reads.
const LONGEST_WORD: usize = 32;

/// A secret that is shorter may stand in any text by chance.
const SHORTEST_SECRET: usize = 8;

/// What must never be repeated, whoever tells it.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

impl Secrets {
    pub(super) fn of(access: &Access) -> Self {
        let texts = [
            Some(&access.access_key_id),
            Some(&access.secret_access_key),
            access.session_token.as_ref(),
        ];
        Self(texts.into_iter().flatten().filter(|text| !text.is_empty()).cloned().collect())
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| without(text, secret) != text)
    }

    /// A code or a region: one word, or nothing.
    pub(super) fn word(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        ((1..=64).contains(&text.len()) && plain && !self.is_in(text)).then(|| text.to_owned())
    }

    /// A sentence on one line, without what may be a key, a token, a signature or the query of a
    /// URL. Nothing is left of one that holds a secret in another spelling.
    fn sentence(&self, text: &str) -> String {
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
        crate::location::redacted_line(&words.join(" "))
    }
}

/// Without a secret. One of a few characters may be a part of any word: only a word of its own is
/// taken for it.
fn without(text: &str, secret: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let apart =
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        shown.push_str(before);
        shown.push_str(if apart || secret.len() >= SHORTEST_SECRET { ".." } else { secret });
        rest = after;
    }
    shown + rest
}

fn without_secret_runs(word: &str) -> String {
    let word = match word.split_once('?') {
        Some((address, _)) if address.contains("://") => format!("{address}?.."),
        _ => word.to_owned(),
    };
    let mut shown = String::new();
    for run in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !"+/=%_".contains(c)) {
        let secret = run.len() >= LONGEST_WORD && run.bytes().any(|b| b.is_ascii_digit());
        shown.push_str(if secret { ".." } else { run });
    }
    shown
}

/// A refusal's body.
#[derive(Default)]
pub(super) struct Told {
    pub(super) code: String,
    pub(super) region: Option<String>,
    /// The service's own sentence; empty when it gave none.
    pub(super) message: String,
}

impl Told {
    pub(super) fn read(body: &[u8], secrets: &Secrets) -> Self {
        let Some(text) = std::str::from_utf8(body).ok() else { return Self::default() };
        let Ok(document) = super::xml(text) else { return Self::default() };
        // Some answer <ErrorResponse><Error>..; elsewhere <Code> would be something else's.
        let root = document.root_element();
        let error = match root.tag_name().name() {
            "Error" => root,
            _ => match root.children().find(|node| node.tag_name().name() == "Error") {
                Some(inner) => inner,
                None => return Self::default(),
            },
        };
        let child = |name: &str| {
            let found = error.children().find(|node| node.tag_name().name() == name);
            found.and_then(|node| node.text())
        };
        Self {
            code: child("Code").and_then(|text| secrets.word(text)).unwrap_or_default(),
            region: child("Region").and_then(|text| secrets.word(text)),
            message: child("Message").map(|text| secrets.sentence(text)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets(vec!["AKIAKEY0".into(), "hun/ter+2".into(), "to=ken".into(), "id".into()])
    }

    #[test]
    fn a_message_is_shown_on_one_line_without_keys_tokens_and_signatures() {
        for (text, shown) in [
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
            assert_eq!(secrets().sentence(text), shown);
        }
        assert!(secrets().sentence(&"word ".repeat(1_000)).len() < 300);
    }

    #[test]
    fn only_an_error_tells_a_code() {
        let code = |text: &str| Told::read(text.as_bytes(), &secrets()).code;
        assert_eq!(code("<Error><Code>NoSuchKey</Code></Error>"), "NoSuchKey");
        assert_eq!(
            code(" \r\n<?xml version=\"1.0\"?><Error><Code> SlowDown </Code></Error>"),
            "SlowDown"
        );
        assert_eq!(
            code("<ErrorResponse><Error><Code>NoSuchKey</Code></Error></ErrorResponse>"),
            "NoSuchKey"
        );
        for none in [
            "<html><Code>NoSuchKey</Code></html>",
            "",
            "{}",
            "<Error><Code>AKIAKEY0</Code></Error>",
        ] {
            assert_eq!(code(none), "", "{none}");
        }
    }
}
