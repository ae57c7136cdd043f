//! Where an S3 service is, and with which keys it is asked.

use crate::{Error, ErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;
use url::{Host, Url};

/// What S3 leaves as it is in paths and queries; everything else is encoded.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An S3 service and the keys for it.
///
/// ```
/// use market_transfer::s3::Access;
///
/// let access = Access {
///     endpoint: Some("https://s3.example.com/".into()),
///     region: "default".into(),
///     path_style: true,
///     access_key_id: "id".into(),
///     secret_access_key: "hunter2".into(),
/// };
/// assert_eq!(access.bucket_url("apps")?, "https://s3.example.com/apps");
/// assert!(!format!("{access:?}").contains("hunter2"));
/// # Ok::<(), market_transfer::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The `http://` or `https://` URL of the service; `None` is AWS in the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket stands in the path of a URL instead of in front of its host. It always does where it cannot be
    /// part of a host name: on an IP address, and when it is no name of the DNS, or a dotted one over https.
    pub path_style: bool,
    /// Which keys.
    pub access_key_id: String,
    /// The secret one.
    pub secret_access_key: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, region, path_style, .. } = self;
        let endpoint = endpoint.as_deref().map(crate::shown);
        write!(f, "Access {{ endpoint: {endpoint:?}, region: {region:?}, path_style: {path_style}, .. }}")
    }
}

impl Access {
    /// The URL of a bucket, without a slash at its end.
    ///
    /// # Errors
    /// When the endpoint is no URL of a service, or a name cannot be used.
    pub fn bucket_url(&self, bucket: &str) -> Result<String, Error> {
        self.check()?;
        let mut url = self.service()?;
        if !is_bucket_name(bucket) {
            return Err(malformed(format!("bucket {}", crate::shown(bucket)), "is not the name of a bucket"));
        }
        let dotted = bucket.contains('.') && url.scheme() == "https";
        let named = matches!(url.host(), Some(Host::Domain(_)));
        if self.path_style || !named || dotted || !is_dns_name(bucket) {
            let path = format!("{}/{}", url.path().trim_end_matches('/'), encode(bucket));
            url.set_path(&path);
        } else {
            let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|_| malformed(host.as_str(), "is no host name"))?;
        }
        // What one of the two parsers takes for a host is none for the other.
        let text = url.as_str().trim_end_matches('/').to_owned();
        if text.parse::<http::Uri>().is_err() {
            return Err(malformed("the endpoint", "is no http:// or https:// URL"));
        }
        Ok(text)
    }

    /// Whether it is AWS itself.
    pub fn is_aws(&self) -> bool {
        self.service().is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default();
            host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
        })
    }

    /// What can be signed with these texts.
    fn check(&self) -> Result<(), Error> {
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !printable(&self.region) || self.region.contains(['/', ',']) {
            return Err(malformed("the region", "is empty, or holds what no request can be signed with"));
        }
        if !printable(&self.access_key_id) || self.access_key_id.contains(['/', ',']) {
            return Err(malformed("the access key id", "is empty, or holds what no request can be signed with"));
        }
        if self.secret_access_key.is_empty() {
            return Err(malformed("the secret access key", "is empty"));
        }
        Ok(())
    }

    fn service(&self) -> Result<Url, Error> {
        let Some(text) = self.endpoint.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
            let plain = self.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !plain || self.region.is_empty() {
                return Err(malformed("the region", "is none of AWS, and no endpoint is given"));
            }
            let zone = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            let url = Url::parse(&format!("https://s3.{}.{zone}", self.region));
            return url.map_err(|_| malformed("the region", "makes no host name"));
        };
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| malformed("the endpoint", "is no http:// or https:// URL"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(malformed("the endpoint", "has a query or a fragment"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed("the endpoint", "holds a user or a password: keys have attributes of their own"));
        }
        Ok(url)
    }
}

/// A text as a part of a URL's path or query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// A key as a URL's path.
pub(super) fn encode_key(key: &str) -> String {
    key.split('/').map(encode).collect::<Vec<_>>().join("/")
}

fn malformed(subject: impl Into<String>, cause: &str) -> Error {
    Error::new(ErrorKind::Malformed, subject, cause)
}

/// Names that services other than AWS allow too: capitals, underscores, and the colon of a Ceph tenant.
fn is_bucket_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(valid) && !matches!(name, "." | "..")
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    (3..=63).contains(&name.len()) && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(endpoint: &str, region: &str, path_style: bool) -> Access {
        let endpoint = Some(endpoint.to_owned()).filter(|endpoint| !endpoint.is_empty());
        let (access_key_id, secret_access_key) = ("id".into(), "hunter2".into());
        Access { endpoint, region: region.into(), path_style, access_key_id, secret_access_key }
    }

    #[test]
    fn a_bucket_stands_in_front_of_the_host_or_in_the_path() {
        for (endpoint, path_style, bucket, url) in [
            ("", false, "apps", "https://apps.s3.eu-west-1.amazonaws.com"),
            ("", true, "apps", "https://s3.eu-west-1.amazonaws.com/apps"),
            ("", false, "my.apps", "https://s3.eu-west-1.amazonaws.com/my.apps"),
            ("http://s3.local:8080", false, "apps", "http://apps.s3.local:8080"),
            ("http://s3.local:8080/", true, "apps", "http://s3.local:8080/apps"),
            ("http://s3.local/gate/", false, "apps", "http://apps.s3.local/gate"),
            ("http://s3.local/gate/", true, "apps", "http://s3.local/gate/apps"),
            (" https://s3.local ", true, "apps", "https://s3.local/apps"),
            ("http://s3.local", false, "my.apps", "http://my.apps.s3.local"),
            ("http://s3.local", false, "My_Apps", "http://s3.local/My_Apps"),
            ("http://127.0.0.1:9000", false, "apps", "http://127.0.0.1:9000/apps"),
            ("http://[::1]:9000/", false, "apps", "http://[::1]:9000/apps"),
            ("http://s3.local", true, "tenant:apps", "http://s3.local/tenant%3Aapps"),
        ] {
            assert_eq!(access(endpoint, "eu-west-1", path_style).bucket_url(bucket).unwrap(), url);
        }
        assert!(access("", "eu-west-1", false).is_aws());
        assert!(access("https://s3.eu-west-1.amazonaws.com/", "x", false).is_aws());
        assert!(!access("https://amazonaws.com.example", "x", false).is_aws());
    }

    #[test]
    fn what_names_no_bucket_of_a_service_is_refused() {
        for (endpoint, region, bucket) in [
            ("s3.local", "x", "apps"),
            ("ftp://s3.local", "x", "apps"),
            ("http://", "x", "apps"),
            ("http://{host}:9000", "x", "apps"),
            ("http://s3.local/?a", "x", "apps"),
            ("http://me:hunter2@s3.local", "x", "apps"),
            ("", "", "apps"),
            ("", "evil.example/", "apps"),
            ("http://s3.local", "x", ""),
            ("http://s3.local", "x", ".."),
            ("http://s3.local", "x", "a/b"),
            ("http://s3.local", "x", "a?b"),
            ("http://s3.local", "x", "a@b"),
        ] {
            let error = access(endpoint, region, false).bucket_url(bucket).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed, "{endpoint:?} {bucket:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for region in ["", "a/b", "ä", "a\nb"] {
            assert!(access("http://s3.local", region, false).bucket_url("apps").is_err(), "{region:?}");
        }
        access("http://s3.local", "any where", false).bucket_url("apps").unwrap();
    }
}
