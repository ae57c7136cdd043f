//! What was declared, and its comparison with what was computed.

use crate::{Checksum, DigestSet, Digests};
use std::borrow::Cow;

/// The checksums that bytes must have, each with whatever declared it. All of them count.
///
/// ```
/// use market_checksum::{Algorithm, DigestSet, Digests, Expected, Md5};
///
/// let expected = Expected::new()
///     .and("MD5", Md5::from([1; 16]))
///     .and_with_remedy("FROM_APP_MD5", Md5::from([2; 16]), "check the app");
/// assert_eq!(expected.digests(), DigestSet::MD5);
///
/// let mismatch = expected.verify(&Digests::new(7).with(Md5::from([1; 16]))).unwrap_err();
/// assert_eq!(mismatch.declared_by, "FROM_APP_MD5");
/// assert_eq!(mismatch.expected, Md5::from([2; 16]).into());
/// assert_eq!(mismatch.remedy.as_deref(), Some("check the app"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected(Vec<Declaration>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Declaration {
    by: Cow<'static, str>,
    checksum: Checksum,
    remedy: Option<Cow<'static, str>>,
}

impl Expected {
    /// None: anything is as expected.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// And this one. `declared_by` is the attribute or option that says so.
    #[must_use]
    pub fn and(
        self,
        declared_by: impl Into<Cow<'static, str>>,
        checksum: impl Into<Checksum>,
    ) -> Self {
        self.push(declared_by.into(), checksum.into(), None)
    }

    /// And this one, when there is one.
    #[must_use]
    pub fn and_maybe(
        self,
        declared_by: impl Into<Cow<'static, str>>,
        checksum: Option<impl Into<Checksum>>,
    ) -> Self {
        match checksum {
            Some(checksum) => self.and(declared_by, checksum),
            None => self,
        }
    }

    /// And this one, with what an operator can do when the bytes have another.
    #[must_use]
    pub fn and_with_remedy(
        self,
        declared_by: impl Into<Cow<'static, str>>,
        checksum: impl Into<Checksum>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.push(declared_by.into(), checksum.into(), Some(remedy.into()))
    }

    fn push(
        mut self,
        by: Cow<'static, str>,
        checksum: Checksum,
        remedy: Option<Cow<'static, str>>,
    ) -> Self {
        self.0.push(Declaration { by, checksum, remedy });
        self
    }

    /// Whether nothing was declared.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was declared, in the order in which it was added.
    pub fn checksums(&self) -> impl Iterator<Item = Checksum> {
        self.0.iter().map(|declared| declared.checksum)
    }

    /// Which digests must be computed, so that it can be compared.
    pub fn digests(&self) -> DigestSet {
        self.checksums().map(|checksum| checksum.algorithm()).collect()
    }

    /// Compares all of them with what was computed.
    ///
    /// # Errors
    /// The first that differs. One that was not computed differs.
    pub fn verify(&self, computed: &Digests) -> Result<(), Mismatch> {
        self.mismatches(computed).next().map_or(Ok(()), Err)
    }

    /// All that differ, for those who report each.
    pub fn mismatches(&self, computed: &Digests) -> impl Iterator<Item = Mismatch> {
        self.0.iter().filter_map(|Declaration { by, checksum, remedy }| {
            let computed = computed.get(checksum.algorithm());
            (computed != Some(*checksum)).then(|| Mismatch {
                declared_by: by.clone(),
                expected: *checksum,
                computed,
                remedy: remedy.clone(),
            })
        })
    }
}

/// Bytes that have another checksum than was declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its {} is {}, {declared_by} declared {expected}",
    .expected.algorithm(), text(.computed.as_ref())
)]
#[non_exhaustive]
pub struct Mismatch {
    /// The attribute or option that declared it.
    pub declared_by: Cow<'static, str>,
    /// What was declared.
    pub expected: Checksum,
    /// What was computed; `None` when nothing was.
    pub computed: Option<Checksum>,
    /// What an operator can do; not a part of the message.
    pub remedy: Option<Cow<'static, str>>,
}

fn text(computed: Option<&Checksum>) -> String {
    computed.map_or_else(|| "unknown".to_owned(), Checksum::to_string)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use crate::{Algorithm, Md5, Sha1, Sha256};

    fn computed() -> Digests {
        Digests::new(3)
            .with(Md5::from([1; 16]))
            .with(Sha1::from([2; 20]))
            .with(Sha256::from([3; 32]))
    }

    #[test]
    fn all_that_was_declared_must_be_what_was_computed() {
        let right = Expected::new()
            .and("--md5", Md5::from([1; 16]))
            .and("--sha1", Sha1::from([2; 20]))
            .and_maybe("--sha256", Some(Sha256::from([3; 32])))
            .and_maybe("--other", None::<Md5>);
        assert_eq!(right.digests().iter().collect::<Vec<_>>(), Algorithm::ALL);
        assert_eq!(right.verify(&computed()), Ok(()));
        let wrong = right.and("SHA256", Sha256::from([4; 32])).and("MD5", Md5::from([5; 16]));
        let first = wrong.verify(&computed()).unwrap_err();
        assert_eq!(
            (&*first.declared_by, first.expected.algorithm()),
            ("SHA256", Algorithm::Sha256)
        );
        let names: Vec<_> = wrong.mismatches(&computed()).map(|one| one.declared_by).collect();
        assert_eq!(names, ["SHA256", "MD5"]);
    }

    #[test]
    fn what_was_not_computed_is_not_as_declared() {
        let mismatch =
            Expected::new().and("MD5", Md5::from([0; 16])).verify(&Digests::new(0)).unwrap_err();
        assert_eq!(mismatch.computed, None);
        assert_eq!(
            mismatch.to_string(),
            format!("its MD5 is unknown, MD5 declared {}", "0".repeat(32))
        );
    }

    #[test]
    fn where_nothing_was_declared_all_is_as_expected() {
        assert!(Expected::new().is_empty());
        assert_eq!(Expected::new().digests(), DigestSet::NONE);
        assert_eq!(Expected::new().verify(&Digests::new(0)), Ok(()));
    }
}
