//! Edits of a text that keep what they are not about.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::template::{Document, Template, WriteErrorReason};
use proptest::collection::vec;
use proptest::prelude::*;

fn edited(text: &str, edit: impl FnOnce(&mut Document)) -> String {
    let mut document = Document::parse(text.as_bytes()).unwrap();
    edit(&mut document);
    let written = String::from_utf8(document.as_bytes().to_vec()).unwrap();
    assert_eq!(&Template::parse(written.as_bytes()).unwrap(), document.template());
    written
}

/// What an operator may have written: comments, columns, several attributes on a line, no line
/// break at the end.
const TEXT: &str = "\
# The market of the cellar.
NAME   = cellar     # by name
  TYPE = \"os\"  PERSISTENT=no
DISK = [ IMAGE = \"a\", # the first
         SIZE  = 1024,
         FORMAT = qcow2 # or raw
       ]
DISK=[IMAGE=b]
EMPTY =
CPU=\"1\"";

#[test]
fn a_value_is_replaced_where_it_stands_with_its_kind_of_quotes() {
    for (name, value, before, after) in [
        ("NAME", "attic", "= cellar     #", "= attic     #"),
        ("NAME", "the attic", "= cellar     #", "= \"the attic\"     #"),
        ("type", "cdrom", "\"os\"", "\"cdrom\""),
        ("PERSISTENT", "", "PERSISTENT=no", "PERSISTENT=\"\""),
        ("EMPTY", "no", "EMPTY =\n", "EMPTY =\"no\"\n"),
        ("CPU", "2", "CPU=\"1\"", "CPU=\"2\""),
    ] {
        let written = edited(TEXT, |document| document.set(name, value).unwrap());
        assert_eq!(written, TEXT.replace(before, after));
    }
    let written = edited(TEXT, |document| document.set("DISK", "none").unwrap());
    let start = TEXT.find("[ IMAGE").unwrap();
    let end = TEXT.find("EMPTY").unwrap();
    assert_eq!(written, format!("{}\"none\"\n{}", &TEXT[..start], &TEXT[end..]));
}

#[test]
fn keys_are_set_added_and_removed_with_the_comments_beside_them() {
    for (key, value, before, after) in [
        ("SIZE", "1", "SIZE  = 1024", "SIZE  = 1"),
        ("image", "a b", "IMAGE = \"a\"", "IMAGE = \"a b\""),
        (
            "DRIVER",
            "x",
            "qcow2 # or raw\n       ]",
            "qcow2, # or raw\n         DRIVER = \"x\"\n       ]",
        ),
    ] {
        let written = edited(TEXT, |document| document.set_key("disk", 0, key, value).unwrap());
        assert_eq!(written, TEXT.replace(before, after));
    }
    let written = edited(TEXT, |document| document.set_key("DISK", 1, "SIZE", "1").unwrap());
    assert_eq!(written, TEXT.replace("[IMAGE=b]", "[IMAGE=b, SIZE=\"1\"]"));
    for (key, before, after) in [
        ("IMAGE", "IMAGE = \"a\", # the", "# the"),
        ("SIZE", "SIZE  = 1024,\n         FORMAT", "FORMAT"),
        ("FORMAT", ",\n         FORMAT = qcow2 #", " #"),
    ] {
        let written =
            edited(TEXT, |document| assert!(document.remove_key("DISK", 0, key).unwrap()));
        assert_eq!(written, TEXT.replace(before, after));
    }
    let written = edited("A=[ ]\nB=[]", |document| {
        document.set_key("A", 0, "X", "1").unwrap();
        document.set_key("B", 0, "X", "1").unwrap();
        document.set_key("B", 0, "X", "2").unwrap();
        assert!(document.remove_key("A", 0, "X").unwrap());
        assert!(!document.remove_key("A", 0, "X").unwrap());
    });
    assert_eq!(written, "A=[  ]\nB=[X=\"2\"]");
}

#[test]
fn attributes_are_added_and_removed_with_their_lines_and_comments_stay() {
    for (name, before, after) in [
        ("NAME", "NAME   = cellar     # by name", "# by name"),
        ("TYPE", "  TYPE = \"os\"  PERSISTENT", "  PERSISTENT"),
        ("PERSISTENT", "\"os\"  PERSISTENT=no", "\"os\""),
        ("EMPTY", "EMPTY =\n", ""),
        ("CPU", "CPU=\"1\"", ""),
    ] {
        let written = edited(TEXT, |document| assert_eq!(document.remove(name), Ok(1)));
        assert_eq!(written, TEXT.replace(before, after));
    }
    let written = edited(TEXT, |document| {
        assert!(document.remove_at("DISK", 1).unwrap());
        assert!(!document.remove_at("DISK", 1).unwrap());
    });
    assert_eq!(written, TEXT.replace("DISK=[IMAGE=b]\n", ""));
    let written = edited(TEXT, |document| {
        document.push("memory", "1024").unwrap();
        document.push_vector("DISK", [("image", "c"), ("size", "1")]).unwrap();
        document.push("NAME", "cave").unwrap();
    });
    let expected = TEXT
        .replace("# by name\n", "# by name\nNAME = \"cave\"\n")
        .replace("[IMAGE=b]\n", "[IMAGE=b]\nDISK=[\n  IMAGE=\"c\",\n  SIZE=\"1\"\n]\n");
    assert_eq!(written, format!("{expected}\nMEMORY=\"1024\""));
}

#[test]
fn an_edit_that_cannot_be_made_changes_nothing() {
    let text = b"A=\"x\" # kept\nD=[B=1]\nE=\"open \\\"";
    let mut document = Document::parse(text).unwrap();
    let reasons = [
        document.set("1A", "x"),
        document.set("A", "a\0b"),
        document.push("A", "]]>"),
        document.set("A", "a b\\"),
        document.set_key("A", 0, "B", "1"),
        document.set_key("D", 1, "B", "1"),
        document.push_vector("V", [("K", "1"), ("k", "2")]),
        // The value of E ends in a backslash and closes at the last quote of the text.
        document.push("E", "more quotes"),
    ]
    .map(|outcome| outcome.unwrap_err().reason);
    assert_eq!(
        reasons,
        [
            WriteErrorReason::Name,
            WriteErrorReason::Nul,
            WriteErrorReason::CdataEnd,
            WriteErrorReason::TrailingBackslash,
            WriteErrorReason::NoVector,
            WriteErrorReason::NoVector,
            WriteErrorReason::DuplicateKey,
            WriteErrorReason::Surroundings,
        ]
    );
    assert_eq!(document.as_bytes(), text);
    // At the front its quotes are in nobody's way.
    document.push("NEW", "with quotes").unwrap();
    assert_eq!(document.into_bytes(), [b"NEW=\"with quotes\"\n", &text[..]].concat());
}

#[test]
fn what_the_text_around_an_edit_would_make_of_it_is_prevented() {
    for (text, after) in [
        // The new quote would close the one that is open.
        ("A=\"x", "B=\"1\"\nA=\"x"),
        // A line break would make a comment of the attribute.
        ("#A=1", "B=\"1\"\n#A=1"),
        ("A=1\n#", "A=1\n#\nB=\"1\""),
        ("A=1\n#\n", "A=1\n#\nB=\"1\"\n"),
        ("A=1\0B=2", "A=1\nB=\"1\"\0B=2"),
    ] {
        assert_eq!(edited(text, |document| document.push("B", "1").unwrap()), after);
    }
    let written = edited("A=[X=1,Y=2]B=1 # end\n", |document| {
        document.set_key("A", 0, "Y", "a\n]]>").unwrap();
        document.set("B", "]]>\n").unwrap();
    });
    assert!(written.ends_with(" # end\n"), "{written}");
    let written = edited("A=#  x", |document| document.set("A", "]]>\n").unwrap());
    assert_eq!(written, "\nA=\"]]>\n\"\n");
}

/// Bytes that mean something to the grammar, and a few that mean nothing.
fn symbol() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::sample::select(&b"\\\"]>[=,# \n\r\ta'A1_<&;\0\x0b\xe9"[..]).prop_map(|b| vec![b]),
        1 => Just(b"]]>".to_vec()),
        1 => Just(b"\\\"".to_vec()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(symbol(), 0..8).prop_map(|parts| parts.concat())
}

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(&["A", "b", "C1", "Disk", "XMLA", "_"][..]).prop_map(str::to_owned)
}

/// Texts of which many parse.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let blank = || proptest::sample::select(&["", "", "", " ", "\n", "\t", " ;", "'"][..]);
    let bare = proptest::sample::select(&["1", "x", "\"x", "a\\", "\"a\"b", "\\\"", "#"][..])
        .prop_map(|text| text.as_bytes().to_vec());
    let quoted = value().prop_map(|value| [b"\"", &value[..], b"\""].concat());
    let single = prop_oneof![bare, quoted];
    let comment = proptest::sample::select(&["", "", "# \"c\"\n", "# ]\n", " #c=\n"][..]);
    let pair = (name(), blank(), single.clone(), blank(), comment.clone(), blank()).prop_map(
        |(key, before, value, behind, comment, end)| {
            [
                key.as_bytes(),
                b"=",
                before.as_bytes(),
                &value,
                behind.as_bytes(),
                comment.as_bytes(),
                end.as_bytes(),
            ]
            .concat()
        },
    );
    let vector =
        vec(pair, 0..4).prop_map(|pairs| [b"[", &pairs.join(&b","[..])[..], b"]"].concat());
    let empty = Just(b"\n".to_vec());
    let attribute = (name(), blank(), prop_oneof![3 => single, 3 => vector, 1 => empty]).prop_map(
        |(name, equal, value)| [name.as_bytes(), b"=", equal.as_bytes(), &value].concat(),
    );
    let piece = prop_oneof![
        6 => (attribute, proptest::sample::select(&[" ", "\n", "\n", "  ", ""][..]))
            .prop_map(|(attribute, end)| [&attribute, end.as_bytes()].concat()),
        2 => comment.prop_map(|text| text.as_bytes().to_vec()),
        1 => symbol(),
    ];
    vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

#[derive(Clone, Debug)]
enum Edit {
    Set(String, Vec<u8>),
    Push(String, Vec<u8>),
    PushVector(String, Vec<(String, Vec<u8>)>),
    Remove(String),
    RemoveAt(String, usize),
    SetKey(String, usize, String, Vec<u8>),
    RemoveKey(String, usize, String),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (name(), value()).prop_map(|(name, value)| Edit::Set(name, value)),
        (name(), value()).prop_map(|(name, value)| Edit::Push(name, value)),
        (name(), vec((name(), value()), 0..3))
            .prop_map(|(name, pairs)| Edit::PushVector(name, pairs)),
        name().prop_map(Edit::Remove),
        (name(), 0_usize..2).prop_map(|(name, index)| Edit::RemoveAt(name, index)),
        (name(), 0_usize..2, name(), value())
            .prop_map(|(name, index, key, value)| Edit::SetKey(name, index, key, value)),
        (name(), 0_usize..2, name())
            .prop_map(|(name, index, key)| Edit::RemoveKey(name, index, key)),
    ]
}

/// Whether the edit could be made, in both forms.
fn apply(edit: &Edit, template: &mut Template, document: &mut Document) -> (bool, bool) {
    match edit {
        Edit::Set(name, value) => {
            (template.set(name, value).is_ok(), document.set(name, value).is_ok())
        }
        Edit::Push(name, value) => {
            (template.push(name, value).is_ok(), document.push(name, value).is_ok())
        }
        Edit::PushVector(name, pairs) => {
            let pairs = || pairs.iter().map(|(key, value)| (key, value));
            (
                template.push_vector(name, pairs()).is_ok(),
                document.push_vector(name, pairs()).is_ok(),
            )
        }
        Edit::Remove(name) => {
            let removed = template.remove(name);
            let outcome = document.remove(name);
            assert!(outcome.as_ref().is_ok_and(|count| *count == removed) || outcome.is_err());
            (true, outcome.is_ok())
        }
        Edit::RemoveAt(name, index) => {
            (true, compare(template.remove_at(name, *index), document.remove_at(name, *index)))
        }
        Edit::SetKey(name, index, key, value) => (
            template.set_key(name, *index, key, value).is_ok(),
            document.set_key(name, *index, key, value).is_ok(),
        ),
        Edit::RemoveKey(name, index, key) => (
            true,
            compare(template.remove_key(name, *index, key), document.remove_key(name, *index, key)),
        ),
    }
}

fn compare<E>(removed: bool, outcome: Result<bool, E>) -> bool {
    outcome.map(|found| assert_eq!(found, removed)).is_ok()
}

/// The comments that stand on lines of their own.
fn comments(text: &[u8]) -> Vec<&[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"# kept ")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_that_was_not_edited_is_the_same_and_an_edited_one_parses_to_the_edited_template(
        text in text(), edits in vec(edit(), 0..4)
    ) {
        let Ok(mut document) = Document::parse(&text) else { return Ok(()) };
        prop_assert_eq!(document.as_bytes(), &text);
        for edit in &edits {
            let (before, mut template) = (document.clone(), document.template().clone());
            let (possible, made) = apply(edit, &mut template, &mut document);
            prop_assert!(possible || !made, "{edit:?}");
            if made {
                let parsed = Template::parse(document.as_bytes());
                prop_assert_eq!(&parsed.unwrap(), &template, "{:?} of {:?}", edit, before.as_bytes());
                prop_assert_eq!(document.template(), &template);
            } else {
                prop_assert_eq!(&document, &before, "a failed edit changes nothing");
                // Only what no text can express may be refused.
                prop_assert!(
                    !possible || template.write().is_err(),
                    "{edit:?} of {:?}", String::from_utf8_lossy(before.as_bytes())
                );
            }
        }
    }

    #[test]
    fn every_comment_stays(text in text(), edits in vec(edit(), 1..4)) {
        let text = [b"# kept 1\n", &text[..], b"\n# kept 2\n"].concat();
        let Ok(mut document) = Document::parse(&text) else { return Ok(()) };
        let before: Vec<_> = comments(&text).into_iter().map(<[u8]>::to_vec).collect();
        for edit in &edits {
            let mut template = document.template().clone();
            apply(edit, &mut template, &mut document);
        }
        prop_assert_eq!(comments(document.as_bytes()), before);
    }
}
