//! Keeping keys out of what drivers write to standard error: a shell driver that traces itself prints its whole dump.

use market_core::roxmltree::Node;
use market_core::template::is_secret;
use memchr::memmem;
use std::borrow::Cow;

const HIDDEN: &str = "<hidden>";

/// A value shorter than this is no key, and hiding it would spoil other words.
const SHORTEST_BYTES: usize = 4;

/// So many characters of base64 that stand in a dump are a part of it.
const DUMP_PART_BYTES: usize = 32;

/// A larger dump is not searched; of its base64 every run of some length is hidden.
const MOST_SEARCHED_BYTES: usize = 1 << 20;
const LARGE_DUMP_PART_BYTES: usize = 128;

/// What must not be shown of one message.
#[derive(Clone, Default)]
pub(crate) struct Redaction {
    secrets: Vec<String>,
    /// The dumps in base64; `None` for one that is large.
    dumps: Vec<Option<Vec<u8>>>,
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
        // The longest first: one may hold another.
        secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets, dumps: Vec::new() }
    }

    /// The password of a URL must not be shown either.
    pub(crate) fn hide_password(&mut self, url: &str) {
        self.secrets.extend(password_in(url).filter(|password| password.len() >= SHORTEST_BYTES).map(str::to_owned));
    }

    /// The longest of what is hidden, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.secrets.iter().map(String::len).max().unwrap_or(0)
    }

    /// A dump that a driver is given must not be shown either.
    pub(crate) fn hide_dump(&mut self, dump: &[u8]) {
        self.dumps.push((dump.len() <= MOST_SEARCHED_BYTES).then(|| dump.to_vec()));
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
        let runs = text.split(|c| !is_base64(c)).filter(|run| run.len() >= DUMP_PART_BYTES);
        let parts: Vec<&str> = runs.filter(|run| self.dumps.iter().any(|dump| is_part(run, dump.as_deref()))).collect();
        let mut text = Cow::Borrowed(text);
        for part in parts {
            text = Cow::Owned(text.replacen(part, HIDDEN, 1));
        }
        text
    }
}

fn is_part(run: &str, dump: Option<&[u8]>) -> bool {
    match dump {
        // A word before or behind it may have grown together with it.
        Some(dump) => run
            .as_bytes()
            .windows(DUMP_PART_BYTES)
            .step_by(DUMP_PART_BYTES / 2)
            .any(|window| memmem::find(dump, window).is_some()),
        None => run.len() >= LARGE_DUMP_PART_BYTES,
    }
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
