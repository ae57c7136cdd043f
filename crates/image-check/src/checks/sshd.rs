//! What sshd makes of its settings: the first value of a keyword counts, included files stand where
//! they are included, and what follows a `Match` holds for some only. Source of the facts:
//! sshd_config(5).

use crate::guest::Tree;
use crate::text::printable;
use crate::unavailable::Unavailable;

/// Files that are read and patterns that are followed: an included file may include others, and
/// itself.
const MAX_FILES: usize = 64;
const MAX_LINES: usize = 20_000;
const MAX_PATTERNS: usize = 256;

/// Settings that decide who gets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    password: Option<bool>,
    interactive: Option<bool>,
    pam: Option<bool>,
    /// Where a `Match` turns passwords on.
    matched: Option<String>,
    /// Where keys of an account are looked for beside the usual places, by some or by all.
    pub(super) authorized_keys: Vec<String>,
}

impl Settings {
    /// What lets people in with a password; `None` when nothing does.
    pub(super) fn password_login(&self) -> Option<String> {
        let how = |set: Option<bool>| {
            if set.is_some() { "is yes" } else { "is not set, which means yes" }
        };
        if self.password.unwrap_or(true) {
            return Some(format!("PasswordAuthentication {}", how(self.password)));
        }
        if self.interactive.unwrap_or(true) && self.pam.unwrap_or(false) {
            let how = how(self.interactive);
            return Some(format!(
                "KbdInteractiveAuthentication {how}, and PAM asks for passwords there"
            ));
        }
        self.matched.clone()
    }

    /// Whether nothing but a `Match` lets people in.
    pub(super) fn only_matched(&self) -> bool {
        Self { matched: None, ..self.clone() }.password_login().is_none()
    }
}

/// The settings of the guest's sshd; `None` when there is none.
pub(super) fn settings(tree: &Tree) -> Result<Option<Settings>, Unavailable> {
    const MAIN: &str = "/etc/ssh/sshd_config";
    if !tree.exists("/usr/sbin/sshd")? && !tree.exists(MAIN)? {
        return Ok(None);
    }
    // Distributions keep their own settings below /usr where there are none in /etc.
    let main = if tree.exists(MAIN)? { MAIN } else { "/usr/etc/ssh/sshd_config" };
    let mut reader =
        Reader { tree, settings: Settings::default(), files: 0, lines: 0, patterns: 0 };
    reader.read(main.as_bytes(), false)?;
    Ok(Some(reader.settings))
}

struct Reader<'a> {
    tree: &'a Tree,
    settings: Settings,
    files: usize,
    lines: usize,
    patterns: usize,
}

impl Reader<'_> {
    /// Reads a file; `matched` says that it is included for some only.
    fn read(&mut self, path: &[u8], outer: bool) -> Result<(), Unavailable> {
        let mut matched = outer;
        let lines = self.tree.lines(path)?;
        self.files += 1;
        self.lines += lines.len();
        if self.files > MAX_FILES || self.lines > MAX_LINES {
            return Err(Unavailable::too_large("the settings of sshd are too long"));
        }
        for line in lines {
            let line = line.split(" #").next().unwrap_or_default().trim();
            let Some((keyword, value)) = line.split_once(|c: char| c.is_whitespace() || c == '=')
            else {
                continue;
            };
            let value =
                value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_matches('"');
            match keyword.to_ascii_lowercase().as_str() {
                // Within what is included for some, all are some.
                "match" => matched = outer || !value.eq_ignore_ascii_case("all"),
                "include" => {
                    for pattern in value.split_whitespace() {
                        self.include(pattern.trim_matches('"'), matched)?;
                    }
                }
                "authorizedkeysfile" => {
                    self.settings
                        .authorized_keys
                        .extend(value.split_whitespace().map(str::to_owned));
                }
                keyword => self.set(keyword, value, matched, path),
            }
        }
        Ok(())
    }

    fn set(&mut self, keyword: &str, value: &str, matched: bool, path: &[u8]) {
        let slot = match keyword {
            "passwordauthentication" => &mut self.settings.password,
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => {
                &mut self.settings.interactive
            }
            "usepam" => &mut self.settings.pam,
            _ => return,
        };
        let is_on = !value.eq_ignore_ascii_case("no");
        if !matched {
            slot.get_or_insert(is_on);
        } else if is_on && keyword != "usepam" {
            self.settings.matched =
                Some(format!("a Match in {} turns {keyword} on", printable(path)));
        }
    }

    /// Files by a pattern in the last part of a path, in the order of their names.
    fn include(&mut self, pattern: &str, matched: bool) -> Result<(), Unavailable> {
        self.patterns += 1;
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("/etc/ssh/{pattern}")
        };
        let (directory, name) = pattern.rsplit_once('/').unwrap_or_default();
        if self.patterns > MAX_PATTERNS || directory.contains(['*', '?', '[']) || name.contains('[')
        {
            return Err(Unavailable::unsupported(format!(
                "sshd includes {}, which is not followed",
                printable(pattern.as_bytes())
            )));
        }
        let visible = |found: &[u8]| !found.starts_with(b".") || name.starts_with('.');
        for path in
            self.tree.paths(directory, |found| visible(found) && fits(found, name.as_bytes()))?
        {
            self.read(&path, matched)?;
        }
        Ok(())
    }
}

/// Whether a name is one of a pattern with `*` and `?`.
fn fits(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut in_pattern) = (0, 0);
    // Where the last star is, and how much of the name it stands for so far.
    let mut star = None;
    while at < name.len() {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                star = Some((in_pattern, at));
                in_pattern += 1;
            }
            Some(&c) if c == b'?' || c == name[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, in_pattern) = (taken + 1, place + 1);
                }
                None => return false,
            },
        }
    }
    pattern[in_pattern..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_come_in_by_two_doors() {
        let settings = |password, interactive, pam| Settings {
            password,
            interactive,
            pam,
            ..Settings::default()
        };
        assert!(settings(None, Some(false), None).password_login().is_some());
        assert!(settings(Some(false), None, Some(true)).password_login().is_some());
        assert!(settings(Some(false), None, None).password_login().is_none());
        assert!(settings(Some(false), Some(false), Some(true)).password_login().is_none());
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (name, pattern, expected) in [
            ("50-cloud.conf", "*.conf", true),
            ("50-cloud.conf", "5?-*.c*f", true),
            ("50-cloud.conf.bak", "*.conf", false),
            ("a", "b", false),
            ("", "*", true),
        ] {
            assert_eq!(fits(name.as_bytes(), pattern.as_bytes()), expected, "{name} {pattern}");
        }
    }
}
