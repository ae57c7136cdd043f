//! What holds for every template, on generated ones: the alphabet is that of the grammar's own
//! symbols.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::template::{Rules, Template, Value, WriteErrorReason, Writer, lint};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that mean something to the grammar, and a few that mean nothing.
fn symbol() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::sample::select(&b"\\\"]>[=,# \n\r\ta'A1_<&;\0\x0b\xe9\x01"[..]).prop_map(|b| vec![b]),
        1 => Just(b"]]>".to_vec()),
        1 => Just(b"\\\"".to_vec()),
        1 => Just("é€".as_bytes().to_vec()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(symbol(), 0..12).prop_map(|parts| parts.concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Z_][A-Z0-9_]{0,5}", "XML[A-Z0-9_]{0,3}"]
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        3 => symbol(),
        2 => name().prop_map(String::into_bytes),
        1 => Just(b"=".to_vec()),
        1 => (name(), value()).prop_map(|(n, v)| [n.as_bytes(), b"=\"", &v, b"\"\n"].concat()),
        1 => (name(), name(), value()).prop_map(|(n, k, v)| [n.as_bytes(), b"=[", k.as_bytes(), b"=\"", &v, b"\"]\n"].concat()),
    ];
    vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

#[derive(Clone, Debug)]
enum Kind {
    Single(Vec<u8>),
    Vector(std::collections::BTreeMap<String, Vec<u8>>),
}

fn template() -> impl Strategy<Value = Vec<(String, Kind)>> {
    let kind = prop_oneof![
        value().prop_map(Kind::Single),
        proptest::collection::btree_map("[A-Z0-9_]{1,4}", value(), 0..4).prop_map(Kind::Vector)
    ];
    vec((name(), kind), 0..6)
}

fn build(attributes: &[(String, Kind)]) -> Template {
    let mut template = Template::new();
    for (name, kind) in attributes {
        match kind {
            Kind::Single(value) => template.push(name, value).unwrap(),
            Kind::Vector(pairs) => template.push_vector(name, pairs).unwrap(),
        }
    }
    template
}

/// The values that no text can express, by docs/template-grammar.md section 3.
fn unrepresentable(value: &[u8]) -> bool {
    let has = |what: &[u8]| value.windows(what.len()).any(|window| window == what);
    has(b"\0")
        || (has(b"]]>") && !has(b"\n"))
        || (value.ends_with(b"\\") && value.iter().any(|b| b"=# \t\n,[]".contains(b)))
}

fn values<'a>(template: &'a Template) -> Vec<&'a [u8]> {
    let of = |value: Value<'a>| match value {
        Value::Single(value) => vec![value],
        Value::Vector(vector) => vector.iter().map(|(_, value)| value).collect(),
    };
    template.iter().flat_map(|attribute| of(attribute.value())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_or_refused_exactly_when_no_text_can_express_it(attributes in template()) {
        let template = build(&attributes);
        match template.write() {
            Ok(text) => {
                prop_assert!(!values(&template).into_iter().any(unrepresentable));
                prop_assert_eq!(&Template::parse(&text).unwrap(), &template);
                prop_assert_eq!(lint(&text), vec![]);
            }
            Err(error) => prop_assert!(values(&template).into_iter().any(unrepresentable), "{}", error),
        }
    }

    #[test]
    fn any_text_parses_without_panic_and_what_it_yields_is_stable(text in document()) {
        let template = match Template::parse(&text) {
            Ok(template) => template,
            Err(failure) => {
                let position = failure.error.position().unwrap();
                prop_assert!(position.columns.1 as usize <= text.len() + 1);
                failure.partial
            }
        };
        for attribute in template.iter() {
            let source = attribute.source().unwrap();
            let name = &text[source.clone()][..1];
            prop_assert!(name[0].is_ascii_alphanumeric() || name[0] == b'_');
        }
        if let Ok(again) = template.write() {
            prop_assert_eq!(Template::parse(&again).unwrap(), template);
        }
        lint(&text);
    }

    #[test]
    fn what_oned_stores_survives_xml_and_never_holds_a_cdata_end(value in value()) {
        let mut writer = Writer::new(Rules::Oned);
        if writer.single("A", &value).is_ok() {
            let text = writer.finish();
            prop_assert!(!text.windows(3).any(|window| window == b"]]>"));
            let template = Template::parse(&text).unwrap();
            let xml = template.to_xml("T").unwrap();
            let document = roxmltree::Document::parse(&xml).unwrap();
            prop_assert_eq!(Template::from_element(document.root_element()).unwrap(), template);
        }
    }

    #[test]
    fn xml_carries_every_text_value_or_refuses_it(mut attributes in template()) {
        // Read from XML, such a name gains a prefix and so another place in the order.
        attributes.retain(|(name, _)| !name.starts_with("XML"));
        let template = build(&attributes);
        match template.to_xml("T") {
            Ok(xml) => {
                let document = roxmltree::Document::parse(&xml).unwrap();
                let read = Template::from_element(document.root_element()).unwrap();
                let mut kept = read.iter();
                for attribute in template.iter() {
                    let empty = attribute.value().as_vector().is_some_and(|vector| vector.is_empty());
                    // A key that begins with a digit is no XML name, and such a vector is refused.
                    if !empty {
                        prop_assert_eq!(kept.next().unwrap().value(), attribute.value());
                    }
                }
            }
            Err(error) => prop_assert!(matches!(error.reason, WriteErrorReason::NotXml | WriteErrorReason::Name)),
        }
    }

    #[test]
    fn text_or_xml_never_panics(text in document(), xml in any::<bool>()) {
        let text = if xml { [b"<T><A>", text.as_slice(), b"</A></T>"].concat() } else { text };
        let _ = Template::parse_text_or_xml(&text);
    }
}

#[test]
fn debug_hides_secrets_and_errors_hold_no_values() {
    let text =
        b"SECRET_ACCESS_KEY=\"hunter2\"\nDISK=[ROOT_PASSWORD=\"hunter2\",A=1]\nTOKEN=[A=\"hunter2\"]\nX=\"visible\"\n";
    let template = Template::parse(text).unwrap();
    let shown = format!("{template:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("visible"), "{shown}");
    let failure = Template::parse(b"SECRET_ACCESS_KEY=hunter2 hunter2").unwrap_err();
    assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure} {failure:?}");
    assert!(!format!("{:?}", template.get("SECRET_ACCESS_KEY")).contains("hunter2"));
}

#[test]
fn an_error_names_line_column_and_attribute() {
    let failure = Template::parse(b"A=1\n  disk = [ image = x\n size = 2 ]\n").unwrap_err();
    assert_eq!(
        failure.to_string(),
        "line 3, column 2: attribute DISK: expected COMMA or CBRACKET, found VARIABLE"
    );
    assert_eq!(failure.partial.len(), 1);
}

#[test]
fn editing_keeps_the_order_of_equal_names() {
    let mut template = Template::parse(b"B=1\nDISK=[ID=1]\nDISK=[ID=2]\n").unwrap();
    template.push_vector("DISK", [("ID", "3")]).unwrap();
    template.set("B", "2").unwrap();
    template.push("A", "first").unwrap();
    assert_eq!(
        template.write().unwrap(),
        b"A=\"first\"\nB=\"2\"\nDISK=[\nID=\"1\"\n]\nDISK=[\nID=\"2\"\n]\nDISK=[\nID=\"3\"\n]\n"
    );
    assert_eq!(template.remove("DISK"), 3);
    assert!(template.push("1A", "x").is_err());
    assert!(template.push_vector("A", [("X", "1"), ("X", "2")]).is_err());
    assert_eq!(template.len(), 2);
}
