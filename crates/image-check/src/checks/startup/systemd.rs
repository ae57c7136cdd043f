//! Units of systemd.

use super::start::{NAMES, Start};
use crate::guest::{Tree, join};
use crate::unavailable::Unavailable;

/// The directories of units; of units with the same name the first counts.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Whether there is a unit of a name, masked or not.
pub(super) fn has_unit(tree: &Tree, name: &str) -> Result<bool, Unavailable> {
    for place in UNITS {
        if tree.is_named(format!("{place}/{name}.service"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Services that configure the network.
const NETWORK_SERVICES: [&str; 4] =
    ["networking.service", "network.service", "NetworkManager.service", "systemd-networkd.service"];

/// The units of the contextualization that are enabled.
pub(super) fn starts(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
    let mut wanted_by = Vec::new();
    for place in &UNITS[..2] {
        for directory in tree.list(place)? {
            if directory.ends_with(b".wants") || directory.ends_with(b".requires") {
                wanted_by.push(join(place, &directory));
            }
        }
    }
    let is_enabled = |unit: &str| -> Result<bool, Unavailable> {
        for directory in &wanted_by {
            if tree.is_named(join(directory, unit.as_bytes()))? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut network = Vec::new();
    for service in NETWORK_SERVICES {
        let by_script =
            service == "network.service" && tree.is_named("/etc/rc.d/rc3.d/S10network")?;
        if by_script || is_enabled(service)? {
            network.push(service);
        }
    }
    let mut found = Vec::new();
    for name in NAMES {
        let unit = format!("{name}.service");
        let masked = tree.link(join(UNITS[0], unit.as_bytes()))?.as_deref() == Some(b"/dev/null");
        if masked || !is_enabled(&unit)? {
            continue;
        }
        let mut before_network = None;
        for place in UNITS {
            let path = join(place, unit.as_bytes());
            if before_network.is_none() && tree.exists(&path)? {
                before_network = Some(is_before_network(&tree.lines(&path)?, &network));
            }
        }
        // A link to a unit that is not there starts nothing.
        if let Some(before_network) = before_network {
            found.push(Start { by: format!("systemd starts {unit}"), before_network });
        }
    }
    Ok(found)
}

/// Whether a unit comes before whatever configures the network: before the target for that, or
/// before every service that does it.
fn is_before_network(unit: &[String], network: &[&str]) -> bool {
    let values = |line: &String| {
        let rest = line.trim().strip_prefix("Before")?.trim_start().strip_prefix('=')?;
        Some(rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let before: Vec<String> = unit.iter().filter_map(values).flatten().collect();
    let has = |unit: &str| before.iter().any(|found| found == unit);
    has("network-pre.target") || (!network.is_empty() && network.iter().all(|service| has(service)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_configures_the_network_counts() {
        let unit = |text: &str, network: &[&str]| is_before_network(&[text.to_owned()], network);
        assert!(unit("Before=network-pre.target", &[]));
        assert!(unit("Before = sshd.service NetworkManager.service", &["NetworkManager.service"]));
        assert!(!unit("Before=network.service", &["NetworkManager.service"]));
        assert!(!unit("Before=network.target", &[]));
        assert!(!unit("Before=network.service", &[]));
        assert!(!unit("After=network-pre.target", &[]));
    }
}
