//! A text that is not edited stays as it is, and an edited one parses to the edited template.
#![no_main]

use libfuzzer_sys::fuzz_target;
use market_core::template::{Document, Template};

// Five bytes an edit, up to the first NUL; the text behind it.
fuzz_target!(|input: &[u8]| {
    let (edits, text) = match input.iter().position(|&byte| byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (&input[..0], input),
    };
    let Ok(mut document) = Document::parse(text) else { return };
    assert_eq!(document.as_bytes(), text);
    for edit in edits.chunks_exact(5).take(8) {
        let mut template = document.template().clone();
        if apply(edit, &mut template, &mut document) {
            assert_eq!(document.template(), &template);
            assert_eq!(Template::parse(document.as_bytes()).expect("an edited text parses"), template);
        }
    }
});

/// Whether the edit could be made to the text; then it can be made to the template.
fn apply(edit: &[u8], template: &mut Template, document: &mut Document) -> bool {
    // One byte makes a name, so that edits often meet what is there.
    let name = |byte: u8| char::from(b'A' + byte % 26).to_string();
    let (name, key, index, value) = (name(edit[1]), name(edit[2]), usize::from(edit[3] % 2), &edit[4..]);
    let made = match edit[0] % 7 {
        0 => document.set(&name, value).map(|()| template.set(&name, value)),
        1 => document.push(&name, value).map(|()| template.push(&name, value)),
        2 => document.push_vector(&name, [(&key, value)]).map(|()| template.push_vector(&name, [(&key, value)])),
        3 => document.set_key(&name, index, &key, value).map(|()| template.set_key(&name, index, &key, value)),
        4 => document.remove(&name).map(|count| {
            assert_eq!(count, template.remove(&name));
            Ok(())
        }),
        5 => document.remove_at(&name, index).map(|found| {
            assert_eq!(found, template.remove_at(&name, index));
            Ok(())
        }),
        _ => document.remove_key(&name, index, &key).map(|found| {
            assert_eq!(found, template.remove_key(&name, index, &key));
            Ok(())
        }),
    };
    made.map(|same| same.expect("what the text takes the template takes")).is_ok()
}
