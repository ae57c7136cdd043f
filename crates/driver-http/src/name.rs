//! The names of files in a marketplace: made so that two never meet, and checked before one is
//! touched.

use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, SourceUrl};
use market_core::transfer::{random_name, redacted};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use url::Url;

/// A file of the marketplace: an app, or what an import has staged. Keys of equal names are equal.
#[derive(Clone, Debug)]
pub struct HttpKey {
    name: String,
    /// The app that has the file, where that is known: it tells on which bridge to look first.
    app: Option<AppId>,
}

impl HttpKey {
    /// The file that a SOURCE names.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it names none that a marketplace could have.
    pub(crate) fn locate(source: &SourceUrl, app: Option<AppId>) -> Result<Self, Error> {
        let name = of_source(source.as_str()).ok_or_else(|| {
            let subject = format!("SOURCE {}", redacted(source.as_str()));
            let error = Error::new(ErrorKind::Denied, subject, "names no file of this marketplace");
            error.remedy("nothing was touched")
        })?;
        Ok(Self { name, app })
    }

    /// A file of the public directory; `None` when it is not one that an import made.
    pub(crate) fn published(name: &str) -> Option<Self> {
        is_published(name).then(|| Self { name: name.to_owned(), app: None })
    }

    /// A file of a staging directory, and its app; `None` when it is not one that an import made.
    pub(crate) fn staged(name: &str) -> Option<(Self, AppId)> {
        let app = app_of_staged(name)?;
        Some((Self { name: name.to_owned(), app: Some(app) }, app))
    }

    /// The file's name, without a directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The app that has the file, where that is known.
    pub(crate) fn app(&self) -> Option<AppId> {
        self.app
    }
}

impl PartialEq for HttpKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for HttpKey {}

impl Hash for HttpKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Display for HttpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The name of a published app: 32 hexadecimal digits, the form that the stock driver gave its
/// files.
pub(crate) fn published() -> Result<String, Error> {
    random_name::<16>().map_err(no_random)
}

/// The name of a staged import: app, start in seconds since 1970, something random.
pub(crate) fn staged(app: AppId) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(format!("{app}-{now}-{}", random_name::<8>().map_err(no_random)?))
}

fn no_random(error: io::Error) -> Error {
    Error::io("the system's random numbers", &error)
}

/// Whether a file of the public directory is one that an import made, by us or by the stock driver.
fn is_published(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The app of a staged name.
fn app_of_staged(name: &str) -> Option<AppId> {
    let mut parts = name.rsplitn(3, '-');
    let (random, time, app) = (parts.next()?, parts.next()?, parts.next()?);
    let valid = random.len() == 16
        && random.bytes().all(|b| b.is_ascii_hexdigit())
        && time.bytes().all(|b| b.is_ascii_digit());
    if valid { app.parse().ok().map(AppId) } else { None }
}

/// The file that a SOURCE names: the last segment of its path, whatever URL the marketplace had
/// when it was made. `None` when that is not the name of an app, ours or the stock driver's:
/// nothing else in the directory is anybody's to remove.
fn of_source(source: &str) -> Option<String> {
    let url = Url::parse(source).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let name = url.path_segments()?.next_back()?.to_owned();
    is_published(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_apps_come_out_of_a_source() {
        for good in [
            "http://m/0cc175b9c0f1b6a831c399e269772661",
            "https://old:8080/x/0cc175b9c0f1b6a831c399e269772661",
        ] {
            assert_eq!(of_source(good).unwrap(), "0cc175b9c0f1b6a831c399e269772661");
        }
        let long = format!("http://m/{}", "a".repeat(4_096));
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "http://m/",
            "http://m",
            "http://m/..",
            "http://m/a/../..",
            "http://m/%2e%2e",
            "http://m/..%2fetc%2fpasswd",
            "http://m/*",
            "http://m/.market-staging",
            "http://m/a%00b",
            "http://m/a b",
            "http://m/a\0b",
            "http://m/$(touch x)",
            "http://m/;rm",
            "file:///etc/passwd",
            "s3://b/k",
            "http://m/é",
            "http://m/index.html",
            &long,
        ] {
            assert_eq!(of_source(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_never_meet_and_staged_ones_tell_their_app() {
        let names: std::collections::HashSet<_> =
            (0..1_000).map(|_| published().unwrap()).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| is_published(name)));
        assert_eq!(app_of_staged(&staged(AppId(30)).unwrap()), Some(AppId(30)));
        assert_eq!(app_of_staged(&staged(AppId(-1)).unwrap()), Some(AppId(-1)));
        for foreign in ["x", "30-1", "30-1-xyz", "a-1-0123456789abcdef"] {
            assert_eq!(app_of_staged(foreign), None, "{foreign}");
        }
    }
}
