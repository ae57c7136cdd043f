//! What the checks found, for people and for programs.

use crate::container::Format;
use crate::repair::Repair;
use crate::unavailable::SkipReason;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The check that reads everything that is stored, and therefore comes last.
pub(crate) const SPARSE: &str = "sparse";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// What the check asks is as it should be.
    Pass,
    /// The check could not be made, see [`Finding::skipped`]; never a sign that all is well.
    Skip,
    /// It is not, and the policy takes it for a warning.
    Warn,
    /// It is not, and the image is not ready to be published.
    Fail,
}

impl Outcome {
    /// Its word in reports, of four letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a policy makes of a check that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The image is not ready: [`Outcome::Fail`].
    Fail,
    /// It is told, and the image is ready all the same: [`Outcome::Warn`].
    Warn,
    /// The check is not made.
    Off,
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Group {
    /// The image file itself: its format, its tables, its size. All other groups are about the
    /// guest in it.
    Container,
    /// Contextualization: how the guest gets its settings from OpenNebula.
    Context,
    /// Persistent names of network interfaces.
    Udev,
    /// What must differ from one virtual machine to the next.
    Identity,
    /// Passwords, keys and accounts.
    Credentials,
    /// What the image's maker left behind.
    Residue,
    /// How the guest starts.
    Boot,
}

/// The result of one check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The check's id, which does not change from one release to the next.
    pub id: &'static str,
    /// What the check is about.
    pub group: Group,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found and where, or why the check could not be made. On one line, without control
    /// characters.
    pub found: String,
    /// Why the check could not be made; `None` unless the outcome is [`Outcome::Skip`].
    pub skipped: Option<SkipReason>,
    /// Why it matters.
    pub why: &'static str,
    /// What repairs it; empty unless the outcome is [`Outcome::Warn`] or [`Outcome::Fail`].
    pub repairs: Vec<Repair>,
}

/// The results of all checks of an image.
///
/// It serializes as an object with the members `image`, `format`, `refers`, `policy`, `ready` and
/// `findings`; repairs are commands there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The image, as it was named.
    pub image: String,
    /// The container's format.
    pub format: Format,
    /// The image names another file, which every program that opens the image reads.
    pub refers: bool,
    /// The policy's name.
    pub policy: String,
    /// One entry a check, in the order of the documentation.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The findings with an outcome.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.outcome == outcome)
    }

    /// How many findings have an outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.with(outcome).count()
    }

    /// Whether nothing fails. What was skipped does not count: see [`Report::ran_out_of_time`].
    pub fn is_ready(&self) -> bool {
        self.count(Outcome::Fail) == 0
    }

    /// Whether the time limit kept a check from being made; the one for zeros apart, which reads
    /// everything.
    pub fn ran_out_of_time(&self) -> bool {
        let is_late = |finding: &Finding| finding.skipped == Some(SkipReason::TimeLimit);
        self.findings.iter().any(|finding| finding.id != SPARSE && is_late(finding))
    }

    /// The findings that need a repair, or a decision.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Finding> {
        let is_problem = |outcome| matches!(outcome, Outcome::Warn | Outcome::Fail);
        self.findings.iter().filter(move |finding| is_problem(finding.outcome))
    }
}

/// A finding as programs read it.
#[derive(Serialize)]
struct SerializedFinding {
    id: &'static str,
    group: Group,
    outcome: Outcome,
    found: String,
    skipped: Option<SkipReason>,
    why: &'static str,
    repairs: Vec<String>,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finding = |finding: &Finding| {
            let &Finding { id, group, outcome, skipped, why, .. } = finding;
            let repairs = finding.repairs.iter().map(|repair| repair.command(self.format));
            let (repairs, found) = (repairs.collect(), finding.found.clone());
            SerializedFinding { id, group, outcome, found, skipped, why, repairs }
        };
        let findings: Vec<SerializedFinding> = self.findings.iter().map(finding).collect();
        let mut report = serializer.serialize_struct("Report", 6)?;
        report.serialize_field("image", &self.image)?;
        report.serialize_field("format", &self.format)?;
        report.serialize_field("refers", &self.refers)?;
        report.serialize_field("policy", &self.policy)?;
        report.serialize_field("ready", &self.is_ready())?;
        report.serialize_field("findings", &findings)?;
        report.end()
    }
}
