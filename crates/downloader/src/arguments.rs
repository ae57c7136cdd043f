//! The command line of `downloader.sh`.

use lexopt::Arg;
use market_core::checksum::{Expected, Malformed, Md5, Sha1, Sha256};
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use market_core::model::MiB;
use market_core::transfer::{Rate, RateError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// A download: the command line, parsed. The options are those of the stock `downloader.sh`, and
/// two more (`docs/downloader.md`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Arguments {
    /// FROM: an absolute path, or a URL.
    pub source: String,
    /// TO: where the bytes go.
    pub target: Target,
    /// `--md5`, `--sha1`, `--sha256`: the checksums of the bytes as they are fetched, before they
    /// are unpacked. None by default.
    pub expected: Expected,
    /// Without `--nodecomp`: whether compressed streams and archives are unpacked.
    pub unpack: bool,
    /// `--limit`: the most bytes per second. `None`, the default: as LIMIT_TRANSFER_BW in the
    /// driver message says, or without limit.
    pub limit: Option<Rate>,
    /// `--unpacked-limit`: the size that unpacked bytes may have; more is an error. `None`, the
    /// default: as MAX_UNPACKED_MB in the driver message says, or by the SIZE of the image there.
    pub max_unpacked: Option<MiB>,
    /// `--max-size`: how many bytes are written at most, unpacked; the rest is left out without an
    /// error. `None`, the default: all.
    pub max_bytes: Option<u64>,
    /// Without `--noretry`: whether a transfer that breaks is resumed.
    pub retry: bool,
}

/// Where the bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `-`: standard output.
    StandardOutput,
    /// A file that is created or replaced, or a device or pipe that is written to.
    Path(PathBuf),
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// To fetch something.
    Download(Box<Arguments>),
    /// To print a text: that of `--help` or `--version`.
    Print(String),
}

const HELP: &str = "\
Fetches an image for a datastore, in the place of OpenNebula's downloader.sh.

Usage: downloader [OPTIONS] FROM TO

FROM is a path, or a URL: file, http, https, ssh, s3, rbd, lxd, restic, rsync, netapp, purefa,
onebex, and the schemes that an executable in <remotes>/datastore/downloader.d understands.
TO is a path, or - for standard output.

  -m, --md5 HEX          the MD5 that the fetched bytes must have
  -s, --sha1 HEX         the SHA-1 that they must have
  -S, --sha256 HEX       the SHA-256 that they must have
  -n, --nodecomp         do not unpack gzip, bzip2, xz, zstd, tar or zip
  -l, --limit RATE       bytes per second, such as 500k or 10M
  -c, --max-size BYTES   write at most so many bytes, unpacked
  -U, --unpacked-limit MIB  fail when there are more MiB, unpacked
  -o, --noretry          fail when a transfer breaks, do not resume it
  -h, --help             this text
  -V, --version          the version

Keys for s3:// and attributes such as TLS_CA come from the driver message in the environment
variable DRV_ACTION.
Exit code: 0, or 255 with one line on standard error.
";

const VERSION: &str = concat!("downloader ", env!("CARGO_PKG_VERSION"), "\n");

/// The options of the stock command by their long names. They may be abbreviated, as `getopt`
/// allows it.
const OPTIONS: [(&str, char); 8] = [
    ("md5", 'm'),
    ("sha1", 's'),
    ("nodecomp", 'n'),
    ("limit", 'l'),
    ("max-size", 'c'),
    ("noretry", 'o'),
    ("help", 'h'),
    ("version", 'V'),
];

/// The options that the stock command does not have. They may not be abbreviated, so that each
/// abbreviation means what it means there.
const OWN_OPTIONS: [(&str, char); 2] = [("sha256", 'S'), ("unpacked-limit", 'U')];

impl Arguments {
    /// Arguments with all options at their defaults. `source` is an absolute path or a URL.
    pub fn new(source: impl Into<String>, target: Target) -> Self {
        Self {
            source: source.into(),
            target,
            expected: Expected::new(),
            unpack: true,
            limit: None,
            max_unpacked: None,
            max_bytes: None,
            retry: true,
        }
    }

    /// Parses the words of a command line, without the program's name. A relative path is made
    /// absolute.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for an option that is unknown or has a wrong value, for checksums of a
    /// partial download, and unless there are two places.
    pub fn parse(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Request, Error> {
        let mut parser = lexopt::Parser::from_args(words);
        let mut options = GivenOptions::default();
        let mut places = Vec::new();
        while let Some(argument) = parser.next().map_err(|error| usage(&error.to_string()))? {
            let option = match argument {
                Arg::Value(word) => {
                    places.push(word);
                    continue;
                }
                Arg::Short(option) => option,
                Arg::Long(name) => short_option(name)?,
            };
            match option {
                'h' => return Ok(Request::Print(HELP.to_owned())),
                'V' => return Ok(Request::Print(VERSION.to_owned())),
                _ => options.take(option, &mut parser)?,
            }
        }
        let [source, target] = <[OsString; 2]>::try_from(places)
            .map_err(|_| usage("expected are two places: FROM and TO"))?;
        let source = absolute(source.into_string().map_err(|_| usage("FROM is not UTF-8"))?)?;
        let target = match target {
            word if word == "-" => Target::StandardOutput,
            word if word.is_empty() => return Err(usage("TO is empty")),
            word => Target::Path(word.into()),
        };
        Ok(Request::Download(Box::new(options.arguments(source, target)?)))
    }
}

/// The options of a command line. Of an option that is given twice the last value counts.
#[derive(Default)]
struct GivenOptions {
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    no_unpacking: bool,
    limit: Option<Rate>,
    max_unpacked: Option<MiB>,
    max_bytes: Option<u64>,
    no_retry: bool,
}

impl GivenOptions {
    /// Takes an option, by its short name, and its value from the parser.
    fn take(&mut self, option: char, parser: &mut lexopt::Parser) -> Result<(), Error> {
        match option {
            'm' => self.md5 = Some(checksum("--md5", &value(parser)?)?),
            's' => self.sha1 = Some(checksum("--sha1", &value(parser)?)?),
            'S' => self.sha256 = Some(checksum("--sha256", &value(parser)?)?),
            'n' => self.no_unpacking = true,
            'l' => {
                let wrong = |error: RateError| usage(&format!("--limit {error}"));
                self.limit = Some(value(parser)?.parse().map_err(wrong)?);
            }
            'c' => {
                let bytes = value(parser)?.trim().parse();
                let bytes = bytes.map_err(|_| usage("--max-size needs a number of bytes"))?;
                self.max_bytes = Some(bytes);
            }
            'U' => {
                let limit = value(parser)?.trim().parse().ok().filter(|limit| *limit > 0);
                let limit = limit.ok_or_else(|| usage("--unpacked-limit needs a number of MiB"))?;
                self.max_unpacked = Some(MiB(limit));
            }
            'o' => self.no_retry = true,
            other => {
                return Err(usage(&format!("there is no option -{}", other.escape_default())));
            }
        }
        Ok(())
    }

    fn arguments(self, source: String, target: Target) -> Result<Arguments, Error> {
        let expected = Expected::new()
            .and_maybe("--md5", self.md5)
            .and_maybe("--sha1", self.sha1)
            .and_maybe("--sha256", self.sha256);
        if self.max_bytes.is_some() && !expected.is_empty() {
            return Err(usage("Hash check not supported for partial downloads"));
        }
        let Self { limit, max_unpacked, max_bytes, .. } = self;
        let (unpack, retry) = (!self.no_unpacking, !self.no_retry);
        Ok(Arguments { source, target, expected, unpack, limit, max_unpacked, max_bytes, retry })
    }
}

/// The short name of an option by its long one.
fn short_option(name: &str) -> Result<char, Error> {
    if let Some((_, option)) = OPTIONS.iter().chain(&OWN_OPTIONS).find(|(full, _)| *full == name) {
        return Ok(*option);
    }
    let mut matching = OPTIONS.iter().filter(|(full, _)| full.starts_with(name));
    match (matching.next(), matching.next()) {
        (Some((_, option)), None) => Ok(*option),
        _ => Err(usage(&format!("there is no option --{}", one_line(name)))),
    }
}

fn value(parser: &mut lexopt::Parser) -> Result<String, Error> {
    Ok(parser.value().map_err(|error| usage(&error.to_string()))?.to_string_lossy().into_owned())
}

fn checksum<C: FromStr<Err = Malformed>>(option: &str, text: &str) -> Result<C, Error> {
    text.trim().parse().map_err(|error| usage(&format!("{option} is {error}")))
}

/// A relative path as an absolute one.
fn absolute(source: String) -> Result<String, Error> {
    if source.is_empty() {
        return Err(usage("FROM is empty"));
    }
    if source.starts_with('/') || source.contains("://") {
        return Ok(source);
    }
    let directory =
        std::env::current_dir().map_err(|error| Error::io("the working directory", &error))?;
    let path = directory.join(source).into_os_string().into_string();
    path.map_err(|_| usage("FROM is not UTF-8"))
}

fn usage(cause: &str) -> Error {
    Error::new(ErrorKind::Usage, "Arguments error", one_line(cause)).remedy("see downloader --help")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test part fails its test")]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Arguments {
        match Arguments::parse(words) {
            Ok(Request::Download(arguments)) => *arguments,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_the_stock_command_line_is_understood() {
        let md5 = "D41D8CD98F00B204E9800998ECF8427E";
        let full = parsed(&[
            "--md5",
            md5,
            "--nodecomp",
            "--limit",
            "10M",
            "--noretry",
            "http://h/a",
            "/tmp/a",
        ]);
        let expected = Expected::new().and("--md5", md5.parse::<Md5>().unwrap());
        assert_eq!(full.expected, expected);
        assert!(!full.unpack && !full.retry && full.limit.unwrap().bytes_per_second() == 10 << 20);
        assert_eq!(full.target, Target::Path("/tmp/a".into()));
        let joined = format!("-m{md5}");
        for words in [
            &["-m", md5, "-n", "-l", "10M", "-o", "http://h/a", "/tmp/a"][..],
            &[&joined, "-nol10M", "http://h/a", "/tmp/a"],
            &["http://h/a", "-no", "--limit=10M", "/tmp/a", "-m", md5],
            &["--nodec", "--nor", "--lim", "10M", "--md", md5, "--", "http://h/a", "/tmp/a"],
        ] {
            assert_eq!(parsed(words), full, "{words:?}");
        }
        let head = parsed(&["-c", "65536", "/a", "-"]);
        assert_eq!((head.max_bytes, head.target), (Some(65_536), Target::StandardOutput));
        let own = parsed(&["--sha256", &"AB".repeat(32), "--unpacked-limit", "64", "/a", "-"]);
        let expected = Expected::new().and("--sha256", Sha256::from([0xab; 32]));
        assert_eq!((own.expected, own.max_unpacked), (expected, Some(MiB(64))));
        assert_eq!(
            parsed(&["--max", "5", "/a", "-"]).max_bytes,
            Some(5),
            "no option of ours takes a beginning away"
        );
        assert!(parsed(&["a", "-"]).source.starts_with('/'), "a relative path");
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for (words, named) in [
            (&["/a"][..], "two places"),
            (&["/a", "b", "c"], "two places"),
            (&["", "-"], "FROM"),
            (&["/a", ""], "TO"),
            (&["-x", "/a", "-"], "-x"),
            (&["--no", "/a", "-"], "--no"),
            (&["--md5", "x", "/a", "-"], "--md5"),
            (&["-c", "1M", "/a", "-"], "--max-size"),
            (&["-l", "fast", "/a", "-"], "--limit"),
            (&["--sha256", md5, "/a", "-"], "--sha256"),
            (&["--sha2", md5, "/a", "-"], "--sha2"),
            (&["-U", "0", "/a", "-"], "--unpacked-limit"),
            (&["-m", md5, "-c", "5", "/a", "-"], "partial downloads"),
        ] {
            let error = Arguments::parse(words).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
