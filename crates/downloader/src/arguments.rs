//! The command line of `downloader.sh`.

use lexopt::Arg;
use market_core::checksum::{Expected, Malformed, Md5, Sha1, Sha256};
use market_core::error::{Error, ErrorKind};
use market_core::line::one_line;
use market_core::model::MiB;
use market_core::transfer::Rate;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// What is to be fetched, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Arguments {
    /// A path or a URL.
    pub source: String,
    /// Where the bytes go.
    pub target: Target,
    /// The checksums of the bytes as they are fetched.
    pub expected: Expected,
    /// Whether compressed streams and archives are unpacked.
    pub unpack: bool,
    /// How fast bytes may move.
    pub limit: Option<Rate>,
    /// How many MiB there may be, unpacked; more is an error.
    pub max_unpacked: Option<MiB>,
    /// How many bytes are put out at most, unpacked; more is cut off.
    pub max_bytes: Option<u64>,
    /// Whether a transfer that broke is taken up again.
    pub retry: bool,
}

/// Where bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `-`.
    StandardOutput,
    /// A file, which may be there already.
    Path(PathBuf),
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// To fetch something.
    Download(Box<Arguments>),
    /// A text to print, for `--help` and `--version`.
    Print(String),
}

const HELP: &str = "\
Fetches an image for a datastore; the place of OpenNebula's downloader.sh.

Usage: downloader [OPTIONS] FROM TO

FROM is a path, or a URL: file, http, https, ssh, s3, rbd, lxd, restic, rsync, netapp, purefa, onebex, and the
schemes that an executable in <remotes>/datastore/downloader.d understands. TO is a path, or - for standard output.

  -m, --md5 HEX          the MD5 that the fetched bytes must have
  -s, --sha1 HEX         the SHA-1 that they must have
  -S, --sha256 HEX       the SHA-256 that they must have
  -n, --nodecomp         do not unpack gzip, bzip2, xz, zstd, tar or zip
  -l, --limit RATE       bytes per second, such as 500k or 10M
  -c, --max-size BYTES   put out at most so many bytes, unpacked
  -U, --unpacked-limit MB  fail when there are more MiB than so many, unpacked
  -o, --noretry          give up when a transfer breaks
  -h, --help             this text
  -V, --version          the version

Keys for s3:// and attributes such as TLS_CA come from the driver message in the environment variable DRV_ACTION.
Exit code: 0, or 255 with one line on standard error.
";

/// The options of the stock command by their long names; as `getopt` does, the beginning of one is
/// enough.
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

/// Those that it does not have: in full, so that no beginning means another one than it means
/// there.
const OWN_OPTIONS: [(&str, char); 2] = [("sha256", 'S'), ("unpacked-limit", 'U')];

impl Arguments {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] says what is wrong with them.
    pub fn parse(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Request, Error> {
        let mut parser = lexopt::Parser::from_args(words);
        let (mut md5, mut sha1, mut sha256) = (None, None, None);
        let (mut limit, mut max_bytes, mut max_unpacked) = (None, None, None);
        let (mut unpack, mut retry) = (true, true);
        let mut places = Vec::new();
        while let Some(argument) = parser.next().map_err(|error| usage(&error.to_string()))? {
            let option = match argument {
                Arg::Value(word) => {
                    places.push(word);
                    continue;
                }
                Arg::Short(option) => option,
                Arg::Long(name) => long(name)?,
            };
            match option {
                'm' => md5 = Some(checksum::<Md5>("--md5", &value(&mut parser)?)?),
                's' => sha1 = Some(checksum::<Sha1>("--sha1", &value(&mut parser)?)?),
                'S' => sha256 = Some(checksum::<Sha256>("--sha256", &value(&mut parser)?)?),
                'U' => {
                    let most = value(&mut parser)?.trim().parse().ok().filter(|most| *most > 0);
                    max_unpacked = Some(MiB(
                        most.ok_or_else(|| usage("--unpacked-limit needs a number of MiB"))?
                    ));
                }
                'n' => unpack = false,
                'l' => {
                    let rate = value(&mut parser)?.parse();
                    limit = Some(rate.map_err(|error: market_core::transfer::RateError| {
                        usage(&format!("--limit {error}"))
                    })?);
                }
                'c' => {
                    let bytes = value(&mut parser)?.trim().parse();
                    max_bytes =
                        Some(bytes.map_err(|_| usage("--max-size needs a number of bytes"))?);
                }
                'o' => retry = false,
                'h' => return Ok(Request::Print(HELP.to_owned())),
                'V' => {
                    return Ok(Request::Print(
                        concat!("downloader ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
                    ));
                }
                other => {
                    return Err(usage(&format!("there is no option -{}", other.escape_default())));
                }
            }
        }
        let expected = Expected::new()
            .and_maybe("--md5", md5)
            .and_maybe("--sha1", sha1)
            .and_maybe("--sha256", sha256);
        if max_bytes.is_some() && !expected.is_empty() {
            return Err(usage("Hash check not supported for partial downloads"));
        }
        let [source, target] = <[OsString; 2]>::try_from(places)
            .map_err(|_| usage("expected are two places: FROM and TO"))?;
        let source = absolute(source.into_string().map_err(|_| usage("FROM is not UTF-8"))?)?;
        let target = match target {
            word if word == "-" => Target::StandardOutput,
            word if word.is_empty() => return Err(usage("TO is empty")),
            word => Target::Path(word.into()),
        };
        let checked =
            Self { source, target, expected, unpack, limit, max_unpacked, max_bytes, retry };
        Ok(Request::Download(Box::new(checked)))
    }
}

fn long(name: &str) -> Result<char, Error> {
    if let Some((_, option)) = OPTIONS.iter().chain(&OWN_OPTIONS).find(|(full, _)| *full == name) {
        return Ok(*option);
    }
    let mut meant = OPTIONS.iter().filter(|(full, _)| full.starts_with(name));
    match (meant.next(), meant.next()) {
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
