//! One bucket, and how requests about it are made.

use crate::access::{Access, encode, encode_key};
use crate::error::{Reason, S3Error};
use crate::object_url::is_addressable;
use crate::payload::Payload;
use crate::transport::{Answer, Request, Response, Transport};
use crate::xml;
use market_transfer::{Error, ErrorKind, Options, RetryPolicy, redacted, redacted_line};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use roxmltree::Document;
use std::fmt;
use url::{Position, Url};

/// A bucket of an S3 service: the requests that the drivers need, one method each.
///
/// A method sends one request and tries nothing again; [`retried`](Self::retried) does, so that
/// each try is signed anew. The lists are the exception: every page of them is retried. Clones share
/// their connections.
#[derive(Clone)]
pub struct Bucket {
    name: String,
    /// Its URL, without a slash at the end.
    url: String,
    access: Access,
    transport: Transport,
    retry_policy: RetryPolicy,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, access, .. } = self;
        f.debug_struct("Bucket").field("name", name).field("access", access).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Prepares to ask for a bucket; asks nothing yet. Of the options, the time-outs, the retries,
    /// the TLS settings and the name of the program are used.
    ///
    /// # Errors
    /// When a setting or the name cannot be used, or `tls_ca` cannot be read.
    pub fn new(access: &Access, name: &str, options: &Options) -> Result<Self, Error> {
        let url = access.bucket_url(name)?;
        let transport = Transport::new(access, options, &redacted(&url))?;
        Ok(Self {
            name: name.to_owned(),
            url,
            access: access.clone(),
            transport,
            retry_policy: options.retry,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service, and the credentials for it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// An object of it, or the bucket when the key is empty, as messages name it: with the host of
    /// the service, on one line and without secrets.
    pub fn subject(&self, key: &str) -> String {
        let host = Url::parse(&self.url).map_or_else(
            |_| String::new(),
            |url| url[Position::BeforeHost..Position::AfterPort].to_owned(),
        );
        redacted_line(&format!("s3://{}/{key} at {host}", self.name))
    }

    /// Tries a request until it succeeds, or fails for good, or has been tried as often as the
    /// options allow.
    ///
    /// # Errors
    /// Those of the last try.
    pub async fn retried<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, S3Error>>,
    {
        let mut retries = self.retry_policy.start();
        loop {
            match request().await {
                Err(failure) if failure.is_retryable() => {
                    if let Err(given_up) = retries.wait(failure.retry_after()).await {
                        return Err(failure.with_note(given_up));
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Asks about the bucket when the key is empty, about an object otherwise.
    pub(crate) async fn call(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Answer, S3Error> {
        let answer = self.transport.call(self.request(method, key, query, headers, payload)?).await;
        answer.map_err(|failure| if key.is_empty() { of_bucket(failure) } else { failure })
    }

    /// Asks for what has no body of its own.
    pub(crate) async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, S3Error> {
        self.call(method, key, query, HeaderMap::new(), &Payload::small("")).await
    }

    /// Sends an object, or a part of one, with the digests that the service is to compare.
    pub(crate) async fn put(
        &self,
        key: &str,
        query: &[(&str, &str)],
        mut headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Answer, S3Error> {
        // Base64 is ASCII.
        if let Ok(md5) = HeaderValue::from_str(&payload.content_md5()) {
            headers.insert("content-md5", md5);
        }
        self.call(Method::PUT, key, query, headers, payload).await
    }

    /// Asks for an object, whose bytes are still to be read.
    pub(crate) async fn get(&self, key: &str, headers: HeaderMap) -> Result<Response, S3Error> {
        let request = self.request(Method::GET, key, &[], headers, &Payload::small(""))?;
        self.transport.send(request).await
    }

    fn request(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Request, S3Error> {
        if !is_addressable(key) {
            let cause = "is a key that no URL can hold: it has a segment \".\" or \"..\", or a control character";
            return Err(S3Error::new(ErrorKind::Malformed, cause));
        }
        let mut url = self.url.clone();
        if !key.is_empty() {
            url.push('/');
            url.push_str(&encode_key(key));
        }
        // In the order that they are signed in.
        let mut pairs: Vec<(String, String)> =
            query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
        pairs.sort();
        for (nth, (name, value)) in pairs.iter().enumerate() {
            url.push(if nth == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={value}"));
        }
        let url = Url::parse(&url).map_err(|error| {
            S3Error::new(ErrorKind::Malformed, "the request has no usable URL").with_source(error)
        })?;
        Ok(Request { method, url, headers, payload: payload.clone() })
    }

    /// Reads an XML answer whose root has one of these names. Services differ in how they end:
    /// `ListPartsResult`, `ListPartsResponse`. An error is the one that the answer is instead, or
    /// says what else may answer there.
    pub(crate) fn document<'a>(
        &self,
        answer: &'a Answer,
        names: &[&str],
    ) -> Result<Document<'a>, S3Error> {
        let document =
            std::str::from_utf8(&answer.body).ok().and_then(|text| xml::parse(text).ok());
        let root =
            document.as_ref().map(|document| document.root_element().tag_name().name().to_owned());
        let stem = root
            .as_deref()
            .and_then(|root| root.strip_suffix("Result").or(root.strip_suffix("Response")));
        match (document, stem) {
            (Some(document), Some(stem)) if names.contains(&stem) => Ok(document),
            _ if root.as_deref() == Some("ListAllMyBucketsResult") => {
                Err(S3Error::malformed_response("the service lists its buckets")
                    .misaddressed(Reason::NoVirtualHosts))
            }
            _ => Err(S3Error::in_success(&answer.body, self.transport.redactor())
                .unwrap_or_else(|| S3Error::malformed_response("").misaddressed(Reason::NotS3))),
        }
    }
}

/// What a refusal of a request about the bucket itself means.
fn of_bucket(failure: S3Error) -> S3Error {
    match (failure.status(), failure.code()) {
        (_, "NoSuchKey") => failure.misaddressed(Reason::BucketInEndpoint),
        (Some(404), "") => failure.misaddressed(Reason::NotS3),
        _ => failure,
    }
}
