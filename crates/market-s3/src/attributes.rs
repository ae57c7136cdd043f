//! The template of an S3 marketplace.

use crate::access::Access;
use market_core::error::Error;
use market_core::model::{MiB, Secret};
use serde::Deserialize;

/// What the template of an S3 marketplace says (docs/s3.md). The driver reads all of it; who
/// fetches an app needs the service and the credentials, by the same rules.
///
/// ```
/// use market_core::template::{Template, serde::from_template};
/// use market_s3::S3Attributes;
///
/// let template = Template::parse(b"ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nBUCKET=apps\nREGION=default\nAWS=no\nENDPOINT=http://s3.local")?;
/// let attributes: S3Attributes = from_template(&template)?;
/// assert_eq!(attributes.access()?.bucket_url("apps")?, "http://s3.local/apps");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct S3Attributes {
    /// `ACCESS_KEY_ID`: the id of the access key.
    pub access_key_id: Secret,
    /// `SECRET_ACCESS_KEY`: the secret access key that belongs to it.
    pub secret_access_key: Secret,
    /// `SESSION_TOKEN`: the token that temporary credentials are sent with.
    pub session_token: Option<Secret>,
    /// `BUCKET`: the bucket that holds the apps.
    pub bucket: String,
    /// `REGION`: the region that requests are signed for.
    pub region: String,
    /// `ENDPOINT`: the URL of the service, without the bucket; AWS when it is not set.
    pub endpoint: Option<String>,
    /// `FORCE_PATH_STYLE`: whether the bucket stands in the path of URLs, not in front of the host.
    /// `false` by default.
    pub force_path_style: Option<bool>,
    /// `AWS`: whether the service is AWS, `true` by default. `no` asks for path style, as the stock
    /// download side does.
    pub aws: Option<bool>,
    /// `SIGNATURE_VERSION`: `s3`, `v2` or `v4`; requests are signed in version 4 whatever it says.
    pub signature_version: Option<String>,
    /// `TOTAL_MB`: the quota that `monitor` reports, in MiB; [`DEFAULT_TOTAL`](Self::DEFAULT_TOTAL)
    /// when it is not set.
    pub total_mb: Option<u64>,
    /// `READ_LENGTH`: the size of a part of a multipart upload, in MiB; by the length of the image
    /// when it is not set.
    pub read_length: Option<u64>,
    /// `READX_LENGTH`: the same, as the stock driver looks for it by mistake.
    pub readx_length: Option<u64>,
    /// `MAX_PARTS`: the most parts that the service allows of an upload, 1 to 10,000; found out
    /// when it is not set.
    pub max_parts: Option<u64>,
    /// `STORAGE_CLASS`: the storage class of new objects, as the service names it.
    pub storage_class: Option<String>,
    /// `SERVER_SIDE_ENCRYPTION`: how the service is to encrypt new objects, `AES256` or `aws:kms`.
    pub server_side_encryption: Option<String>,
    /// `SSE_KMS_KEY_ID`: the key of AWS KMS that they are encrypted with.
    pub sse_kms_key_id: Option<String>,
    /// `APP_PREFIX`: what the keys of apps begin with; `marketapp` when it is not set.
    pub app_prefix: Option<String>,
}

impl S3Attributes {
    /// The quota without `TOTAL_MB`: 1 TiB.
    pub const DEFAULT_TOTAL: MiB = MiB(1 << 20);

    /// The service and the credentials for it. Everything that a request needs is checked.
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
        let trimmed = |secret: &Secret| secret.expose().trim().to_owned();
        let access = Access {
            endpoint,
            path_style: self.force_path_style == Some(true) || self.aws == Some(false),
            // An attribute without a value is one that is not set.
            session_token: self
                .session_token
                .as_ref()
                .map(trimmed)
                .filter(|token| !token.is_empty())
                .map(Secret::new),
            ..Access::new(
                self.region.trim(),
                trimmed(&self.access_key_id),
                Secret::new(trimmed(&self.secret_access_key)),
            )
        };
        access
            .bucket_url(self.bucket.trim())
            .map_err(|error| Error::config(error.setting().attribute(), error.problem()))?;
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market_core::template::{Template, serde::from_template};

    fn access(more: &str) -> Result<Access, Error> {
        let text = format!(
            "ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nBUCKET=apps\nREGION=here\n{more}"
        );
        from_template::<S3Attributes>(&Template::parse(text.as_bytes()).unwrap()).unwrap().access()
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
            assert_eq!(access(more).unwrap().session_token.as_ref().map(Secret::expose), token);
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
