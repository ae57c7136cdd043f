//! Any first bytes of an image are told apart without a panic, and a name in them never reaches a
//! message unescaped.
#![no_main]

use libfuzzer_sys::fuzz_target;
use market_core::container::{Container, refuse_references};

fuzz_target!(|head: &[u8]| {
    if let Err(error) = refuse_references(&Container::sniff(head), "image", "raw") {
        assert!(!error.to_string().contains('\n'));
    }
});
