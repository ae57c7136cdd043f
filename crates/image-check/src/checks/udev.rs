//! Names of network interfaces that are kept.

use super::verdict::{CheckResult, Subject, Verdict};
use crate::repair::Repair;

const RULES: &str = "/etc/udev/rules.d/70-persistent-net.rules";

/// Lines of a rules file that say something.
fn rules(lines: &[String]) -> impl Iterator<Item = &String> {
    lines.iter().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

pub(super) fn rules_empty(subject: &Subject<'_>) -> CheckResult {
    let lines = subject.guest()?.tree.lines(RULES)?;
    match rules(&lines).count() {
        0 => Verdict::pass(format!("{RULES} has no rules")),
        count => Verdict::problem(
            format!("{RULES} has {count} rules"),
            [Repair::Truncate(RULES.to_owned())],
        ),
    }
}

pub(super) fn generator_off(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "75-persistent-net-generator.rules";
    const MASK: &str = "ln -sf /dev/null /etc/udev/rules.d/75-persistent-net-generator.rules";
    let tree = &subject.guest()?.tree;
    // The first of the directories wins, and a link to /dev/null, or an empty file, is a file
    // without rules.
    for directory in ["/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"] {
        let path = format!("{directory}/{NAME}");
        if !tree.is_named(&path)? {
            continue;
        }
        let lines = tree.lines(&path)?;
        let writes = rules(&lines).any(|line| line.contains("write_net_rules"));
        return if writes {
            Verdict::problem(format!("{path} writes rules"), [Repair::Run(MASK)])
        } else {
            Verdict::pass(format!("{path} writes no rules"))
        };
    }
    Verdict::pass(format!("there is no {NAME}"))
}
