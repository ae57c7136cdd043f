//! Checks of images that real tools made, as anybody makes them and as somebody makes them who
//! means harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod checks;
mod hostile;

use image_check::{Finding, Outcome, Report};

/// A report for the message of an assertion: a line a finding.
fn lines(report: &Report) -> String {
    let line =
        |finding: &Finding| format!("{} {}: {}\n", finding.outcome, finding.id, finding.found);
    report.findings.iter().map(line).collect()
}

/// The finding of a check.
fn finding<'a>(report: &'a Report, id: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.id == id).unwrap()
}

/// The outcome of a check, and what it found.
fn found<'a>(report: &'a Report, id: &str) -> (Outcome, &'a str) {
    let finding = finding(report, id);
    (finding.outcome, &finding.found)
}
