//! The table of exit codes in docs/run-the-drivers.md is that of the kinds of errors.

use market_core::error::ErrorKind;
use std::fs;

#[test]
fn exit_codes_are_those_of_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/run-the-drivers.md");
    let page = fs::read_to_string(path).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.parse::<u8>().ok()?, cells.next()?.to_owned()))
    });
    let kinds = ErrorKind::ALL.iter().map(|kind| (kind.exit_code(), kind.to_string()));
    let table: Vec<_> = std::iter::once((0, "done".to_owned())).chain(kinds).collect();
    assert_eq!(rows.collect::<Vec<_>>(), table);
    assert!(table.iter().enumerate().all(|(index, (code, _))| index == usize::from(*code)));
}
