//! Which values of a message are hidden.

use super::classify::{holds_base64, is_path, is_uninformative, looks_like_key};
use super::mapped_text::MappedText;
use super::{
    DUMP_PIECE_BYTES, DUMP_STEP_BYTES, MAX_DUMP_BYTES, MAX_PIECE_BYTES, MAX_PIECES,
    MAX_SHORT_VALUES, MIN_PIECE_BYTES, Redaction, ShortValue,
};
use market_core::encoding;
use market_core::line::secrets_of_urls;
use market_core::roxmltree::{Document, Node};
use market_core::template::{Template, Value, is_harmless, is_secret};

/// Where an element is in a message, and so whether its text is hidden.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Outside of a TEMPLATE: the text comes from `oned` itself and is shown.
    Outside,
    /// In a TEMPLATE, and the names of the element and of those around it are harmless.
    Harmless,
    /// In an element whose name is not known to be harmless.
    Hidden,
}

impl Context {
    fn of_child(self, name: &str) -> Self {
        let is_hidden = match self {
            Self::Outside if name == "TEMPLATE" => return Self::Harmless,
            Self::Outside => is_secret(name) || holds_base64(name),
            Self::Harmless => !is_harmless(name),
            Self::Hidden => true,
        };
        if is_hidden { Self::Hidden } else { self }
    }
}

impl Redaction {
    /// Hides the values of a message that are not known to be harmless, and the message itself.
    pub(crate) fn of(root: Node<'_, '_>) -> Self {
        let mut redaction = Self::default();
        redaction.hide_dump(root.document().input_text().as_bytes());
        redaction.hide_elements(root);
        redaction
    }

    /// Hides the values of an export: XML elements, one after the other.
    pub(crate) fn hide_exported(&mut self, elements: &str) {
        match Document::parse(&format!("<X>{elements}</X>")) {
            Ok(document) => self.hide_elements(document.root_element()),
            Err(_) => self.hides_all = true,
        }
    }

    /// Hides a variable in the environment of the executables, when it is a secret by its name, and
    /// the secrets of a URL in it.
    pub(crate) fn hide_variable(&mut self, name: &str, value: &str) {
        if is_secret(name) && !is_path(name, value) {
            self.hide(value, true);
        }
        self.hide_secrets_of_urls(value);
    }

    fn hide_dump(&mut self, xml: &[u8]) {
        self.is_dump_large = xml.len() > MAX_DUMP_BYTES;
        if self.is_dump_large {
            return;
        }
        // In base64 a driver prints the XML, and in base64 of base64 the dump as it got it.
        let dump = encoding::encode(xml);
        self.dump.reserve((xml.len() + dump.len()) / DUMP_STEP_BYTES);
        for bytes in [xml, dump.as_bytes()] {
            let pieces = bytes.windows(DUMP_PIECE_BYTES).step_by(DUMP_STEP_BYTES);
            pieces.for_each(|piece| self.dump.insert(piece));
        }
    }

    /// Without recursion: elements may be nested in any depth.
    fn hide_elements(&mut self, root: Node<'_, '_>) {
        let mut open = vec![(root, Context::Outside, false)];
        while let (Some((node, context, secret)), false) = (open.pop(), self.hides_all) {
            let name = node.tag_name().name();
            let value: String =
                node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
            let secret = secret || is_secret(name);
            self.hide_secrets_of_urls(&value);
            if context == Context::Hidden {
                self.hide(&value, secret);
            }
            if context == Context::Hidden && holds_base64(name) {
                self.hide_encoded_template(&value);
            }
            let children = node.children().filter(Node::is_element);
            open.extend(children.map(|child| {
                let context = context.of_child(child.tag_name().name());
                (child, context, secret)
            }));
        }
    }

    /// Hides the values of a template in base64 (`APPTEMPLATE64`).
    fn hide_encoded_template(&mut self, value: &str) {
        if self.hides_all {
            return;
        }
        let Ok(bytes) = encoding::decode(value.as_bytes()) else { return };
        let Ok(template) = Template::parse_text_or_xml(&bytes) else {
            return self.hide(&String::from_utf8_lossy(&bytes), false);
        };
        for attribute in template.iter() {
            let (name, secret) = (attribute.name(), is_secret(attribute.name()));
            let values = match attribute.value() {
                Value::Single(value) => vec![(value, secret)],
                Value::Vector(vector) => {
                    vector.iter().map(|(key, value)| (value, secret || is_secret(key))).collect()
                }
            };
            for (value, secret) in values {
                let value = String::from_utf8_lossy(value);
                self.hide_secrets_of_urls(&value);
                if !is_harmless(name) {
                    self.hide(&value, secret);
                }
            }
        }
    }

    /// Hides the passwords, tokens and query values of all URLs in a text.
    fn hide_secrets_of_urls(&mut self, text: &str) {
        for range in secrets_of_urls(text.as_bytes()) {
            let is_user_info = text.as_bytes().get(range.end) == Some(&b'@');
            let is_ssh = text[..range.start].ends_with("ssh://");
            let secret = &text[range];
            match secret.split_once(':') {
                Some((_, password)) if is_user_info => self.hide(password, true),
                // A user without a password may be a token; in an ssh URL it is the login name.
                None if is_user_info && !is_ssh => self.hide(secret, false),
                _ if is_user_info => {}
                _ => self.hide_query(secret),
            }
        }
    }

    /// Hides the values of a query where they stand outside of a URL; in a URL the whole query is
    /// hidden anyway.
    fn hide_query(&mut self, query: &str) {
        for pair in query.split(['&', ';', '#']) {
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            if !is_harmless(name) {
                self.hide(value, is_secret(name) && value.len() >= MIN_PIECE_BYTES);
            }
        }
    }

    /// Hides a value. `secret`: its parts too.
    fn hide(&mut self, value: &str, secret: bool) {
        if value.len() > MAX_PIECES {
            self.hides_all = true;
        }
        if self.hides_all {
            return;
        }
        let text = MappedText::of(value);
        self.hide_bytes(&text.compacted().bytes, secret);
        if let Some(unescaped) = text.unescaped() {
            self.hide_bytes(&unescaped.compacted().bytes, secret);
        }
        let ends_word = |c: char| c.is_whitespace() || c == ',';
        // Lines are printed one by one, and a secret may be a list of several.
        let ends_part = |c: char| if secret { ends_word(c) } else { c == '\n' };
        let is_part =
            |part: &&str| part.len() < value.len() && part.trim().len() >= MIN_PIECE_BYTES;
        for part in value.split(ends_part).filter(is_part) {
            self.hide_bytes(&MappedText::of(part).compacted().bytes, secret);
        }
        if !secret {
            // The parts of a host name and of a token are separated by dots; those of a token are
            // long. A word with a slash may be a path, or one key in base64.
            let words = value.split(ends_word);
            let parts =
                words.flat_map(|word| word.split(if word.contains('/') { '\0' } else { '.' }));
            parts.filter(|part| looks_like_key(part)).for_each(|key| self.hide_key(key));
        }
    }

    /// Hides a key that is no secret by its name: its parts too.
    fn hide_key(&mut self, key: &str) {
        let text = MappedText::of(key);
        for text in text.unescaped().iter().chain([&text]) {
            let compacted = text.compacted().bytes;
            if compacted.len() >= MAX_PIECE_BYTES {
                self.hide_bytes(&compacted, true);
            }
        }
    }

    fn hide_bytes(&mut self, value: &[u8], secret: bool) {
        // A decoded text has a zero between two runs of base64, so a value with zeros is hidden
        // part by part. The short parts of a value that is no text are left out.
        let parts = || value.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let is_single = parts().nth(1).is_none();
        let is_long_enough = |part: &&[u8]| is_single || part.len() >= MIN_PIECE_BYTES;
        let is_informative = |part: &&[u8]| !is_uninformative(part, secret);
        for part in parts().filter(is_long_enough).filter(is_informative) {
            if part.len() < MIN_PIECE_BYTES {
                self.hide_short(part, secret);
            } else if secret {
                let pieces = part.windows(part.len().min(MAX_PIECE_BYTES));
                pieces.for_each(|piece| self.secrets.insert(piece));
            } else {
                self.whole_values.insert(part);
            }
            let pieces = self.secrets.len() + self.whole_values.pieces();
            if pieces > MAX_PIECES || self.short_values.len() > MAX_SHORT_VALUES {
                *self = Self::of_everything();
                return;
            }
        }
    }

    fn hide_short(&mut self, value: &[u8], is_secret: bool) {
        let short = ShortValue { value: value.to_vec(), is_secret };
        if !self.short_values.contains(&short) {
            self.short_values.push(short);
        }
    }
}
