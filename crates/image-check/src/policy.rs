//! What a check's failure means: the severities, and the files that change them.

use crate::checks::{self, CHECKS, CheckDescription, checks};
use crate::error::{Error, ErrorKind};
use crate::report::Severity;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Which checks are made, and what each means. [`Policy::opennebula`] by default. The format of
/// policy files is described in `docs/image-check.md`.
///
/// ```
/// use image_check::{Policy, Severity};
///
/// let text = "extends = \"minimal\"\n[severity]\nno-ssh-host-keys = \"warn\"\n";
/// let policy = Policy::parse(text, "our policy")?;
/// assert_eq!(policy.severity("no-ssh-host-keys"), Severity::Warn);
/// assert!(Policy::parse("[severity]\nno-such-check = \"warn\"\n", "our policy").is_err());
/// # Ok::<(), image_check::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: String,
    severities: BTreeMap<&'static str, Severity>,
}

/// The two rules of OpenNebula's guide "Howto Create Apps for the Marketplace": contextualization
/// before the network, and no persistent names of interfaces.
const MINIMAL: [&str; 4] = [
    "contextualization-installed",
    "contextualization-enabled",
    "persistent-net-rules-empty",
    "persistent-net-generator-off",
];

/// The largest policy file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    extends: Option<String>,
    #[serde(default)]
    severity: BTreeMap<String, Severity>,
}

/// The text of a file. A pipe is refused, because its other end could keep us waiting.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

impl Default for Policy {
    fn default() -> Self {
        Self::opennebula()
    }
}

impl Policy {
    /// Every check, with the severities of `docs/image-check.md`: the default.
    pub fn opennebula() -> Self {
        let severities = CHECKS.iter().map(|check| (check.id, check.severity)).collect();
        Self { name: "opennebula".to_owned(), severities }
    }

    /// The rules of OpenNebula's guide "Howto Create Apps for the Marketplace" alone; each of them
    /// must hold.
    pub fn minimal() -> Self {
        let severity = |id| if MINIMAL.contains(&id) { Severity::Fail } else { Severity::Off };
        let severities = CHECKS.iter().map(|check| (check.id, severity(check.id))).collect();
        Self { name: "minimal".to_owned(), severities }
    }

    fn built_in(name: &str) -> Option<Self> {
        match name {
            "opennebula" => Some(Self::opennebula()),
            "minimal" => Some(Self::minimal()),
            _ => None,
        }
    }

    /// The built-in policy of a name, `opennebula` or `minimal`, or else the one in a file at that
    /// path, of at most 1 MiB.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when there is neither, [`ErrorKind::Policy`] when the file makes no sense.
    pub fn load(name_or_path: &str) -> Result<Self, Error> {
        if let Some(policy) = Self::built_in(name_or_path) {
            return Ok(policy);
        }
        let text = read(Path::new(name_or_path)).map_err(|error| {
            Error::io(name_or_path, error).advise("the policies are opennebula, minimal, or a file")
        })?;
        Self::parse(&text, name_or_path)
    }

    /// The policy in a TOML text: `extends` names a built-in policy (`opennebula` when it is left
    /// out), and the table `severity` says `fail`, `warn` or `off` for checks by their ids. `name`
    /// is the policy's name, in messages too.
    ///
    /// # Errors
    /// [`ErrorKind::Policy`] for what is no TOML, a key, a severity or a check that does not exist,
    /// with the line where one is known.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let fail = |cause: String| Error::new(ErrorKind::Policy, name, cause);
        let file: PolicyFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or_else(String::new, |span| {
                let before = &text.as_bytes()[..span.start.min(text.len())];
                format!("line {}: ", memchr::memchr_iter(b'\n', before).count() + 1)
            });
            fail(format!("{line}{}", error.message())).caused_by(error)
        })?;
        let base = file.extends.as_deref().unwrap_or("opennebula");
        let mut policy = Self::built_in(base)
            .ok_or_else(|| fail(format!("extends {base:?}, where opennebula and minimal exist")))?;
        for (id, severity) in file.severity {
            let check = checks::find(&id);
            let check = check.ok_or_else(|| fail(format!("there is no check {id:?}")))?;
            policy.severities.insert(check.id, severity);
        }
        name.clone_into(&mut policy.name);
        Ok(policy)
    }

    /// The policy's name, or the path of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Turns off every check but those that are `kept`, whose severities stay what they are.
    pub fn keep(&mut self, kept: impl Fn(CheckDescription) -> bool) {
        for check in checks().filter(|check| !kept(*check)) {
            self.severities.insert(check.id, Severity::Off);
        }
    }

    /// What it means when the check of an id does not pass; [`Severity::Off`] for an id that does
    /// not exist.
    pub fn severity(&self, id: &str) -> Severity {
        self.severities.get(id).copied().unwrap_or(Severity::Off)
    }
}
