//! What repairs an image: commands of libguestfs and QEMU. Names in them come from the image's
//! author and are quoted, or not used.

use crate::container::Format;

/// One step of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Removes a file of the guest, by its path.
    Delete(String),
    /// Empties a file of the guest, by its path.
    Truncate(String),
    /// Locks an account's password, by the account's name.
    Lock(String),
    /// Runs a shell command in the guest; it holds nothing that comes from the image.
    Run(&'static str),
    /// Installs packages in the guest, by their names.
    Install(&'static str),
    /// Writes the image, which is of this format, anew: without zeros that are stored, and without
    /// snapshots. What OpenNebula's hosts do not run becomes qcow2.
    Convert(Format),
    /// Another command on the image's file, before everything else; `$image` is its path.
    Image(&'static str),
    /// What a person has to decide or do.
    ByHand(&'static str),
}

/// Undoes what `virt-customize` leaves behind by itself: a random seed, an id in an empty
/// machine-id, its log; and sets SELinux labels.
pub(crate) const CLEAN_UP: &str = "--no-logfile --selinux-relabel \
     --delete /var/lib/systemd/random-seed --delete /var/lib/urandom/random-seed \
     --delete /var/lib/random-seed \
     --run-command 'if [ -e /etc/machine-id ]; then : > /etc/machine-id; fi'";

/// Removes what a package manager has fetched to install a package.
const CLEAN_PACKAGE_CACHE: &str = "rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* \
     /var/cache/dnf/* /var/cache/libdnf5/* /var/cache/yum/*";

/// What stands for a command that would hold a name which no quoting makes safe.
const UNSAFE_NAME: &str = "by hand: a name in the image is not fit for a command";

impl Repair {
    /// The command of the step, complete; for a step that is done by hand, a sentence that begins
    /// with `by hand`. `$image` stands for the path of the image, which is of this format.
    ///
    /// ```
    /// use image_check::{Format, Repair};
    ///
    /// let step = Repair::Image("qemu-img check -r all \"$image\"");
    /// assert_eq!(step.command(Format::Qcow2), "qemu-img check -r all \"$image\"");
    /// ```
    pub fn command(&self, format: Format) -> String {
        match self {
            Self::Convert(from) => {
                let to = if *from == Format::Raw { Format::Raw } else { Format::Qcow2 };
                format!(
                    "qemu-img convert -f {from} -O {to} \"$image\" \"$image.new\" \
                     && mv \"$image.new\" \"$image\""
                )
            }
            Self::Image(command) => (*command).to_owned(),
            Self::ByHand(advice) => format!("by hand: {advice}"),
            guest => match guest.customize_arguments() {
                Some(arguments) => {
                    format!("virt-customize --format {format} -a \"$image\" {arguments} {CLEAN_UP}")
                }
                None => UNSAFE_NAME.to_owned(),
            },
        }
    }

    /// The command of the step for people: without the arguments that all steps in a guest share.
    pub fn short_command(&self, format: Format) -> String {
        match self.customize_arguments() {
            Some(arguments) => format!("virt-customize {arguments}"),
            None => self.command(format),
        }
    }

    /// The arguments of `virt-customize`; `None` for other commands, and for names that no quoting
    /// makes safe.
    pub(crate) fn customize_arguments(&self) -> Option<String> {
        match self {
            Self::Delete(path) => is_safe(path).then(|| format!("--delete {}", quoted(path))),
            Self::Truncate(path) => is_safe(path).then(|| format!("--truncate {}", quoted(path))),
            // The account's name ends at the colon, and a selector of `virt-customize` begins.
            Self::Lock(name) if is_safe(name) && !name.contains(':') => {
                Some(format!("--password {}", quoted(&format!("{name}:locked:disabled"))))
            }
            Self::Run(command) => Some(format!("--run-command {}", quoted(command))),
            Self::Install(packages) => {
                let clean = quoted(CLEAN_PACKAGE_CACHE);
                Some(format!("--install {packages} --run-command {clean}"))
            }
            _ => None,
        }
    }
}

/// Whether a name holds neither control characters nor what `virt-customize` takes for a pattern.
fn is_safe(name: &str) -> bool {
    !name.chars().any(|c| c.is_control() || "*?[]\\".contains(c))
}

/// A text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_image_stay_one_word() {
        let repair = Repair::Delete("/home/a'; rm -rf ~; '/.ssh/authorized_keys".to_owned());
        let command = repair.command(Format::Qcow2);
        let expected = "virt-customize --format qcow2 -a \"$image\" \
                        --delete '/home/a'\\''; rm -rf ~; '\\''/.ssh/authorized_keys' ";
        assert!(command.starts_with(expected), "{command}");
        for unsafe_name in ["a\nb", "/home/*/x", "/home/[a]"] {
            let command = Repair::Delete(unsafe_name.to_owned()).command(Format::Raw);
            assert!(command.starts_with("by hand"), "{command}");
        }
        let command = Repair::Lock("eve:password:x".to_owned()).command(Format::Raw);
        assert!(command.starts_with("by hand"), "{command}");
    }
}
