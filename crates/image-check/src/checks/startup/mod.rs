//! What starts the contextualization, and whether that is before the network comes up: the files
//! that systemd, OpenRC, upstart and sysv read.
//!
//! The units, jobs and scripts are those of OpenNebula's one-apps (`context-linux`), and of the
//! Ubuntu 12.04 of the guide "Howto Create Apps for the Marketplace".

mod openrc;
mod start;
mod systemd;
mod sysv;
mod upstart;

pub(super) use start::Start;

use crate::guest::Tree;
use crate::unavailable::Unavailable;

/// Every way in which the guest starts its contextualization.
pub(super) fn starts(tree: &Tree) -> Result<Vec<Start>, Unavailable> {
    let has_systemd =
        tree.exists("/usr/lib/systemd/systemd")? || tree.exists("/lib/systemd/systemd")?;
    let mut found = systemd::starts(tree)?;
    for (name, start) in sysv::starts(tree, has_systemd)? {
        if !has_systemd {
            found.push(start);
        } else if !systemd::has_unit(tree, name)? {
            // systemd makes units of scripts that have none, and orders them by their LSB headers
            // alone.
            let before_network = sysv::is_ordered_before_network(tree, name)?;
            found.push(Start { before_network, ..start });
        }
    }
    // Under systemd, the files of other init systems start nothing.
    if !has_systemd {
        found.extend(openrc::starts(tree)?);
        found.extend(upstart::starts(tree)?);
    }
    Ok(found)
}
