//! What a check says, for people and for programs.

use crate::container::Format;
use crate::repair::Repair;
use crate::time::OVER;
use crate::tree::shown;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

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

/// What it means when a check does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The image is not ready.
    Fail,
    /// Worth a word.
    Warn,
    /// The check is left out.
    Off,
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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The check's name; it stays what it is.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found and where, or why it could not be looked at. On one line, without control
    /// characters.
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What repairs it; empty unless it is a WARN or FAIL.
    pub repairs: Vec<Repair>,
}

/// Everything that was looked at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The image, as it was named.
    pub image: String,
    /// The container's format.
    pub format: Format,
    /// It names another file, which whatever opens the image reads.
    pub refers: bool,
    /// The policy's name.
    pub policy: String,
    /// One entry a check, in the order of the documentation.
    pub findings: Vec<Finding>,
}

/// A finding as programs read it.
#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    group: Group,
    outcome: Outcome,
    found: &'a str,
    why: &'a str,
    repairs: Vec<String>,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = |&Finding { id, group, outcome, ref found, why, ref repairs }| {
            let repairs = repairs.iter().map(|repair| repair.command(self.format)).collect();
            Written { id, group, outcome, found, why, repairs }
        };
        let findings: Vec<Written<'_>> = self.findings.iter().map(written).collect();
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

impl Report {
    /// How many checks ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings.iter().filter(|finding| finding.outcome == outcome).count()
    }

    /// Whether nothing fails.
    pub fn is_ready(&self) -> bool {
        self.count(Outcome::Fail) == 0
    }

    /// Whether something was not looked at because the time was over; zeros, which may take longer
    /// to count, apart.
    pub fn ran_out_of_time(&self) -> bool {
        self.with(Outcome::Skip)
            .any(|finding| finding.id != "sparse" && finding.found.contains(OVER))
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
                    table.push_str(&format!("      repair: {}\n", repair.in_short(self.format)));
                }
            }
        }
        let counted = |outcome: Outcome| self.count(outcome);
        table.push_str(&format!(
            "{}: {} ({} passed, {} warnings, {} failed, {} could not be looked at; policy {})\n",
            shown(self.image.as_bytes()),
            if self.is_ready() { "nothing failed" } else { "not ready" },
            counted(Outcome::Pass),
            counted(Outcome::Warn),
            counted(Outcome::Fail),
            counted(Outcome::Skip),
            shown(self.policy.as_bytes()),
        ));
        table
    }
}
