//! Contextualization: how the guest gets its settings from OpenNebula.

use super::startup::{Start, starts};
use super::verdict::{CheckResult, Subject, Verdict};
use crate::guest::Guest;
use crate::repair::Repair;
use crate::text::printable;
use crate::unavailable::Unavailable;

const INSTALL: Repair = Repair::ByHand(
    "install the one-context package of the guest's distribution (OpenNebula/one-apps)",
);

/// Whichever init system and version of the package there is: what does not exist is passed over.
const ENABLE: Repair = Repair::Run(
    "for s in one-context-local one-context-online one-context; do \
     systemctl enable $s.service 2>/dev/null || update-rc.d $s defaults 2>/dev/null \
     || chkconfig --add $s 2>/dev/null || :; done; \
     rc-update add one-context-local boot 2>/dev/null || :; \
     rc-update add one-context default 2>/dev/null || :",
);

/// Programs that read the context.
const SCRIPTS: [&str; 2] = ["/usr/sbin/one-contextd", "/etc/init.d/vmcontext"];

pub(super) fn installed(subject: &Subject<'_>) -> CheckResult {
    let guest = subject.guest()?;
    let mut not_executable = None;
    for script in SCRIPTS {
        match guest.tree.metadata(script)? {
            Some(node) if node.is_executable() => return Verdict::pass(script),
            Some(_) => not_executable = Some(script),
            None => {}
        }
    }
    if let Some(version) = guest.context_version()? {
        return Verdict::pass(format!("the package one-context {}", printable(version.as_bytes())));
    }
    match not_executable {
        Some(script) => {
            let repair = match script {
                "/etc/init.d/vmcontext" => Repair::Run("chmod 755 /etc/init.d/vmcontext"),
                _ => Repair::Run("chmod 755 /usr/sbin/one-contextd"),
            };
            Verdict::problem(format!("{script} is not executable"), [repair])
        }
        None => Verdict::problem(
            format!("neither the package one-context nor {}", SCRIPTS.join(" nor ")),
            [INSTALL],
        ),
    }
}

pub(super) fn enabled(subject: &Subject<'_>) -> CheckResult {
    let starts = starts(&subject.guest()?.tree)?;
    if let Some(start) = starts.iter().find(|start| start.before_network) {
        return Verdict::pass(format!("{}, before the network", start.by));
    }
    match starts.first() {
        Some(Start { by, .. }) => Verdict::problem(
            format!("{by}, but not before the network"),
            [Repair::ByHand("install the one-context package, which orders it before the network")],
        ),
        None => {
            let is_installed = matches!(installed(subject)?, Verdict::Pass(_));
            let repair = if is_installed { ENABLE } else { INSTALL };
            Verdict::problem("no init system starts it (systemd, OpenRC, upstart, sysv)", [repair])
        }
    }
}

pub(super) fn cloud_init(subject: &Subject<'_>) -> CheckResult {
    let guest = subject.guest()?;
    let tree = &guest.tree;
    if !tree.exists("/usr/bin/cloud-init")? {
        return Verdict::pass("cloud-init is not installed");
    }
    if tree.exists("/etc/cloud/cloud-init.disabled")? {
        return Verdict::pass("/etc/cloud/cloud-init.disabled");
    }
    let is_masked = |unit: &str| -> Result<bool, Unavailable> {
        Ok(tree.link(format!("/etc/systemd/system/{unit}"))?.as_deref() == Some(b"/dev/null"))
    };
    // The local part writes the network's settings; from its release 24 on, everything hangs on the
    // main one.
    for units in [
        &["cloud-init.target"][..],
        &["cloud-init-main.service"],
        &["cloud-init-local.service", "cloud-init.service"],
    ] {
        let masked: Result<Vec<bool>, Unavailable> =
            units.iter().map(|unit| is_masked(unit)).collect();
        if masked?.into_iter().all(|masked| masked) {
            return Verdict::pass(format!("{} is masked", units.join(" and ")));
        }
    }
    let is_ours = |name: &[u8]| name.starts_with(b"cloud-");
    let mut levels = 0;
    for level in ["sysinit", "boot", "default"] {
        levels += tree.paths(&format!("/etc/runlevels/{level}"), is_ours)?.len();
    }
    if levels == 0 && tree.exists("/etc/runlevels")? {
        return Verdict::pass("no runlevel starts cloud-init");
    }
    Verdict::problem(
        "cloud-init is installed and not disabled",
        [Repair::Run("touch /etc/cloud/cloud-init.disabled")],
    )
}

/// The first of some programs that is there and can be executed.
fn first_program(
    guest: &Guest,
    paths: &[&'static str],
) -> Result<Option<&'static str>, Unavailable> {
    for path in paths {
        if guest.tree.metadata(path)?.is_some_and(crate::guest::Metadata::is_executable) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

pub(super) fn guest_agent(subject: &Subject<'_>) -> CheckResult {
    match first_program(
        subject.guest()?,
        &["/usr/bin/qemu-ga", "/usr/sbin/qemu-ga", "/usr/local/bin/qemu-ga"],
    )? {
        Some(path) => Verdict::pass(path),
        None => Verdict::problem("qemu-ga is not installed", [Repair::Install("qemu-guest-agent")]),
    }
}

pub(super) fn growpart(subject: &Subject<'_>) -> CheckResult {
    match first_program(
        subject.guest()?,
        &["/usr/bin/growpart", "/usr/sbin/growpart", "/sbin/growpart"],
    )? {
        Some(path) => Verdict::pass(path),
        None => Verdict::problem(
            "growpart is not installed",
            [Repair::ByHand(
                "install cloud-guest-utils (Debian, Ubuntu), \
                 cloud-utils-growpart (RHEL, SUSE, Alpine)",
            )],
        ),
    }
}
