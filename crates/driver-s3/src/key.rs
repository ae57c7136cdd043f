//! The keys of apps, and what a SOURCE names.

use market_core::model::{AppId, SourceUrl};
use market_core::transfer::Location;
use market_core::transfer::s3::ObjectLocation;
use std::fmt;

/// What keys begin with when APP_PREFIX says nothing.
pub(crate) const APP_PREFIX: &str = "marketapp";

/// The keys of one marketplace: `<APP_PREFIX>-<app id>`, as the stock driver makes them.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(app_prefix: Option<&str>) -> Self {
        Self { prefix: format!("{}-", app_prefix.unwrap_or(APP_PREFIX)) }
    }

    /// What all of them begin with; keys of others may begin so too.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn of(&self, app: AppId) -> String {
        format!("{}{app}", self.prefix)
    }

    /// The app of a key; `None` when it is not one of this marketplace.
    pub(crate) fn app(&self, key: &str) -> Option<AppId> {
        let id = key.strip_prefix(&self.prefix)?;
        let canonical =
            id.bytes().all(|b| b.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
        if canonical { id.parse().ok().map(AppId) } else { None }
    }
}

/// An object of a marketplace, or a multipart upload that is in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S3Key {
    /// The bucket's name.
    pub(crate) bucket: String,
    /// The object's key.
    pub(crate) object: String,
    /// The id of the upload; `None` for an object that is there.
    pub(crate) upload: Option<String>,
}

impl S3Key {
    pub(crate) fn new(bucket: &str, object: &str) -> Self {
        Self { bucket: bucket.to_owned(), object: object.to_owned(), upload: None }
    }

    /// The SOURCE of an app that is stored under this key.
    pub(crate) fn source(&self) -> SourceUrl {
        SourceUrl::new(format!("s3://{}/{}", self.bucket, self.object))
    }
}

impl fmt::Display for S3Key {
    /// The object's key, and the upload: a key alone may have several.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upload {
            None => f.write_str(&self.object),
            Some(id) => write!(f, "{}?uploadId={id}", self.object),
        }
    }
}

/// The bucket and the key of a SOURCE.
pub(crate) fn of_source(source: &str) -> Option<(String, String)> {
    let object = ObjectLocation::parse(&Location::parse(source).ok()?).ok()?;
    Some((object.bucket, object.key))
}

/// Whether a key is one that an app may have, under this or an earlier APP_PREFIX.
pub(crate) fn belongs_to(key: &str, app: AppId) -> bool {
    key.rsplit('/').next().is_some_and(|last| last.ends_with(&format!("-{app}")))
}

/// Whether a URL can hold a key: those that clean up paths would ask for another one.
pub(crate) fn can_be_asked_for(key: &str) -> bool {
    !key.is_empty()
        && !key.contains(char::is_control)
        && key.split('/').all(|segment| !matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_an_import_makes_are_ours() {
        let keys = Keys::new(None);
        assert_eq!(keys.of(AppId(30)), "marketapp-30");
        assert_eq!(keys.app("marketapp-30"), Some(AppId(30)));
        assert_eq!(Keys::new(Some("a/b c")).app("a/b c-7"), Some(AppId(7)));
        for foreign in [
            "marketapp-",
            "marketapp-x",
            "marketapp-30.bak",
            "marketapp-30/1",
            "marketapp-+1",
            "marketapp-007",
            "x-30",
        ] {
            assert_eq!(keys.app(foreign), None, "{foreign}");
        }
        // A marketplace whose prefix begins like another's.
        assert_eq!(keys.app("marketapp-2-30"), None);
    }

    #[test]
    fn a_source_belongs_to_an_app_by_the_end_of_its_last_part() {
        assert_eq!(of_source("s3://b/old/prefix-7"), Some(("b".into(), "old/prefix-7".into())));
        for foreign in ["http://b/k-7", "s3://b", "/k-7", "", "s3://b/"] {
            assert_eq!(of_source(foreign), None, "{foreign}");
        }
        assert!(belongs_to("old/prefix-7", AppId(7)));
        for other in ["old-7/x", "prefix-17", "prefix-7/", "7", "prefix-70"] {
            assert!(!belongs_to(other, AppId(7)), "{other}");
        }
    }
}
