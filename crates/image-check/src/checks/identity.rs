//! What must differ from one virtual machine to the next.

use super::files::{filled_files, none_of};
use super::verdict::{CheckResult, Subject, Verdict};
use crate::guest::{Metadata, first_word};
use crate::repair::Repair;
use crate::text::{first_of, printable};

pub(super) fn machine_id(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
        let id = first_word(&tree.read(path)?.unwrap_or_default());
        if !id.is_empty() && id != "uninitialized" {
            const EMPTY: &str = "if [ -e /etc/machine-id ]; then : > /etc/machine-id; fi; \
                                 if [ ! -L /var/lib/dbus/machine-id ]; \
                                 then rm -f /var/lib/dbus/machine-id; fi";
            return Verdict::problem(format!("{path} holds an id"), [Repair::Run(EMPTY)]);
        }
    }
    Verdict::pass("no id is stored")
}

pub(super) fn host_keys(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    let is_key = |name: &[u8]| name.starts_with(b"ssh_host_") && name.ends_with(b"_key");
    let mut keys = tree.paths("/etc/ssh", is_key)?;
    keys.extend(tree.paths("/etc/dropbear", |name| name.ends_with(b"_host_key"))?);
    if keys.is_empty() {
        return Verdict::pass("none");
    }
    const DELETE: &str =
        "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /etc/dropbear/*_host_key";
    Verdict::problem(first_of(&keys), [Repair::Run(DELETE)])
}

/// A directory of settings, the ends of the files' names, and the keys of an address, in lower
/// case.
const WITH_ADDRESSES: [(&str, &[&str], &[&str]); 7] = [
    ("/etc/sysconfig/network-scripts", &[""], &["hwaddr", "macaddr"]),
    ("/etc/sysconfig/network", &[""], &["lladdr", "hwaddr"]),
    ("/etc/NetworkManager/system-connections", &[""], &["mac-address", "cloned-mac-address"]),
    ("/etc/netplan", &[".yaml", ".yml"], &["macaddress"]),
    (
        "/etc/systemd/network",
        &[".network", ".link", ".netdev"],
        &["macaddress", "permanentmacaddress"],
    ),
    ("/etc/network", &["interfaces"], &["hwaddress"]),
    ("/etc/network/interfaces.d", &[""], &["hwaddress"]),
];

/// Whether a line gives one of the keys an address: twelve digits in pairs, or the sixteen bytes of
/// InfiniBand.
fn names_address(line: &str, keys: &[&str]) -> bool {
    let line = line.trim().to_lowercase();
    let is_address = |word: &str| {
        let parts: Vec<&str> = word.split([':', '-']).collect();
        parts.len() >= 6
            && parts
                .iter()
                .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let words = || {
        line.split(|c: char| c.is_whitespace() || "=\"'{},;".contains(c))
            .filter(|word| !word.is_empty())
    };
    let is_key = |word: &str| keys.contains(&word.trim_end_matches(':'));
    !line.starts_with(['#', ';']) && words().any(is_key) && words().any(is_address)
}

pub(super) fn mac_addresses(subject: &Subject<'_>) -> CheckResult {
    let tree = &subject.guest()?.tree;
    let mut found = Vec::new();
    for (directory, ends, keys) in WITH_ADDRESSES {
        let wanted = |name: &[u8]| ends.iter().any(|end| name.ends_with(end.as_bytes()));
        for path in tree.paths(directory, wanted)? {
            let is_file = tree.metadata(&path)?.is_some_and(Metadata::is_file);
            if is_file && tree.lines(&path)?.iter().any(|line| names_address(line, keys)) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        return Verdict::pass("no settings name an address");
    }
    Verdict::problem(
        first_of(&found),
        [Repair::ByHand("remove the lines with MAC addresses; contextualization writes its own")],
    )
}

/// Names that say nothing of the machine that an image was made on.
const GENERIC: [&str; 6] =
    ["localhost", "localhost.localdomain", "localhost4", "(none)", "unassigned", "linux"];

pub(super) fn hostname(subject: &Subject<'_>) -> CheckResult {
    let guest = subject.guest()?;
    let mut name = first_word(&guest.tree.read("/etc/hostname")?.unwrap_or_default());
    if name.is_empty() {
        // Where RHEL had it until its release 7.
        let lines = guest.tree.lines("/etc/sysconfig/network")?;
        let old = lines.iter().find_map(|line| line.trim().strip_prefix("HOSTNAME="));
        name = old.unwrap_or_default().trim_matches(['"', '\'']).to_owned();
    }
    let id = guest.os_release("ID")?.unwrap_or_default();
    let generic = name.is_empty()
        || GENERIC.iter().any(|generic| name.eq_ignore_ascii_case(generic))
        || (!id.is_empty() && name.eq_ignore_ascii_case(&id));
    if generic {
        let shown = if name.is_empty() {
            "no name is stored".to_owned()
        } else {
            printable(name.as_bytes())
        };
        Verdict::pass(shown)
    } else {
        let repair = Repair::Run("echo localhost > /etc/hostname");
        Verdict::problem(format!("the name is {}", printable(name.as_bytes())), [repair])
    }
}

pub(super) fn leases(subject: &Subject<'_>) -> CheckResult {
    const DIRECTORIES: [&str; 8] = [
        "/var/lib/wicked",
        "/var/lib/dhcp",
        "/var/lib/dhcp3",
        "/var/lib/dhclient",
        "/var/lib/dhcpcd",
        "/var/lib/dhcpcd5",
        "/var/lib/NetworkManager",
        "/var/lib/systemd/network",
    ];
    let contains = |name: &[u8], part: &str| memchr::memmem::find(name, part.as_bytes()).is_some();
    let found = filled_files(&subject.guest()?.tree, &DIRECTORIES, |name| contains(name, "lease"))?;
    none_of(&found, "none")
}

pub(super) fn random_seed(subject: &Subject<'_>) -> CheckResult {
    const DIRECTORIES: [&str; 5] =
        ["/var/lib/systemd", "/var/lib/urandom", "/var/lib/misc", "/var/lib", "/var/lib/seedrng"];
    let is_seed = |name: &[u8]| matches!(name, b"random-seed" | b"seed.credit" | b"seed.no-credit");
    let found = filled_files(&subject.guest()?.tree, &DIRECTORIES, is_seed)?;
    none_of(&found, "none")
}
