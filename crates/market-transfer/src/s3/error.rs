//! What an S3 service answers when it does not do what it was asked for.

use super::told::{Secrets, Told};
use crate::{Error, ErrorKind};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// A request that failed, and whether trying it again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct S3Error {
    /// What a program decides by.
    pub kind: ErrorKind,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The service's own code (`NoSuchKey`); empty when it gave none.
    pub code: String,
    /// What happened, in words, with the service's own message.
    pub cause: String,
    /// What is wrong, as far as it can be told.
    pub reason: Reason,
    pub(crate) again: bool,
    pub(crate) pause: Option<Duration>,
}

/// What is wrong when a request fails; what can be done depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing that has one usual reason.
    Other,
    /// The access key is unknown there.
    UnknownKey,
    /// The signature is wrong: by the secret key, or by the region.
    Signature,
    /// The keys were temporary, and their time is over.
    Expired,
    /// The keys may not do that, or a limit is reached that has no code of its own.
    Forbidden,
    /// The clocks of this machine and of the service are too far apart.
    Skewed,
    /// The bucket is elsewhere: in that region, when the service names it.
    Region(Option<String>),
    /// There is no such bucket.
    NoBucket,
    /// The endpoint has the bucket in its URL already.
    BucketInEndpoint,
    /// The service serves no hosts with buckets in front.
    NoVirtualHosts,
    /// Another bucket answers than the one that was asked for.
    OtherBucket,
    /// The bucket lists an object that it does not find: lists may lag behind.
    StillListed,
    /// What answers is no S3 service.
    NotS3,
    /// There is no connection.
    NoConnection,
    /// The certificate is self-made, or of an authority that is not known here.
    UnknownIssuer,
    /// The certificate is one of other hosts.
    OtherHost,
    /// The certificate is not valid now.
    Expiry,
}

impl S3Error {
    /// A failure without an answer.
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<String>) -> Self {
        let (code, reason) = (String::new(), Reason::Other);
        Self { kind, status: None, code, cause: cause.into(), reason, again: false, pause: None }
    }

    /// A failure without an answer that may pass.
    pub(crate) fn passing(cause: impl Into<String>) -> Self {
        Self { again: true, ..Self::new(ErrorKind::Unreachable, cause) }
    }

    /// An answer that came whole and is not what was asked for.
    pub fn garbled(cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, cause)
    }

    /// As [`garbled`](Self::garbled), but what the service says may be another thing a moment
    /// later.
    pub fn unsettled(cause: impl Into<String>) -> Self {
        Self::passing(cause)
    }

    /// The endpoint or the bucket is not what it is taken for: nothing that is answered there says
    /// anything about the bucket.
    pub(super) fn misaddressed(self, reason: Reason) -> Self {
        let (kind, cause) = match reason {
            Reason::BucketInEndpoint => {
                (ErrorKind::Malformed, "the endpoint holds a bucket already")
            }
            Reason::NoVirtualHosts => {
                (ErrorKind::Malformed, "no buckets are served as hosts there")
            }
            Reason::OtherBucket => (ErrorKind::Malformed, "another bucket answers"),
            _ => (ErrorKind::Unreachable, "that is no answer of S3; is ENDPOINT an S3 service?"),
        };
        let cause = if self.cause.is_empty() {
            cause.to_owned()
        } else {
            format!("{}: {cause}", self.cause)
        };
        Self { kind, cause, reason, again: false, ..self }
    }

    /// A request that was refused.
    pub(super) fn refused(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        secrets: &Secrets,
    ) -> Self {
        let Told { code, region, message } = Told::read(body, secrets);
        let again = is_passing(&code)
            || matches!(status.as_u16(), 408 | 429)
            || (status.is_server_error() && !matches!(status.as_u16(), 501 | 507));
        let kind = kind(status.as_u16(), &code, again);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let region = header("x-amz-bucket-region").and_then(|text| secrets.word(text)).or(region);
        let skew = skew(&code, headers).filter(|_| matches!(status.as_u16(), 401 | 403));
        let reason = if skew.is_some() {
            Reason::Skewed
        } else {
            reason(status.as_u16(), &code, region, kind)
        };
        let means =
            skew.or_else(|| meaning(&reason, &code).map(str::to_owned)).or_else(|| match &reason {
                Reason::Region(Some(region)) => {
                    Some(format!("the bucket is in the region {region}"))
                }
                _ => None,
            });
        let mut cause = format!("the service answered {}", status.as_u16());
        let named =
            if code.is_empty() { status.canonical_reason().unwrap_or_default() } else { &code };
        for (before, text) in [(" ", named), (": ", means.as_deref().unwrap_or_default())] {
            if !text.is_empty() {
                cause.push_str(before);
                cause.push_str(text);
            }
        }
        let pause = header("retry-after")
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs);
        let cause = with_message(cause, &message);
        Self { kind, status: Some(status.as_u16()), code, cause, reason, again, pause }
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
        let cause = crate::location::redacted_line(&cause.to_string());
        Self::garbled(format!("the service's answer cannot be understood ({cause})"))
    }

    /// What an answer tells that says 200 and is an error all the same: services answer before they
    /// have done what takes long.
    pub(super) fn told_in(body: &[u8], secrets: &Secrets) -> Option<Self> {
        let Told { code, region, message } = Told::read(body, secrets);
        if code.is_empty() {
            return None;
        }
        let again = is_passing(&code);
        let kind = kind(200, &code, again);
        let cause = with_message(format!("the service answered {code}"), &message);
        Some(Self {
            reason: reason(200, &code, region, kind),
            code,
            again,
            ..Self::new(kind, cause)
        })
    }

    /// Whether the service said so, and nothing was done.
    pub fn is_certain(&self) -> bool {
        self.status.is_some_and(|status| (300..500).contains(&status) && status != 408)
            && !self.again
    }

    /// Whether the service does not know what it was asked for; it may have taken it for something
    /// else.
    pub fn is_unknown_request(&self) -> bool {
        self.kind == ErrorKind::Unsupported
            || self.reason == Reason::NotS3
            || self.code == "MalformedPOSTRequest"
    }

    /// As an error about a subject.
    pub fn about(self, subject: impl Into<String>) -> Error {
        Error::new(self.kind, subject, self.cause)
    }
}

fn with_message(cause: String, message: &str) -> String {
    if message.is_empty() { cause } else { format!("{cause} (it says: {message})") }
}

/// Codes of what may pass.
fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "InternalError"
            | "SlowDown"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "IncompleteBody"
            | "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "OperationAborted"
    )
}

/// Codes that tell of a limit on what may be stored; services have their own.
fn is_limit(code: &str) -> bool {
    let known = matches!(
        code,
        "TooManyBuckets" | "EntityTooLarge" | "InsufficientStorage" | "InsufficientCapacity"
    );
    known
        || ["Quota", "CapExceeded", "StorageFull", "LimitExceeded"]
            .iter()
            .any(|word| code.contains(word))
}

fn kind(status: u16, code: &str, again: bool) -> ErrorKind {
    match (status, code) {
        (_, "NoSuchKey" | "NoSuchUpload") => ErrorKind::Absent,
        // Whether an object is gone cannot be told where there is no bucket.
        (_, "NoSuchBucket") => ErrorKind::Malformed,
        (507, _) => ErrorKind::Full,
        (_, code) if is_limit(code) => ErrorKind::Full,
        (300..=399, _)
        | (
            _,
            "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "PermanentRedirect",
        ) => ErrorKind::Malformed,
        (_, "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken") | (401 | 403 | 407, _) => {
            ErrorKind::Denied
        }
        (405 | 501, _) | (_, "NotImplemented") => ErrorKind::Unsupported,
        (409 | 412, _) | (_, "PreconditionFailed" | "ConditionalRequestConflict") => {
            ErrorKind::Changed
        }
        // Not said as S3 says it.
        (404, _) => ErrorKind::Unreachable,
        (400..=499, _) if !again => ErrorKind::Failed,
        _ => ErrorKind::Unreachable,
    }
}

fn reason(status: u16, code: &str, region: Option<String>, kind: ErrorKind) -> Reason {
    match (status, code) {
        (_, "SignatureDoesNotMatch") => Reason::Signature,
        (_, "InvalidAccessKeyId" | "NotSignedUp") => Reason::UnknownKey,
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => Reason::Expired,
        (_, "NoSuchBucket") => Reason::NoBucket,
        (
            _,
            "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "PermanentRedirect",
        )
        | (300..=399, _) => Reason::Region(region),
        // HEAD has no body: the region is in a header then.
        (400, "") if region.is_some() => Reason::Region(region),
        (404, "") => Reason::NotS3,
        _ if kind == ErrorKind::Denied => Reason::Forbidden,
        _ => Reason::Other,
    }
}

/// What is wrong, for reasons and codes that have one usual meaning.
fn meaning(reason: &Reason, code: &str) -> Option<&'static str> {
    Some(match (reason, code) {
        (Reason::Signature, _) => "the secret key is wrong, or the region is",
        (Reason::UnknownKey, _) => "the access key is unknown there",
        (Reason::Expired, _) => "the keys have expired, or their session token is missing or wrong",
        (Reason::NoBucket, _) => "there is no such bucket",
        (Reason::Forbidden, _) => "these keys may not do that",
        (Reason::Region(None), _) => "the bucket is elsewhere; the endpoint or the region is wrong",
        (_, "NoSuchUpload") => "there is no such upload any more",
        (_, "BucketAlreadyExists") => "somebody else has a bucket of that name",
        (_, "XAmzContentSHA256Mismatch" | "BadDigest") => "the bytes were changed on their way",
        _ => return None,
    })
}

/// Says so when the clocks are too far apart: services refuse what is signed a quarter of an hour
/// off. An answer to HEAD has no code to tell.
fn skew(code: &str, headers: &HeaderMap) -> Option<String> {
    let date = headers
        .get(http::header::DATE)
        .and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    let minutes = date.map_or(0, |theirs| (theirs.to_utc() - Utc::now()).num_minutes().abs());
    match code {
        "RequestTimeTooSkewed" | "RequestExpired" if minutes < 5 => {
            Some("this machine's clock and the service's differ".to_owned())
        }
        ""
        | "AccessDenied"
        | "RequestTimeTooSkewed"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
            if minutes >= 5 =>
        {
            Some(format!("this machine's clock differs from the service's by {minutes} minutes"))
        }
        _ => None,
    }
}

impl From<object_store::Error> for S3Error {
    fn from(error: object_store::Error) -> Self {
        Self::inside(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> S3Error {
        let mut headers = HeaderMap::new();
        let then = Utc::now() - chrono::TimeDelta::minutes(if status == 401 { 47 } else { 0 });
        headers.insert("date", then.to_rfc2822().parse().unwrap());
        S3Error::refused(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            body.as_bytes(),
            &Secrets::default(),
        )
    }

    fn with_code(status: u16, code: &str) -> S3Error {
        refused(
            status,
            &format!(
                "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>hunter2</Message></Error>"
            ),
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
            (
                with_code(403, "RequestTimeTooSkewed"),
                ErrorKind::Denied,
                false,
                "clock and the service's differ",
            ),
            (
                with_code(404, "NoSuchBucket"),
                ErrorKind::Malformed,
                false,
                "there is no such bucket",
            ),
            (
                with_code(400, "XAmzContentSHA256Mismatch"),
                ErrorKind::Unreachable,
                true,
                "changed on their way",
            ),
            (with_code(501, "NotImplemented"), ErrorKind::Unsupported, false, "501 NotImplemented"),
            (with_code(503, "SlowDown"), ErrorKind::Unreachable, true, "503 SlowDown"),
            (
                with_code(412, "PreconditionFailed"),
                ErrorKind::Changed,
                false,
                "412 PreconditionFailed",
            ),
            (with_code(403, "QuotaExceeded"), ErrorKind::Full, false, "403 QuotaExceeded"),
            (with_code(507, "XMinioStorageFull"), ErrorKind::Full, false, "507 XMinioStorageFull"),
            (
                refused(500, "<html>hunter2"),
                ErrorKind::Unreachable,
                true,
                "500 Internal Server Error",
            ),
            (
                refused(401, ""),
                ErrorKind::Denied,
                false,
                "401 Unauthorized: this machine's clock differs from the service's by 47 minutes",
            ),
            (
                refused(403, ""),
                ErrorKind::Denied,
                false,
                "403 Forbidden: these keys may not do that",
            ),
            (refused(404, "<html></html>"), ErrorKind::Unreachable, false, "404 Not Found"),
            (
                with_code(403, "StorageCapExceeded"),
                ErrorKind::Full,
                false,
                "403 StorageCapExceeded (it says: hunter2)",
            ),
            (
                refused(
                    301,
                    "<Error><Code>PermanentRedirect</Code><Region>eu-north-1</Region></Error>",
                ),
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
        assert!(
            with_code(412, "PreconditionFailed").is_certain()
                && !with_code(503, "SlowDown").is_certain()
        );
        assert!(
            !S3Error::passing("reset").is_certain()
                && !with_code(500, "InternalError").is_certain()
        );
    }
}
