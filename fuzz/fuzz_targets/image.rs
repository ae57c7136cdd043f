//! Any bytes as an image: every look at them ends in a report, without a panic, and what it prints
//! is lines of text.
#![no_main]

use image_check::{Image, Options};
use libfuzzer_sys::fuzz_target;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

fuzz_target!(|bytes: &[u8]| {
    let mut file = File::from(rustix::fs::memfd_create("image", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all(bytes).expect("room");
    let image = Image::from_file(file, "image").expect("a file that can be read");
    let report = image.check(&Options::default().with_time_limit(LIMIT)).expect("a report");
    for finding in &report.findings {
        assert!(!finding.found.chars().any(char::is_control), "{}", finding.found);
    }
    assert!(report.repair_script().starts_with("#!/bin/sh\n"));
    image.summary(LIMIT).expect("a summary");
});
