//! Types from templates and back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![cfg(feature = "serde")]

use market_core::template::Template;
use market_core::template::serde::{from_template, to_template};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, Serialize, PartialEq)]
struct Disk {
    image: String,
    size: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
enum Mode {
    Fast,
    Safe,
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
struct Machine {
    name: String,
    cpu: f64,
    #[serde(default)]
    disk: Vec<Disk>,
    mode: Mode,
    context: BTreeMap<String, String>,
    hot_plug: bool,
    comment: Option<String>,
}

const TEXT: &[u8] = b"NAME=vm\nCPU=0.5\nDISK=[IMAGE=a,SIZE=1]\nDISK=[IMAGE=b]\nMODE=SAFE\nCONTEXT=[NETWORK=YES]\nHOT_PLUG=No\nCOMMENT=\"\"\n";

#[test]
fn a_struct_comes_from_a_template_and_goes_back() {
    let machine: Machine = from_template(&Template::parse(TEXT).unwrap()).unwrap();
    assert_eq!(machine.disk.len(), 2);
    assert_eq!(machine.disk[0].size, Some(1));
    assert_eq!(machine.mode, Mode::Safe);
    assert_eq!(machine.comment, None);
    let again: Machine = from_template(&to_template(&machine).unwrap()).unwrap();
    assert_eq!(again, machine);
}

#[test]
fn errors_name_the_attribute_and_not_its_value() {
    for (from, to, message) in [
        ("CPU=0.5", "CPU=hunter2", "attribute CPU: expected a number, found something else"),
        (
            "SIZE=1",
            "SIZE=-1",
            "attribute DISK/SIZE: expected a whole number, zero or more, found something else",
        ),
        (
            "MODE=SAFE",
            "MODE=hunter2",
            "attribute MODE: expected one of Fast, Safe, found something else",
        ),
        (
            "HOT_PLUG=No",
            "HOT_PLUG=hunter2",
            "attribute HOT_PLUG: expected yes or no, found something else",
        ),
        ("NAME=vm", "", "attribute NAME: missing"),
        ("IMAGE=b", "X=b", "attribute DISK/IMAGE: missing"),
        ("NAME=vm", "NAME=[A=1]", "attribute NAME: a vector stands where a single value is needed"),
        (
            "DISK=[IMAGE=b]",
            "DISK=b",
            "attribute DISK: a single value stands where a vector is needed",
        ),
    ] {
        let text = String::from_utf8(TEXT.to_vec()).unwrap().replace(from, to);
        let error =
            from_template::<Machine>(&Template::parse(text.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_the_syntax_has_no_form_for_is_refused_by_name() {
    #[derive(Serialize)]
    struct Deep {
        disk: BTreeMap<String, BTreeMap<String, String>>,
    }
    let deep = Deep { disk: [("A".to_owned(), [("B".to_owned(), "1".to_owned())].into())].into() };
    assert_eq!(
        to_template(&deep).unwrap_err().to_string(),
        "attribute DISK/A: a vector holds single values only"
    );
    assert!(to_template(&7).is_err());
}
