//! What its maker left behind.

use super::credentials::at_home;
use super::{Answer, Subject, Verdict, repairs_for, some_of};
use crate::ext::Kind;
use crate::repair::Repair;
use crate::tree::{Tree, Unavailable, join, shown};

/// Directories below which everything is looked at, and how deep.
const DEEPEST: usize = 12;
/// Files that are listed; there may be a million.
const MAX_FILES: usize = 10_000;

pub(super) fn shell_history(subject: &Subject<'_>) -> Answer {
    const FILES: [&str; 9] = [
        ".bash_history",
        ".zsh_history",
        ".ash_history",
        ".sh_history",
        ".history",
        ".python_history",
        ".mysql_history",
        ".psql_history",
        ".local/share/fish/fish_history",
    ];
    let guest = subject.guest()?;
    let mut found = Vec::new();
    for home in guest.homes()? {
        for name in FILES {
            let path = at_home(home, name);
            if guest.tree.node(&path)?.is_some_and(|node| node.is_file() && node.bytes > 0) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        return Verdict::good("none");
    }
    let delete = |path: &Vec<u8>| Repair::Delete(String::from_utf8_lossy(path).into_owned());
    Verdict::bad(some_of(&found), repairs_for(&found, delete))
}

/// The files below a directory that hold something. Links are not followed. Of very many, or very
/// deep ones, the first are enough.
fn files_below(
    tree: &Tree,
    directory: &[u8],
    found: &mut Vec<(Vec<u8>, u64)>,
) -> Result<(), Unavailable> {
    let mut left = vec![(directory.to_vec(), 0)];
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
            match tree.node(&path)? {
                Some(node) if node.kind == Kind::Directory && depth < DEEPEST => {
                    left.push((path, depth + 1))
                }
                Some(node) if node.kind == Kind::Directory => passed_over = Some(path),
                Some(node) if node.is_file() && node.bytes > 0 => found.push((path, node.bytes)),
                _ => {}
            }
        }
    }
    match passed_over {
        Some(path) if found.is_empty() => {
            Err(Unavailable(format!("{} holds more than is looked at", shown(&path))))
        }
        _ => Ok(()),
    }
}

pub(super) fn logs(subject: &Subject<'_>) -> Answer {
    let mut found = Vec::new();
    files_below(&subject.guest()?.tree, b"/var/log", &mut found)?;
    if found.is_empty() {
        return Verdict::good("/var/log has no content");
    }
    let bytes = found.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let names: Vec<&[u8]> = found.iter().map(|(path, _)| path.as_slice()).collect();
    Verdict::bad(
        format!("{bytes} bytes in {}", some_of(&names)),
        [Repair::Run("find /var/log -type f -exec truncate -s 0 {} +; rm -rf /var/log/journal/*")],
    )
}

pub(super) fn tmp(subject: &Subject<'_>) -> Answer {
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for directory in ["/tmp", "/var/tmp"] {
        found.extend(tree.paths(directory, |name| name != b"lost+found")?);
    }
    if found.is_empty() {
        return Verdict::good("nothing is there");
    }
    Verdict::bad(some_of(&found), [Repair::Run("find /tmp /var/tmp -mindepth 1 -delete")])
}

pub(super) fn one_context_state(subject: &Subject<'_>) -> Answer {
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for directory in ["/run/one-context", "/var/run/one-context", "/var/lib/one-context"] {
        found.extend(tree.paths(directory, |_| true)?);
    }
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Verdict::good("none");
    }
    Verdict::bad(
        some_of(&found),
        [Repair::Run("rm -rf /run/one-context /var/run/one-context /var/lib/one-context")],
    )
}

pub(super) fn cloud_instances(subject: &Subject<'_>) -> Answer {
    let tree = &subject.guest()?.tree;
    let mut found = tree.paths("/var/lib/cloud/instances", |_| true)?;
    if tree.is_named("/var/lib/cloud/instance")? {
        found.push(b"/var/lib/cloud/instance".to_vec());
    }
    if found.is_empty() {
        return Verdict::good("none");
    }
    Verdict::bad(
        some_of(&found),
        [Repair::Run(
            "rm -rf /var/lib/cloud/instances /var/lib/cloud/instance /var/lib/cloud/data",
        )],
    )
}

pub(super) fn package_cache(subject: &Subject<'_>) -> Answer {
    const CACHES: [&str; 8] = [
        "/var/cache/libdnf5",
        "/var/cache/apt/archives",
        "/var/lib/apt/lists",
        "/var/cache/dnf",
        "/var/cache/yum",
        "/var/cache/zypp/packages",
        "/var/cache/apk",
        "/var/cache/pacman/pkg",
    ];
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for cache in CACHES {
        files_below(tree, cache.as_bytes(), &mut found)?;
    }
    if found.is_empty() {
        return Verdict::good("no package manager keeps any");
    }
    let bytes = found.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let names: Vec<&[u8]> = found.iter().map(|(path, _)| path.as_slice()).collect();
    Verdict::bad(
        format!("{bytes} bytes in {}", some_of(&names)),
        [Repair::Run(
            "rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /var/cache/dnf/* /var/cache/libdnf5/* /var/cache/yum/* \
             /var/cache/zypp/packages/* /var/cache/apk/* /var/cache/pacman/pkg/*",
        )],
    )
}
