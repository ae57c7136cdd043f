//! What a check is given, and what it answers.

use crate::declared::Declared;
use crate::guest::Guest;
use crate::inspection::Inspection;
use crate::layout::Layout;
use crate::repair::Repair;
use crate::unavailable::Unavailable;
use market_checksum::Digests;

/// What the checks look at.
pub(crate) struct Subject<'a> {
    pub(crate) inspection: &'a Inspection,
    pub(crate) declared: &'a Declared,
    pub(crate) checksums: Option<&'a Digests>,
}

impl Subject<'_> {
    pub(super) fn guest(&self) -> Result<&Guest, Unavailable> {
        self.inspection.guest.as_ref().map_err(Clone::clone)
    }

    pub(super) fn layout(&self) -> Result<&Layout, Unavailable> {
        self.inspection.layout.as_ref().map_err(Clone::clone)
    }
}

/// What a check finds.
pub(super) enum Verdict {
    /// What it asks is as it should be.
    Pass(String),
    /// It is not.
    Problem { found: String, repairs: Vec<Repair> },
}

/// What a check finds, or why it cannot look.
pub(super) type CheckResult = Result<Verdict, Unavailable>;

impl Verdict {
    pub(super) fn pass(found: impl Into<String>) -> CheckResult {
        Ok(Self::Pass(found.into()))
    }

    pub(super) fn problem(
        found: impl Into<String>,
        repairs: impl Into<Vec<Repair>>,
    ) -> CheckResult {
        Ok(Self::Problem { found: found.into(), repairs: repairs.into() })
    }
}

/// The most names of the guest that get a repair each: of very many the first are enough to see
/// what is to be done.
const MAX_REPAIRS: usize = 50;

/// A repair for each of some names that the guest has chosen.
pub(super) fn repairs_for<T>(names: &[T], repair: impl Fn(&T) -> Repair) -> Vec<Repair> {
    names.iter().take(MAX_REPAIRS).map(repair).collect()
}

/// The removal of each of some files of the guest.
pub(super) fn deletions(paths: &[Vec<u8>]) -> Vec<Repair> {
    repairs_for(paths, |path| Repair::Delete(String::from_utf8_lossy(path).into_owned()))
}
