//! What the image's maker left behind.

use super::files::{add_files_below, describe, has_content, none_of};
use super::verdict::{CheckResult, Subject, Verdict};
use crate::guest::join;
use crate::repair::Repair;
use crate::text::first_of;

pub(super) fn shell_history(subject: &Subject<'_>) -> CheckResult {
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
            let path = join(home, name);
            if has_content(&guest.tree, &path)? {
                found.push(path);
            }
        }
    }
    none_of(&found, "none")
}

pub(super) fn logs(subject: &Subject<'_>) -> CheckResult {
    const EMPTY: &str = "find /var/log -type f -exec truncate -s 0 {} +; rm -rf /var/log/journal/*";
    let mut found = Vec::new();
    add_files_below(&subject.guest()?.tree, "/var/log", &mut found)?;
    if found.is_empty() {
        return Verdict::pass("/var/log has no content");
    }
    Verdict::problem(describe(&found), [Repair::Run(EMPTY)])
}

/// A problem when there are any of these names, which a command removes; else a pass.
fn none_but_remove(found: &[Vec<u8>], pass: &str, remove: &'static str) -> CheckResult {
    if found.is_empty() {
        return Verdict::pass(pass);
    }
    Verdict::problem(first_of(found), [Repair::Run(remove)])
}

pub(super) fn tmp(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for directory in ["/tmp", "/var/tmp"] {
        found.extend(tree.paths(directory, |name| name != b"lost+found")?);
    }
    none_but_remove(&found, "nothing is there", "find /tmp /var/tmp -mindepth 1 -delete")
}

pub(super) fn one_context_state(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for directory in ["/run/one-context", "/var/run/one-context", "/var/lib/one-context"] {
        found.extend(tree.paths(directory, |_| true)?);
    }
    found.sort();
    found.dedup();
    none_but_remove(
        &found,
        "none",
        "rm -rf /run/one-context /var/run/one-context /var/lib/one-context",
    )
}

pub(super) fn cloud_instances(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    let mut found = tree.paths("/var/lib/cloud/instances", |_| true)?;
    if tree.is_named("/var/lib/cloud/instance")? {
        found.push(b"/var/lib/cloud/instance".to_vec());
    }
    none_but_remove(
        &found,
        "none",
        "rm -rf /var/lib/cloud/instances /var/lib/cloud/instance /var/lib/cloud/data",
    )
}

pub(super) fn package_cache(subject: &Subject<'_>) -> CheckResult {
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
    const EMPTY: &str = "rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* \
         /var/cache/dnf/* /var/cache/libdnf5/* /var/cache/yum/* \
         /var/cache/zypp/packages/* /var/cache/apk/* /var/cache/pacman/pkg/*";
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for cache in CACHES {
        add_files_below(tree, cache, &mut found)?;
    }
    if found.is_empty() {
        return Verdict::pass("no package manager keeps any");
    }
    Verdict::problem(describe(&found), [Repair::Run(EMPTY)])
}
