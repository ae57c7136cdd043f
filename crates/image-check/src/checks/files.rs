//! Files of the guest that several checks look for.

use super::verdict::{CheckResult, Verdict, deletions};
use crate::guest::{Metadata, Tree, join};
use crate::text::{first_of, printable};
use crate::unavailable::Unavailable;

/// How deep below a directory files are looked for.
const MAX_DEPTH: usize = 12;
/// The most files that are listed; there may be a million.
const MAX_FILES: usize = 10_000;

/// A problem when there are any of these files, which are to be deleted; else a pass.
pub(super) fn none_of(found: &[Vec<u8>], pass: &str) -> CheckResult {
    if found.is_empty() {
        Verdict::pass(pass)
    } else {
        Verdict::problem(first_of(found), deletions(found))
    }
}

/// Whether a path leads to a file that is not empty.
pub(super) fn has_content(tree: &Tree, path: &[u8]) -> Result<bool, Unavailable> {
    Ok(tree.metadata(path)?.is_some_and(|metadata| metadata.is_file() && metadata.bytes > 0))
}

/// The files in a directory.
pub(super) fn regular_files(tree: &Tree, directory: &str) -> Result<Vec<Vec<u8>>, Unavailable> {
    let mut files = Vec::new();
    for path in tree.paths(directory, |_| true)? {
        if tree.metadata(&path)?.is_some_and(Metadata::is_file) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files in some directories that are not empty and whose names match.
pub(super) fn filled_files(
    tree: &Tree,
    directories: &[&str],
    matches: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Vec<u8>>, Unavailable> {
    let mut found = Vec::new();
    for directory in directories {
        for path in tree.paths(directory, &matches)? {
            if has_content(tree, &path)? {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Adds the files below a directory that are not empty, with their sizes in bytes. Links are not
/// followed. Of very many, or very deep ones, the first are enough.
///
/// # Errors
/// When none was found and not all were looked at.
pub(super) fn add_files_below(
    tree: &Tree,
    directory: &str,
    found: &mut Vec<(Vec<u8>, u64)>,
) -> Result<(), Unavailable> {
    let mut left = vec![(directory.as_bytes().to_vec(), 0)];
    let mut passed_over = None;
    while let Some((directory, depth)) = left.pop() {
        for name in tree.list(&directory)? {
            let path = join(&directory, &name);
            if found.len() + left.len() >= MAX_FILES {
                passed_over = Some(path);
                break;
            }
            if tree.link(&path)?.is_some() {
                continue;
            }
            match tree.metadata(&path)? {
                Some(metadata) if metadata.is_directory() && depth < MAX_DEPTH => {
                    left.push((path, depth + 1));
                }
                Some(metadata) if metadata.is_directory() => passed_over = Some(path),
                Some(metadata) if metadata.is_file() && metadata.bytes > 0 => {
                    found.push((path, metadata.bytes));
                }
                _ => {}
            }
        }
    }
    match passed_over {
        Some(path) if found.is_empty() => Err(Unavailable::too_large(format!(
            "{} holds more than is looked at",
            printable(&path)
        ))),
        _ => Ok(()),
    }
}

/// How many bytes some files have, and the first of their names.
pub(super) fn describe(files: &[(Vec<u8>, u64)]) -> String {
    let bytes = files.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let names: Vec<&[u8]> = files.iter().map(|(path, _)| path.as_slice()).collect();
    format!("{bytes} bytes in {}", first_of(&names))
}
