//! `marketctl app validate`: entries of public marketplaces, as they are served (JSON) and as their
//! repositories have them (YAML).

mod across;
mod entry;
mod fields;
mod files;
mod problem;
mod read;
mod service;
mod template;

use crate::cli::Format;
use crate::image::json;
use market_core::error::Error;
use market_core::line::one_line;
use market_core::runtime::print;
use problem::{Level, Problem, Problems};
use std::path::PathBuf;

/// Validates the entries of some files, all of them of one marketplace, and prints the problems;
/// whether there are no errors.
pub(super) fn validate(files: &[PathBuf], format: Format) -> Result<bool, Error> {
    let mut entries = Vec::new();
    let mut problems = Problems::default();
    for file in files {
        read::read(file, &mut entries, &mut problems)?;
    }
    for entry in &entries {
        problems.check(entry);
    }
    problems.check_together(&entries);
    let Problems { found: mut problems, more } = problems;
    problems.sort_by(|one, other| {
        (&one.file, &one.entry, one.level).cmp(&(&other.file, &other.entry, other.level))
    });
    let errors = problems.iter().filter(|problem| problem.level == Level::Error).count();
    let text = match format {
        Format::Json => json(&problems)?,
        Format::Table => lines(&problems, more, errors, entries.len()),
    };
    print(text.as_bytes())?;
    Ok(errors == 0 && more == 0)
}

/// A line a problem, and one that counts; `more` problems are not among them.
fn lines(problems: &[Problem], more: usize, errors: usize, entries: usize) -> String {
    let mut text = String::new();
    for Problem { level, file, entry, field, problem } in problems {
        let level = match level {
            Level::Error => "ERROR",
            Level::Warn => "WARN ",
        };
        let field = if field.is_empty() { String::new() } else { format!("{field} ") };
        text.push_str(&one_line(&format!("{level} {file}: {entry}: {field}{problem}")));
        text.push('\n');
    }
    if more > 0 {
        text.push_str(&format!("ERROR {more} more problems are not listed\n"));
    }
    let warnings = problems.len() - errors;
    text.push_str(&format!("{entries} entries, {errors} errors, {warnings} warnings\n"));
    text
}
