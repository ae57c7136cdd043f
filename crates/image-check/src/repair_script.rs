//! A shell script that repairs what a report has found.

use crate::repair::{CLEAN_UP, Repair, quoted};
use crate::report::Report;

/// The commands of a script, in the order in which they are run.
#[derive(Default)]
struct Steps {
    /// On the image's file, and comments: with the ids of their checks.
    first: String,
    /// The arguments of one run of `virt-customize`, each once.
    guest: Vec<String>,
    /// The conversion, after all changes.
    last: String,
}

impl Report {
    /// A shell script that repairs what warns or fails, on a copy that `virt-customize` can open;
    /// its argument is the path of the image. What needs a person is a comment in it. For an image
    /// that [refers](Report::refers) to another file it does nothing but say so.
    pub fn repair_script(&self) -> String {
        let image = self.image.replace(char::is_control, "?");
        let mut script = format!(
            "#!/bin/sh\n\
             # Repairs what was found in {image}. Work on a copy; nothing here was run.\n\
             set -eu\n\
             image={}\n\
             if [ $# -gt 0 ]; then image=$1; fi\n",
            quoted(&image),
        );
        if self.refers {
            script.push_str(
                "\necho 'The image names another file: \
                 whatever opens it reads that file of this host.' >&2\nexit 1\n",
            );
            return script;
        }
        let Steps { first, mut guest, last } = self.steps();
        script.push_str(&first);
        if !guest.is_empty() {
            guest.push(CLEAN_UP.to_owned());
            let arguments = guest.join(" \\\n    ");
            script.push_str(&format!(
                "\nvirt-customize --format {} -a \"$image\" \\\n    {arguments}\n",
                self.format
            ));
        }
        script.push_str(&last);
        if self.problems().next().is_none() {
            script.push_str("\n# There is nothing to repair.\n");
        }
        script
    }

    fn steps(&self) -> Steps {
        let mut steps = Steps::default();
        for finding in self.problems() {
            for repair in &finding.repairs {
                let command = repair.command(self.format);
                match (repair, repair.customize_arguments()) {
                    (Repair::Image(_), _) => {
                        steps.first.push_str(&format!("\n# {}\n{command}\n", finding.id));
                    }
                    (Repair::Convert(_), _) => {
                        steps.last = format!("\n# {}\n{command}\n", finding.id);
                    }
                    (_, Some(arguments)) if steps.guest.contains(&arguments) => {}
                    (_, Some(arguments)) => steps.guest.push(arguments),
                    (_, None) => {
                        steps.first.push_str(&format!("\n# {}, {command}\n", finding.id));
                    }
                }
            }
        }
        steps
    }
}
