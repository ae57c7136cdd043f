//! Agreement with OpenNebula's own parser: every vector of tests/vectors (docs/template-grammar.md
//! says where they come from).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use market_core::template::{ParseFailure, Rules, Template, Value, WriteErrorReason, Writer};
use serde_json::Value as Json;

fn rows(file: &str) -> Vec<Json> {
    let path = format!("{}/tests/vectors/{file}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn decode(json: &Json) -> Vec<u8> {
    STANDARD.decode(json.as_str().unwrap()).unwrap()
}

/// Bytes that are given as text under `key` or, when they are no text, in base64 under `key_b64`.
fn bytes(row: &Json, key: &str) -> Vec<u8> {
    match row.get(key) {
        Some(Json::String(text)) => text.clone().into_bytes(),
        _ => decode(&row[format!("{key}_b64")]),
    }
}

#[derive(Debug, PartialEq)]
enum Shape {
    Single(Vec<u8>),
    Vector(Vec<(Vec<u8>, Vec<u8>)>),
}

fn expected(row: &Json, key: &str) -> Vec<(String, Shape)> {
    let attribute = |attribute: &Json| {
        let shape = match attribute["kind"].as_str().unwrap() {
            "single" => Shape::Single(bytes(attribute, "value")),
            _ => Shape::Vector(
                attribute["pairs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| (bytes(p, "k"), bytes(p, "v")))
                    .collect(),
            ),
        };
        (attribute["name"].as_str().unwrap().to_owned(), shape)
    };
    row[key].as_array().unwrap().iter().map(attribute).collect()
}

fn actual(template: &Template) -> Vec<(String, Shape)> {
    let shape = |value: Value<'_>| match value {
        Value::Single(value) => Shape::Single(value.to_vec()),
        Value::Vector(v) => {
            Shape::Vector(v.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.to_vec())).collect())
        }
    };
    template.iter().map(|a| (a.name().to_owned(), shape(a.value()))).collect()
}

fn outcome(parsed: Result<Template, Box<ParseFailure>>) -> (i64, Template, Option<String>) {
    match parsed {
        Ok(template) => (0, template, None),
        Err(failure) => {
            let rc = if failure.error.position().is_some() { 1 } else { -1 };
            (rc, failure.partial, failure.error.as_logged_by_oned())
        }
    }
}

fn columns(message: &str) -> &str {
    message.rsplit("columns ").next().unwrap()
}

fn check_parse(row: &Json, parsed: Result<Template, Box<ParseFailure>>) {
    let id = &row["id"];
    let (rc, template, message) = outcome(parsed);
    assert_eq!(rc, row["rc"].as_i64().unwrap(), "{id}: {message:?}");
    assert_eq!(actual(&template), expected(row, "attrs"), "{id}");
    match row["error"].as_str() {
        None => assert!(rc == 0 || message.is_none(), "{id}: {message:?}"),
        Some(error) if error.contains("columns") => {
            assert_eq!(columns(&message.unwrap()), columns(error), "{id}");
        }
        // A `]]>` makes the core give up without a message, which it wraps into these words.
        Some("Parse error.") => assert_eq!(message, None, "{id}"),
        Some(_) => assert!(message.is_some(), "{id}"),
    }
}

/// What we write is read back as the same template, or is refused for a value that ends in a
/// backslash or the like.
fn check_write(row: &Json, template: &Template) -> bool {
    let id = &row["id"];
    match template.write() {
        Ok(text) => {
            let again = Template::parse(&text).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(&again, template, "{id}");
            true
        }
        Err(error) => {
            assert_eq!(error.reason, WriteErrorReason::TrailingBackslash, "{id}: {error}");
            false
        }
    }
}

fn check_xml(row: &Json, template: &Template) -> bool {
    let Ok(xml) = template.to_xml("TEMPLATE") else {
        assert_ne!(row["xml_rt"], "same", "{}: refused what XML can carry", row["id"]);
        return false;
    };
    let stock = bytes(row, "xml");
    // The stock writer does not split `]]>` and so writes what nobody can read.
    if row["xml_rt"] != "malformed" {
        assert_eq!(xml.as_bytes(), stock, "{}", row["id"]);
    }
    let document =
        roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{}: {e}", row["id"]));
    // Otherwise empty vectors are dropped, and names that start with XML gain a prefix.
    if row["xml_rt"] == "same" {
        assert_eq!(
            &Template::from_element(document.root_element()).unwrap(),
            template,
            "{}",
            row["id"]
        );
    }
    true
}

#[test]
fn texts_parse_as_in_the_core() {
    let (mut count, mut written, mut as_xml) = (0, 0, 0);
    for file in ["template_basic", "template_random"] {
        for row in rows(file) {
            let input = decode(&row["input_b64"]);
            check_parse(&row, Template::parse(&input));
            let (rc, template, _) = outcome(Template::parse(&input));
            if rc == 0 {
                written += usize::from(check_write(&row, &template));
                as_xml += usize::from(check_xml(&row, &template));
            }
            count += 1;
        }
    }
    assert_eq!(count, 3_559);
    assert!(written > 2_000 && as_xml > 1_000, "{written} written, {as_xml} as XML");
}

#[test]
fn text_or_xml_parses_as_in_the_core() {
    let rows = rows("str_or_xml");
    for row in &rows {
        let input = decode(&row["input_b64"]);
        let parsed = Template::parse_text_or_xml(&input);
        match row["id"].as_str().unwrap() {
            // These two need a document type, which we refuse: with one, a few hundred bytes can
            // grow to gigabytes.
            "str_or_xml-0048" | "str_or_xml-0049" => {
                let error = parsed.unwrap_err().error.to_string();
                assert!(error.contains("DTD"), "{error}");
            }
            _ => check_parse(row, parsed),
        }
    }
    assert_eq!(rows.len(), 110);
}

#[test]
fn values_are_written_as_the_core_reads_them_or_refused() {
    let rows = rows("serialize");
    for row in &rows {
        let value = decode(&row["value_b64"]);
        let mut writer = Writer::new(Rules::Parser);
        let result = writer.single("A", &value);
        if row["mid_b64"].is_null() {
            assert!(result.is_err(), "{}", row["id"]);
            assert_eq!(writer.finish(), b"", "{}: something was written", row["id"]);
            continue;
        }
        result.unwrap_or_else(|e| panic!("{}: {e}", row["id"]));
        let expected = [b"A=", decode(&row["mid_b64"]).as_slice(), b"\n"].concat();
        let text = writer.finish();
        assert_eq!(text, expected, "{}", row["id"]);
        assert_eq!(
            Template::parse(&text).unwrap().get("A").unwrap().as_bytes(),
            Some(value.as_slice())
        );
    }
    assert_eq!(rows.len(), 925);
}

#[test]
fn xml_is_escaped_and_read_as_in_the_core() {
    let rows = rows("xml_escape");
    let mut written = 0;
    for row in &rows {
        let id = &row["id"];
        let value = decode(&row["input_b64"]);
        for (form, rc, attrs) in [
            ("cdata", "libxml_rc", "libxml_attrs"),
            ("entity", "libxml_entity_rc", "libxml_entity_attrs"),
        ] {
            let document =
                [b"<TEMPLATE><A>", bytes(row, form).as_slice(), b"</A></TEMPLATE>"].concat();
            // The core's test read the values untrimmed; the text-or-XML entry point trims them.
            let parsed = std::str::from_utf8(&document)
                .ok()
                .and_then(|text| roxmltree::Document::parse(text).ok());
            let well_formed = Template::parse_text_or_xml(&document).is_ok();
            assert_eq!(well_formed, row[rc].as_i64().unwrap() == 0, "{id} {form}");
            if let (true, Some(parsed)) = (well_formed, parsed) {
                let read = Template::from_element(parsed.root_element()).unwrap();
                assert_eq!(actual(&read), expected(row, attrs), "{id} {form}");
            }
        }
        let mut template = Template::new();
        template.push("A", &value).unwrap();
        let Ok(xml) = template.to_xml("T") else { continue };
        written += 1;
        let read = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(Template::from_element(read.root_element()).unwrap(), template, "{id}");
    }
    assert_eq!(rows.len(), 302);
    assert!(written > 100, "{written}");
}
