//! Objects of an S3 service: as sources, and for those who store them.
//!
//! [`Bucket`] is one bucket and one way to ask for it. What the client library can do is done
//! through [`store`](Bucket::store), which signs, and encodes keys; for the rest there is
//! [`send`](Bucket::send), which signs in the same way. Both pass the same transport: silence is
//! bounded, answers are bounded, nothing is redirected, and what fails is a [`S3Error`]. Neither
//! tries again: that is [`retried`](Bucket::retried), so that each try is signed anew.

mod access;
mod error;
mod origin;
mod payload;
mod presence;
mod scheme;
mod told;
mod transport;

pub use access::Access;
pub use error::{Reason, S3Error};
pub use payload::Payload;
pub use presence::LISTS_OF_OBJECTS;
pub use scheme::{ObjectLocation, S3Scheme};

use crate::{Error, ErrorKind, Options, RetryPolicy};
use access::{encode, encode_key};
use bytes::Bytes;
use http::{HeaderMap, Method};
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService};
use object_store::path::Path;
use roxmltree::{Document, ParsingOptions};
use transport::Transport;

/// A document has at most so many nodes.
const MAX_NODES: u32 = 1_000_000;

/// A bucket of an S3 service.
pub struct Bucket {
    name: String,
    /// Its URL, without a slash at the end.
    url: String,
    access: Access,
    credential: AwsCredential,
    store: AmazonS3,
    transport: Transport,
    retry: RetryPolicy,
}

/// What a service answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most 16 MiB.
    pub body: Bytes,
}

impl Bucket {
    /// Prepares to ask for a bucket; asks nothing yet.
    ///
    /// # Errors
    /// When the endpoint, the region, a key or the name cannot be used, or `tls_ca` cannot be read.
    pub fn open(access: &Access, name: &str, options: &Options) -> Result<Self, Error> {
        let url = access.bucket_url(name)?;
        let transport = Transport::new(access, options, &crate::redacted(&url))?;
        let builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_region(&access.region)
            // The URL is this bucket's already: the library is to put nothing in front of it or
            // behind it.
            .with_endpoint(&url)
            .with_virtual_hosted_style_request(true)
            .with_allow_http(true)
            .with_access_key_id(&access.access_key_id)
            .with_secret_access_key(&access.secret_access_key)
            // Not every service knows how to delete several objects at once.
            .with_disable_bulk_delete(true)
            .with_http_connector(transport.clone())
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
        let store = match &access.session_token {
            Some(token) => builder.with_token(token),
            None => builder,
        };
        let store =
            store.build().map_err(|error| S3Error::inside(&error).about(crate::redacted(&url)))?;
        let credential = AwsCredential {
            key_id: access.access_key_id.clone(),
            secret_key: access.secret_access_key.clone(),
            token: access.session_token.clone(),
        };
        Ok(Self {
            name: name.to_owned(),
            url,
            access: access.clone(),
            credential,
            store,
            transport,
            retry: options.retry,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service and the keys.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The client library's view of it.
    pub fn store(&self) -> &AmazonS3 {
        &self.store
    }

    /// The bucket or an object of it as it may be shown, with the service that has it.
    pub fn subject(&self, key: &str) -> String {
        let host = url::Url::parse(&self.url).map_or_else(
            |_| String::new(),
            |url| url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
        );
        crate::location::redacted_line(&format!("s3://{}/{key} at {host}", self.name))
    }

    /// A key as the client library takes it.
    ///
    /// # Errors
    /// When the library would make another one of it: it begins or ends with a slash, or has an
    /// empty, `.` or `..` segment.
    pub fn path(&self, key: &str) -> Result<Path, Error> {
        let path = Path::parse(key).ok().filter(|path| path.as_ref() == key && !key.is_empty());
        path.ok_or_else(|| {
            let cause =
                "is a key that cannot be used: it has an empty segment, \".\" or \"..\", or a control character";
            Error::new(ErrorKind::Malformed, self.subject(key), cause)
        })
    }

    /// Asks for what the client library does not know: about the bucket when the key is empty,
    /// about an object otherwise.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn send(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, S3Error> {
        let mut request = self.request(method, key, query, body.into())?;
        request.headers_mut().extend(headers);
        let answer = self.call(request, None).await;
        answer.map_err(|failure| if key.is_empty() { Self::of_bucket(failure) } else { failure })
    }

    /// Puts an object, or a part of one, with the digests that the service is to compare.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn put(
        &self,
        key: &str,
        query: &[(&str, &str)],
        headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Answer, S3Error> {
        let mut request = self.request(Method::PUT, key, query, payload.body())?;
        request.headers_mut().extend(headers);
        request.headers_mut().insert("content-md5", payload.content_md5());
        self.call(request, Some(payload.sha256())).await
    }

    fn request(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        body: HttpRequestBody,
    ) -> Result<HttpRequest, S3Error> {
        let mut uri = self.url.clone();
        // A bucket of its own host has the path "/".
        if !key.is_empty() || self.url.matches('/').count() == 2 {
            uri.push('/');
            uri.push_str(&encode_key(key));
        }
        for (nth, (name, value)) in query.iter().enumerate() {
            uri.push(if nth == 0 { '?' } else { '&' });
            uri.push_str(&encode(name));
            uri.push('=');
            uri.push_str(&encode(value));
        }
        let mut request = HttpRequest::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri
            .parse()
            .map_err(|_| S3Error::new(ErrorKind::Malformed, "the request has no usable URL"))?;
        Ok(request)
    }

    async fn call(
        &self,
        mut request: HttpRequest,
        sha256: Option<&[u8]>,
    ) -> Result<Answer, S3Error> {
        let authorizer = AwsAuthorizer::new(&self.credential, "s3", &self.access.region);
        authorizer.try_authorize(&mut request, sha256)?;
        let response =
            self.transport.call(request).await.map_err(|error| S3Error::inside(&error))?;
        let headers = response.headers().clone();
        Ok(Answer { headers, body: self.transport.whole(response).await? })
    }

    /// Tries a request until it succeeds, or fails for good, or has been tried often enough.
    ///
    /// # Errors
    /// Those of the last try.
    pub async fn retried<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, S3Error>>,
    {
        let mut retries = self.retry.start();
        loop {
            match request().await {
                Err(failure) if failure.again => {
                    retries.wait(failure.pause).await.map_err(|given_up| S3Error {
                        cause: format!("{}{given_up}", failure.cause),
                        ..failure
                    })?;
                }
                outcome => return outcome,
            }
        }
    }
}

/// Reads an XML answer of a service; entities of its own and too many nodes are refused. What keeps
/// a connection alive while the service is busy may come first: white space.
///
/// # Errors
/// When it is none.
pub fn xml(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(
        text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}'),
        options,
    )
}
