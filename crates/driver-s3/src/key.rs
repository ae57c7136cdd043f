//! The keys of apps, and what a SOURCE names.

use market_core::model::{AppId, SourceUrl};
use market_s3::ObjectUrl;
use std::fmt;

/// What keys begin with when APP_PREFIX says nothing.
const DEFAULT_APP_PREFIX: &str = "marketapp";

/// The keys of one marketplace: `<APP_PREFIX>-<app id>`, as the stock driver makes them.
#[derive(Clone, Debug)]
pub(crate) struct AppKeys {
    prefix: String,
}

impl AppKeys {
    pub(crate) fn new(app_prefix: Option<&str>) -> Self {
        Self { prefix: format!("{}-", app_prefix.unwrap_or(DEFAULT_APP_PREFIX)) }
    }

    /// What all of them begin with; keys of others may begin so too.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of an app.
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

/// An object of a marketplace, or a multipart upload in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S3Key {
    object: ObjectUrl,
    upload: Option<String>,
}

impl S3Key {
    /// An object that is, or would be, in a bucket.
    pub(crate) fn object(object: ObjectUrl) -> Self {
        Self { object, upload: None }
    }

    /// A multipart upload of an object.
    pub(crate) fn upload(object: ObjectUrl, id: String) -> Self {
        Self { object, upload: Some(id) }
    }

    /// The name of the bucket.
    pub fn bucket(&self) -> &str {
        self.object.bucket()
    }

    /// The key of the object.
    pub fn key(&self) -> &str {
        self.object.key()
    }

    /// The id of the multipart upload; `None` for an object.
    pub fn upload_id(&self) -> Option<&str> {
        self.upload.as_deref()
    }
}

impl fmt::Display for S3Key {
    /// The key of the object, with the id of an upload: one key may have several.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upload {
            None => f.write_str(self.key()),
            Some(id) => write!(f, "{}?uploadId={id}", self.key()),
        }
    }
}

/// The SOURCE of an object.
pub(crate) fn source_of(object: &ObjectUrl) -> SourceUrl {
    SourceUrl::new(object.to_string())
}

/// Whether a key is one that an app may have, under this or an earlier APP_PREFIX.
pub(crate) fn belongs_to(key: &str, app: AppId) -> bool {
    key.rsplit('/').next().is_some_and(|last| last.ends_with(&format!("-{app}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_an_import_makes_are_of_the_marketplace() {
        let keys = AppKeys::new(None);
        assert_eq!(keys.of(AppId(30)), "marketapp-30");
        assert_eq!(keys.app("marketapp-30"), Some(AppId(30)));
        assert_eq!(AppKeys::new(Some("a/b c")).app("a/b c-7"), Some(AppId(7)));
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
    fn a_key_belongs_to_an_app_by_the_end_of_its_last_segment() {
        assert!(belongs_to("old/prefix-7", AppId(7)));
        for other in ["old-7/x", "prefix-17", "prefix-7/", "7", "prefix-70"] {
            assert!(!belongs_to(other, AppId(7)), "{other}");
        }
    }

    #[test]
    fn uploads_of_one_key_are_told_apart() {
        let url = ObjectUrl::new("apps", "marketapp-7");
        let (one, other) = (S3Key::upload(url.clone(), "1".into()), S3Key::object(url));
        assert_ne!(one, other);
        assert_eq!(
            (one.to_string(), other.to_string()),
            ("marketapp-7?uploadId=1".into(), "marketapp-7".into())
        );
    }
}
