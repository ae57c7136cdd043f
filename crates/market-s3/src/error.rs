//! What fails when an S3 service is asked: the status, the service's code, and what is wrong.

use crate::redactor::Redactor;
use crate::service_error::ServiceError;
use market_transfer::{Error, ErrorKind, parse_retry_after};
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Clocks that differ by less do not matter: services allow a quarter of an hour.
const MIN_SKEW_MINUTES: u64 = 5;

type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A request that failed. Programs decide by [`kind`](Self::kind), [`reason`](Self::reason) and the
/// predicates; the text is one sentence for operators, without secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
pub struct S3Error {
    kind: ErrorKind,
    status: Option<u16>,
    code: String,
    cause: String,
    reason: Reason,
    retryable: bool,
    retry_after: Option<Duration>,
    #[source]
    source: Option<Cause>,
}

/// What is wrong when a request fails; what can be done depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing that has one usual reason.
    Other,
    /// The service does not know the access key (`InvalidAccessKeyId`).
    UnknownAccessKey,
    /// The signature is wrong (`SignatureDoesNotMatch`): the secret access key is, or the region.
    WrongSignature,
    /// Temporary credentials are over, or lack their token (`ExpiredToken`, `InvalidToken`).
    ExpiredCredentials,
    /// The credentials do not allow it (403), or a limit is reached that has no code of its own.
    AccessDenied,
    /// The clocks of this machine and of the service are too far apart (`RequestTimeTooSkewed`).
    ClockSkew,
    /// The bucket is elsewhere (`PermanentRedirect`): in this region, where the service names it.
    OtherRegion(Option<String>),
    /// There is no such bucket (`NoSuchBucket`).
    NoSuchBucket,
    /// The URL of the endpoint has the bucket already.
    BucketInEndpoint,
    /// The service does not serve hosts with buckets in front of them.
    NoVirtualHosts,
    /// Another bucket answers than the one that was asked for.
    OtherBucket,
    /// The bucket lists an object that it does not find: lists may lag behind.
    ListedButNotFound,
    /// What answers is not an S3 service.
    NotS3,
    /// There is no connection.
    NoConnection,
    /// The certificate is self-signed, or of an authority that is not known here.
    UntrustedCertificate,
    /// The certificate is one of other hosts.
    CertificateOfOtherHost,
    /// The certificate is not valid now.
    ExpiredCertificate,
}

impl S3Error {
    /// A failure of a kind, with the sentence that says what happened. It is neither retryable nor
    /// a definite answer.
    pub fn new(kind: ErrorKind, cause: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            code: String::new(),
            cause: cause.into(),
            reason: Reason::Other,
            retryable: false,
            retry_after: None,
            source: None,
        }
    }

    /// A response that came whole and is not what was asked for.
    pub fn malformed_response(cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, cause)
    }

    /// A state that may be another one a moment later, such as a service that contradicts itself,
    /// or a connection that broke: worth another try.
    pub fn indeterminate(cause: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::malformed_response(cause) }
    }

    /// What a program decides by.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The service's own code, as `NoSuchKey` ("List of error codes" of the Amazon S3 API
    /// Reference; services have more); empty when it gave none.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What is wrong, as far as it can be told.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Whether another try may help.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// How long the service asks to wait before another try (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The same with another reason.
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// The same with another kind.
    #[must_use]
    pub(crate) fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn with_source(
        self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    pub(crate) fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    /// The same with more at the end of its sentence.
    pub(crate) fn with_note(self, note: impl std::fmt::Display) -> Self {
        Self { cause: format!("{}{note}", self.cause), ..self }
    }

    /// The endpoint or the bucket is not what it is taken for: what is answered there says nothing
    /// about the bucket.
    pub(crate) fn misaddressed(self, reason: Reason) -> Self {
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
        Self { kind, cause, reason, retryable: false, ..self }
    }

    /// An answer with a status that is no success.
    pub(crate) fn refused(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        redactor: &Redactor,
    ) -> Self {
        let ServiceError { code, region, message } = ServiceError::parse(body, redactor);
        let number = status.as_u16();
        let retryable = is_transient(&code)
            || matches!(number, 408 | 429)
            || (status.is_server_error() && !matches!(number, 501 | 507));
        let kind = kind(number, &code, retryable);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let region = header("x-amz-bucket-region").and_then(|text| redactor.word(text)).or(region);
        let skew = clock_skew(&code, headers).filter(|_| matches!(number, 401 | 403));
        let reason = match skew {
            Some(_) => Reason::ClockSkew,
            None => reason(number, &code, region, kind),
        };
        let meaning = skew.or_else(|| meaning(&reason, &code));
        let mut cause = format!("the service answered {number}");
        let name =
            if code.is_empty() { status.canonical_reason().unwrap_or_default() } else { &code };
        for (before, text) in [(" ", name), (": ", meaning.as_deref().unwrap_or_default())] {
            if !text.is_empty() {
                cause.push_str(before);
                cause.push_str(text);
            }
        }
        let retry_after =
            header("retry-after").and_then(|value| parse_retry_after(value, SystemTime::now()));
        let cause = with_message(cause, &message);
        Self {
            status: Some(number),
            code,
            reason,
            retryable,
            retry_after,
            ..Self::new(kind, cause)
        }
    }

    /// The error in the body of an answer of status 200: services answer before they have done what
    /// takes long. `None` when there is none.
    pub(crate) fn in_success(body: &[u8], redactor: &Redactor) -> Option<Self> {
        let ServiceError { code, region, message } = ServiceError::parse(body, redactor);
        if code.is_empty() {
            return None;
        }
        let retryable = is_transient(&code);
        let kind = kind(200, &code, retryable);
        let reason = reason(200, &code, region, kind);
        let cause = with_message(format!("the service answered {code}"), &message);
        Some(Self { reason, code, retryable, ..Self::new(kind, cause) })
    }

    /// Whether the service has refused the request for good: nothing was done.
    pub fn is_definite_refusal(&self) -> bool {
        self.status.is_some_and(|status| (300..500).contains(&status) && status != 408)
            && !self.retryable
    }

    /// Whether the service does not implement the request; it may have taken it for another one.
    pub fn is_unsupported_request(&self) -> bool {
        self.kind == ErrorKind::Unsupported
            || self.reason == Reason::NotS3
            || self.code == "MalformedPOSTRequest"
    }

    /// Whether the service does not list the parts of uploads: it may take the request for one
    /// about the object.
    pub fn is_unsupported_list_of_parts(&self) -> bool {
        self.is_unsupported_request() || self.code == "NoSuchKey"
    }

    /// Whether there is no such upload, or not any more (`NoSuchUpload`).
    pub fn is_no_such_upload(&self) -> bool {
        self.code == "NoSuchUpload"
    }

    /// As an error about a subject, of the same kind, with the same sentence, and with this one as
    /// its source.
    pub fn about(self, subject: impl Into<String>) -> Error {
        Error::new(self.kind, subject, self.cause.clone()).with_source(self)
    }
}

fn with_message(cause: String, message: &str) -> String {
    if message.is_empty() { cause } else { format!("{cause} (it says: {message})") }
}

/// Codes of what may be over a moment later.
fn is_transient(code: &str) -> bool {
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

fn kind(status: u16, code: &str, retryable: bool) -> ErrorKind {
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
        // A 404 without a code of S3.
        (404, _) => ErrorKind::Unreachable,
        (400..=499, _) if !retryable => ErrorKind::Failed,
        _ => ErrorKind::Unreachable,
    }
}

fn reason(status: u16, code: &str, region: Option<String>, kind: ErrorKind) -> Reason {
    match (status, code) {
        (_, "SignatureDoesNotMatch") => Reason::WrongSignature,
        (_, "InvalidAccessKeyId" | "NotSignedUp") => Reason::UnknownAccessKey,
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => Reason::ExpiredCredentials,
        (_, "NoSuchBucket") => Reason::NoSuchBucket,
        (
            _,
            "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "PermanentRedirect",
        )
        | (300..=399, _) => Reason::OtherRegion(region),
        // HEAD has no body: the region is in a header then.
        (400, "") if region.is_some() => Reason::OtherRegion(region),
        (404, "") => Reason::NotS3,
        _ if kind == ErrorKind::Denied => Reason::AccessDenied,
        _ => Reason::Other,
    }
}

/// What is wrong, for reasons and codes that have one usual meaning.
fn meaning(reason: &Reason, code: &str) -> Option<String> {
    let text = match (reason, code) {
        (Reason::WrongSignature, _) => "the secret key is wrong, or the region is",
        (Reason::UnknownAccessKey, _) => "the access key is unknown there",
        (Reason::ExpiredCredentials, _) => {
            "the keys have expired, or their session token is missing or wrong"
        }
        (Reason::NoSuchBucket, _) => "there is no such bucket",
        (Reason::AccessDenied, _) => "these keys may not do that",
        (Reason::OtherRegion(Some(region)), _) => {
            return Some(format!("the bucket is in the region {region}"));
        }
        (Reason::OtherRegion(None), _) => {
            "the bucket is elsewhere; the endpoint or the region is wrong"
        }
        (_, "NoSuchUpload") => "there is no such upload any more",
        (_, "BucketAlreadyExists") => "somebody else has a bucket of that name",
        (_, "XAmzContentSHA256Mismatch" | "BadDigest") => "the bytes were changed on their way",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Says so when the clocks are too far apart: services refuse what is signed a quarter of an hour
/// off. An answer to HEAD has no code to tell.
fn clock_skew(code: &str, headers: &HeaderMap) -> Option<String> {
    let minutes = minutes_apart(headers).unwrap_or_default();
    match code {
        "RequestTimeTooSkewed" | "RequestExpired" if minutes < MIN_SKEW_MINUTES => {
            Some("this machine's clock and the service's differ".to_owned())
        }
        ""
        | "AccessDenied"
        | "RequestTimeTooSkewed"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
            if minutes >= MIN_SKEW_MINUTES =>
        {
            Some(format!("this machine's clock differs from the service's by {minutes} minutes"))
        }
        _ => None,
    }
}

/// How far this machine's clock is from the `Date` of an answer.
fn minutes_apart(headers: &HeaderMap) -> Option<u64> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let apart = match theirs.duration_since(SystemTime::now()) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    Some(apart.as_secs() / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> S3Error {
        let mut headers = HeaderMap::new();
        let minutes = if status == 401 { 47 } else { 0 };
        let then = SystemTime::now() - Duration::from_secs(minutes * 60);
        headers.insert(DATE, httpdate::fmt_http_date(then).parse().unwrap());
        S3Error::refused(
            StatusCode::from_u16(status).unwrap(),
            &headers,
            body.as_bytes(),
            &Redactor::default(),
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
        for (failure, kind, retryable, expected) in [
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
            assert_eq!((failure.kind, failure.retryable), (kind, retryable), "{failure}");
            assert!(failure.cause.contains(expected), "{failure}");
        }
        assert!(
            with_code(412, "PreconditionFailed").is_definite_refusal()
                && !with_code(503, "SlowDown").is_definite_refusal()
        );
        assert!(
            !S3Error::indeterminate("reset").is_definite_refusal()
                && !with_code(500, "InternalError").is_definite_refusal()
        );
    }
}
