//! Who starts the contextualization, and whether that is before the network: the files that
//! systemd, OpenRC, upstart and sysv read.
//!
//! The units, jobs and scripts are those of OpenNebula's one-apps (`context-linux`) and of the
//! guide's Ubuntu 12.04.

use crate::tree::{Tree, Unavailable, join};

/// A way in which it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) by: String,
    pub(super) before_network: bool,
}

/// The scripts and services that read the context, the one for the time before the network first.
const NAMES: [&str; 3] = ["one-context-local", "one-context", "vmcontext"];

/// Every way in which the guest starts its contextualization.
pub(super) fn starts(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
    let has_systemd =
        tree.exists("/usr/lib/systemd/systemd")? || tree.exists("/lib/systemd/systemd")?;
    let mut found = systemd(tree)?;
    for (name, start) in sysv(tree, has_systemd)? {
        // systemd makes units of scripts that have none, and orders them by what their header says
        // alone.
        if has_systemd && is_unit(tree, name)? {
            continue;
        }
        let header = || tree.lines(format!("/etc/init.d/{name}"));
        let before_network = if has_systemd {
            header()?.iter().any(|line| is_lsb_before_network(line))
        } else {
            start.before_network
        };
        found.push(Start { before_network, ..start });
    }
    // What another init system has left behind starts nothing.
    if !has_systemd {
        found.extend(openrc(tree)?);
        found.extend(upstart(tree)?);
    }
    Ok(found)
}

/// Where units are, the first of which counts.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Whether there is a unit of a name, be it one that is masked.
fn is_unit(tree: &Tree, name: &str) -> Result<bool, Unavailable> {
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

fn systemd(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
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

fn openrc(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
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
    let in_time = |(level, start): (usize, Start)| Start {
        before_network: start.before_network && level <= network_level,
        ..start
    };
    Ok(found.into_iter().map(in_time).collect())
}

fn upstart(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
    let mut found = Vec::new();
    let mut interfaces = Vec::new();
    for job in ["networking", "network-interface"] {
        let path = format!("/etc/init/{job}.conf");
        if tree.exists(&path)? {
            interfaces.push((job, calls_context_first(&tree.lines(&path)?)));
        }
    }
    let calling: Vec<&str> =
        interfaces.iter().filter_map(|(job, calls)| calls.is_some().then_some(*job)).collect();
    if !calling.is_empty() {
        // Each of the two may bring an interface up on its own.
        let before_network = interfaces.iter().all(|(_, calls)| *calls == Some(true));
        found.push(Start {
            by: format!("upstart runs it in {}.conf", calling.join(".conf and ")),
            before_network,
        });
    }
    for name in NAMES {
        let path = format!("/etc/init/{name}.conf");
        if let Some(start) =
            tree.lines(&path)?.iter().find(|line| line.trim().starts_with("start on "))
        {
            let late = [
                "runlevel",
                "net-device-up",
                "started networking",
                "static-network-up",
                "stopped networking",
            ];
            let before_network = !late.iter().any(|event| start.contains(event));
            found.push(Start { by: format!("upstart starts {name}"), before_network });
        }
    }
    Ok(found)
}

/// Whether a job calls the script (`None` when it does not) before it brings an interface up.
fn calls_context_first(lines: &[String]) -> Option<bool> {
    let code = || lines.iter().map(|line| line.split('#').next().unwrap_or_default()).enumerate();
    let calls = |line: &str| {
        line.contains("vmcontext")
            || line.contains("one-contextd")
            || line.contains("one-context-local")
    };
    let (call, _) = code().find(|(_, line)| calls(line))?;
    let up = code().find(|(_, line)| {
        line.split_whitespace().any(|word| word.rsplit('/').next() == Some("ifup"))
    });
    Some(up.is_none_or(|(up, _)| call < up))
}

/// A line of a script's header by which it starts before the network.
fn is_lsb_before_network(line: &str) -> bool {
    let units = line.trim_start_matches('#').trim_start().strip_prefix("X-Start-Before:");
    units.is_some_and(|units| units.split_whitespace().any(|unit| unit == "$network"))
}

/// Scripts that bring the network up.
const NETWORK_SCRIPTS: [&str; 4] = ["networking", "network", "NetworkManager", "network-manager"];

/// The scripts that sysv starts, by their names.
fn sysv(tree: &Tree, has_systemd: bool) -> Result<Vec<(&'static str, Start)>, Unavailable> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_after_the_interface_is_up_comes_too_late() {
        let job =
            |text: &str| calls_context_first(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            job(
                "pre-start script\n /etc/init.d/vmcontext\n exec ifup --allow auto $INTERFACE\nend script"
            ),
            Some(true)
        );
        assert_eq!(job("script\n ifup -a\n /etc/init.d/vmcontext\nend script"), Some(false));
        assert_eq!(job("# /etc/init.d/vmcontext\nexec ifup -a"), None);
    }

    #[test]
    fn only_what_configures_the_network_counts() {
        let unit = |text: &str, network: &[&str]| is_before_network(&[text.to_owned()], network);
        assert!(unit("Before=network-pre.target", &[]));
        assert!(unit("Before = sshd.service NetworkManager.service", &["NetworkManager.service"]));
        assert!(!unit("Before=network.service", &["NetworkManager.service"]));
        assert!(!unit("Before=network.target", &[]));
        assert!(!unit("Before=network.service", &[]));
        assert!(!unit("After=network-pre.target", &[]));
        assert!(is_lsb_before_network("# X-Start-Before:    $network"));
    }
}
