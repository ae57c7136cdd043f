//! Where an S3 service is, and with which keys it is asked.

use market_core::model::Secret;
use market_transfer::{Error, ErrorKind, redacted};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;
use url::{Host, Url};

/// What a URL of S3 holds as it is, in paths and queries: the unreserved characters of RFC 3986.
/// Signatures are computed over this spelling.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The domains of AWS, by what the names of their regions begin with; all other regions are in the
/// last one.
const AWS_DOMAINS: [(&str, &str); 3] =
    [("cn-", "amazonaws.com.cn"), ("eusc-", "amazonaws.eu"), ("", "amazonaws.com")];

/// An S3 service and the credentials for it.
///
/// ```
/// use market_core::model::Secret;
/// use market_s3::Access;
///
/// let access = Access::new("default", "id", Secret::new("hunter2"))
///     .with_endpoint("https://s3.example.com/")
///     .with_path_style(true);
/// assert_eq!(access.bucket_url("apps")?, "https://s3.example.com/apps");
/// assert!(!format!("{access:?}").contains("hunter2"));
/// # Ok::<(), market_s3::AccessError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// The `http://` or `https://` URL of the service, perhaps with a path; `None` is AWS in the
    /// region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for; any word where the service does not care.
    pub region: String,
    /// Whether the bucket stands in the path of a URL instead of in front of its host
    /// (docs/s3.md). It always does where it cannot be part of a host name: on an IP address, and
    /// when it is not a name of the DNS, or a dotted one over https. `false` by default.
    pub path_style: bool,
    /// The id of the access key; AWS calls it `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// The secret access key: it signs requests and is never sent.
    pub secret_access_key: Secret,
    /// The token that temporary credentials are sent with (`x-amz-security-token`); `None` for
    /// lasting ones.
    pub session_token: Option<Secret>,
}

/// A setting of an [`Access`], or the bucket that it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// [`Access::endpoint`].
    Endpoint,
    /// [`Access::region`].
    Region,
    /// [`Access::access_key_id`].
    AccessKeyId,
    /// [`Access::secret_access_key`].
    SecretAccessKey,
    /// [`Access::session_token`].
    SessionToken,
    /// The name of the bucket.
    Bucket,
}

impl Setting {
    /// The attribute of a marketplace's template that has it (docs/s3.md).
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Endpoint => "ENDPOINT",
            Self::Region => "REGION",
            Self::AccessKeyId => "ACCESS_KEY_ID",
            Self::SecretAccessKey => "SECRET_ACCESS_KEY",
            Self::SessionToken => "SESSION_TOKEN",
            Self::Bucket => "BUCKET",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoint => "the endpoint",
            Self::Region => "the region",
            Self::AccessKeyId => "the access key id",
            Self::SecretAccessKey => "the secret access key",
            Self::SessionToken => "the session token",
            Self::Bucket => "the bucket",
        })
    }
}

/// A setting that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct AccessError {
    setting: Setting,
    problem: &'static str,
}

impl AccessError {
    /// Which one.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// What is wrong with it, as the rest of a sentence about it: "is empty".
    pub fn problem(&self) -> &'static str {
        self.problem
    }
}

impl From<AccessError> for Error {
    fn from(error: AccessError) -> Self {
        Self::new(ErrorKind::Malformed, error.setting.to_string(), error.problem)
    }
}

const NOT_SIGNABLE: &str = "is empty, or holds what no request can be signed with";
const NO_URL: &str = "is no http:// or https:// URL";

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("endpoint", &self.endpoint.as_deref().map(redacted))
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// AWS in a region, with an access key; nothing is checked before a bucket is asked for.
    pub fn new(
        region: impl Into<String>,
        access_key_id: impl Into<String>,
        secret_access_key: Secret,
    ) -> Self {
        Self {
            endpoint: None,
            region: region.into(),
            path_style: false,
            access_key_id: access_key_id.into(),
            secret_access_key,
            session_token: None,
        }
    }

    /// The service at this URL instead of AWS.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// See [`path_style`](Self::path_style).
    #[must_use]
    pub fn with_path_style(mut self, path_style: bool) -> Self {
        self.path_style = path_style;
        self
    }

    /// See [`session_token`](Self::session_token).
    #[must_use]
    pub fn with_session_token(mut self, session_token: Secret) -> Self {
        self.session_token = Some(session_token);
        self
    }

    /// The URL of a bucket, without a slash at its end.
    ///
    /// # Errors
    /// When a setting, or the name of the bucket, cannot be used.
    pub fn bucket_url(&self, bucket: &str) -> Result<String, AccessError> {
        self.check()?;
        let mut url = self.service()?;
        if !is_bucket_name(bucket) {
            return Err(wrong(Setting::Bucket, "is not the name of a bucket"));
        }
        if self.is_in_path(&url, bucket) {
            let path = format!("{}/{}", url.path().trim_end_matches('/'), encode(bucket));
            url.set_path(&path);
        } else {
            let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|_| wrong(Setting::Bucket, "makes no host name"))?;
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Whether a bucket stands in front of the host of an endpoint that was given: not every
    /// service serves such hosts.
    pub fn is_virtual_host(&self, bucket: &str) -> bool {
        !self.is_aws() && self.service().is_ok_and(|url| !self.is_in_path(&url, bucket))
    }

    /// Whether the endpoint that was given names the bucket already: in front of its host, where
    /// the bucket will stand a second time, or at the end of its path.
    pub fn names_bucket(&self, bucket: &str) -> bool {
        self.endpoint.is_some()
            && self.service().is_ok_and(|url| {
                let host = url.host_str().and_then(|host| host.strip_prefix(bucket));
                let in_host = host.is_some_and(|rest| rest.starts_with('.'));
                in_host && !self.is_in_path(&url, bucket)
                    || url.path().trim_end_matches('/').rsplit('/').next()
                        == Some(encode(bucket).as_str())
            })
    }

    /// Whether the service is AWS.
    pub fn is_aws(&self) -> bool {
        self.service().is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default();
            AWS_DOMAINS.iter().any(|(_, domain)| {
                host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            })
        })
    }

    fn is_in_path(&self, service: &Url, bucket: &str) -> bool {
        let dotted = bucket.contains('.') && service.scheme() == "https";
        let named = matches!(service.host(), Some(Host::Domain(_)));
        self.path_style || !named || dotted || !is_dns_name(bucket)
    }

    /// Whether requests can be signed with these settings.
    fn check(&self) -> Result<(), AccessError> {
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if self.region.contains(' ') {
            return Err(wrong(Setting::Region, "holds a blank: it is one word"));
        }
        if !printable(&self.region) || self.region.contains(['/', ',']) {
            return Err(wrong(Setting::Region, NOT_SIGNABLE));
        }
        if !printable(&self.access_key_id) || self.access_key_id.contains(['/', ',']) {
            return Err(wrong(Setting::AccessKeyId, NOT_SIGNABLE));
        }
        if self.secret_access_key.expose().is_empty() {
            return Err(wrong(Setting::SecretAccessKey, "is empty"));
        }
        if self.session_token.as_ref().is_some_and(|token| !printable(token.expose())) {
            return Err(wrong(Setting::SessionToken, NOT_SIGNABLE));
        }
        Ok(())
    }

    fn service(&self) -> Result<Url, AccessError> {
        match self.endpoint.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            None => self.aws(),
            Some(endpoint) => service_at(endpoint),
        }
    }

    fn aws(&self) -> Result<Url, AccessError> {
        let plain = self.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain || self.region.is_empty() {
            return Err(wrong(Setting::Region, "is none of AWS, and no endpoint is given"));
        }
        let domain = AWS_DOMAINS
            .iter()
            .find(|(prefix, _)| self.region.starts_with(prefix))
            .map_or("", |(_, domain)| domain);
        Url::parse(&format!("https://s3.{}.{domain}", self.region))
            .map_err(|_| wrong(Setting::Region, "makes no host name"))
    }
}

fn service_at(endpoint: &str) -> Result<Url, AccessError> {
    let url = Url::parse(endpoint)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(wrong(Setting::Endpoint, NO_URL))?;
    // The parser of URLs takes hosts that no request can be sent to: "{host}".
    if !has_plain_host(&url) {
        return Err(wrong(Setting::Endpoint, NO_URL));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(Setting::Endpoint, "has a query or a fragment"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "holds a user or a password: keys have attributes of their own";
        return Err(wrong(Setting::Endpoint, problem));
    }
    Ok(url)
}

/// Whether a host is an address, or has only what host names are made of.
fn has_plain_host(url: &Url) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    match url.host() {
        Some(Host::Domain(name)) => name.bytes().all(plain),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    }
}

/// A text as a part of a URL's path or query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A key as a URL's path.
pub(crate) fn encode_key(key: &str) -> String {
    key.split('/').map(encode).collect::<Vec<_>>().join("/")
}

fn wrong(setting: Setting, problem: &'static str) -> AccessError {
    AccessError { setting, problem }
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
        let access = Access::new(region, "id", Secret::new("hunter2")).with_path_style(path_style);
        if endpoint.is_empty() { access } else { access.with_endpoint(endpoint) }
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
            let wrong_bucket = endpoint == "http://s3.local" && region == "x";
            assert_eq!(error.setting() == Setting::Bucket, wrong_bucket, "{endpoint:?} {bucket:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for region in ["", "a/b", "ä", "a\nb", "eu west", "a\u{a0}b"] {
            assert!(
                access("http://s3.local", region, false).bucket_url("apps").is_err(),
                "{region:?}"
            );
        }
        for token in ["", "a b", "a\nb", "\u{e9}"] {
            let access =
                access("http://s3.local", "x", false).with_session_token(Secret::new(token));
            let error = access.bucket_url("apps").unwrap_err();
            assert_eq!(error.setting(), Setting::SessionToken);
            assert_eq!(error.to_string(), format!("the session token {NOT_SIGNABLE}"));
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
