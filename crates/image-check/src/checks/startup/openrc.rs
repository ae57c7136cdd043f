//! Scripts in the runlevels of OpenRC.

use super::start::{NAMES, Start};
use crate::guest::Tree;
use crate::unavailable::Unavailable;

/// The scripts of the contextualization that a runlevel starts.
pub(super) fn starts(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
    const LEVELS: [&str; 3] = ["sysinit", "boot", "default"];
    let is_network = |name: &[u8]| {
        name.starts_with(b"net.") && name != b"net.lo"
            || matches!(
                name,
                b"networking" | b"NetworkManager" | b"networkmanager" | b"dhcpcd" | b"connman"
            )
    };
    let mut network_level = LEVELS.len();
    let mut found = Vec::new();
    for (level, name_of_level) in LEVELS.iter().enumerate() {
        let directory = format!("/etc/runlevels/{name_of_level}");
        if !tree.paths(&directory, is_network)?.is_empty() {
            network_level = network_level.min(level);
        }
        for name in NAMES {
            let script = format!("/etc/init.d/{name}");
            if tree.is_named(format!("{directory}/{name}"))? && tree.exists(&script)? {
                let is_ordered = tree.lines(&script)?.iter().any(|line| {
                    let mut words = line.split_whitespace();
                    words.next() == Some("before")
                        && words.any(|word| matches!(word, "net" | "networking" | "network"))
                });
                let by = format!("OpenRC starts {name} in the runlevel {name_of_level}");
                found.push((level, Start { by, before_network: is_ordered }));
            }
        }
    }
    // A later runlevel than the network's comes too late, whatever the script says.
    let in_time = |(level, start): (usize, Start)| Start {
        before_network: start.before_network && level <= network_level,
        ..start
    };
    Ok(found.into_iter().map(in_time).collect())
}
