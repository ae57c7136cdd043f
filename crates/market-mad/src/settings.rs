//! The command line of `one_market`: `ARGUMENTS` of `MARKET_MAD` in `oned.conf`.

use lexopt::Arg;
use market_core::line::without_secrets_of_urls;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// The settings that the command line gives (`docs/one-market.md`; the stock driver has the same
/// options). [`Default`] is an empty command line.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many actions run at once: `-t`. 15 by default, at least 1 and at most 1,024.
    pub threads: usize,
    /// The names of the market drivers that may be used: `-m`. `None`, the default: every directory
    /// of `<remotes>/market`.
    pub market_types: Option<Vec<String>>,
    /// How long one executable may run: `-w`, in whole seconds, at most ten years. `None`, the
    /// default: without limit.
    pub timeout: Option<Duration>,
    /// The URL that executables get as `http_proxy` and `https_proxy` in their environment: `-p`.
    /// `None`, the default: they inherit these variables.
    pub proxy: Option<String>,
}

/// An argument that was left out because it makes no sense. Its text names the argument, without
/// the password of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongArgument(String);

impl fmt::Display for WrongArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "left out of the ARGUMENTS of MARKET_MAD in oned.conf: {}", self.0)
    }
}

impl std::error::Error for WrongArgument {}

impl fmt::Debug for Settings {
    /// Without the password of the proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, market_types, timeout, proxy } = self;
        let proxy = proxy.as_deref().map(without_secrets_of_urls);
        let mut shown = f.debug_struct("Settings");
        shown
            .field("threads", threads)
            .field("market_types", market_types)
            .field("timeout", timeout);
        shown.field("proxy", &proxy).finish()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { threads: 15, market_types: None, timeout: None, proxy: None }
    }
}

impl Settings {
    /// Parses a command line. `oned` passes all arguments as one word, so words are split at
    /// blanks.
    ///
    /// This never fails: `oned` ends when a driver does not start. An argument that makes no sense
    /// is left out and returned, of at most 20.
    pub fn parse(
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> (Self, Vec<WrongArgument>) {
        let mut settings = Self::default();
        let mut wrong = Vec::new();
        let mut parser = lexopt::Parser::from_args(words(arguments));
        while wrong.len() < MAX_WRONG {
            match settings.take_next(&mut parser) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => wrong.push(error),
            }
        }
        (settings, wrong)
    }

    /// Takes the next option and its value; whether there was one.
    fn take_next(&mut self, parser: &mut lexopt::Parser) -> Result<bool, WrongArgument> {
        let Some(argument) = parser.next().map_err(wrong)? else { return Ok(false) };
        match argument {
            Arg::Short('t') | Arg::Long("threads") => {
                let threads = number(parser, "-t")?;
                self.threads = usize::try_from(threads).unwrap_or(usize::MAX).clamp(1, MAX_THREADS);
            }
            Arg::Short('m') | Arg::Long("market-types") => {
                let value = text(parser)?;
                let types = value.split(',').map(str::trim).filter(|word| !word.is_empty());
                self.market_types = Some(types.map(str::to_owned).collect());
            }
            Arg::Short('w') | Arg::Long("timeout") => {
                let seconds = number(parser, "-w")?;
                self.timeout =
                    (seconds > 0).then(|| Duration::from_secs(seconds.min(MAX_TIMEOUT_SECS)));
            }
            Arg::Short('p') | Arg::Long("proxy") => self.proxy = Some(text(parser)?),
            other => {
                let error = wrong(other.unexpected());
                // Skips a value in the same word.
                let _ = parser.optional_value();
                return Err(error);
            }
        }
        Ok(true)
    }
}

/// The greatest value of `-t`.
const MAX_THREADS: usize = 1_024;

/// The greatest value of `-w`, ten years: no clock overflows.
const MAX_TIMEOUT_SECS: u64 = 10 * 365 * 86_400;

/// How many wrong arguments are reported.
const MAX_WRONG: usize = 20;

/// The words of all arguments. A comma joins the words around it to one list, unless an option
/// follows.
fn words(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for argument in arguments {
        let argument: OsString = argument.into();
        for word in argument.to_string_lossy().split_whitespace() {
            match words.last_mut() {
                Some(last)
                    if (last.ends_with(',') || word.starts_with(',')) && !word.starts_with('-') =>
                {
                    last.push_str(word);
                }
                _ => words.push(word.to_owned()),
            }
        }
    }
    words
}

/// The value of an option: the rest of its word, or the next word unless that is an option.
fn text(parser: &mut lexopt::Parser) -> Result<String, WrongArgument> {
    if let Some(value) = parser.optional_value() {
        return Ok(value.to_string_lossy().into_owned());
    }
    let mut rest = parser.raw_args().map_err(wrong)?;
    let is_value = rest.peek().is_some_and(|word| !word.to_string_lossy().starts_with('-'));
    let value = if is_value { rest.next() } else { None };
    value
        .map(|value| value.to_string_lossy().into_owned())
        .ok_or_else(|| WrongArgument("an option without its value".into()))
}

fn number(parser: &mut lexopt::Parser, option: &str) -> Result<u64, WrongArgument> {
    let value = text(parser)?;
    value.parse().map_err(|_| wrong(format!("{option} needs a whole number, not \"{value}\"")))
}

/// The argument may be a URL that belongs elsewhere: its password is not shown.
fn wrong(error: impl fmt::Display) -> WrongArgument {
    WrongArgument(without_secrets_of_urls(&error.to_string()).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;

    fn right(arguments: &[&str]) -> Settings {
        let (settings, wrong) = Settings::parse(arguments);
        assert_eq!(wrong, [], "{arguments:?}");
        settings
    }

    #[test]
    fn one_word_and_several_mean_the_same() {
        let one = right(&["-t 3  --market-types=http,s3 -w 60 -p http://proxy:3128"]);
        let several = ["-t3", "-m", "http, s3", "--timeout", "60", "--proxy=http://proxy:3128"];
        assert_eq!(right(&several), one);
        assert_eq!(one.timeout, Some(Duration::from_secs(60)));
        assert_eq!(
            right(&["-m http, s3, -t 3", "-w 60 -p http://proxy:3128"]),
            one,
            "a comma too many"
        );
    }

    #[test]
    fn the_defaults_are_fifteen_threads_and_every_driver() {
        assert_eq!(right(&[""]), Settings::default());
        assert_eq!(right(&["-w 0"]).timeout, None);
        assert_eq!(right(&["-t 0"]).threads, 1);
    }

    #[test]
    fn an_argument_that_makes_no_sense_is_named_and_the_rest_counts() {
        for (arguments, named) in [
            ("-t many", "-t"),
            ("-t -5", "without its value"),
            ("-t 99999999999999999999999", "-t"),
            ("-x", "-x"),
            ("-x=y", "-x"),
            ("--what=ever", "--what"),
            ("-w", "without its value"),
            ("http", "http"),
            ("-m", "without its value"),
            ("http://me:hunter2@proxy", "<hidden>@proxy"),
            ("-t http://me:hunter2@proxy", "<hidden>@proxy"),
        ] {
            let (settings, wrong) = Settings::parse([format!("-p http://proxy {arguments} -m s3")]);
            assert!(
                !wrong.is_empty() && wrong[0].to_string().contains(named),
                "{arguments}: {wrong:?}"
            );
            assert_eq!(settings.market_types, Some(vec!["s3".to_owned()]), "{arguments}");
            assert_eq!((settings.threads, settings.timeout), (15, None), "{arguments}");
            assert!(settings.proxy.is_some_and(|proxy| proxy == "http://proxy"));
        }
        let settings = right(&["-p http://me:hunter2@proxy"]);
        assert!(!format!("{settings:?}").contains("hunter2") && settings.proxy.is_some());
    }
}
