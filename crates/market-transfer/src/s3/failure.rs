//! What an S3 service answers when it does not do what it was asked for.

use crate::{Error, ErrorKind};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// A request that failed, and whether trying it again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// What a program decides by.
    pub kind: ErrorKind,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The service's own code (`NoSuchKey`); empty when it gave none.
    pub code: String,
    /// What happened, in words.
    pub cause: String,
    /// Whether the clocks of this machine and of the service are too far apart.
    pub skewed: bool,
    pub(crate) again: bool,
    pub(crate) pause: Option<Duration>,
}

impl Failure {
    /// A failure without an answer.
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, status: None, code: String::new(), cause: cause.into(), skewed: false, again: false, pause: None }
    }

    /// A failure without an answer that may pass.
    pub(crate) fn passing(cause: impl Into<String>) -> Self {
        Self { again: true, ..Self::new(ErrorKind::Unreachable, cause) }
    }

    /// An answer that came whole and is not what was asked for.
    pub fn garbled(cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, cause)
    }

    /// A request that was refused.
    pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let Told { code, region } = Told::read(body);
        let passing = matches!(
            code.as_str(),
            "InternalError"
                | "SlowDown"
                | "ServiceUnavailable"
                | "RequestTimeout"
                | "IncompleteBody"
                | "BadDigest"
                | "XAmzContentSHA256Mismatch"
                | "OperationAborted"
        );
        let again = passing
            || matches!(status.as_u16(), 408 | 429)
            || (status.is_server_error() && !matches!(status.as_u16(), 501 | 507));
        let kind = match (status.as_u16(), code.as_str()) {
            (_, "NoSuchBucket" | "NoSuchKey" | "NoSuchUpload") | (404, _) => ErrorKind::Absent,
            (507, _) | (_, "QuotaExceeded" | "ServiceQuotaExceeded" | "TooManyBuckets" | "EntityTooLarge") => {
                ErrorKind::Full
            }
            (300..=399, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                ErrorKind::Malformed
            }
            (_, "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken") | (401 | 403 | 407, _) => ErrorKind::Denied,
            (405 | 501, _) | (_, "NotImplemented") => ErrorKind::Unsupported,
            (409 | 412, _) => ErrorKind::Changed,
            (400..=499, _) if !again => ErrorKind::Failed,
            _ => ErrorKind::Unreachable,
        };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let region = header("x-amz-bucket-region").map(str::to_owned).filter(|text| is_word(text)).or(region);
        let skew = skew(&code, headers).filter(|_| matches!(status.as_u16(), 401 | 403));
        let skewed = skew.is_some();
        let means = skew.unwrap_or_else(|| meaning(status, &code, region.as_deref()));
        let named = if code.is_empty() { String::new() } else { format!(" {code}") };
        let cause = format!("the service answered {}{named}{means}", status.as_u16());
        let pause = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Self { kind, status: Some(status.as_u16()), code, cause, skewed, again, pause }
    }

    /// The failure inside of an error of the client library.
    pub(super) fn inside(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error;
        loop {
            if let Some(failure) = cause.downcast_ref::<Self>() {
                return failure.clone();
            }
            match cause.source() {
                Some(inner) => cause = inner,
                None => break,
            }
        }
        let cause = crate::location::shown_line(&cause.to_string());
        Self::garbled(format!("the service's answer cannot be understood ({cause})"))
    }

    /// What an answer tells that says 200 and is an error all the same: services answer before they have done what takes long.
    pub fn told_in(body: &[u8]) -> Option<Self> {
        let Told { code, .. } = Told::read(body);
        let cause = format!("the service answered {code}");
        (!code.is_empty()).then(|| Self { code, ..Self::new(ErrorKind::Unreachable, cause) })
    }

    /// Whether the service said so, and nothing was done.
    pub fn is_certain(&self) -> bool {
        self.status.is_some_and(|status| (300..500).contains(&status) && status != 408) && !self.again
    }

    /// As an error about a subject.
    pub fn about(self, subject: impl Into<String>) -> Error {
        Error::new(self.kind, subject, self.cause)
    }
}

/// What is wrong, for codes and states that have one usual reason.
fn meaning(status: StatusCode, code: &str, region: Option<&str>) -> String {
    let text = match (status.as_u16(), code) {
        (_, "SignatureDoesNotMatch") => "the secret key is wrong, or the region is",
        (_, "InvalidAccessKeyId" | "NotSignedUp") => "the access key is unknown there",
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => "the keys have expired",
        (_, "NoSuchBucket") => "there is no such bucket",
        (_, "NoSuchUpload") => "there is no such upload any more",
        (_, "BucketAlreadyExists") => "somebody else has a bucket of that name",
        (_, "XAmzContentSHA256Mismatch" | "BadDigest") => "the bytes were changed on their way",
        (300..=399, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            return match region {
                Some(region) => format!(": the bucket is in the region {region}"),
                None => ": the bucket is elsewhere; the endpoint or the region is wrong".to_owned(),
            };
        }
        (401 | 403, _) => "these keys may not do that",
        _ => {
            return status
                .canonical_reason()
                .filter(|_| code.is_empty())
                .map_or(String::new(), |text| format!(" {text}"));
        }
    };
    format!(": {text}")
}

/// Says so when the clocks are too far apart: services refuse what is signed a quarter of an hour off. An answer to HEAD has no
/// code to tell.
fn skew(code: &str, headers: &HeaderMap) -> Option<String> {
    let date = headers.get(http::header::DATE).and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    let minutes = date.map_or(0, |theirs| (theirs.to_utc() - Utc::now()).num_minutes().abs());
    match code {
        "RequestTimeTooSkewed" | "RequestExpired" if minutes < 5 => {
            Some(": this machine's clock and the service's differ".to_owned())
        }
        "" | "AccessDenied" | "RequestTimeTooSkewed" | "RequestExpired" if minutes >= 5 => {
            Some(format!(": this machine's clock differs from the service's by {minutes} minutes"))
        }
        _ => None,
    }
}

/// What the body of a refusal tells.
struct Told {
    code: String,
    region: Option<String>,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let nothing = Self { code: String::new(), region: None };
        let Some(text) = std::str::from_utf8(body).ok() else { return nothing };
        let Ok(document) = super::xml(text) else { return nothing };
        let child = |name: &str| {
            let root = document.root_element();
            let found = root.children().find(|node| node.tag_name().name() == name)?;
            found.text().map(str::trim).filter(|text| is_word(text)).map(str::to_owned)
        };
        Self { code: child("Code").unwrap_or_default(), region: child("Region") }
    }
}

/// Codes and regions are words; anything else is not repeated.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::inside(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Failure {
        let mut headers = HeaderMap::new();
        let then = Utc::now() - chrono::TimeDelta::minutes(if status == 401 { 47 } else { 0 });
        headers.insert("date", then.to_rfc2822().parse().unwrap());
        Failure::refused(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    fn with_code(status: u16, code: &str) -> Failure {
        refused(
            status,
            &format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>hunter2</Message></Error>"),
        )
    }

    #[test]
    fn a_refusal_tells_its_status_its_code_and_what_is_wrong() {
        for (failure, kind, again, expected) in [
            (
                with_code(403, "SignatureDoesNotMatch"),
                ErrorKind::Denied,
                false,
                "403 SignatureDoesNotMatch: the secret key",
            ),
            (with_code(403, "RequestTimeTooSkewed"), ErrorKind::Denied, false, "clock and the service's differ"),
            (with_code(404, "NoSuchBucket"), ErrorKind::Absent, false, "there is no such bucket"),
            (with_code(400, "XAmzContentSHA256Mismatch"), ErrorKind::Unreachable, true, "changed on their way"),
            (with_code(501, "NotImplemented"), ErrorKind::Unsupported, false, "501 NotImplemented"),
            (with_code(503, "SlowDown"), ErrorKind::Unreachable, true, "503 SlowDown"),
            (with_code(412, "PreconditionFailed"), ErrorKind::Changed, false, "412 PreconditionFailed"),
            (with_code(403, "QuotaExceeded"), ErrorKind::Full, false, "403 QuotaExceeded"),
            (with_code(507, "XMinioStorageFull"), ErrorKind::Full, false, "507 XMinioStorageFull"),
            (refused(500, "<html>hunter2"), ErrorKind::Unreachable, true, "500 Internal Server Error"),
            (
                refused(401, ""),
                ErrorKind::Denied,
                false,
                "401: this machine's clock differs from the service's by 47 minutes",
            ),
            (refused(403, ""), ErrorKind::Denied, false, "403: these keys may not do that"),
            (
                refused(301, "<Error><Code>PermanentRedirect</Code><Region>eu-north-1</Region></Error>"),
                ErrorKind::Malformed,
                false,
                "the bucket is in the region eu-north-1",
            ),
            (with_code(400, "hunter2 \n"), ErrorKind::Failed, false, "400 hunter2"),
            (with_code(400, "two words"), ErrorKind::Failed, false, "400 Bad Request"),
        ] {
            assert_eq!((failure.kind, failure.again), (kind, again), "{failure}");
            assert!(failure.cause.contains(expected), "{failure}");
        }
        assert!(with_code(412, "PreconditionFailed").is_certain() && !with_code(503, "SlowDown").is_certain());
        assert!(!Failure::passing("reset").is_certain() && !with_code(500, "InternalError").is_certain());
    }
}
