//! The checks: one table, and a file for each group.

mod boot;
mod container;
mod context;
mod credentials;
mod files;
mod identity;
mod residue;
mod sshd;
mod startup;
mod table;
mod udev;
mod verdict;

pub(crate) use table::{CHECKS, Check, find};
pub use table::{CheckDescription, checks};
pub(crate) use verdict::Subject;

use crate::report::{Finding, Outcome, Severity};
use verdict::Verdict;

/// Makes a check; `severity` says what becomes of a problem.
pub(crate) fn run(check: &Check, subject: &Subject<'_>, severity: Severity) -> Finding {
    let mut finding = Finding {
        id: check.id,
        group: check.group,
        outcome: Outcome::Pass,
        found: String::new(),
        skipped: None,
        why: check.why,
        repairs: Vec::new(),
    };
    match (check.run)(subject) {
        Ok(Verdict::Pass(found)) => finding.found = found,
        Ok(Verdict::Problem { found, repairs }) => {
            let is_failure = severity == Severity::Fail;
            finding.outcome = if is_failure { Outcome::Fail } else { Outcome::Warn };
            finding.found = found;
            finding.repairs = repairs;
        }
        Err(unavailable) => {
            finding.outcome = Outcome::Skip;
            finding.found = unavailable.message;
            finding.skipped = Some(unavailable.reason);
        }
    }
    finding
}
