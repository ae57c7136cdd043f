//! Keeping keys out of what drivers write to standard error: a shell driver that traces itself prints its whole dump.

use market_core::roxmltree::Node;
use market_core::template::is_secret;
use std::borrow::Cow;
use std::collections::HashSet;

const HIDDEN: &str = "<hidden>";

/// A value shorter than this is no key, and hiding it would spoil other words.
const SHORTEST_BYTES: usize = 4;

/// A dump is known by its blocks of so many characters: a text that holds twice as many of them in a row holds one whole.
const BLOCK_BYTES: usize = 32;

/// The blocks of a larger dump are not kept; every long run of base64 counts as a part of it.
const MOST_KNOWN_BYTES: usize = 1 << 20;
const LONG_RUN_BYTES: usize = 64;

/// More keys than any template holds.
const MOST_SECRETS: usize = 1_000;

/// What must not be shown of one message.
#[derive(Clone, Default)]
pub(crate) struct Redaction {
    secrets: Vec<String>,
    /// The blocks of dumps in base64.
    blocks: HashSet<[u8; BLOCK_BYTES]>,
    /// There is a dump whose blocks are not kept.
    large: bool,
}

impl Redaction {
    /// The values of attributes with a secret's name, anywhere in a message.
    pub(crate) fn of(root: Node<'_, '_>) -> Self {
        let secret = |node: &Node<'_, '_>| node.is_element() && is_secret(node.tag_name().name());
        let texts = root.descendants().filter(secret).flat_map(|node| {
            // A vector of that name is secret with all of its pairs.
            node.descendants().filter(Node::is_text).filter_map(|text| text.text().map(str::trim))
        });
        let urls = root.descendants().filter(Node::is_text).filter_map(|text| password_in(text.text()?));
        // A shell prints a text of several lines line by line.
        let texts = texts.flat_map(|text| text.lines().map(str::trim).chain([text]));
        let mut secrets: Vec<_> =
            texts.chain(urls).filter(|text| text.len() >= SHORTEST_BYTES).map(str::to_owned).collect();
        longest_first(&mut secrets);
        secrets.truncate(MOST_SECRETS);
        Self { secrets, ..Self::default() }
    }

    /// The password of a URL must not be shown either.
    pub(crate) fn hide_password(&mut self, url: &str) {
        self.secrets.extend(password_in(url).filter(|password| password.len() >= SHORTEST_BYTES).map(str::to_owned));
        longest_first(&mut self.secrets);
    }

    /// The longest of what is hidden, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.secrets.iter().map(String::len).max().unwrap_or(0)
    }

    /// A dump that a driver is given must not be shown either.
    pub(crate) fn hide_dump(&mut self, dump: &[u8]) {
        self.large |= dump.len() > MOST_KNOWN_BYTES;
        if dump.len() <= MOST_KNOWN_BYTES {
            self.blocks.extend(dump.as_chunks().0);
        }
    }

    /// The text without keys.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = self.without_dumps(text);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), HIDDEN));
            }
        }
        text
    }

    /// Hides runs of base64 that are a part of a dump, however it is wrapped or cut.
    fn without_dumps<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        if !text.split(|c| !is_base64(c)).any(|run| self.is_of_a_dump(run)) {
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len());
        for piece in text.split_inclusive(|c| !is_base64(c)) {
            let run = piece.trim_end_matches(|c| !is_base64(c));
            shown.push_str(if self.is_of_a_dump(run) { HIDDEN } else { run });
            shown.push_str(&piece[run.len()..]);
        }
        Cow::Owned(shown)
    }

    fn is_of_a_dump(&self, run: &str) -> bool {
        let is_checksum = || run.bytes().all(|byte| byte.is_ascii_hexdigit());
        run.as_bytes().array_windows().any(|block| self.blocks.contains(block))
            || self.large && run.len() >= LONG_RUN_BYTES && !is_checksum()
    }
}

/// One may hold another.
fn longest_first(secrets: &mut Vec<String>) {
    secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
}

/// The password in the first URL of a text.
fn password_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use market_core::roxmltree::Document;

    #[test]
    fn keys_and_dumps_are_hidden_wherever_they_stand() {
        let xml = "<M><TEMPLATE><SECRET_ACCESS_KEY><![CDATA[a+key/of=ours]]></SECRET_ACCESS_KEY><BUCKET>apps</BUCKET>\
                   <PROXY><PASSWORD>hunter2</PASSWORD></PROXY><URL>http://me:pass:word@host/</URL></TEMPLATE></M>";
        let mut redaction = Redaction::of(Document::parse(xml).unwrap().root_element());
        let dump = market_core::encoding::encode(xml.as_bytes());
        redaction.hide_dump(dump.as_bytes());
        let text = format!("+ xpath.rb -b {dump} x\n key a+key/of=ours apps hunter2 {dump} http://me:pass:word@host");
        assert_eq!(
            redaction.apply(&text),
            "+ xpath.rb -b <hidden> x\n key <hidden> apps <hidden> <hidden> http://me:<hidden>@host"
        );
        assert!(matches!(redaction.apply("nothing here"), Cow::Borrowed(_)));
        let wrapped: Vec<_> = dump.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(redaction.apply(&wrapped[..3].join("\n")), "<hidden>\n<hidden>\n<hidden>");
        let sum = "5f2b51ca2fdc5baa31ec02e002f69aec5f2b51ca2fdc5baa31ec02e002f69aec";
        assert_eq!(redaction.apply(sum), sum, "a checksum is no part of a dump");
    }
}
