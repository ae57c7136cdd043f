//! The directories of an OpenNebula front-end.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes of `VERSION` and `EDITION` that are read, and the most that are taken for one.
const MAX_FILE_BYTES: u64 = 4 << 10;
const MAX_RELEASE_BYTES: usize = 64;

/// Where an OpenNebula front-end keeps its files.
///
/// A front-end that is installed from packages uses directories of the system. With the environment
/// variable `ONE_LOCATION`, which OpenNebula sets for its drivers too, it is self-contained, and
/// everything is below that directory:
///
/// | | from packages | self-contained |
/// |---|---|---|
/// | [`var`](Self::var) | `/var/lib/one` | `$ONE_LOCATION/var` |
/// | [`etc`](Self::etc) | `/etc/one` | `$ONE_LOCATION/etc` |
/// | [`logs`](Self::logs) | `/var/log/one` | `$ONE_LOCATION/var` |
///
/// ```
/// use market_core::opennebula::Installation;
/// use std::path::Path;
///
/// let installation = Installation::at("/srv/one");
/// assert_eq!(installation.remotes(), Path::new("/srv/one/var/remotes"));
/// assert_eq!(installation.etc(), Path::new("/srv/one/etc"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    var: PathBuf,
    etc: PathBuf,
    logs: PathBuf,
}

impl Installation {
    /// The installation that `ONE_LOCATION` names; that of the system's packages when the variable
    /// is not set, or empty.
    pub fn from_environment() -> Self {
        Self::of(std::env::var_os("ONE_LOCATION"))
    }

    /// A self-contained installation, with this directory as its `ONE_LOCATION`.
    pub fn at(location: impl AsRef<Path>) -> Self {
        let location = location.as_ref();
        let var = location.join("var");
        Self { etc: location.join("etc"), logs: var.clone(), var }
    }

    /// The installation of the system's packages.
    pub fn of_packages() -> Self {
        Self { var: "/var/lib/one".into(), etc: "/etc/one".into(), logs: "/var/log/one".into() }
    }

    fn of(one_location: Option<OsString>) -> Self {
        one_location
            .filter(|location| !location.is_empty())
            .map_or_else(Self::of_packages, Self::at)
    }

    /// The state: datastores, drivers, the working directory of `oned`'s drivers.
    pub fn var(&self) -> &Path {
        &self.var
    }

    /// The configuration: `oned.conf`, `defaultrc`.
    pub fn etc(&self) -> &Path {
        &self.etc
    }

    /// The log files.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The drivers that `oned` calls: `<var>/remotes`, with a directory for each kind of them.
    pub fn remotes(&self) -> PathBuf {
        self.var.join("remotes")
    }

    /// The directory of the executables of a market driver, `<remotes>/market/<mad>`; `None` when
    /// there is none. The name may come from anybody: one that is more than a directory's name is
    /// that of no driver.
    pub fn market_driver(&self, mad: &str) -> Option<PathBuf> {
        driver(&self.remotes().join("market"), mad)
    }

    /// As [`market_driver`](Self::market_driver), of a datastore driver:
    /// `<remotes>/datastore/<mad>`.
    pub fn datastore_driver(&self, mad: &str) -> Option<PathBuf> {
        driver(&self.remotes().join("datastore"), mad)
    }

    /// The release, such as `7.4.1`, from `<remotes>/VERSION`; `None` when the file cannot be read
    /// or holds no plain text of at most 64 bytes.
    pub fn version(&self) -> Option<String> {
        release(&self.remotes().join("VERSION"))
    }

    /// The edition, such as `EE`, from `<remotes>/EDITION`; `None` as with
    /// [`version`](Self::version).
    pub fn edition(&self) -> Option<String> {
        release(&self.remotes().join("EDITION"))
    }
}

fn driver(parent: &Path, name: &str) -> Option<PathBuf> {
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    is_name.then(|| parent.join(name)).filter(|path| path.is_dir())
}

/// The words of a file, which become a part of an HTTP header.
fn release(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_plain = words.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (is_plain && (1..=MAX_RELEASE_BYTES).contains(&words.len())).then_some(words)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_location_moves_everything_below_it() {
        let packages = Installation::of(None);
        assert_eq!(packages, Installation::of(Some("".into())));
        assert_eq!(packages.remotes(), Path::new("/var/lib/one/remotes"));
        assert_eq!(
            (packages.etc(), packages.logs()),
            ("/etc/one".as_ref(), "/var/log/one".as_ref())
        );
        let own = Installation::of(Some("/srv/one".into()));
        assert_eq!((own.var(), own.logs()), ("/srv/one/var".as_ref(), "/srv/one/var".as_ref()));
    }

    #[test]
    fn a_drivers_name_is_one_directory() {
        let location = tempfile::tempdir().unwrap();
        let own = Installation::at(location.path());
        let http = own.remotes().join("market/http");
        fs::create_dir_all(&http).unwrap();
        fs::write(own.remotes().join("market/file"), "").unwrap();
        assert_eq!(own.market_driver("http"), Some(http));
        assert_eq!(own.datastore_driver("http"), None);
        for name in ["", ".", "..", "../market/http", "http/", "./http", "file", "s3", "a\0b"] {
            assert_eq!(own.market_driver(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_release_is_plain_text() {
        let location = tempfile::tempdir().unwrap();
        let own = Installation::at(location.path());
        assert_eq!((own.version(), own.edition()), (None, None));
        fs::create_dir_all(own.remotes()).unwrap();
        for (text, version) in [
            ("7.4.1\n", Some("7.4.1")),
            (" 7.4.1 \n beta ", Some("7.4.1 beta")),
            ("", None),
            ("\n", None),
            ("7.4\u{e9}", None),
            ("7\x1b[0m", None),
            (&"7".repeat(65), None),
        ] {
            fs::write(own.remotes().join("VERSION"), text).unwrap();
            assert_eq!(own.version().as_deref(), version, "{text:?}");
        }
    }
}
