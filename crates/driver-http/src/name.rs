//! The names of files in a marketplace: made so that two never meet, and checked before one is
//! touched.

use market_core::error::Error;
use market_core::model::AppId;
use market_core::transfer::random_name;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use url::Url;

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
pub(crate) fn is_published(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The app of a staged name.
pub(crate) fn app_of_staged(name: &str) -> Option<AppId> {
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
pub(crate) fn of_source(source: &str) -> Option<String> {
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
