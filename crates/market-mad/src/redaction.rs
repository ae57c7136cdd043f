//! Keeping keys out of what drivers write to standard error: a shell driver that traces itself
//! prints its whole dump.
//!
//! Nobody knows what a key is called, so every value of a template is hidden that does not belong
//! to an attribute known as harmless. What is a secret by its name, or looks like a key, is hidden
//! by its parts too; of anything else a part is an ordinary word or path, so it is hidden as a
//! whole. A text is searched as it stands, and with its escapes and base64 undone, whatever quotes
//! and line breaks stand in between. Both take time in proportion to the bytes that are looked at.
//! What cannot be looked for is not shown either.

mod pieces;
mod view;
mod wholes;

use market_core::encoding;
use market_core::line::secrets_of_urls;
use market_core::roxmltree::{Document, Node};
use market_core::template::{Template, Value, is_harmless, is_secret};
use pieces::Pieces;
use std::borrow::Cow;
use std::ops::Range;
use view::{View, sextet};
use wholes::Wholes;

const HIDDEN: &str = "<hidden>";

/// A longer secret is known by all of its parts of so many bytes.
const LONGEST_PIECE: usize = 12;

/// A shorter value is in too many words to be hidden wherever it stands.
const SHORTEST_PIECE: usize = 4;

/// A value of so many bytes may be a key.
const SHORTEST_KEY: usize = 16;

/// The dump is known by parts of so many bytes, one in every four bytes: so base64 of eleven bytes
/// of it is noticed.
const DUMP_PIECE: usize = 8;
const DUMP_STEP: usize = 4;

/// The parts of a larger dump are not kept; then every long run of base64 counts as a part of it. A
/// path is such a run too, so a run with several of its separators must be longer: in base64 of
/// ASCII they are next to never seen.
const MAX_DUMP_BYTES: usize = 512 << 10;
const LONG_RUN: usize = 24;
const LONG_PATH: usize = 64;

/// More pieces of values than any template makes. With more of them no line is shown.
const MAX_PIECES: usize = 256 << 10;

/// The same for values that are too short for a piece.
const MAX_SHORT: usize = 256;

/// Escapes are undone so many times: one layer inside another.
const MAX_LAYERS: usize = 2;

/// What must not be shown of one message.
#[derive(Default)]
pub(crate) struct Redaction {
    /// Parts of secrets.
    values: Pieces,
    /// What is hidden where it stands as a whole.
    wholes: Wholes,
    short: Vec<Short>,
    dump: Pieces,
    /// There is a dump whose parts are not kept.
    large_dump: bool,
    /// There are more values than are looked for.
    too_much: bool,
}

/// A value that is too short for a piece.
#[derive(PartialEq, Eq)]
struct Short {
    value: Vec<u8>,
    /// Its attribute says that it is a secret: a line that holds it is not shown. Otherwise the
    /// word is not.
    secret: bool,
}

/// Where in a message an element stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside of any template: what is there comes from `oned` itself.
    Outside,
    /// In a template, and harmless as far as its name goes.
    Template,
    /// In an attribute that is not known to be harmless.
    Hidden,
}

impl Place {
    /// Of a child of this name.
    fn of_child(self, name: &str) -> Self {
        let hidden = match self {
            Self::Outside if name == "TEMPLATE" => return Self::Template,
            Self::Outside => is_secret(name) || holds_base64(name),
            Self::Template => !is_harmless(name),
            Self::Hidden => true,
        };
        if hidden { Self::Hidden } else { self }
    }
}

impl Redaction {
    /// What a message says that is not known to be harmless.
    pub(crate) fn of(root: Node<'_, '_>) -> Self {
        let mut redaction = Self::default();
        let xml = root.document().input_text().as_bytes();
        redaction.large_dump = xml.len() > MAX_DUMP_BYTES;
        if !redaction.large_dump {
            // The dump is base64 itself, and somebody may encode it once more.
            redaction.dump.reserve(xml.len() * 7 / 3 / DUMP_STEP);
            for text in [xml, encoding::encode(xml).as_bytes()] {
                text.windows(DUMP_PIECE)
                    .step_by(DUMP_STEP)
                    .for_each(|piece| redaction.dump.insert(piece));
            }
        }
        redaction.hide_elements(root);
        redaction
    }

    /// Of a message that cannot be read.
    pub(crate) fn of_anything() -> Self {
        Self { too_much: true, ..Self::default() }
    }

    /// Whether no line can be shown.
    pub(crate) fn hides_all(&self) -> bool {
        self.too_much
    }

    /// What an `export` has told, as elements one after the other.
    pub(crate) fn hide_exported(&mut self, elements: &str) {
        match Document::parse(&format!("<X>{elements}</X>")) {
            Ok(document) => self.hide_elements(document.root_element()),
            Err(_) => self.too_much = true,
        }
    }

    /// A variable in the environment of the executables.
    pub(crate) fn hide_variable(&mut self, name: &str, value: &str) {
        if is_secret(name) && !is_path(name, value) {
            self.hide(value, true);
        }
        self.hide_secrets_of_urls(value);
    }

    /// Each element is visited once, however deep it stands.
    fn hide_elements(&mut self, root: Node<'_, '_>) {
        let mut open = vec![(root, Place::Outside, false)];
        while let (Some((node, place, secret)), false) = (open.pop(), self.too_much) {
            let name = node.tag_name().name();
            let value: String =
                node.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
            let secret = secret || is_secret(name);
            self.hide_secrets_of_urls(&value);
            if place == Place::Hidden {
                self.hide(&value, secret);
            }
            if place == Place::Hidden && holds_base64(name) {
                self.hide_wrapped(&value);
            }
            let children = node.children().filter(Node::is_element);
            open.extend(
                children.map(|child| (child, place.of_child(child.tag_name().name()), secret)),
            );
        }
    }

    /// The values of a template in base64.
    fn hide_wrapped(&mut self, value: &str) {
        if self.too_much {
            return;
        }
        let Ok(bytes) = encoding::decode(value.as_bytes()) else { return };
        let Ok(template) = Template::parse_text_or_xml(&bytes) else {
            return self.hide(&String::from_utf8_lossy(&bytes), false);
        };
        for attribute in template.iter() {
            let (name, secret) = (attribute.name(), is_secret(attribute.name()));
            let mut values = match attribute.value() {
                Value::Single(value) => vec![(value, secret)],
                Value::Vector(vector) => {
                    vector.iter().map(|(key, value)| (value, secret || is_secret(key))).collect()
                }
            };
            for (value, secret) in values.drain(..) {
                let value = String::from_utf8_lossy(value);
                self.hide_secrets_of_urls(&value);
                if !is_harmless(name) {
                    self.hide(&value, secret);
                }
            }
        }
    }

    /// Passwords and queries of URLs.
    fn hide_secrets_of_urls(&mut self, text: &str) {
        for range in secrets_of_urls(text.as_bytes()) {
            let is_user = text.as_bytes().get(range.end) == Some(&b'@');
            let logs_in = text[..range.start].ends_with("ssh://");
            let secret = &text[range];
            match secret.split_once(':') {
                Some((_, password)) if is_user => self.hide(password, true),
                // Without a password it is a token, but for ssh it only says who logs in.
                None if is_user && !logs_in => self.hide(secret, false),
                _ if is_user => {}
                _ => {
                    for pair in secret.split(['&', ';', '#']) {
                        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
                        // In a line all of a query is hidden; this is about the value elsewhere.
                        if !is_harmless(name) {
                            self.hide(value, is_secret(name) && value.len() >= SHORTEST_PIECE);
                        }
                    }
                }
            }
        }
    }

    /// Hides a value wherever it is found.
    fn hide(&mut self, value: &str, secret: bool) {
        if value.len() > MAX_PIECES {
            self.too_much = true;
        }
        if self.too_much {
            return;
        }
        let view = View::of(value);
        self.hide_bytes(&view.compact().bytes, secret);
        if let Some(view) = view.unescaped() {
            self.hide_bytes(&view.compact().bytes, secret);
        }
        // Lines are printed one by one; and a secret may be a list of several.
        let ends_word = |c: char| c.is_whitespace() || c == ',';
        let ends = |c: char| if secret { ends_word(c) } else { c == '\n' };
        for part in value
            .split(ends)
            .filter(|part| part.len() < value.len() && part.trim().len() >= SHORTEST_PIECE)
        {
            self.hide_bytes(&View::of(part).compact().bytes, secret);
        }
        if !secret {
            // Names of hosts have dots, and so have tokens, whose parts are long.
            let words = value.split(ends_word);
            let words =
                words.flat_map(|word| word.split(if word.contains('/') { '\0' } else { '.' }));
            words.filter(|word| looks_like_key(word)).for_each(|key| self.hide_parts(key));
        }
    }

    /// Hides a key that nobody called one: a driver may print a part of it.
    fn hide_parts(&mut self, key: &str) {
        let view = View::of(key);
        for view in view.unescaped().iter().chain([&view]) {
            let compact = view.compact().bytes;
            if compact.len() >= LONGEST_PIECE {
                self.hide_bytes(&compact, true);
            }
        }
    }

    fn hide_bytes(&mut self, value: &[u8], secret: bool) {
        // A zero stands between two runs of base64 that a text is searched in. Of what is not text
        // the crumbs between two are left out.
        let parts = || value.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let is_one = parts().nth(1).is_none();
        let long_enough = |part: &&[u8]| is_one || part.len() >= SHORTEST_PIECE;
        for value in parts().filter(long_enough).filter(|value| !says_nothing(value, secret)) {
            if value.len() < SHORTEST_PIECE {
                let short = Short { value: value.to_vec(), secret };
                if !self.short.contains(&short) {
                    self.short.push(short);
                }
            } else if secret {
                value
                    .windows(value.len().min(LONGEST_PIECE))
                    .for_each(|piece| self.values.insert(piece));
            } else {
                self.wholes.insert(value);
            }
            if self.values.len() + self.wholes.len() > MAX_PIECES || self.short.len() > MAX_SHORT {
                *self = Self::of_anything();
                return;
            }
        }
    }

    /// The text without what must not be shown, with as many lines as before.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut marks = vec![false; text.len()];
        if self.too_much {
            marks.fill(true);
        } else {
            self.mark(text, &mut marks);
        }
        if marks.contains(&true) {
            Cow::Owned(without_marked(text, &marks))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn mark(&self, text: &str, marks: &mut [bool]) {
        let mut view = View::of(text);
        self.mark_in(&view, text, marks);
        for _ in 0..MAX_LAYERS {
            let Some(unescaped) = view.unescaped() else { break };
            view = unescaped;
            self.mark_in(&view, text, marks);
        }
        let unwrapped = view.unwrapped();
        for alignment in 0..4 {
            self.mark_in_base64(&unwrapped.decoded_base64(alignment), text, marks);
        }
        for alignment in 0..2 {
            self.mark_values(&unwrapped.decoded_hex(alignment).compact(), false, |found| {
                marks[found].fill(true)
            });
        }
        if self.large_dump {
            runs_of_base64(text)
                .filter(|run| is_part_of_dump(&text.as_bytes()[run.clone()]))
                .for_each(|run| marks[run].fill(true));
        }
    }

    fn mark_in(&self, view: &View, text: &str, marks: &mut [bool]) {
        for secret in secrets_of_urls(&view.bytes) {
            marks[view.origin(secret)].fill(true);
        }
        for Short { value, secret } in &self.short {
            for at in memchr::memmem::find_iter(&view.bytes, value) {
                let found = at..at + value.len();
                if *secret {
                    marks[line_around(text, view.origin(found))].fill(true);
                } else if view.is_word(&found) {
                    marks[view.origin(found)].fill(true);
                }
            }
        }
        self.mark_values(&view.compact(), true, |found| marks[found].fill(true));
    }

    /// Tells where in the first text values are. `in_words`: what is hidden as a whole is not in
    /// the middle of a word.
    fn mark_values(&self, compact: &View, in_words: bool, mut mark: impl FnMut(Range<usize>)) {
        self.values.find(&compact.bytes, |found| mark(compact.origin(found)));
        self.wholes.find(compact, in_words, |found| mark(compact.origin(found)));
    }

    fn mark_in_base64(&self, decoded: &View, text: &str, marks: &mut [bool]) {
        let mut mark = |found: Range<usize>| {
            if marks[found.clone()].contains(&false) {
                marks[run_around(text, found)].fill(true);
            }
        };
        self.dump.find(&decoded.bytes, |found| mark(decoded.origin(found)));
        self.mark_values(&decoded.compact(), false, &mut mark);
        if let Some(unescaped) = decoded.unescaped() {
            self.mark_values(&unescaped.compact(), false, &mut mark);
        }
    }
}

/// Whether an attribute of this name holds base64: `APPTEMPLATE64`, `VMTEMPLATE64`.
fn holds_base64(name: &str) -> bool {
    name.ends_with("64")
}

/// Values that are in every second line and tell nobody anything: switches, and small numbers
/// unless they are secrets.
fn says_nothing(value: &[u8], secret: bool) -> bool {
    const SWITCHES: [&str; 12] = [
        "yes", "no", "on", "off", "true", "false", "none", "null", "auto", "default", "enabled",
        "disabled",
    ];
    let is_switch = || SWITCHES.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    let is_small = || value.len() < SHORTEST_PIECE && value.iter().all(u8::is_ascii_digit);
    value.is_empty() || !secret && (is_small() || is_switch())
}

/// Whether a word may be a key, whatever its attribute is called: long, and of letters and digits;
/// with a `/` in it, of all that base64 is made of, which a path seldom is.
fn looks_like_key(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    let mixed = has(u8::is_ascii_alphabetic) && has(u8::is_ascii_digit);
    let is_base64 = || {
        let all = word.bytes().all(is_base64) && !word.starts_with('/');
        all && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
    };
    word.len() >= SHORTEST_KEY && mixed && (!word.contains('/') || is_base64())
}

/// Whether a variable that is a secret by its name says where one is. `ONE_AUTH` always does; a key
/// may begin with a `/` too.
fn is_path(name: &str, value: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte);
    value.starts_with('/')
        && (name == "ONE_AUTH" || value[1..].contains('/') && value.bytes().all(is_plain))
}

/// Whether a run of base64 may be of a dump whose parts are not known.
fn is_part_of_dump(run: &[u8]) -> bool {
    let is_path = run.iter().filter(|byte| b"/-_".contains(byte)).count() >= 2;
    let is_checksum = || run.iter().all(u8::is_ascii_hexdigit);
    run.len() >= if is_path { LONG_PATH } else { LONG_RUN } && !is_checksum()
}

/// The whole line or lines that a part of a text is in.
fn line_around(text: &str, part: Range<usize>) -> Range<usize> {
    let start = memchr::memrchr(b'\n', &text.as_bytes()[..part.start]).map_or(0, |at| at + 1);
    let end =
        memchr::memchr(b'\n', &text.as_bytes()[part.end..]).map_or(text.len(), |at| part.end + at);
    start..end
}

fn is_base64(byte: u8) -> bool {
    sextet(byte).is_some() || byte == b'='
}

/// The runs of base64 that a part of a text begins and ends in.
fn run_around(text: &str, part: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let before = bytes[..part.start].iter().rev().take_while(|byte| is_base64(**byte)).count();
    let behind = bytes[part.end..].iter().take_while(|byte| is_base64(**byte)).count();
    part.start - before..part.end + behind
}

fn runs_of_base64(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    text.as_bytes().chunk_by(|a, b| is_base64(*a) == is_base64(*b)).filter_map(move |chunk| {
        let start = end;
        end += chunk.len();
        is_base64(chunk[0]).then_some(start..end)
    })
}

/// The text with what is marked left out, but for the line ends.
fn without_marked(text: &str, marks: &[bool]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut hides = false;
    for (at, c) in text.char_indices() {
        let marked = marks[at..at + c.len_utf8()].contains(&true) && c != '\n';
        if marked && !hides {
            shown.push_str(HIDDEN);
        } else if !marked {
            shown.push(c);
        }
        hides = marked;
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use market_core::encoding::encode;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn of(xml: &str) -> Redaction {
        Redaction::of(Document::parse(xml).unwrap().root_element())
    }

    /// Of a marketplace with these attributes.
    fn with(attributes: &[(&str, &str)]) -> Redaction {
        let all =
            attributes.iter().map(|(name, value)| format!("<{name}><![CDATA[{value}]]></{name}>"));
        of(&format!(
            "<M><MARKETPLACE><NAME>apps</NAME><TEMPLATE>{}</TEMPLATE></MARKETPLACE></M>",
            all.collect::<String>()
        ))
    }

    #[test]
    fn keys_and_dumps_are_hidden_wherever_they_stand() {
        let xml = "<M><TEMPLATE><SECRET_ACCESS_KEY><![CDATA[a+key/of=ours]]></SECRET_ACCESS_KEY><BUCKET>apps</BUCKET>\
                   <PROXY><PASSWORD>hunter2</PASSWORD></PROXY><ENDPOINT>http://me:pass:word@host/</ENDPOINT></TEMPLATE></M>";
        let redaction = of(xml);
        let dump = encode(xml.as_bytes());
        let text = format!(
            "+ xpath.rb -b {dump} x\n key a+key/of=ours apps hunter2 {dump} http://me:pass:word@host"
        );
        assert_eq!(
            redaction.apply(&text),
            "+ xpath.rb -b <hidden> x\n key <hidden> apps <hidden> <hidden> http://<hidden>@host"
        );
        assert!(matches!(redaction.apply("nothing here"), Cow::Borrowed(_)));
        let again = encode(dump.as_bytes());
        assert_eq!(redaction.apply(&again), HIDDEN);
        let sum = "5f2b51ca2fdc5baa31ec02e002f69aec5f2b51ca2fdc5baa31ec02e002f69aec";
        assert_eq!(redaction.apply(sum), sum, "a checksum is no part of a dump");
    }

    #[test]
    fn what_is_not_known_to_be_harmless_is_hidden_whatever_its_name() {
        let redaction = with(&[
            ("ADMIN_PASS", "correct horse"),
            ("APIKEY", "battery-staple"),
            ("TOKEN7", "0123456789abcdef0123456789abcdef"),
            ("INVENTED", "by somebody"),
            ("REGION", "north"),
            ("BRIDGE_LIST", "host1 host2"),
            ("SWITCH", "yes"),
            ("NUMBER", "15"),
        ]);
        assert_eq!(redaction.apply("q=correct+horse"), "q=<hidden>");
        let text = "correct horse, battery-staple, 0123456789abcdef, by somebody; north host1 host2 yes 15 apps";
        assert_eq!(
            redaction.apply(text),
            "<hidden>, <hidden>, <hidden>, <hidden>; north host1 host2 yes 15 apps"
        );
    }

    #[test]
    fn escapes_quotes_and_base64_hide_nothing_from_us() {
        let key = "a<b>&c\"d'e+f/g%h=swordfish!";
        let redaction = with(&[("PASSPHRASE", key)]);
        let xml = key
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;");
        let percent: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let quoted = format!("'{}'", key.replace('\'', "'\\''"));
        let json = key.replace('"', "\\\"").replace('/', "\\/").replace('<', "\\u003c");
        let in_base64 =
            ["", "x", "yy"].map(|before| encode(format!("{before}{key} and more").as_bytes()));
        let url_safe = in_base64[1].replace('+', "-").replace('/', "_");
        let xml_in_base64 = encode(format!("<X>{xml}</X>").as_bytes());
        let twice = xml.replace('&', "&amp;");
        let hex: String = key.bytes().map(|byte| format!("{byte:02x} ")).collect();
        let octal: String = key.bytes().map(|byte| format!("\\{byte:03o}")).collect();
        for text in
            [key, &xml, &percent, &quoted, &json, &url_safe, &xml_in_base64, &twice, &hex, &octal]
                .into_iter()
                .chain(in_base64.iter().map(String::as_str))
        {
            let shown = redaction.apply(text);
            let left =
                ["swordfish", &encode(b"swordfish")[..10], "%73%77", "d3b3J", "73 77", "163"];
            assert!(
                shown.contains("<hidden>") && !left.iter().any(|part| shown.contains(part)),
                "{text}: {shown}"
            );
            assert!(shown.len() < 30, "{text}: {shown}");
        }
    }

    #[test]
    fn what_is_wrapped_is_hidden_on_all_of_its_lines() {
        let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let redaction = with(&[("SECRET_ACCESS_KEY", key)]);
        let dump = encode(
            format!("<A><TEMPLATE><SECRET_ACCESS_KEY>{key}</SECRET_ACCESS_KEY></TEMPLATE></A>")
                .as_bytes(),
        );
        for width in [3, 7, 10, 19, 40, 60, 76] {
            for text in [key, &encode(key.as_bytes()), &dump] {
                let lines: Vec<_> = text
                    .as_bytes()
                    .chunks(width)
                    .map(|line| String::from_utf8_lossy(line))
                    .collect();
                let shown = redaction.apply(&lines.join("\n")).into_owned();
                assert_eq!(shown.lines().count(), lines.len(), "{shown}");
                let readable: String = shown.lines().filter(|line| *line != HIDDEN).collect();
                // At the ends of a dump stand the names of elements.
                assert!(readable.len() < if text == dump { 50 } else { 3 }, "{width}: {shown}");
            }
        }
    }

    #[test]
    fn a_part_of_a_long_key_is_hidden_and_each_line_and_item_of_a_value() {
        let redaction = with(&[
            ("KEYS", "alpha-key,beta-key gamma-key"),
            ("PEM", "-----BEGIN\nline-one\nline-two\n"),
        ]);
        assert_eq!(
            redaction.apply("gamma-key | beta-key; line-two"),
            "<hidden> | <hidden>; <hidden>"
        );
        let redaction = with(&[("SECRET", "abcdefghijklmnopqrstuvwxyz")]);
        assert_eq!(redaction.apply("hijklmnopqrstu"), HIDDEN);
    }

    #[test]
    fn what_is_too_short_to_be_looked_for_takes_its_line_with_it() {
        let redaction = with(&[("PASSWORD", "ab"), ("WORD", "xyz")]);
        assert_eq!(redaction.apply("a cabin\nxyz in wxyz"), "<hidden>\n<hidden> in wxyz");
    }

    #[test]
    fn what_is_too_much_to_be_looked_for_hides_every_line() {
        let many: String = (0..300_000).map(|number| format!("<K>value-{number:09}</K>")).collect();
        let redaction = of(&format!("<M><TEMPLATE>{many}</TEMPLATE></M>"));
        assert!(redaction.hides_all());
        assert_eq!(redaction.apply("any\nline"), "<hidden>\n<hidden>");
        let large = "0123456789".repeat(60_000);
        assert!(with(&[("X", &large)]).hides_all());
        assert!(!with(&[("DESCRIPTION", &large)]).hides_all());
    }

    #[test]
    fn passwords_in_urls_are_values_and_urls_are_shown_without() {
        let redaction = with(&[
            ("BASE_URL", "http://host/ http://me:first-pass@a/ ftp://my-token@b"),
            ("ENDPOINT", "https://h/?X-Signature=signed-text&n=1"),
            ("BRIDGE_LIST", "ssh://oneadmin@host"),
        ]);
        assert_eq!(
            redaction.apply("first-pass my-token signed-text oneadmin"),
            "<hidden> <hidden> <hidden> oneadmin"
        );
        assert_eq!(
            redaction.apply("GET https://x:y@other/?z=1 200"),
            "GET https://<hidden>@other/?<hidden> 200"
        );
        assert_eq!(
            redaction.apply("http%3A%2F%2Fx%3Ay%40other%2Fa"),
            "http%3A%2F%2F<hidden>%40other%2Fa"
        );
    }

    #[test]
    fn the_template_in_base64_of_an_app_is_looked_into() {
        let template =
            encode(b"NAME=\"vm\"\nGRAPHICS=[TYPE=\"VNC\",PASSWD=\"letmein\"]\nMEMORY=\"1024\"");
        let redaction = of(&format!(
            "<M><MARKETPLACEAPP><APPTEMPLATE64>{template}</APPTEMPLATE64></MARKETPLACEAPP></M>"
        ));
        assert_eq!(redaction.apply(&format!("letmein 1024 {template}")), "<hidden> 1024 <hidden>");
    }

    #[test]
    fn variables_of_the_environment_and_what_an_export_tells_are_hidden_too() {
        let mut redaction = Redaction::default();
        redaction.hide_variable("https_proxy", "http://me:proxy-pass@proxy");
        redaction.hide_variable("AWS_SECRET_ACCESS_KEY", "env-key");
        redaction.hide_variable("PATH", "/usr/bin");
        redaction.hide_exported(
            "<IMPORT_SOURCE><![CDATA[rbd://h/p/i?CEPH_KEY=ceph-key]]></IMPORT_SOURCE><MD5></MD5>",
        );
        assert_eq!(
            redaction.apply("proxy-pass env-key ceph-key /usr/bin"),
            "<hidden> <hidden> <hidden> /usr/bin"
        );
    }

    #[test]
    fn thousands_of_elements_in_one_another_take_moments() {
        let before = Instant::now();
        for (open, close) in [("<PASSWORD>x", "</PASSWORD>"), ("<PASSWORD>", "</PASSWORD>")] {
            let xml = format!(
                "<M><TEMPLATE>{}secret-text{}</TEMPLATE></M>",
                open.repeat(20_000),
                close.repeat(20_000)
            );
            assert_eq!(of(&xml).apply("secret-text"), HIDDEN);
        }
        let long = "aaaaaaaaaaaaaaaaaaaaaaab".repeat(10_000);
        let redaction = with(&[("KEY", &long)]);
        redaction.apply(&"a".repeat(100_000));
        assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    }

    #[test]
    fn values_that_nobody_calls_a_secret_leave_ordinary_words_and_paths_alone() {
        let redaction = with(&[
            ("BACKUP_DIR", "/var/lib/one/backups"),
            ("HELP", "https://www.example.com/x"),
            ("CACHE", "none"),
            ("CONVERT", "true"),
            ("INVENTED", "admin"),
            ("HOST", "storage01.internal.example.com"),
            ("SOURCE", "lxd://images/x?size=2048&filesystem=ext4&format=raw"),
            ("IMPORT_SOURCE", "rbd://h/p/i?CEPH_USER=libvirt&CEPH_KEY=ceph-key"),
        ]);
        let text = "oneadmin: https://www.example.org /var/lib/one/remotes none true ext4 raw 2048 libvirt backups \
                    storage02.internal.example.com";
        assert_eq!(redaction.apply(text), text);
        let text = "admin: https://www.example.com/x '/var/lib/one/backups' ceph-key-1 %2fvar%2flib%2fone%2fbackups%20";
        assert_eq!(redaction.apply(text), "<hidden>: <hidden> '<hidden>' <hidden>-1 <hidden>%20");
        let wrapped = "see /var/lib/\none/back\nups and /var/lib/one/backups2";
        assert_eq!(
            redaction.apply(wrapped),
            "see <hidden>\n<hidden>\n<hidden> and /var/lib/one/backups2"
        );
        let in_base64 = encode(b"see /var/lib/one/backups there");
        assert_eq!(redaction.apply(&in_base64), HIDDEN);
    }

    #[test]
    fn what_looks_like_a_key_is_hidden_by_its_parts_whatever_it_is_called() {
        let [hex, base64] =
            ["0123456789abcdef0123456789abcdef", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"];
        let redaction = with(&[("INVENTED", hex), ("OTHER", &format!("me {base64}, none"))]);
        assert_eq!(
            redaction.apply("x89abcdef0123x lrXUtnFEMI/K7MDEN... me"),
            "x<hidden>x <hidden>... me"
        );
    }

    #[test]
    fn of_a_dump_that_is_not_kept_long_runs_are_hidden_and_paths_are_not() {
        let xml = format!(
            "<M><PASSWORD>hunter2</PASSWORD><NAME>{}</NAME></M>",
            "x".repeat(MAX_DUMP_BYTES)
        );
        let redaction = of(&xml);
        let shown = "/var/lib/one/datastores/100/5f2b51ca2fdc 5f2b51ca-2fdc-5baa-31ec-02e002f69aec";
        assert_eq!(redaction.apply(shown), shown);
        for width in [24, 60, 76] {
            assert_eq!(redaction.apply(&encode(xml.as_bytes())[..width]), HIDDEN);
        }
    }

    #[test]
    fn where_a_secret_is_is_none() {
        let mut redaction = Redaction::default();
        redaction.hide_variable("ONE_AUTH", "/var/lib/one/.one/one_auth");
        redaction.hide_variable("PROXY_AUTH_FILE", "/etc/one/proxy.auth");
        redaction.hide_variable("AWS_SECRET_ACCESS_KEY", "/Jalr/UtnFEMI");
        let text = "/var/lib/one/remotes /etc/one/proxy.auth";
        assert_eq!(redaction.apply(&format!("{text} /Jalr/UtnFEMI")), format!("{text} <hidden>"));
    }

    #[test]
    fn what_is_not_text_hides_no_line() {
        let bytes: Vec<u8> = (0..=255).flat_map(|byte| [byte, 0, byte, b'x', 0]).collect();
        for name in ["ICON64", "KEY64"] {
            let redaction =
                with(&[(name, &encode(&bytes)), ("QUOTES", "\"\"\"\"\"\"\"\"\"\"\"\"\"\"a1")]);
            let text = "any line is shown: ax 0x1, beta1";
            assert_eq!(redaction.apply(text), text, "{name}");
        }
    }

    #[test]
    fn zeros_in_values_are_between_two_of_them() {
        for name in ["FOO64", "KEY64"] {
            let redaction = with(&[(name, &encode(b"swordfish\0"))]);
            for (line, shown) in
                [("73776f726466697368", HIDDEN), ("0a73776f726466697368", "0a<hidden>")]
            {
                assert_eq!(redaction.apply(line), shown, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_value_and_no_line_ends_it(
            value in prop::collection::vec(prop::sample::select(vec![0, b'a', b'7', b'/', b' ', b'%', 0xc3, 0xa9]), 0..24),
            name in "(FOO64|KEY64|FOO|KEY)",
            noise in "[a0/ =%\\PC]{0,9}",
        ) {
            let plain = String::from_utf8_lossy(&value).replace('\0', "");
            let ends_in_zero = encode(&[value.as_slice(), &[0]].concat());
            let redaction = with(&[(&name, if name.ends_with("64") { &ends_in_zero } else { &plain })]);
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            let percent: String = value.iter().map(|byte| format!("%{byte:02x}")).collect();
            for form in [plain, hex, percent, encode(&value), encode(encode(&value).as_bytes())] {
                for line in [form.clone(), format!("{noise}{form}"), format!("{form}{noise}"), format!("{noise}{form} {form}")] {
                    let shown = redaction.apply(&line).into_owned();
                    prop_assert_eq!(shown.lines().count(), line.lines().count());
                }
            }
        }

        #[test]
        fn no_text_breaks_it_and_no_value_stays(text in "\\PC{0,80}", value in "[!-~]{4,40}", before in "[a-z ]{0,9}") {
            let redaction = with(&[("SECRET", &value.replace("]]>", "x"))]);
            redaction.apply(&text);
            let value = value.replace("]]>", "x");
            if View::of(&value).compact().bytes.len() >= SHORTEST_PIECE {
                for form in [value.clone(), encode(value.as_bytes()), encode(format!("{before}{value}").as_bytes())] {
                    let line = format!("{before} {form} {text}");
                    let shown = redaction.apply(&line);
                    prop_assert!(shown.contains(HIDDEN) && !shown.contains(&form), "{line}: {shown}");
                }
            }
        }
    }
}
