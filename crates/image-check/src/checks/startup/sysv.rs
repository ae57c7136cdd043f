//! Scripts that sysv runs by the links in the directories of its runlevels.

use super::start::{NAMES, Start};
use crate::guest::{Tree, join};
use crate::unavailable::Unavailable;

/// Scripts that bring the network up.
const NETWORK_SCRIPTS: [&str; 4] = ["networking", "network", "NetworkManager", "network-manager"];

/// The scripts of the contextualization that sysv runs, with their names.
pub(super) fn starts(
    tree: &Tree,
    has_systemd: bool,
) -> Result<Vec<(&'static str, Start)>, Unavailable> {
    let mut network_in = None;
    let mut found: Vec<(usize, String, &'static str)> = Vec::new();
    // In the order in which they are run; of the runlevels, the one that servers use.
    const STEPS: [&[&str]; 2] = [
        &["/etc/rcS.d"],
        &["/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc2.d", "/etc/rc.d/rc3.d", "/etc/init.d/rc3.d"],
    ];
    // systemd does not read the scripts of the first step.
    for (step, directories) in STEPS.iter().enumerate().skip(usize::from(has_systemd)) {
        for directory in *directories {
            for link in tree.list(directory)? {
                let link = String::from_utf8_lossy(&link).into_owned();
                let Some((order, script)) =
                    link.strip_prefix('S').and_then(|rest| rest.split_at_checked(2))
                else {
                    continue;
                };
                if NETWORK_SCRIPTS.contains(&script) && network_in.is_none() {
                    network_in = Some((step, order.to_owned()));
                }
                let named = NAMES.iter().find(|name| **name == script);
                if let Some(name) = named
                    && tree.exists(join(directory, link.as_bytes()))?
                {
                    found.push((step, order.to_owned(), name));
                }
            }
        }
    }
    let start = |(step, order, name): (usize, String, &'static str)| {
        let before_network =
            network_in.as_ref().is_none_or(|network| (step, &order) < (network.0, &network.1));
        (name, Start { by: format!("sysv runs {name} as S{order}"), before_network })
    };
    Ok(found.into_iter().map(start).collect())
}

/// Whether a script's LSB header orders it before the network.
pub(super) fn is_ordered_before_network(tree: &Tree, name: &str) -> Result<bool, Unavailable> {
    let lines = tree.lines(format!("/etc/init.d/{name}"))?;
    Ok(lines.iter().any(|line| is_lsb_before_network(line)))
}

/// Whether a line of a script's header orders it before the network.
fn is_lsb_before_network(line: &str) -> bool {
    let units = line.trim_start_matches('#').trim_start().strip_prefix("X-Start-Before:");
    units.is_some_and(|units| units.split_whitespace().any(|unit| unit == "$network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_orders_a_script_before_the_network() {
        assert!(is_lsb_before_network("# X-Start-Before:    $network"));
        assert!(!is_lsb_before_network("# X-Start-Before: $remote_fs"));
        assert!(!is_lsb_before_network("# Required-Start: $network"));
    }
}
