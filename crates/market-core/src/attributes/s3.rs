//! Where the apps of an S3 marketplace are.

use crate::error::Error;
use crate::model::{MiB, Secret};
use market_transfer::s3::Access;
use serde::Deserialize;

/// What the template of an S3 marketplace says (docs/s3.md). The driver reads all of it; who fetches an
/// app needs the service and the keys, by the same rules.
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
            return Err(Error::config("ENDPOINT", "is missing, and AWS says that the service is not AWS"));
        }
        let access = Access {
            endpoint,
            region: self.region.trim().to_owned(),
            path_style: self.force_path_style == Some(true) || self.aws == Some(false),
            access_key_id: self.access_key_id.expose().trim().to_owned(),
            secret_access_key: self.secret_access_key.expose().trim().to_owned(),
        };
        access.bucket_url(self.bucket.trim()).map_err(|error| {
            let subject = match error.subject.as_str() {
                "the endpoint" => "attribute ENDPOINT",
                "the region" => "attribute REGION",
                "the access key id" => "attribute ACCESS_KEY_ID",
                "the secret access key" => "attribute SECRET_ACCESS_KEY",
                _ => "attribute BUCKET",
            };
            Error { subject: subject.to_owned(), ..error.into() }
        })?;
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Template, serde::from_template};

    fn access(more: &str) -> Result<Access, Error> {
        let text = format!("ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nBUCKET=apps\nREGION=here\n{more}");
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
            ("ENDPOINT=\"http://s3.local\"\nFORCE_PATH_STYLE=\"no\"\nAWS=no", "http://s3.local/apps"),
            ("ENDPOINT=\"\"\nAWS=yes", "https://apps.s3.here.amazonaws.com"),
        ] {
            assert_eq!(access(more).unwrap().bucket_url("apps").unwrap(), url, "{more}");
        }
        for (more, attribute) in
            [("AWS=no", "ENDPOINT"), ("ENDPOINT=s3.local", "ENDPOINT"), ("BUCKET=\"a/b\"", "BUCKET")]
        {
            // The first of two attributes of one name would be an error of its own: this one replaces it.
            let text = format!("ACCESS_KEY_ID=id\nSECRET_ACCESS_KEY=hunter2\nREGION=here\n{more}");
            let text = if more.starts_with("BUCKET") { text } else { format!("{text}\nBUCKET=apps") };
            let attributes: S3Attributes = from_template(&Template::parse(text.as_bytes()).unwrap()).unwrap();
            let error = attributes.access().unwrap_err();
            assert_eq!(error.subject, format!("attribute {attribute}"));
        }
    }
}
