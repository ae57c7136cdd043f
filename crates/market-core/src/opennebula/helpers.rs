//! The helpers of OpenNebula's downloader: executables that read further schemes.
//!
//! OpenNebula ships some beside its own `downloader.sh` (`src/datastore_mad/remotes`), and runs
//! `downloader.d/SCHEME` for any scheme that it does not know; an operator adds schemes there. What
//! each is called with, and what it prints, is described in docs/sources.md.

use super::Installation;
use market_transfer::{
    CommandOutput, CommandSpec, Error, ErrorKind, Location, Options, Scheme, Secrets, Source,
    process_error,
};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a helper, and the command that it prints, may be silent: they merge backups, convert
/// images and wait for uploads before they write a byte.
const IDLE_TIMEOUT: Duration = Duration::from_secs(12 * 3_600);

/// The most that a helper may print when it is asked for commands.
const MAX_COMMANDS_BYTES: usize = 64 << 10;

/// Runs one of the commands that a helper has printed, which are in `$MARKET_COMMANDS`: shell lines
/// that set `command` and `clean_command`; $1 says which of them.
const RUN: &str = r#"eval "$MARKET_COMMANDS"; unset MARKET_COMMANDS
case $1 in command) eval "$command" ;; *) eval "$clean_command" ;; esac"#;

/// The exit status of a command that was told to stop (`SIGTERM`) once everything was read.
const TERMINATED: i32 = 143;

/// The helpers in a directory, as the [fallback](Options::with_fallback) for schemes that nobody
/// else opens.
///
/// ```
/// use market_core::opennebula::Helpers;
/// use market_core::transfer::{ErrorKind, Options, Source};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let helpers = Helpers::in_directory("/var/lib/one/remotes/datastore");
/// let options = Options::default().with_fallback(helpers);
/// let opened = runtime.block_on(Source::open("tape://7", &options));
/// // Nobody has added an executable downloader.d/tape.
/// assert_eq!(opened.unwrap_err().kind, ErrorKind::Unsupported);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Helpers {
    directory: PathBuf,
    message: Option<Arc<[u8]>>,
}

impl Helpers {
    /// The helpers of an installation: `<remotes>/datastore`.
    pub fn of(installation: &Installation) -> Self {
        Self::in_directory(installation.remotes().join("datastore"))
    }

    /// The helpers in a directory, and the executables in `downloader.d` there.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), message: None }
    }

    /// With the driver message, which executables in `downloader.d` get on standard input. It may
    /// hold keys: none of its values is shown in an error.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Arc<[u8]>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Options with the helpers of this installation as they are, which now get a driver message.
    pub fn give_message(options: Options, message: impl Into<Arc<[u8]>>) -> Options {
        let helpers = Self::of(&Installation::from_environment());
        options.with_fallback(helpers.with_message(message))
    }

    /// Finds the helper of a location.
    fn find(&self, location: &Location) -> Result<Helper<'_>, Error> {
        let scheme = location.scheme();
        if scheme == "s3" {
            let cause = "is an object of an S3 service, and the service and the keys for it are not \
                         known here";
            return Err(location.unsupported(cause));
        }
        let (name, usage) = match usage_of(scheme) {
            Some((name, usage)) => (name.to_owned(), usage),
            None => (format!("downloader.d/{scheme}"), Usage::Added),
        };
        let path = self.directory.join(name);
        if !path.is_file() {
            let path = path.display();
            let cause = format!("{scheme}:// sources need {path}, which is not there");
            return Err(location.unsupported(cause));
        }
        let command = CommandSpec::new(path).arg(location.as_str());
        Ok(Helper { command, usage, message: self.message.as_ref() })
    }
}

impl fmt::Debug for Helpers {
    /// The message is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// How a helper is used.
enum Usage {
    /// An executable of an operator: it gets the driver message on standard input, and writes the
    /// bytes.
    Added,
    /// It writes an image that it builds.
    Output,
    /// It prints a command that writes the bytes, and one to clean up afterwards.
    Commands,
    /// It prints a command that is run first, without a look at its output, and one that writes the
    /// bytes afterwards.
    Interactive,
}

/// The helpers that OpenNebula ships.
fn usage_of(scheme: &str) -> Option<(&'static str, Usage)> {
    Some(match scheme {
        "lxd" => ("lxd_downloader.sh", Usage::Output),
        "restic" | "restic+rbd" => ("restic_downloader.rb", Usage::Commands),
        "rsync" | "rsync+rbd" => ("rsync_downloader.rb", Usage::Commands),
        "netapp" => ("netapp_downloader.rb", Usage::Commands),
        "purefa" => ("purefa_downloader.rb", Usage::Commands),
        "onebex" => ("onebex_downloader.rb", Usage::Interactive),
        _ => return None,
    })
}

impl Scheme for Helpers {
    /// None of its own: it is a fallback.
    fn names(&self) -> &[&str] {
        &[]
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let helper = self.find(location)?;
        let output = |command: CommandSpec, secrets: Secrets| {
            CommandOutput::new(command, location, options)
                .idle_timeout(IDLE_TIMEOUT)
                .secrets(secrets)
        };
        let open = async |output| Source::from_origin(output, &location.to_string(), options).await;
        let secrets = helper.secrets(location);
        match helper.usage {
            Usage::Added => {
                let command = match helper.message {
                    Some(message) => helper.command.stdin(Arc::clone(message)),
                    None => helper.command,
                };
                open(output(command, secrets)).await
            }
            Usage::Output => {
                Ok(open(output(helper.command, secrets).once()).await?.built().never_packed())
            }
            Usage::Commands => {
                let commands = Commands::ask(&helper.command, location, &secrets).await?;
                let secrets = commands.secrets(secrets);
                let output = output(commands.first(), secrets).then(commands.second());
                Ok(open(output).await?.built())
            }
            Usage::Interactive => {
                let command = helper.command.arg("-");
                let commands = Commands::ask(&command, location, &secrets).await?;
                let secrets = commands.secrets(secrets);
                let subject = location.to_string();
                let ended = commands.first().run(IDLE_TIMEOUT).await;
                let ended = ended.map_err(|error| process_error(&subject, &error))?;
                if !matches!(ended.status.code(), Some(0 | TERMINATED)) {
                    let cause = ended.cause_without(&secrets);
                    return Err(Error::new(ErrorKind::Failed, subject, cause));
                }
                let output = output(commands.second(), secrets).once();
                Ok(open(output).await?.built().never_packed())
            }
        }
    }
}

/// The helper of one location.
struct Helper<'a> {
    command: CommandSpec,
    usage: Usage,
    message: Option<&'a Arc<[u8]>>,
}

impl Helper<'_> {
    /// What its messages are shown without.
    fn secrets(&self, location: &Location) -> Secrets {
        let message = self.message.map(|message| &message[..]).unwrap_or_default();
        Secrets::of_url(location.as_str()).and_dump(message)
    }
}

/// Shell lines that set `command` and `clean_command`, as a helper prints them among others.
struct Commands(String);

impl Commands {
    async fn ask(
        command: &CommandSpec,
        location: &Location,
        secrets: &Secrets,
    ) -> Result<Self, Error> {
        let subject = location.to_string();
        let answer = command.output(MAX_COMMANDS_BYTES, IDLE_TIMEOUT).await;
        let (printed, ended) = answer.map_err(|error| process_error(&subject, &error))?;
        if !ended.status.success() {
            return Err(Error::new(ErrorKind::Failed, subject, ended.cause_without(secrets)));
        }
        let printed = String::from_utf8_lossy(&printed);
        let ours = |line: &&str| line.starts_with("command=") || line.starts_with("clean_command=");
        let lines: Vec<_> = printed.lines().filter(ours).collect();
        if !lines.iter().any(|line| line.starts_with("command=")) {
            return Err(Error::new(ErrorKind::Failed, subject, "its helper printed no command"));
        }
        Ok(Self(lines.join("\n")))
    }

    /// The secrets and what the lines assign.
    fn secrets(&self, secrets: Secrets) -> Secrets {
        secrets.and_assignments(&self.0)
    }

    fn first(&self) -> CommandSpec {
        self.run("command")
    }

    fn second(&self) -> CommandSpec {
        self.run("clean_command")
    }

    fn run(&self, which: &str) -> CommandSpec {
        CommandSpec::new("/bin/sh").args(["-c", RUN, "sh", which]).env("MARKET_COMMANDS", &self.0)
    }
}
