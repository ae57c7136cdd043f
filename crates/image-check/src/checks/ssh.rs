//! What sshd makes of its settings: the first value of a keyword counts, included files stand where they are included, and what
//! follows a `Match` holds for some only. Source of the facts: sshd_config(5).

use crate::tree::{Tree, Unread, shown};

/// Files that are read, included ones among them; an included file may include others, and itself.
const MOST_FILES: usize = 64;

/// Settings that decide about passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    password: Option<bool>,
    interactive: Option<bool>,
    pam: Option<bool>,
    /// Where a `Match` turns passwords on.
    matched: Option<String>,
}

impl Settings {
    /// What lets people in with a password; `None` when nothing does.
    pub(super) fn password_login(&self) -> Option<String> {
        if self.password.unwrap_or(true) {
            let how = if self.password.is_some() { "is yes" } else { "is not set, which means yes" };
            return Some(format!("PasswordAuthentication {how}"));
        }
        if self.interactive.unwrap_or(true) && self.pam.unwrap_or(false) {
            let how = if self.interactive.is_some() { "is yes" } else { "is not set, which means yes" };
            return Some(format!("KbdInteractiveAuthentication {how}, and PAM asks for passwords there"));
        }
        self.matched.clone()
    }
}

/// The settings of the guest's sshd; `None` when there is none.
pub(super) fn settings(tree: &Tree) -> Result<Option<Settings>, Unread> {
    const MAIN: &str = "/etc/ssh/sshd_config";
    if !tree.exists("/usr/sbin/sshd")? && !tree.exists(MAIN)? {
        return Ok(None);
    }
    // Distributions keep their own settings below /usr where there are none in /etc.
    let main = if tree.exists(MAIN)? { MAIN } else { "/usr/etc/ssh/sshd_config" };
    let mut reader = Reader { tree, settings: Settings::default(), files: 0 };
    reader.read(main.as_bytes(), &mut false)?;
    Ok(Some(reader.settings))
}

struct Reader<'a> {
    tree: &'a Tree,
    settings: Settings,
    files: usize,
}

impl Reader<'_> {
    /// Reads a file; `matched` says that it is included for some only.
    fn read(&mut self, path: &[u8], matched: &mut bool) -> Result<(), Unread> {
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(Unread("the settings of sshd include too many files".to_owned()));
        }
        for line in self.tree.lines(path)? {
            let line = line.trim();
            let Some((keyword, value)) = line.split_once(|c: char| c.is_whitespace() || c == '=') else { continue };
            let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_matches('"');
            match keyword.to_ascii_lowercase().as_str() {
                "match" => *matched = !value.eq_ignore_ascii_case("all"),
                "include" => {
                    for pattern in value.split_whitespace() {
                        self.include(pattern.trim_matches('"'), *matched)?;
                    }
                }
                keyword => self.set(keyword, value, *matched, path),
            }
        }
        Ok(())
    }

    fn set(&mut self, keyword: &str, value: &str, matched: bool, path: &[u8]) {
        let slot = match keyword {
            "passwordauthentication" => &mut self.settings.password,
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => &mut self.settings.interactive,
            "usepam" => &mut self.settings.pam,
            _ => return,
        };
        let is_on = !value.eq_ignore_ascii_case("no");
        if !matched {
            slot.get_or_insert(is_on);
        } else if is_on && keyword == "passwordauthentication" {
            self.settings.matched = Some(format!("a Match in {} turns PasswordAuthentication on", shown(path)));
        }
    }

    /// Files by a pattern in the last part of a path, in the order of their names.
    fn include(&mut self, pattern: &str, matched: bool) -> Result<(), Unread> {
        let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/ssh/{pattern}") };
        let (directory, name) = pattern.rsplit_once('/').unwrap_or_default();
        let (before, after) = name.split_once('*').unwrap_or((name, ""));
        let is_pattern = name.contains('*');
        let fits = |found: &[u8]| {
            let exact = found == name.as_bytes();
            let long_enough = found.len() >= before.len() + after.len();
            let visible = !found.starts_with(b".") || before.starts_with('.');
            exact
                || (is_pattern
                    && visible
                    && long_enough
                    && found.starts_with(before.as_bytes())
                    && found.ends_with(after.as_bytes()))
        };
        for path in self.tree.paths(directory, fits)? {
            self.read(&path, &mut matched.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_come_in_by_two_doors() {
        let settings = |password, interactive, pam| Settings { password, interactive, pam, matched: None };
        assert!(settings(None, Some(false), None).password_login().is_some());
        assert!(settings(Some(false), None, Some(true)).password_login().is_some());
        assert!(settings(Some(false), None, None).password_login().is_none());
        assert!(settings(Some(false), Some(false), Some(true)).password_login().is_none());
    }
}
