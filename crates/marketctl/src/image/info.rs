//! `marketctl image info`.

use super::json;
use crate::cli::{Format, Info};
use crate::fetch::{fetch, looking};
use image_check::{Summary, Table};
use market_core::backend::Context;
use market_core::error::Error;
use market_core::runtime::print;
use serde::Serialize;
use std::time::Duration;

/// How long looking may take; hashing takes what it takes.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Everything<'a> {
    image: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
    md5: Option<String>,
    sha256: Option<String>,
}

pub(super) async fn info(arguments: Info, context: &Context) -> Result<(), Error> {
    let fetched = fetch(&arguments.image, !arguments.no_checksums, context).await?;
    let summary = looking(fetched.image, context, |image| image.summary(LIMIT)).await?;
    let digests = fetched.digests.as_ref().filter(|_| !arguments.no_checksums);
    let everything = Everything {
        image: &fetched.name,
        summary: &summary,
        md5: digests.and_then(|digests| digests.md5).map(|md5| md5.to_string()),
        sha256: digests.and_then(|digests| digests.sha256).map(|sha256| sha256.to_string()),
    };
    let text = match arguments.format {
        Format::Table => table(&everything),
        Format::Json => json(&everything)?,
    };
    print(text.as_bytes())
}

fn table(everything: &Everything<'_>) -> String {
    let Everything { image, summary, md5, sha256 } = everything;
    let mut text = format!("{image}\n");
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("  {name:18} {value}\n"));
        }
    };
    let compressed =
        summary.compression.map_or_else(String::new, |name| format!(", compressed ({name})"));
    line("format", Some(format!("{}{compressed}", summary.format)));
    line("virtual size", summary.virtual_bytes.map(size));
    line("file size", Some(size(summary.file_bytes)));
    line("allocated", Some(size(summary.allocated_bytes)));
    line("snapshots", (summary.snapshots > 0).then(|| summary.snapshots.to_string()));
    line("MD5", md5.clone());
    line("SHA-256", sha256.clone());
    let table = match summary.table {
        Some(Table::Gpt) => Some("GPT"),
        Some(Table::Mbr) => Some("MBR"),
        Some(Table::None) => Some("none"),
        None => None,
    };
    line("partition table", table.map(str::to_owned));
    for partition in &summary.partitions {
        let number = partition
            .number
            .map_or_else(|| "disk".to_owned(), |number| format!("partition {number}"));
        let root = if partition.is_root { ", the root" } else { "" };
        line(
            &number,
            Some(format!("{}, {}{root}", size(partition.bytes), partition.content.name())),
        );
    }
    line("system", summary.os.clone());
    line("architecture", summary.architecture.map(str::to_owned));
    line("one-context", summary.context_version.clone());
    for note in &summary.notes {
        line("note", Some(note.clone()));
    }
    text
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    let whole = if bytes.is_multiple_of(MIB) { "" } else { "about " };
    format!("{bytes} bytes ({whole}{} MiB)", bytes / MIB)
}
