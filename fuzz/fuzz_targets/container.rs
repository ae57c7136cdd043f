//! Any first bytes of an image are told apart without a panic, and a name in them never reaches a message unescaped.
#![no_main]

use libfuzzer_sys::fuzz_target;
use market_core::container::Container;

fuzz_target!(|head: &[u8]| {
    if let Err(error) = Container::sniff(head).refuse_references("image", "raw") {
        assert!(!error.to_string().contains('\n'));
    }
});
