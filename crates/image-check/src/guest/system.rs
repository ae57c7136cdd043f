//! What the guest's system is: its name, its architecture, and the version of its
//! contextualization.

use super::tree::Tree;
use crate::bytes::until_zero;
use crate::unavailable::Unavailable;
use memchr::memmem;

/// The most bytes of a package manager's database that are read.
const MAX_DATABASE_BYTES: u64 = 16 << 20;

/// A value of os-release, without its quotes.
pub(super) fn os_release(tree: &Tree, key: &str) -> Result<Option<String>, Unavailable> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        for line in tree.lines(path)? {
            let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
            if let Some(value) = value {
                return Ok(Some(value.trim_matches(['"', '\'']).to_owned()));
            }
        }
    }
    Ok(None)
}

/// The name of the system for people.
pub(super) fn os_name(tree: &Tree) -> Result<Option<String>, Unavailable> {
    /// Files of systems without os-release, and what their first line lacks.
    const FILES: [(&str, &str); 4] = [
        ("/etc/redhat-release", ""),
        ("/etc/system-release", ""),
        ("/etc/alpine-release", "Alpine Linux "),
        ("/etc/debian_version", "Debian "),
    ];
    if let Some(name) = os_release(tree, "PRETTY_NAME")? {
        return Ok(Some(name));
    }
    for (path, distribution) in FILES {
        let line = tree.lines(path)?.into_iter().find(|line| !line.trim().is_empty());
        if let Some(line) = line {
            return Ok(Some(format!("{distribution}{}", line.trim())));
        }
    }
    Ok(None)
}

/// The architecture of the first program that is an ELF file: as OpenNebula calls it where it knows
/// it, as Linux does otherwise.
pub(super) fn architecture(tree: &Tree) -> Result<Option<&'static str>, Unavailable> {
    const PROGRAMS: [&str; 7] = [
        "/bin/sh",
        "/usr/bin/env",
        "/sbin/init",
        "/usr/lib/systemd/systemd",
        "/bin/busybox",
        "/usr/sbin/sshd",
        "/bin/true",
    ];
    const HEADER_BYTES: u64 = 64;
    for path in PROGRAMS {
        let head = tree.read_at_most(path, HEADER_BYTES)?;
        let name = head.as_deref().and_then(elf_architecture);
        if name.is_some() {
            return Ok(name);
        }
    }
    Ok(None)
}

/// The machine that an ELF header names (`e_machine`).
fn elf_architecture(head: &[u8]) -> Option<&'static str> {
    let [0x7f, b'E', b'L', b'F', _, order, ..] = *head else { return None };
    let is_little_endian = order == 1;
    let machine = [*head.get(18)?, *head.get(19)?];
    let machine =
        if is_little_endian { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    Some(match machine {
        3 => "i686",
        8 => "mips",
        20 => "ppc",
        21 if is_little_endian => "ppc64le",
        21 => "ppc64",
        22 => "s390x",
        40 => "armv7l",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => return None,
    })
}

/// The version of the package one-context, where dpkg or apk knows it: their databases are texts.
pub(super) fn context_version(tree: &Tree) -> Result<Option<String>, Unavailable> {
    let debian = package(tree, "/var/lib/dpkg/status", b"Package: one-context\n", "Version: ")?;
    match debian.filter(|(package, _)| package.contains("\nStatus: install ok installed\n")) {
        Some((_, version)) => Ok(Some(version)),
        None => Ok(package(tree, "/lib/apk/db/installed", b"P:one-context\n", "V:")?
            .map(|(_, version)| version)),
    }
}

/// The paragraph of a package in a package manager's database, and the package's version.
fn package(
    tree: &Tree,
    database: &str,
    name: &[u8],
    version_key: &str,
) -> Result<Option<(String, String)>, Unavailable> {
    let content = tree.read_at_most(database, MAX_DATABASE_BYTES)?.unwrap_or_default();
    let mut found = memmem::find_iter(&content, name);
    let Some(at) = found.find(|&at| at == 0 || content[at - 1] == b'\n') else {
        return Ok(None);
    };
    let start = memmem::rfind(&content[..at], b"\n\n").map_or(0, |end| end + 2);
    let end = memmem::find(&content[at..], b"\n\n").map_or(content.len(), |end| at + end + 1);
    let package = String::from_utf8_lossy(&content[start..end]).into_owned();
    let version = package
        .lines()
        .find_map(|line| line.strip_prefix(version_key))
        .map(|version| version.trim().to_owned());
    Ok(version.map(|version| (package, version)))
}

/// The first line that is neither empty nor a comment: what hostname and machine-id files hold.
pub(crate) fn first_word(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(until_zero(content)).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.unwrap_or_default().to_owned()
}
