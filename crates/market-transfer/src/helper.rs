//! Schemes that other executables understand: those that OpenNebula ships beside its downloader,
//! and those that an operator has added in `downloader.d`.

use crate::command::{CommandOutput, CommandSpec, ask, run, said};
use crate::process::pipe_failure;
use crate::{Error, ErrorKind, Options};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a helper and what it tells may be silent: they merge backups, convert images and wait
/// for uploads before they write a byte.
const PATIENCE: Duration = Duration::from_secs(12 * 3_600);

/// Where helpers are, and what they are told beside the URL.
#[derive(Clone)]
pub struct Helpers {
    /// `<remotes>/datastore`: the helpers of OpenNebula, and `downloader.d` with an executable for
    /// each further scheme.
    pub directory: PathBuf,
    /// The driver message, which executables in `downloader.d` get on standard input. It may hold
    /// keys.
    pub dump: Option<Arc<[u8]>>,
}

impl fmt::Debug for Helpers {
    /// The message is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What is known about the bytes that a helper writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceTraits {
    /// They are built on the fly: no digest was ever recorded for them.
    pub(crate) built: bool,
    /// They may be a compressed file.
    pub(crate) may_be_packed: bool,
}

/// How a scheme's helper is used.
enum Way {
    /// It writes the bytes.
    Output,
    /// It tells what to run, and what to run afterwards.
    Told,
    /// It tells what to run first, without a look at its output, and what writes the bytes
    /// afterwards.
    Interactive,
}

fn shipped(scheme: &str) -> Option<(&'static str, Way)> {
    Some(match scheme {
        "lxd" => ("lxd_downloader.sh", Way::Output),
        "restic" | "restic+rbd" => ("restic_downloader.rb", Way::Told),
        "rsync" | "rsync+rbd" => ("rsync_downloader.rb", Way::Told),
        "netapp" => ("netapp_downloader.rb", Way::Told),
        "purefa" => ("purefa_downloader.rb", Way::Told),
        "onebex" => ("onebex_downloader.rb", Way::Interactive),
        _ => return None,
    })
}

/// Finds a scheme's helper and prepares it.
pub(crate) async fn open(
    scheme: &str,
    url: &str,
    subject: &str,
    options: &Options,
) -> Result<(CommandOutput, SourceTraits), Error> {
    let unsupported = |cause: String| Error::new(ErrorKind::Unsupported, subject, cause);
    let Some(helpers) = &options.helpers else {
        return Err(unsupported(format!("{scheme}:// sources need a helper, and none are set up")));
    };
    let (name, way) = shipped(scheme).map_or_else(
        || (format!("downloader.d/{scheme}"), None),
        |(name, way)| (name.to_owned(), Some(way)),
    );
    let path = helpers.directory.join(name);
    if !path.is_file() {
        return Err(unsupported(format!(
            "{scheme}:// sources need {}, which is not there",
            path.display()
        )));
    }
    let output =
        |spec| CommandOutput::new(spec, url, subject.to_owned(), options).patient(PATIENCE);
    let executable = |further: &[&str], stdin| {
        let arguments = [url].iter().chain(further).map(|&argument| argument.to_owned()).collect();
        CommandSpec::Executable { path: path.clone(), arguments, stdin }
    };
    let built = SourceTraits { built: true, may_be_packed: false };
    Ok(match way {
        None => {
            let nature = SourceTraits { built: false, may_be_packed: true };
            (output(executable(&[], helpers.dump.clone())), nature)
        }
        Some(Way::Output) => (output(executable(&[], None)).once(), built),
        Some(Way::Told) => {
            let told = told(&executable(&[], None), url, subject, helpers).await?;
            let first = CommandSpec::HelperScript { told: told.clone(), which: "command" };
            let clean = CommandSpec::HelperScript { told, which: "clean_command" };
            (output(first).then(clean), SourceTraits { built: true, may_be_packed: true })
        }
        Some(Way::Interactive) => {
            let told = told(&executable(&["-"], None), url, subject, helpers).await?;
            let first = CommandSpec::HelperScript { told: told.clone(), which: "command" };
            let ended =
                run(&first, PATIENCE).await.map_err(|error| pipe_failure(subject, &error))?;
            // 143: told to stop by whoever had everything.
            if !matches!(ended.status.code(), Some(0 | 143)) {
                let cause = said(&ended, url, helpers.dump.as_deref(), &first);
                return Err(Error::new(ErrorKind::Failed, subject, cause));
            }
            (output(CommandSpec::HelperScript { told, which: "clean_command" }).once(), built)
        }
    })
}

/// Asks a helper what to run: shell lines that set `command` and `clean_command`; it may print
/// others.
async fn told(
    spec: &CommandSpec,
    url: &str,
    subject: &str,
    helpers: &Helpers,
) -> Result<String, Error> {
    let (written, ended) =
        ask(spec, PATIENCE).await.map_err(|error| pipe_failure(subject, &error))?;
    if !ended.status.success() {
        let cause = said(&ended, url, helpers.dump.as_deref(), spec);
        return Err(Error::new(ErrorKind::Failed, subject, cause));
    }
    let written = String::from_utf8_lossy(&written);
    let ours = |line: &&str| line.starts_with("command=") || line.starts_with("clean_command=");
    let told: Vec<_> = written.lines().filter(ours).collect();
    if !told.iter().any(|line| line.starts_with("command=")) {
        return Err(Error::new(ErrorKind::Failed, subject, "its helper told no command"));
    }
    Ok(told.join("\n"))
}
