//! What a check's failure means: the severities, and the files that change them.

use crate::checks::{CHECKS, Check, CheckDescription, checks};
use crate::error::{Error, ErrorKind};
use crate::report::Severity;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Which checks are made, and what each means.
///
/// ```
/// use image_check::Policy;
///
/// let policy = Policy::parse("extends = \"minimal\"\n[severity]\nno-ssh-host-keys = \"warn\"\n", "our policy")?;
/// assert!(Policy::parse("[severity]\nno-such-check = \"warn\"\n", "our policy").is_err());
/// # Ok::<(), image_check::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) name: String,
    severities: BTreeMap<&'static str, Severity>,
}

/// The two rules of OpenNebula's guide: contextualization before the network, and no names of
/// interfaces that are kept.
const MINIMAL: [&str; 4] = [
    "contextualization-installed",
    "contextualization-enabled",
    "persistent-net-rules-empty",
    "persistent-net-generator-off",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    extends: Option<String>,
    #[serde(default)]
    severity: BTreeMap<String, Severity>,
}

/// A file of moderate size; a pipe would make us wait.
fn read(path: &Path) -> io::Result<String> {
    const MAX_BYTES: u64 = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

impl Default for Policy {
    fn default() -> Self {
        Self::opennebula()
    }
}

impl Policy {
    /// Every check, as `docs/image-check.md` says it: the default.
    pub fn opennebula() -> Self {
        let severities = CHECKS.iter().map(|check| (check.id, check.severity)).collect();
        Self { name: "opennebula".to_owned(), severities }
    }

    /// The rules of the guide "Howto Create Apps for the Marketplace" alone, each of which must
    /// hold.
    pub fn minimal() -> Self {
        let severity = |id| if MINIMAL.contains(&id) { Severity::Fail } else { Severity::Off };
        let severities = CHECKS.iter().map(|check| (check.id, severity(check.id))).collect();
        Self { name: "minimal".to_owned(), severities }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "opennebula" => Some(Self::opennebula()),
            "minimal" => Some(Self::minimal()),
            _ => None,
        }
    }

    /// A policy of ours by its name, or else the one in a file of that path.
    ///
    /// # Errors
    /// When there is neither, or the file makes no sense.
    pub fn load(name_or_path: &str) -> Result<Self, Error> {
        if let Some(policy) = Self::named(name_or_path) {
            return Ok(policy);
        }
        let text = read(Path::new(name_or_path)).map_err(|error| {
            Error::io(name_or_path, error).advise("the policies are opennebula, minimal, or a file")
        })?;
        Self::parse(&text, name_or_path)
    }

    /// The policy in a TOML text: `extends` names one of ours (`opennebula` when it is left out),
    /// and the table `severity` says `fail`, `warn` or `off` for checks by their ids.
    ///
    /// # Errors
    /// What makes no sense; `name` stands in the message.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let file: PolicyFile = toml::from_str(text).map_err(|error| {
            let place = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = place.map_or_else(String::new, |line| format!("line {line}: "));
            Error::new(ErrorKind::Policy, name, format!("{line}{}", error.message()))
                .caused_by(error)
        })?;
        let base = file.extends.as_deref().unwrap_or("opennebula");
        let mut policy = Self::named(base).ok_or_else(|| {
            let cause = format!("extends {base:?}, where opennebula and minimal exist");
            Error::new(ErrorKind::Policy, name, cause)
        })?;
        for (id, severity) in file.severity {
            let check = CHECKS.iter().find(|check| check.id == id);
            let check = check.ok_or_else(|| {
                Error::new(ErrorKind::Policy, name, format!("there is no check {id:?}"))
            })?;
            policy.severities.insert(check.id, severity);
        }
        name.clone_into(&mut policy.name);
        Ok(policy)
    }

    /// Leaves checks out; those that are `kept` mean what they meant.
    pub fn keep(&mut self, kept: impl Fn(CheckDescription) -> bool) {
        for check in checks().filter(|check| !kept(*check)) {
            self.severities.insert(check.id, Severity::Off);
        }
    }

    /// What it means when a check of this id does not pass.
    pub fn severity(&self, id: &str) -> Severity {
        self.severities.get(id).copied().unwrap_or(Severity::Off)
    }

    pub(crate) fn wants(&self, check: &Check) -> bool {
        self.severity(check.id) != Severity::Off
    }
}
