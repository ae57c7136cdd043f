//! The command line of an executable that `oned` calls: an action, a dump, an id.

use super::input::read_stdin;
use crate::backend::MarketBackend;
use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The actions of a market driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketAction {
    /// Report the space of the marketplace, or its apps.
    Monitor,
    /// Store an app.
    Import,
    /// Remove an app.
    Delete,
}

impl MarketAction {
    /// The actions by the names of their executables.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("monitor", Self::Monitor), ("import", Self::Import), ("delete", Self::Delete)];

    /// The action of an executable that is called by the name of one; what follows a dot in its
    /// file name does not count.
    #[cfg(feature = "storage")]
    pub(crate) fn of_executable(called: &OsStr) -> Option<Self> {
        by_executable(Self::ALL, called).map(|(_, action)| action)
    }
}

fn by_executable<A: Copy>(
    actions: &[(&'static str, A)],
    called: &OsStr,
) -> Option<(&'static str, A)> {
    let name = Path::new(called).file_name()?.to_str()?;
    let stem = name.split('.').next()?;
    actions.iter().find(|(action, _)| *action == stem).copied()
}

/// The name of a driver's executable: `market-http`.
pub(super) fn driver_name<B: MarketBackend>() -> String {
    format!("market-{}", B::MAD)
}

/// A call of an executable: which action, on which dump.
#[non_exhaustive]
pub struct Call<A> {
    /// The action, as one of those that [`Program::new`] was given.
    pub action: A,
    /// The word of the action: log lines begin with it.
    pub script: &'static str,
    /// The driver message as it came, in base64. It may hold keys and passwords.
    pub dump: Vec<u8>,
    /// The id behind the dump, when there is one.
    pub id: Option<i64>,
}

impl<A> Call<A> {
    /// Compares the id of the command line, when there is one, with that in the dump.
    ///
    /// # Errors
    /// [`ErrorKind::Dump`] when they differ: the caller has confused two calls.
    pub fn check_id(&self, id_in_dump: i64) -> Result<(), Error> {
        match self.id {
            Some(id) if id != id_in_dump => Err(Error::new(
                ErrorKind::Dump,
                "the driver message",
                format!("is about id {id_in_dump}, the call about id {id}"),
            )),
            _ => Ok(()),
        }
    }
}

impl<A: fmt::Debug> fmt::Debug for Call<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut call = f.debug_struct("Call");
        call.field("action", &self.action).field("script", &self.script);
        // Not the dump: it may hold keys.
        call.field("dump_bytes", &self.dump.len()).field("id", &self.id).finish()
    }
}

/// What a command line asks for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request<A> {
    /// An action.
    Action(Call<A>),
    /// A text to print, for `--help` and `--version`.
    Print(String),
}

/// An executable that `oned` calls: its name and its actions, for its command line and its
/// messages.
///
/// ```
/// use market_core::runtime::{Program, Request};
///
/// let program = Program::new("market-x", "1.0.0", "A driver.", &[("monitor", 1), ("import", 2)]);
/// // Called by the name of an action, the action is left out.
/// let Request::Action(call) = program.parse(["/market/x/import".into(), "PEFDVElPTi8+".into(), "7".into()])?
/// else { unreachable!() };
/// assert_eq!((call.action, call.id), (2, Some(7)));
/// # Ok::<(), market_core::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Program<'a, A: 'static> {
    name: &'a str,
    version: &'static str,
    about: &'a str,
    actions: &'static [(&'static str, A)],
    dump_on_stdin: bool,
}

impl<'a, A: Copy> Program<'a, A> {
    /// A program of this name (`market-http`) and version (`env!("CARGO_PKG_VERSION")`), with one
    /// line on what it is and its actions by their words.
    pub const fn new(
        name: &'a str,
        version: &'static str,
        about: &'a str,
        actions: &'static [(&'static str, A)],
    ) -> Self {
        Self { name, version, about, actions, dump_on_stdin: false }
    }

    /// For actions whose dump always comes on standard input, with the id as their only argument,
    /// as it is with those of datastores.
    #[must_use]
    pub const fn with_dump_on_stdin(mut self) -> Self {
        self.dump_on_stdin = true;
        self
    }

    /// Reads a command line (the first argument is the name that the executable was called by), and
    /// the dump from where the command line says that it is.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`], or [`ErrorKind::Dump`] when the dump on standard input is larger than
    /// [`MAX_DUMP_BYTES`](crate::action::MAX_DUMP_BYTES).
    pub fn parse(
        &self,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Request<A>, Error> {
        let mut arguments = arguments.into_iter();
        let called = arguments.next().unwrap_or_default();
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut action = by_executable(self.actions, &called);
        let mut words = Vec::new();
        while let Some(argument) = parser.next().map_err(|error| self.usage(&error.to_string()))? {
            match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => {
                    return Ok(Request::Print(self.help()));
                }
                lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => {
                    return Ok(Request::Print(format!("{} {}\n", self.name, self.version)));
                }
                lexopt::Arg::Value(word) if action.is_none() => {
                    action = Some(self.action_of_word(&word)?);
                }
                lexopt::Arg::Value(word) => words.push(word),
                other => return Err(self.usage(&one_line(&other.unexpected().to_string()))),
            }
        }
        let (script, action) = action.ok_or_else(|| self.usage("the action is missing"))?;
        let (dump, id) = self.dump_and_id(words)?;
        Ok(Request::Action(Call { action, script, dump, id }))
    }

    fn action_of_word(&self, word: &OsStr) -> Result<(&'static str, A), Error> {
        let known = self.actions.iter().find(|(name, _)| *name == word).copied();
        known.ok_or_else(|| {
            // A long word is a dump in the wrong place, and may hold keys.
            let shown = word.to_str().filter(|word| word.len() <= 32);
            let shown =
                shown.map_or("of that name".to_owned(), |word| format!("\"{}\"", one_line(word)));
            self.usage(&format!("there is no action {shown}"))
        })
    }

    fn dump_and_id(&self, words: Vec<OsString>) -> Result<(Vec<u8>, Option<i64>), Error> {
        let mut words = words.into_iter();
        let first = if self.dump_on_stdin { Some(OsString::from("-")) } else { words.next() };
        let dump = match first {
            Some(word) if word == "-" => read_stdin()?,
            Some(word) => word.into_vec(),
            None => return Err(self.usage("the dump is missing")),
        };
        let id = words.next().map(|word| {
            let number =
                std::str::from_utf8(word.as_bytes()).ok().and_then(|text| text.parse().ok());
            number.ok_or_else(|| self.usage("the id is not a whole number"))
        });
        match words.next() {
            Some(_) => Err(self.usage("there are too many arguments")),
            None => Ok((dump, id.transpose()?)),
        }
    }

    fn usage(&self, cause: &str) -> Error {
        Error::new(ErrorKind::Usage, self.name, cause).remedy(format!("see {} --help", self.name))
    }

    /// The text for `--help`.
    pub(super) fn help(&self) -> String {
        let Self { name, version, about, .. } = self;
        let actions: Vec<_> = self.actions.iter().map(|(name, _)| *name).collect();
        let (words, names) = (actions.join("|"), actions.join(", "));
        let (usage, dump) = if self.dump_on_stdin {
            (format!("{name} {words} [ID] < DUMP"), "on standard input")
        } else {
            // one_market looks for the word in the bytes of the executable: it is
            // action::DUMP_ON_STDIN.
            let dump = "or - to read it from standard input (market-driver.dump-on-stdin)";
            (format!("{name} {words} DUMP [ID]"), dump)
        };
        format!(
            "{name} {version}\n{about}\n\nUsage: {usage}\n\n\
             DUMP is the driver message in base64, {dump}.\n\
             ID is the id that the message must be about.\n\
             Called by the name of an action ({names}), the action is left out.\n\n{}",
            exit_codes()
        )
    }
}

/// The exit codes and what they mean, in lines of at most 100 characters.
fn exit_codes() -> String {
    const MAX_CHARACTERS: usize = 100;
    let mut lines = vec!["Exit codes: 0 done".to_owned()];
    for kind in ErrorKind::ALL {
        let code = format!("{} {kind}", kind.exit_code());
        match lines.last_mut() {
            // The comma or full stop behind it needs room as well.
            Some(line) if line.len() + 2 + code.len() < MAX_CHARACTERS => {
                line.push_str(", ");
                line.push_str(&code);
            }
            _ => lines.push(code),
        }
    }
    lines.join(",\n") + ".\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_exit_code() {
        let text = exit_codes();
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        let codes = text.replace('\n', " ");
        for kind in ErrorKind::ALL {
            assert!(codes.contains(&format!(", {} {kind}", kind.exit_code())), "{codes}");
        }
    }
}
