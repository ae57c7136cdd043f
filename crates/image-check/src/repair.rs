//! What repairs an image: commands of libguestfs and QEMU. Names in them come from the image's author and are quoted, or not used.

use crate::report::{Outcome, Report};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Removes files of the guest that match a pattern.
    Delete(String),
    /// Empties a file of the guest.
    Truncate(String),
    /// Locks an account's password.
    Lock(String),
    /// Runs a command of ours in the guest.
    Run(&'static str),
    /// Installs packages in the guest.
    Install(&'static str),
    /// Writes the image anew, without what QEMU does not copy.
    Convert,
    /// Another command on the image's file, before everything else; `$image` is its path.
    Image(&'static str),
    /// What a person has to decide.
    ByHand(&'static str),
}

impl Repair {
    /// The command, for a report; `$image` stands for the image's path.
    pub fn command(&self) -> String {
        match self {
            Self::Convert => format!("{CONVERT} && mv \"$image.new\" \"$image\""),
            Self::Image(command) => (*command).to_owned(),
            Self::ByHand(advice) => format!("by hand: {advice}"),
            guest => match guest.customize() {
                Some(arguments) => format!("virt-customize -a \"$image\" {arguments}"),
                None => "by hand: a name in the image is not fit for a command".to_owned(),
            },
        }
    }

    /// The arguments of `virt-customize`; `None` for other commands, and for names that are not fit for one.
    fn customize(&self) -> Option<String> {
        let fit = |name: &str| !name.chars().any(char::is_control);
        match self {
            Self::Delete(path) => fit(path).then(|| format!("--delete {}", quoted(path))),
            Self::Truncate(path) => fit(path).then(|| format!("--truncate {}", quoted(path))),
            // An account's name ends at the colon; a selector begins there.
            Self::Lock(name) if fit(name) && !name.contains(':') => {
                Some(format!("--password {}", quoted(&format!("{name}:locked:disabled"))))
            }
            Self::Run(command) => Some(format!("--run-command {}", quoted(command))),
            Self::Install(packages) => Some(format!("--install {packages}")),
            _ => None,
        }
    }
}

const CONVERT: &str = "qemu-img convert -O qcow2 \"$image\" \"$image.new\"";

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Report {
    /// A shell script that repairs what warns or fails, on a copy that `virt-customize` can open. What needs a person is a
    /// comment in it.
    pub fn repair_script(&self) -> String {
        let findings =
            || self.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Warn | Outcome::Fail));
        let image = self.image.replace(char::is_control, "?");
        let mut script = format!(
            "#!/bin/sh\n# Repairs what was found in {image}. Work on a copy; nothing here was run.\nset -eu\n\
             image={}\nif [ $# -gt 0 ]; then image=$1; fi\n",
            quoted(&image),
        );
        let mut guest = String::new();
        let mut last = String::new();
        for finding in findings() {
            for repair in &finding.repairs {
                match repair {
                    Repair::Image(command) => script.push_str(&format!("\n# {}\n{command}\n", finding.id)),
                    Repair::Convert if last.is_empty() => {
                        last = format!("\n# {}\n{}\n", finding.id, Repair::Convert.command())
                    }
                    Repair::Convert => {}
                    Repair::ByHand(advice) => script.push_str(&format!("\n# {}, by hand: {advice}\n", finding.id)),
                    other => match other.customize() {
                        Some(arguments) => guest.push_str(&format!(" \\\n    {arguments}")),
                        None => script
                            .push_str(&format!("\n# {}: a name in the image is not fit for a command\n", finding.id)),
                    },
                }
            }
        }
        if !guest.is_empty() {
            script.push_str(&format!("\nvirt-customize -a \"$image\"{guest}\n"));
        }
        script.push_str(&last);
        if findings().next().is_none() {
            script.push_str("\n# There is nothing to repair.\n");
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_image_stay_one_word() {
        let repair = Repair::Delete("/home/a'; rm -rf ~; '/.ssh/authorized_keys".to_owned());
        assert_eq!(
            repair.command(),
            r#"virt-customize -a "$image" --delete '/home/a'\''; rm -rf ~; '\''/.ssh/authorized_keys'"#
        );
        assert!(Repair::Delete("a\nb".to_owned()).command().starts_with("by hand"));
        assert!(Repair::Lock("eve:password:x".to_owned()).command().starts_with("by hand"));
    }
}
