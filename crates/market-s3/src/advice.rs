//! What an operator can do about a request that failed, in one place.

use crate::access::Access;
use crate::error::{Reason, S3Error};
use market_transfer::ErrorKind;

const WITHOUT_BUCKET: &str = "check ENDPOINT: it is the service's URL, without the bucket";

/// What the operator of a marketplace can do about a request to a bucket that failed, in terms of
/// the attributes of its template; `None` when the error says it itself, or nothing is known.
pub fn remedy(failure: &S3Error, access: &Access, bucket: &str) -> Option<String> {
    let hosts = access.is_virtual_host(bucket);
    // Without an endpoint the region alone says where the service is.
    let regional = access.endpoint.is_none();
    let text = match failure.reason() {
        Reason::UnknownAccessKey if regional => {
            "check ACCESS_KEY_ID, and whether REGION is one that it belongs to"
        }
        Reason::UnknownAccessKey => {
            "check ACCESS_KEY_ID, and whether ENDPOINT is the service that it belongs to"
        }
        Reason::WrongSignature => "check SECRET_ACCESS_KEY and REGION",
        Reason::ExpiredCredentials => "renew ACCESS_KEY_ID, SECRET_ACCESS_KEY and SESSION_TOKEN",
        Reason::ClockSkew => "set the clock of this machine",
        Reason::OtherRegion(Some(region))
            if access.endpoint.is_some() && access.region == *region =>
        {
            return Some("set ENDPOINT to the one of that region".to_owned());
        }
        Reason::OtherRegion(Some(region)) if access.endpoint.is_some() => {
            return Some(format!(
                "set REGION=\"{region}\", and ENDPOINT if that region has another one"
            ));
        }
        Reason::OtherRegion(Some(region)) => return Some(format!("set REGION=\"{region}\"")),
        Reason::OtherRegion(None) if regional => "correct REGION",
        Reason::OtherRegion(None) => "correct REGION or ENDPOINT",
        Reason::CertificateOfOtherHost | Reason::NoConnection
            if hosts && access.names_bucket(bucket) =>
        {
            WITHOUT_BUCKET
        }
        Reason::NoSuchBucket if access.names_bucket(bucket) => WITHOUT_BUCKET,
        Reason::NoVirtualHosts if hosts => "set FORCE_PATH_STYLE=\"YES\"",
        Reason::CertificateOfOtherHost if hosts => {
            "set FORCE_PATH_STYLE=\"YES\" if the certificate is for ENDPOINT's host, or use a host that it is for"
        }
        Reason::CertificateOfOtherHost if regional => {
            "check REGION, and what answers in the place of AWS"
        }
        Reason::CertificateOfOtherHost => "use a host name in ENDPOINT that the certificate is for",
        Reason::NoConnection if hosts => {
            "try again once it answers, or check ENDPOINT; set FORCE_PATH_STYLE=\"YES\" where buckets have no hosts"
        }
        Reason::AccessDenied if hosts => {
            "check what these keys may do with the bucket, and its limits; set FORCE_PATH_STYLE=\"YES\" where buckets have no hosts"
        }
        Reason::AccessDenied => "check what these keys may do with the bucket, and its limits",
        Reason::NoSuchBucket if regional => {
            "check BUCKET and REGION; importing an app makes the bucket"
        }
        Reason::NoSuchBucket => "check BUCKET and ENDPOINT; importing an app makes the bucket",
        Reason::BucketInEndpoint | Reason::NoVirtualHosts | Reason::OtherBucket => WITHOUT_BUCKET,
        Reason::ExpiredCertificate => "renew that certificate, or set the clock of this machine",
        // The error itself says what can be done.
        Reason::UntrustedCertificate => return None,
        _ => match failure.kind() {
            ErrorKind::Changed => "try again",
            ErrorKind::Full => "free some space, or have the limit raised",
            ErrorKind::Unreachable if regional => "check REGION, or try again once it answers",
            ErrorKind::Unreachable => "try again once it answers, or check ENDPOINT",
            _ => return None,
        },
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use market_core::model::Secret;

    #[test]
    fn where_no_endpoint_is_given_the_region_is_to_be_checked() {
        let aws = Access::new("here", "id", Secret::new("hunter2"));
        let other = aws.clone().with_endpoint("http://s3.local");
        for (access, expected) in [(aws, "REGION"), (other, "ENDPOINT")] {
            for reason in [
                Reason::NoConnection,
                Reason::NoSuchBucket,
                Reason::OtherRegion(None),
                Reason::UnknownAccessKey,
            ] {
                let failure = S3Error::malformed_response("").with_reason(reason);
                let text = remedy(&failure, &access, "apps").unwrap();
                assert!(text.contains(expected), "{failure:?}: {text}");
                assert!(
                    access.endpoint.is_some() || !text.contains("ENDPOINT"),
                    "{failure:?}: {text}"
                );
            }
        }
    }
}
