//! Where an S3 service is, and with which keys it is asked.

use crate::{Error, ErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;
use url::{Host, Url};

/// What S3 leaves as it is in paths and queries; everything else is encoded.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The domains of AWS, by what the names of their regions begin with; all other regions are in the
/// last one.
const ZONES: [(&str, &str); 3] =
    [("cn-", "amazonaws.com.cn"), ("eusc-", "amazonaws.eu"), ("", "amazonaws.com")];

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
///     session_token: None,
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
    /// Whether the bucket stands in the path of a URL instead of in front of its host. It always
    /// does where it cannot be part of a host name: on an IP address, and when it is no name of the
    /// DNS, or a dotted one over https.
    pub path_style: bool,
    /// Which keys.
    pub access_key_id: String,
    /// The secret one.
    pub secret_access_key: String,
    /// What temporary keys are sent with.
    pub session_token: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, region, path_style, .. } = self;
        let endpoint = endpoint.as_deref().map(crate::redacted);
        write!(
            f,
            "Access {{ endpoint: {endpoint:?}, region: {region:?}, path_style: {path_style}, .. }}"
        )
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
            return Err(malformed(
                format!("bucket {}", crate::redacted(bucket)),
                "is not the name of a bucket",
            ));
        }
        if self.stands_in_path(&url, bucket) {
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

    /// Whether a bucket stands in front of the host of an endpoint that was given: not every
    /// service serves such hosts.
    pub fn is_virtual_host(&self, bucket: &str) -> bool {
        !self.is_aws() && self.service().is_ok_and(|url| !self.stands_in_path(&url, bucket))
    }

    /// Whether the endpoint that was given names the bucket already: in front of its host, where
    /// the bucket will stand a second time, or at the end of its path.
    pub fn names_bucket(&self, bucket: &str) -> bool {
        self.endpoint.is_some()
            && self.service().is_ok_and(|url| {
                let host = url.host_str().and_then(|host| host.strip_prefix(bucket));
                let in_host = host.is_some_and(|rest| rest.starts_with('.'));
                in_host && !self.stands_in_path(&url, bucket)
                    || url.path().trim_end_matches('/').rsplit('/').next()
                        == Some(encode(bucket).as_str())
            })
    }

    fn stands_in_path(&self, service: &Url, bucket: &str) -> bool {
        let dotted = bucket.contains('.') && service.scheme() == "https";
        let named = matches!(service.host(), Some(Host::Domain(_)));
        self.path_style || !named || dotted || !is_dns_name(bucket)
    }

    /// Whether it is AWS itself.
    pub fn is_aws(&self) -> bool {
        self.service().is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default();
            ZONES
                .iter()
                .any(|(_, zone)| host.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.')))
        })
    }

    /// What can be signed with these texts.
    fn check(&self) -> Result<(), Error> {
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if self.region.contains(' ') {
            return Err(malformed("the region", "holds a blank: it is one word"));
        }
        if !printable(&self.region) || self.region.contains(['/', ',']) {
            return Err(malformed(
                "the region",
                "is empty, or holds what no request can be signed with",
            ));
        }
        if !printable(&self.access_key_id) || self.access_key_id.contains(['/', ',']) {
            return Err(malformed(
                "the access key id",
                "is empty, or holds what no request can be signed with",
            ));
        }
        if self.secret_access_key.is_empty() {
            return Err(malformed("the secret access key", "is empty"));
        }
        if self.session_token.as_deref().is_some_and(|token| !printable(token)) {
            return Err(malformed(
                "the session token",
                "is empty, or holds what no request can be signed with",
            ));
        }
        Ok(())
    }

    fn service(&self) -> Result<Url, Error> {
        let Some(text) = self.endpoint.as_deref().map(str::trim).filter(|text| !text.is_empty())
        else {
            let plain = self.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !plain || self.region.is_empty() {
                return Err(malformed("the region", "is none of AWS, and no endpoint is given"));
            }
            let zone = ZONES
                .iter()
                .find(|(prefix, _)| self.region.starts_with(prefix))
                .map_or("", |(_, zone)| zone);
            let url = Url::parse(&format!("https://s3.{}.{zone}", self.region));
            return url.map_err(|_| malformed("the region", "makes no host name"));
        };
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| malformed("the endpoint", "is no http:// or https:// URL"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(malformed("the endpoint", "has a query or a fragment"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed(
                "the endpoint",
                "holds a user or a password: keys have attributes of their own",
            ));
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

/// Names that services other than AWS allow too: capitals, underscores, and the colon of a Ceph
/// tenant.
fn is_bucket_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    (1..=255).contains(&name.len()) && name.bytes().all(valid) && !matches!(name, "." | "..")
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (3..=63).contains(&name.len()) && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(endpoint: &str, region: &str, path_style: bool) -> Access {
        let endpoint = Some(endpoint.to_owned()).filter(|endpoint| !endpoint.is_empty());
        let (access_key_id, secret_access_key) = ("id".into(), "hunter2".into());
        Access {
            endpoint,
            region: region.into(),
            path_style,
            access_key_id,
            secret_access_key,
            session_token: None,
        }
    }

    #[test]
    fn a_bucket_stands_in_front_of_the_host_or_in_the_path() {
        for (endpoint, path_style, bucket, url) in [
            ("", false, "apps", "https://apps.s3.eu-west-1.amazonaws.com"),
            ("", true, "apps", "https://s3.eu-west-1.amazonaws.com/apps"),
            ("", false, "my.apps", "https://s3.eu-west-1.amazonaws.com/my.apps"),
            ("http://s3.local:8080", false, "apps", "http://apps.s3.local:8080"),
            ("http://s3.local:8080/", true, "apps", "http://s3.local:8080/apps"),
            ("http://s3.local/transport/", false, "apps", "http://apps.s3.local/transport"),
            ("http://s3.local/transport/", true, "apps", "http://s3.local/transport/apps"),
            (" https://s3.local ", true, "apps", "https://s3.local/apps"),
            ("http://s3.local", false, "my.apps", "http://my.apps.s3.local"),
            ("http://s3.local", false, "My_Apps", "http://s3.local/My_Apps"),
            ("http://127.0.0.1:9000", false, "apps", "http://127.0.0.1:9000/apps"),
            ("http://[::1]:9000/", false, "apps", "http://[::1]:9000/apps"),
            ("http://s3.local", true, "tenant:apps", "http://s3.local/tenant%3Aapps"),
        ] {
            assert_eq!(access(endpoint, "eu-west-1", path_style).bucket_url(bucket).unwrap(), url);
        }
        for (region, host) in [
            ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "s3.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(
                access("", region, true).bucket_url("apps").unwrap(),
                format!("https://{host}/apps")
            );
            assert!(
                access("", region, true).is_aws()
                    && access(&format!("https://{host}"), "x", true).is_aws()
            );
        }
        assert!(!access("https://s3.evilamazonaws.eu", "x", false).is_aws());
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
        for region in ["", "a/b", "ä", "a\nb", "eu west", "a\u{a0}b"] {
            assert!(
                access("http://s3.local", region, false).bucket_url("apps").is_err(),
                "{region:?}"
            );
        }
        for token in ["", "a b", "a\nb", "\u{e9}"] {
            let access = Access {
                session_token: Some(token.into()),
                ..access("http://s3.local", "x", false)
            };
            assert_eq!(access.bucket_url("apps").unwrap_err().subject, "the session token");
        }
    }

    #[test]
    fn an_endpoint_that_names_the_bucket_and_a_host_that_must_be_served_are_known() {
        for (endpoint, path_style, named, host) in [
            ("http://s3.local", false, false, true),
            ("http://s3.local/apps/", false, true, true),
            ("http://s3.local/apps/", true, true, false),
            ("http://s3.local/transport", false, false, true),
            ("http://apps.s3.local", false, true, true),
            // A host of that name may be the service's.
            ("http://apps.s3.local", true, false, false),
            ("http://127.0.0.1/apps", false, true, false),
            ("", false, false, false),
        ] {
            let access = access(endpoint, "eu-west-1", path_style);
            assert_eq!(
                (access.names_bucket("apps"), access.is_virtual_host("apps")),
                (named, host),
                "{endpoint}"
            );
        }
    }
}
