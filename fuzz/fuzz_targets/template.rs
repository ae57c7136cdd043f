//! Any text parses or fails without a panic, and what is written from it is read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use market_core::template::{Template, lint};

fuzz_target!(|text: &[u8]| {
    lint(text);
    let _ = Template::parse_text_or_xml(text);
    let template = Template::parse(text).unwrap_or_else(|failure| failure.partial);
    if let Ok(written) = template.write() {
        assert_eq!(Template::parse(&written).expect("what we write parses"), template);
    }
    if let Ok(xml) = template.to_xml("TEMPLATE") {
        roxmltree::Document::parse(&xml).expect("what we write is XML");
    }
});
