//! All checks, in the order in which reports have them. Ids and severities are those of
//! `docs/image-check.md`.

use super::verdict::{CheckResult, Subject};
use super::{boot, container, context, credentials, identity, residue, udev};
use crate::report::{Group, Severity};

/// One of the checks.
pub(crate) struct Check {
    pub(crate) id: &'static str,
    pub(crate) group: Group,
    pub(crate) severity: Severity,
    pub(super) why: &'static str,
    pub(super) run: fn(&Subject<'_>) -> CheckResult,
}

/// What a check is, for documentation and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckDescription {
    /// Its id, which does not change from one release to the next.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// What the policy `opennebula` makes of it when it does not pass.
    pub severity: Severity,
    /// Why it matters.
    pub why: &'static str,
}

/// All checks, in the order in which reports have them.
///
/// ```
/// assert!(image_check::checks().any(|check| check.id == "no-ssh-host-keys"));
/// ```
pub fn checks() -> impl Iterator<Item = CheckDescription> {
    let description = |&Check { id, group, severity, why, .. }: &Check| CheckDescription {
        id,
        group,
        severity,
        why,
    };
    CHECKS.iter().map(description)
}

/// The check of an id.
pub(crate) fn find(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}

const fn check(
    id: &'static str,
    group: Group,
    severity: Severity,
    run: fn(&Subject<'_>) -> CheckResult,
    why: &'static str,
) -> Check {
    Check { id, group, severity, why, run }
}

use Group::{Boot, Container, Context, Credentials, Identity, Residue, Udev};
use Severity::{Fail, Warn};

#[rustfmt::skip]
pub(crate) static CHECKS: [Check; 40] = [
    check("format-known", Container, Fail, container::format_known,
        "OpenNebula's hosts run raw and qcow2 images; anything else fails when the \
         virtual machine starts"),
    check("format-as-declared", Container, Fail, container::format_as_declared,
        "a host that believes a wrong format reads garbage, or the image's own header as a disk"),
    check("no-backing-file", Container, Fail, container::no_backing_file,
        "the host opens the file that the image names, and an uploaded image names \
         whatever its author likes"),
    check("no-external-data-file", Container, Fail, container::no_external_data_file,
        "the host opens the file that the image names, and an uploaded image names \
         whatever its author likes"),
    check("not-encrypted", Container, Fail, container::not_encrypted,
        "nobody who downloads it has the key"),
    check("not-corrupt", Container, Fail, container::not_corrupt,
        "what is read from a broken image is not what its author has stored"),
    check("no-internal-snapshots", Container, Warn, container::no_internal_snapshots,
        "they travel with every copy, and hold what their maker may have thought deleted"),
    check("sparse", Container, Warn, container::sparse,
        "zeros that are stored cost room and time in every copy"),
    check("size-whole-mib", Container, Warn, container::size_whole_mib,
        "OpenNebula counts in MiB: a disk with a remainder changes its size on some datastores"),
    check("checksum-as-declared", Container, Fail, container::checksum_as_declared,
        "what is not what was declared was changed, or is something else"),
    check("size-as-declared", Container, Fail, container::size_as_declared,
        "quotas and datastores count by the declared size, and a disk that is larger does not fit"),
    check("contextualization-installed", Context, Fail, context::installed,
        "without it a virtual machine gets neither its addresses nor its keys from OpenNebula"),
    check("contextualization-enabled", Context, Fail, context::enabled,
        "the network comes up with what the context says only if it was read before"),
    check("cloud-init-not-competing", Context, Warn, context::cloud_init,
        "two programs that configure the same network and keys undo each other's work"),
    check("guest-agent-present", Context, Warn, context::guest_agent,
        "snapshots of a running virtual machine are consistent, and its addresses are \
         known, through the agent"),
    check("growpart-present", Context, Warn, context::growpart,
        "a larger disk is of no use as long as the root partition stays small"),
    check("persistent-net-rules-empty", Udev, Fail, udev::rules_empty,
        "a saved rule binds eth0 to the first address it saw; a copy with another one \
         gets eth1, and no network"),
    check("persistent-net-generator-off", Udev, Warn, udev::generator_off,
        "the generator saves a new rule for every copy's address at its first start"),
    check("machine-id-empty", Identity, Fail, identity::machine_id,
        "copies with the same id get the same addresses by DHCP and mix their logs"),
    check("no-ssh-host-keys", Identity, Fail, identity::host_keys,
        "whoever has the image has the key of every copy, and can pretend to be it"),
    check("no-mac-in-network-config", Identity, Warn, identity::mac_addresses,
        "a copy has another address, and its interface stays down"),
    check("hostname-generic", Identity, Warn, identity::hostname,
        "every copy calls itself as the machine that the image was made on"),
    check("no-dhcp-leases", Identity, Warn, identity::leases,
        "a copy asks for the address of the machine that the image was made on"),
    check("no-random-seed", Identity, Warn, identity::random_seed,
        "copies that start from the same seed begin with the same random numbers"),
    check("root-password-locked", Credentials, Fail, credentials::root_password,
        "a password that everybody knows who has the image opens every copy"),
    check("no-user-passwords", Credentials, Fail, credentials::user_passwords,
        "a password that everybody knows who has the image opens every copy"),
    check("no-authorized-keys", Credentials, Fail, credentials::authorized_keys,
        "whoever has the other half of the key can enter every copy"),
    check("no-private-keys", Credentials, Fail, credentials::private_keys,
        "a private key that is published is nobody's secret any more"),
    check("ssh-password-login-off", Credentials, Fail, credentials::ssh_passwords,
        "passwords can be guessed from anywhere; OpenNebula hands keys out"),
    check("no-extra-users", Credentials, Warn, credentials::extra_users,
        "nobody who starts a copy expects accounts of the image's maker"),
    check("no-shell-history", Residue, Warn, residue::shell_history,
        "it tells what its maker typed, passwords among it"),
    check("logs-clean", Residue, Warn, residue::logs,
        "old logs tell of another machine"),
    check("tmp-empty", Residue, Warn, residue::tmp,
        "what is left there was not meant to be published"),
    check("no-one-context-state", Residue, Warn, residue::one_context_state,
        "contextualization that believes to have run does not run again"),
    check("no-cloud-instances", Residue, Warn, residue::cloud_instances,
        "cloud-init that believes to know its instance does not configure a new one"),
    check("package-cache-clean", Residue, Warn, residue::package_cache,
        "downloaded packages cost room in every copy"),
    check("root-partition-last", Boot, Warn, boot::root_partition_last,
        "only the last partition grows when the disk does"),
    check("fstab-by-uuid-or-label", Boot, Warn, boot::fstab,
        "a disk is sda on one bus and vda on another, and what fstab names is not there"),
    check("serial-console", Boot, Warn, boot::serial_console,
        "without it nobody sees why a virtual machine without graphics does not start"),
    check("efi-partition", Boot, Warn, boot::efi_partition,
        "aarch64 starts by UEFI alone"),
];
