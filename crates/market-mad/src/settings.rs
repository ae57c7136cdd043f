//! The arguments that `oned.conf` gives to `one_market`.

use lexopt::Arg;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// What the `ARGUMENTS` of `MARKET_MAD` in `oned.conf` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many actions run at once: `-t`, 15 by default.
    pub threads: usize,
    /// The market drivers that may be used: `-m`. `None`: every directory of `<remotes>/market`.
    pub market_types: Option<Vec<String>>,
    /// How long one executable may run: `-w`, in seconds. `None`: as long as it likes.
    pub timeout: Option<Duration>,
    /// The proxy that executables get in their environment: `-p`.
    pub proxy: Option<String>,
}

/// Arguments that make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ARGUMENTS of MARKET_MAD in oned.conf: {}", self.0)
    }
}

impl std::error::Error for SettingsError {}

impl Default for Settings {
    fn default() -> Self {
        Self { threads: 15, market_types: None, timeout: None, proxy: None }
    }
}

impl Settings {
    /// Reads arguments, however many of them stand in one word.
    ///
    /// # Errors
    /// Names the argument that makes no sense.
    pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, SettingsError> {
        let words = arguments.into_iter().flat_map(|argument| {
            let argument: OsString = argument.into();
            argument.to_string_lossy().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        });
        let mut settings = Self::default();
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(argument) = parser.next().map_err(wrong)? {
            match argument {
                Arg::Short('t') | Arg::Long("threads") => {
                    let threads = number(&mut parser, "-t")?;
                    settings.threads = usize::try_from(threads).unwrap_or(usize::MAX).clamp(1, MOST_THREADS);
                }
                Arg::Short('m') | Arg::Long("market-types") => {
                    let value = text(&mut parser)?;
                    let types = value.split(',').map(str::trim).filter(|word| !word.is_empty());
                    settings.market_types = Some(types.map(str::to_owned).collect());
                }
                Arg::Short('w') | Arg::Long("timeout") => {
                    let seconds = number(&mut parser, "-w")?;
                    settings.timeout = (seconds > 0).then(|| Duration::from_secs(seconds.min(LONGEST_TIMEOUT)));
                }
                Arg::Short('p') | Arg::Long("proxy") => settings.proxy = Some(text(&mut parser)?),
                other => return Err(wrong(other.unexpected())),
            }
        }
        Ok(settings)
    }
}

/// More executables at once than any machine has a use for.
const MOST_THREADS: usize = 1_024;

/// Ten years: enough, and no clock overflows.
const LONGEST_TIMEOUT: u64 = 10 * 365 * 86_400;

fn text(parser: &mut lexopt::Parser) -> Result<String, SettingsError> {
    Ok(parser.value().map_err(wrong)?.to_string_lossy().into_owned())
}

fn number(parser: &mut lexopt::Parser, option: &str) -> Result<u64, SettingsError> {
    let value = text(parser)?;
    value.parse().map_err(|_| SettingsError(format!("{option} needs a whole number, not \"{value}\"")))
}

fn wrong(error: lexopt::Error) -> SettingsError {
    SettingsError(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;

    #[test]
    fn one_word_and_several_mean_the_same() {
        let one = Settings::parse(["-t 3  --market-types=http,s3 -w 60 -p http://proxy:3128"]).unwrap();
        let several = Settings::parse(["-t3", "-m", "http, s3", "--timeout", "60", "--proxy=http://proxy:3128"]);
        // A blank behind a comma ends the word, so the rest of the list is an argument of its own.
        assert!(several.is_err());
        let several =
            Settings::parse(["-t3", "-m", "http,s3", "--timeout", "60", "--proxy=http://proxy:3128"]).unwrap();
        assert_eq!(one, several);
        assert_eq!(one.timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn nothing_said_is_fifteen_threads_and_every_driver() {
        assert_eq!(Settings::parse([""]).unwrap(), Settings::default());
        assert_eq!(Settings::parse(["-w 0"]).unwrap().timeout, None);
        assert_eq!(Settings::parse(["-t 0"]).unwrap().threads, 1);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (arguments, named) in [("-t many", "-t"), ("-x", "-x"), ("-w", "-w"), ("http", "http")] {
            let error = Settings::parse([arguments]).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
