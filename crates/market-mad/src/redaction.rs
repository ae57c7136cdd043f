//! Keeping keys out of what drivers write to standard error: a shell driver that traces itself prints its whole dump.

use market_core::roxmltree::Node;
use market_core::template::is_secret;
use std::borrow::Cow;

const HIDDEN: &str = "<hidden>";

/// A value shorter than this is no key, and hiding it would spoil other words.
const SHORTEST_BYTES: usize = 4;

/// How much of a dump tells that a text is one.
const DUMP_BEGINS_BYTES: usize = 40;

/// What must not be shown of one message.
#[derive(Clone, Default)]
pub(crate) struct Redaction {
    secrets: Vec<String>,
    /// How the dumps begin in base64.
    dumps: Vec<String>,
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

    /// A dump that a driver is given must not be shown either.
    pub(crate) fn hide_dump(&mut self, dump: &[u8]) {
        let begins = &dump[..dump.len().min(DUMP_BEGINS_BYTES)];
        if begins.len() == DUMP_BEGINS_BYTES {
            self.dumps.push(String::from_utf8_lossy(begins).into_owned());
        }
    }

    /// The text without keys.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for dump in &self.dumps {
            while let Some(start) = text.find(dump.as_str()) {
                let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
                let end = text[start..].find(|c| !is_base64(c)).map_or(text.len(), |length| start + length);
                text = Cow::Owned(format!("{}{HIDDEN}{}", &text[..start], &text[end..]));
            }
        }
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), HIDDEN));
            }
        }
        text
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
    }
}
