//! What a check says, for people and for programs.

use crate::repair::Repair;
use serde::{Serialize, Serializer};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// It was looked at, and it is good.
    Pass,
    /// It could not be looked at; never a sign that it is good.
    Skip,
    /// Better repaired.
    Warn,
    /// Not ready to be published.
    Fail,
}

impl Outcome {
    /// Its word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The image file itself.
    Container,
    /// How the guest learns what OpenNebula tells it.
    Context,
    /// Names of network interfaces.
    Udev,
    /// What must differ from one virtual machine to the next.
    Identity,
    /// Ways in.
    Credentials,
    /// What its maker left behind.
    Residue,
    /// How it starts.
    Boot,
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check's name; it stays what it is.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found and where, or why it could not be looked at. On one line, without control characters.
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What repairs it; empty unless it is a WARN or FAIL.
    #[serde(serialize_with = "as_commands")]
    pub repairs: Vec<Repair>,
}

fn as_commands<S: Serializer>(repairs: &[Repair], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(repairs.iter().map(Repair::command))
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The image, as it was named.
    pub image: String,
    /// The policy's name.
    pub policy: String,
    /// One entry a check, in the order of the documentation.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many checks ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }

    /// Whether nothing fails.
    pub fn is_ready(&self) -> bool {
        self.count(Outcome::Fail) == 0
    }

    /// The findings that ended so.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.outcome == outcome)
    }

    /// A table for people: a line a check, and below those that want something why and how.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let widest = self.findings.iter().map(|finding| finding.id.len()).max().unwrap_or_default();
        for finding in &self.findings {
            let Finding { id, outcome, found, why, repairs, .. } = finding;
            table.push_str(&format!("{}  {id:widest$}  {found}\n", outcome.word()));
            if matches!(outcome, Outcome::Warn | Outcome::Fail) {
                table.push_str(&format!("      {why}\n"));
                for repair in repairs {
                    table.push_str(&format!("      repair: {}\n", repair.command()));
                }
            }
        }
        let counted = |outcome: Outcome| self.count(outcome);
        table.push_str(&format!(
            "{}: {} ({} passed, {} warnings, {} failed, {} could not be looked at; policy {})\n",
            self.image,
            if self.is_ready() { "nothing failed" } else { "not ready" },
            counted(Outcome::Pass),
            counted(Outcome::Warn),
            counted(Outcome::Fail),
            counted(Outcome::Skip),
            self.policy,
        ));
        table
    }
}
