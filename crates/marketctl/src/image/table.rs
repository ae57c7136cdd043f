//! Reports and summaries as tables for people.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use image_check::{Finding, Format, Outcome, PartitionTable, Report, Summary};
use market_core::line::one_line;
use market_core::transfer::Digests;

/// A table without lines, two spaces between its columns.
fn table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// The text of a table whose first column is indented by some spaces.
fn text(mut table: Table, indent: u16) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { indent } else { 0 }, 2));
    }
    table.trim_fmt() + "\n"
}

/// A line a check, below a warning or failure why it matters and what repairs it, and a line about
/// the whole image.
pub(super) fn report(report: &Report) -> String {
    let mut findings = table();
    for finding in &report.findings {
        findings.add_row([finding.outcome.word(), finding.id, &details(finding, report.format)]);
    }
    let text = if report.findings.is_empty() { String::new() } else { text(findings, 0) };
    let count = |outcome| report.count(outcome);
    format!(
        "{text}{}: {} ({} passed, {} warnings, {} failed, {} could not be looked at; policy {})\n",
        one_line(&report.image),
        if report.is_ready() { "nothing failed" } else { "not ready" },
        count(Outcome::Pass),
        count(Outcome::Warn),
        count(Outcome::Fail),
        count(Outcome::Skip),
        one_line(&report.policy),
    )
}

/// What was found; of a problem, the reason and the repairs on lines of their own.
fn details(finding: &Finding, format: Format) -> String {
    let mut details = finding.found.clone();
    if matches!(finding.outcome, Outcome::Warn | Outcome::Fail) {
        details.push_str(&format!("\n  {}", finding.why));
        for repair in &finding.repairs {
            details.push_str(&format!("\n  repair: {}", repair.short_command(format)));
        }
    }
    details
}

/// A line a fact, under the image's name.
pub(super) fn summary(image: &str, summary: &Summary, digests: Option<&Digests>) -> String {
    let mut facts = table();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.add_row([name.to_owned(), value]);
        }
    };
    let compression = summary.compression;
    let compression = compression.map_or_else(String::new, |name| format!(", compressed ({name})"));
    add("format", Some(format!("{}{compression}", summary.format)));
    add("virtual size", summary.virtual_bytes.map(size));
    add("file size", Some(size(summary.file_bytes)));
    add("allocated", Some(size(summary.allocated_bytes)));
    add("snapshots", (summary.snapshots > 0).then(|| summary.snapshots.to_string()));
    add("MD5", digests.and_then(|digests| digests.md5).map(|md5| md5.to_string()));
    add("SHA-256", digests.and_then(|digests| digests.sha256).map(|sha256| sha256.to_string()));
    add("partition table", summary.table.map(|table| table_name(table).to_owned()));
    for partition in &summary.partitions {
        let number = partition.number;
        let name = number.map_or_else(|| "disk".to_owned(), |number| format!("partition {number}"));
        let root = if partition.is_root { ", the root" } else { "" };
        add(&name, Some(format!("{}, {}{root}", size(partition.bytes), partition.content.name())));
    }
    add("system", summary.os.clone());
    add("architecture", summary.architecture.map(str::to_owned));
    add("one-context", summary.context_version.clone());
    for note in &summary.notes {
        add("note", Some(note.clone()));
    }
    format!("{image}\n{}", text(facts, 2))
}

fn table_name(table: PartitionTable) -> &'static str {
    match table {
        PartitionTable::Gpt => "GPT",
        PartitionTable::Mbr => "MBR",
        _ => "none",
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    let whole = if bytes.is_multiple_of(MIB) { "" } else { "about " };
    format!("{bytes} bytes ({whole}{} MiB)", bytes / MIB)
}
