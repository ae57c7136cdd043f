//! Where the apps of an S3 marketplace are.

use crate::error::Error;
use crate::model::{MiB, Secret};
use market_transfer::ErrorKind as FailureKind;
use market_transfer::s3::{Access, Bucket, Reason, S3Error};
use serde::Deserialize;

/// What the template of an S3 marketplace says (docs/s3.md). The driver reads all of it; who
/// fetches an app needs the service and the keys, by the same rules.
///
/// ```
/// use market_core::attributes::S3Attributes;
/// use market_core::template::{Template, serde::from_template};
///
/// let template = Template::parse(b"ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nBUCKET=apps\nREGION=default\nAWS=no\nENDPOINT=http://s3.local")?;
/// let attributes: S3Attributes = from_template(&template)?;
/// assert_eq!(attributes.access()?.bucket_url("apps")?, "http://s3.local/apps");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct S3Attributes {
    /// Which keys.
    pub access_key_id: Secret,
    /// The secret one.
    pub secret_access_key: Secret,
    /// What temporary keys are sent with.
    pub session_token: Option<Secret>,
    /// The bucket that holds the apps.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The URL of the service; AWS when it is not set.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of URLs, not in front of the host.
    pub force_path_style: Option<bool>,
    /// Whether the service is AWS. `no` asks for path style, as the stock download side does.
    pub aws: Option<bool>,
    /// `s3`, `v2` or `v4`; version 4 is used.
    pub signature_version: Option<String>,
    /// The quota that `monitor` reports, in MiB.
    pub total_mb: Option<u64>,
    /// The size of a part, in MiB.
    pub read_length: Option<u64>,
    /// The same, as the stock driver looks for it by mistake.
    pub readx_length: Option<u64>,
    /// The most parts that the service allows of an upload.
    pub max_parts: Option<u64>,
    /// The storage class of new objects, as the service names it.
    pub storage_class: Option<String>,
    /// How the service is to encrypt new objects: `AES256` or `aws:kms`.
    pub server_side_encryption: Option<String>,
    /// With which key.
    pub sse_kms_key_id: Option<String>,
    /// What the keys of apps begin with.
    pub app_prefix: Option<String>,
}

impl S3Attributes {
    /// The quota without `TOTAL_MB`: 1 TiB.
    pub const TOTAL: MiB = MiB(1 << 20);

    /// The service and the keys.
    ///
    /// # Errors
    /// Names the attribute that cannot be used.
    pub fn access(&self) -> Result<Access, Error> {
        let endpoint = self.endpoint.clone().filter(|endpoint| !endpoint.trim().is_empty());
        if endpoint.is_none() && self.aws == Some(false) {
            return Err(Error::config(
                "ENDPOINT",
                "is missing, and AWS says that the service is not AWS",
            ));
        }
        let token = self.session_token.as_ref().map(|token| token.expose().trim().to_owned());
        let access = Access {
            endpoint,
            region: self.region.trim().to_owned(),
            path_style: self.force_path_style == Some(true) || self.aws == Some(false),
            access_key_id: self.access_key_id.expose().trim().to_owned(),
            secret_access_key: self.secret_access_key.expose().trim().to_owned(),
            // An attribute without a value is one that is not set.
            session_token: token.filter(|token| !token.is_empty()),
        };
        access.bucket_url(self.bucket.trim()).map_err(|error| {
            let subject = match error.subject.as_str() {
                "the endpoint" => "attribute ENDPOINT",
                "the region" => "attribute REGION",
                "the access key id" => "attribute ACCESS_KEY_ID",
                "the secret access key" => "attribute SECRET_ACCESS_KEY",
                "the session token" => "attribute SESSION_TOKEN",
                _ => "attribute BUCKET",
            };
            Error::from(error).with_subject(subject)
        })?;
        Ok(access)
    }
}

const WITHOUT_BUCKET: &str = "check ENDPOINT: it is the service's URL, without the bucket";

/// What the operator of a marketplace can do about a request that failed.
pub fn remedy(failure: &S3Error, bucket: &Bucket) -> Option<String> {
    let access = bucket.access();
    let hosts = access.is_virtual_host(bucket.name());
    // Without an endpoint the region alone says where the service is.
    let regional = access.endpoint.is_none();
    let text = match &failure.reason {
        Reason::UnknownKey if regional => {
            "check ACCESS_KEY_ID, and whether REGION is one that it belongs to"
        }
        Reason::UnknownKey => {
            "check ACCESS_KEY_ID, and whether ENDPOINT is the service that it belongs to"
        }
        Reason::Signature => "check SECRET_ACCESS_KEY and REGION",
        Reason::Expired => "renew ACCESS_KEY_ID, SECRET_ACCESS_KEY and SESSION_TOKEN",
        Reason::Skewed => "set the clock of this machine",
        Reason::Region(Some(region)) if access.endpoint.is_some() && access.region == *region => {
            return Some("set ENDPOINT to the one of that region".to_owned());
        }
        Reason::Region(Some(region)) if access.endpoint.is_some() => {
            return Some(format!(
                "set REGION=\"{region}\", and ENDPOINT if that region has another one"
            ));
        }
        Reason::Region(Some(region)) => return Some(format!("set REGION=\"{region}\"")),
        Reason::Region(None) if regional => "correct REGION",
        Reason::Region(None) => "correct REGION or ENDPOINT",
        Reason::OtherHost | Reason::NoConnection if hosts && access.names_bucket(bucket.name()) => {
            WITHOUT_BUCKET
        }
        Reason::NoBucket if access.names_bucket(bucket.name()) => WITHOUT_BUCKET,
        Reason::NoVirtualHosts if hosts => "set FORCE_PATH_STYLE=\"YES\"",
        Reason::OtherHost if hosts => {
            "set FORCE_PATH_STYLE=\"YES\" if the certificate is for ENDPOINT's host, or use a host that it is for"
        }
        Reason::OtherHost if regional => "check REGION, and what answers in the place of AWS",
        Reason::OtherHost => "use a host name in ENDPOINT that the certificate is for",
        Reason::NoConnection if hosts => {
            "try again once it answers, or check ENDPOINT; set FORCE_PATH_STYLE=\"YES\" where buckets have no hosts"
        }
        Reason::Forbidden if hosts => {
            "check what these keys may do with the bucket, and its limits; set FORCE_PATH_STYLE=\"YES\" where buckets have no hosts"
        }
        Reason::Forbidden => "check what these keys may do with the bucket, and its limits",
        Reason::NoBucket if regional => {
            "check BUCKET and REGION; importing an app makes the bucket"
        }
        Reason::NoBucket => "check BUCKET and ENDPOINT; importing an app makes the bucket",
        Reason::BucketInEndpoint | Reason::NoVirtualHosts | Reason::OtherBucket => WITHOUT_BUCKET,
        Reason::Expiry => "renew that certificate, or set the clock of this machine",
        // The error itself says what can be done.
        Reason::UnknownIssuer => return None,
        _ => match failure.kind {
            FailureKind::Changed => "try again",
            FailureKind::Full => "free some space, or have the limit raised",
            FailureKind::Unreachable if regional => "check REGION, or try again once it answers",
            FailureKind::Unreachable => "try again once it answers, or check ENDPOINT",
            _ => return None,
        },
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Template, serde::from_template};

    fn access(more: &str) -> Result<Access, Error> {
        let text = format!(
            "ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nBUCKET=apps\nREGION=here\n{more}"
        );
        from_template::<S3Attributes>(&Template::parse(text.as_bytes()).unwrap()).unwrap().access()
    }

    #[test]
    fn where_no_endpoint_is_given_the_region_is_to_be_checked() {
        for (more, expected) in [("", "REGION"), ("ENDPOINT=\"http://s3.local\"", "ENDPOINT")] {
            let bucket =
                Bucket::open(&access(more).unwrap(), "apps", &market_transfer::Options::default())
                    .unwrap();
            for reason in
                [Reason::NoConnection, Reason::NoBucket, Reason::Region(None), Reason::UnknownKey]
            {
                let mut failure = S3Error::garbled("");
                failure.reason = reason;
                let text = remedy(&failure, &bucket).unwrap();
                assert!(text.contains(expected), "{failure:?}: {text}");
                assert!(!more.is_empty() || !text.contains("ENDPOINT"), "{failure:?}: {text}");
            }
        }
    }

    #[test]
    fn both_directions_go_to_the_endpoint_and_ask_for_path_style_by_one_rule() {
        for (more, url) in [
            ("", "https://apps.s3.here.amazonaws.com"),
            ("FORCE_PATH_STYLE=YES", "https://s3.here.amazonaws.com/apps"),
            ("ENDPOINT=\"http://s3.local/\"", "http://apps.s3.local"),
            ("ENDPOINT=\"http://s3.local/\"\nAWS=No", "http://s3.local/apps"),
            ("ENDPOINT=\"http://s3.local\"\nFORCE_PATH_STYLE=\"yes\"", "http://s3.local/apps"),
            (
                "ENDPOINT=\"http://s3.local\"\nFORCE_PATH_STYLE=\"no\"\nAWS=no",
                "http://s3.local/apps",
            ),
            ("ENDPOINT=\"\"\nAWS=yes", "https://apps.s3.here.amazonaws.com"),
        ] {
            assert_eq!(access(more).unwrap().bucket_url("apps").unwrap(), url, "{more}");
        }
        for (more, token) in [
            ("", None),
            ("SESSION_TOKEN=\" \"", None),
            ("SESSION_TOKEN=\" to/ken== \"", Some("to/ken==")),
        ] {
            assert_eq!(access(more).unwrap().session_token.as_deref(), token);
        }
        for (more, attribute) in [
            ("AWS=no", "ENDPOINT"),
            ("ENDPOINT=s3.local", "ENDPOINT"),
            ("BUCKET=\"a/b\"", "BUCKET"),
            ("SESSION_TOKEN=\"a b\"", "SESSION_TOKEN"),
        ] {
            // The first of two attributes of one name would be an error of its own: this one
            // replaces it.
            let text = format!("ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nREGION=here\n{more}");
            let text =
                if more.starts_with("BUCKET") { text } else { format!("{text}\nBUCKET=apps") };
            let attributes: S3Attributes =
                from_template(&Template::parse(text.as_bytes()).unwrap()).unwrap();
            let error = attributes.access().unwrap_err();
            assert_eq!(error.subject, format!("attribute {attribute}"));
        }
    }
}
