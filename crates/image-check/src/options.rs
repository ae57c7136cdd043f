//! How an image is checked.

use crate::declared::Declared;
use crate::policy::Policy;
use market_checksum::Digests;
use std::time::Duration;

/// How an image is checked.
///
/// ```
/// use image_check::{Options, Policy};
/// use std::time::Duration;
///
/// let options = Options::default()
///     .with_policy(Policy::minimal())
///     .with_time_limit(Duration::from_secs(10));
/// assert!(options.checksums.is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which checks are made, and what each means. [`Policy::opennebula`] by default.
    pub policy: Policy,
    /// What the image is compared with. Nothing by default.
    pub declared: Declared,
    /// The checksums of the image's file, which declared ones are compared with: computed by
    /// whoever has read it, as this crate hashes nothing. `None`, the default, when nobody has.
    pub checksums: Option<Digests>,
    /// How long an image is looked at; what had no turn by then is a
    /// [skip](crate::SkipReason::TimeLimit). Counting zeros comes last and may take as long again.
    /// One minute by default.
    pub time_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            declared: Declared::default(),
            checksums: None,
            time_limit: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Makes the checks of a policy.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Compares the image with what was declared of it.
    #[must_use]
    pub fn with_declared(self, declared: Declared) -> Self {
        Self { declared, ..self }
    }

    /// Gives the checksums that declared ones are compared with; `None` when nobody has computed
    /// any.
    #[must_use]
    pub fn with_checksums(self, checksums: Option<Digests>) -> Self {
        Self { checksums, ..self }
    }

    /// Looks at an image for so long, see [`Options::time_limit`].
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }
}
