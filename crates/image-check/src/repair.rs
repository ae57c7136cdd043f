//! What repairs an image: commands of libguestfs and QEMU. Names in them come from the image's
//! author and are quoted, or not used.

use crate::container::Format;
use crate::report::{Outcome, Report};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Removes a file of the guest.
    Delete(String),
    /// Empties a file of the guest.
    Truncate(String),
    /// Locks an account's password.
    Lock(String),
    /// Runs a command of ours in the guest.
    Run(&'static str),
    /// Installs packages in the guest.
    Install(&'static str),
    /// Writes the image, which is of this format, anew: without zeros that are stored, and without
    /// snapshots. What hosts do not run becomes qcow2.
    Convert(Format),
    /// Another command on the image's file, before everything else; `$image` is its path.
    Image(&'static str),
    /// What a person has to decide.
    ByHand(&'static str),
}

/// What `virt-customize` leaves behind by itself: a random seed, an id in an empty machine-id, its
/// log; and labels.
const AFTERWARDS: &str = "--no-logfile --selinux-relabel --delete /var/lib/systemd/random-seed --delete /var/lib/urandom/random-seed \
                          --delete /var/lib/random-seed --run-command 'if [ -e /etc/machine-id ]; then : > /etc/machine-id; fi'";

impl Repair {
    /// The command, for a program; `$image` stands for the path of the image, which is of this
    /// format.
    pub fn command(&self, format: Format) -> String {
        match self {
            Self::Convert(from) => {
                let to = if *from == Format::Raw { Format::Raw } else { Format::Qcow2 };
                format!(
                    "qemu-img convert -f {from} -O {to} \"$image\" \"$image.new\" && mv \"$image.new\" \"$image\""
                )
            }
            Self::Image(command) => (*command).to_owned(),
            Self::ByHand(advice) => format!("by hand: {advice}"),
            guest => match guest.customize() {
                Some(arguments) => format!(
                    "virt-customize --format {format} -a \"$image\" {arguments} {AFTERWARDS}"
                ),
                None => UNFIT.to_owned(),
            },
        }
    }

    /// The command in few words, for people.
    pub(crate) fn in_short(&self, format: Format) -> String {
        match self.customize() {
            Some(arguments) => format!("virt-customize {arguments}"),
            None => self.command(format),
        }
    }

    /// The arguments of `virt-customize`; `None` for other commands, and for names that are not fit
    /// for one.
    fn customize(&self) -> Option<String> {
        let fit = |name: &str| !name.chars().any(|c| c.is_control() || "*?[]\\".contains(c));
        match self {
            Self::Delete(path) => fit(path).then(|| format!("--delete {}", quoted(path))),
            Self::Truncate(path) => fit(path).then(|| format!("--truncate {}", quoted(path))),
            // An account's name ends at the colon; a selector begins there.
            Self::Lock(name) if fit(name) && !name.contains(':') => {
                Some(format!("--password {}", quoted(&format!("{name}:locked:disabled"))))
            }
            Self::Run(command) => Some(format!("--run-command {}", quoted(command))),
            // What it fetches does not stay.
            Self::Install(packages) => {
                let clean = "rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /var/cache/dnf/* /var/cache/libdnf5/* /var/cache/yum/*";
                Some(format!("--install {packages} --run-command {}", quoted(clean)))
            }
            _ => None,
        }
    }
}

const UNFIT: &str = "by hand: a name in the image is not fit for a command";

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Report {
    /// A shell script that repairs what warns or fails, on a copy that `virt-customize` can open.
    /// What needs a person is a comment in it.
    pub fn repair_script(&self) -> String {
        let findings = || {
            self.findings
                .iter()
                .filter(|finding| matches!(finding.outcome, Outcome::Warn | Outcome::Fail))
        };
        let image = self.image.replace(char::is_control, "?");
        let mut script = format!(
            "#!/bin/sh\n# Repairs what was found in {image}. Work on a copy; nothing here was run.\nset -eu\n\
             image={}\nif [ $# -gt 0 ]; then image=$1; fi\n",
            quoted(&image),
        );
        if self.refers {
            script.push_str(
                "\necho 'The image names another file: whatever opens it reads that file of this host.' >&2\nexit 1\n",
            );
            return script;
        }
        let (mut guest, mut last) = (Vec::new(), String::new());
        for finding in findings() {
            for repair in &finding.repairs {
                let command = repair.command(self.format);
                match repair {
                    Repair::Image(_) => {
                        script.push_str(&format!("\n# {}\n{command}\n", finding.id))
                    }
                    Repair::Convert(_) => last = format!("\n# {}\n{command}\n", finding.id),
                    other => match other.customize() {
                        Some(arguments) if guest.contains(&arguments) => {}
                        Some(arguments) => guest.push(arguments),
                        None => script.push_str(&format!("\n# {}, {command}\n", finding.id)),
                    },
                }
            }
        }
        if !guest.is_empty() {
            guest.push(AFTERWARDS.to_owned());
            let guest = guest.join(" \\\n    ");
            script.push_str(&format!(
                "\nvirt-customize --format {} -a \"$image\" \\\n    {guest}\n",
                self.format
            ));
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
        let command = repair.command(Format::Qcow2);
        let expected = r#"virt-customize --format qcow2 -a "$image" --delete '/home/a'\''; rm -rf ~; '\''/.ssh/authorized_keys' "#;
        assert!(command.starts_with(expected), "{command}");
        for unfit in ["a\nb", "/home/*/x", "/home/[a]"] {
            assert!(Repair::Delete(unfit.to_owned()).command(Format::Raw).starts_with("by hand"));
        }
        assert!(
            Repair::Lock("eve:password:x".to_owned()).command(Format::Raw).starts_with("by hand")
        );
    }
}
