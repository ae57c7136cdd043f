//! Objects: looked for, stored, deleted.

use crate::bucket::Bucket;
use crate::error::{Reason, S3Error};
use crate::payload::Payload;
use crate::transport::Answer;
use crate::xml::child_text;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{
    CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED,
};
use std::time::SystemTime;

/// How the roots of lists of objects begin, in all versions of the request.
pub(crate) const LISTS_OF_OBJECTS: &[&str] = &["ListBucket", "ListObjects", "ListObjectsV2"];

/// What user-defined metadata begins with in headers.
const METADATA_PREFIX: &str = "x-amz-meta-";

/// The entity tag of an object or a part. Two are equal whether or not they are quoted.
#[derive(Clone, Debug)]
pub struct ETag(String);

impl ETag {
    /// The tag as a header or a list has it.
    pub fn new(tag: impl Into<String>) -> Self {
        Self(tag.into().trim().to_owned())
    }

    /// As it came, perhaps with quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it may be the same for two objects of other bytes (`W/".."`).
    pub fn is_weak(&self) -> bool {
        self.0.starts_with("W/")
    }

    /// Whether it is the MD5 of a payload: most services tell it so, of parts and of objects that
    /// came in one request.
    pub fn is_md5_of(&self, payload: &Payload) -> bool {
        self.unquoted().parse() == Ok(payload.md5())
    }

    /// How many parts the object was made of: the number behind the dash. `None` for one that came
    /// in one request, or where the service does not tell.
    pub fn parts(&self) -> Option<u64> {
        self.unquoted().rsplit_once('-')?.1.parse().ok()
    }

    fn unquoted(&self) -> &str {
        self.0.trim_matches('"')
    }
}

impl PartialEq for ETag {
    fn eq(&self, other: &Self) -> bool {
        self.unquoted() == other.unquoted()
    }
}

impl Eq for ETag {}

/// What a service says of an object that is there (`HeadObject`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ObjectMeta {
    /// Its length in bytes; `None` when the service does not tell.
    pub bytes: Option<u64>,
    /// Its entity tag.
    pub etag: Option<ETag>,
    /// When it was stored, by the service's clock.
    pub last_modified: Option<SystemTime>,
    headers: HeaderMap,
}

impl ObjectMeta {
    pub(crate) fn of(headers: HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            bytes: text(&CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            etag: text(&ETAG).map(ETag::new),
            last_modified: text(&LAST_MODIFIED).and_then(|t| httpdate::parse_http_date(t).ok()),
            headers,
        }
    }

    /// User-defined metadata (`x-amz-meta-<name>`); some services keep none.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.headers.get(format!("{METADATA_PREFIX}{name}"))?.to_str().ok()
    }
}

/// What a new object is to be stored with; nothing by default.
///
/// ```
/// use market_s3::ObjectOptions;
///
/// let options = ObjectOptions::default().with_storage_class("STANDARD_IA")?;
/// assert!(options.with_metadata("import", "two\nlines").is_err());
/// # Ok::<(), market_s3::InvalidHeader>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ObjectOptions(HeaderMap);

/// A text that cannot be sent in a header: it has other characters than visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds what no request can be sent with")]
#[non_exhaustive]
pub struct InvalidHeader;

impl ObjectOptions {
    /// The storage class (`x-amz-storage-class`), as the service names it.
    ///
    /// # Errors
    /// When no header can hold it, as for all of these.
    pub fn with_storage_class(self, class: &str) -> Result<Self, InvalidHeader> {
        self.with("x-amz-storage-class", class)
    }

    /// How the service encrypts the object (`x-amz-server-side-encryption`): `AES256`, `aws:kms`.
    ///
    /// # Errors
    /// See [`with_storage_class`](Self::with_storage_class).
    pub fn with_server_side_encryption(self, algorithm: &str) -> Result<Self, InvalidHeader> {
        self.with("x-amz-server-side-encryption", algorithm)
    }

    /// The key of AWS KMS that it is encrypted with
    /// (`x-amz-server-side-encryption-aws-kms-key-id`).
    ///
    /// # Errors
    /// See [`with_storage_class`](Self::with_storage_class).
    pub fn with_sse_kms_key_id(self, key_id: &str) -> Result<Self, InvalidHeader> {
        self.with("x-amz-server-side-encryption-aws-kms-key-id", key_id)
    }

    /// User-defined metadata (`x-amz-meta-<name>`), in the place of what the name had.
    ///
    /// # Errors
    /// See [`with_storage_class`](Self::with_storage_class).
    pub fn with_metadata(self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        self.with(&format!("{METADATA_PREFIX}{name}"), value)
    }

    fn with(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        let name: HeaderName = name.parse().map_err(|_| InvalidHeader)?;
        let visible = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
        let value = HeaderValue::from_str(value).ok().filter(|_| visible).ok_or(InvalidHeader)?;
        self.0.insert(name, value);
        Ok(self)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        self.0.clone()
    }
}

/// Whether a new object may take the place of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// It may not (`If-None-Match: *`). Not every service knows the condition, and some ignore it:
    /// see docs/s3.md.
    Create,
    /// It may.
    Overwrite,
}

impl PutMode {
    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        if self == Self::Create {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
    }
}

impl Bucket {
    /// Looks for an object (`HeadObject`): `None` when the bucket itself says that it has none of
    /// that key.
    ///
    /// A 404 alone is no proof. A web server answers so, and so does an S3 service whose endpoint
    /// has the bucket in its path already, or that takes the first part of a key for a bucket as it
    /// serves no hosts with buckets in front. So the bucket's list is asked too.
    ///
    /// # Errors
    /// [`S3Error`]; also when something else answers than the bucket.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, S3Error> {
        match self.ask(Method::HEAD, key, &[]).await {
            Ok(answer) => Ok(Some(ObjectMeta::of(answer.headers))),
            Err(failure) if failure.status() == Some(404) => {
                self.prove_absence(key).await.map(|()| None)
            }
            // An answer to HEAD has no body: a list that is refused too says more.
            Err(failure) if failure.is_definite_refusal() => {
                Err(self.first_listed(key).await.err().unwrap_or(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Stores an object in one request (`PutObject`), with its MD5 and SHA-256 for the service to
    /// verify.
    ///
    /// # Errors
    /// [`S3Error`]; of kind [`Changed`](market_transfer::ErrorKind::Changed) when the key is taken,
    /// and `Unsupported` where the service does not know the condition.
    pub async fn put_object(
        &self,
        key: &str,
        payload: &Payload,
        options: &ObjectOptions,
        mode: PutMode,
    ) -> Result<(), S3Error> {
        let mut headers = options.headers();
        mode.add_to(&mut headers);
        self.put(key, &[], headers, payload).await.map(drop)
    }

    /// Deletes an object (`DeleteObject`). Services say nothing of whether there was one.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn delete_object(&self, key: &str) -> Result<(), S3Error> {
        self.ask(Method::DELETE, key, &[]).await.map(drop)
    }

    /// Makes the bucket (`CreateBucket`), in the region that requests are signed for. Some services
    /// must be told the region, some refuse its name: they are asked a second time without it.
    /// Tries each as [`retried`](Self::retried) does.
    ///
    /// # Errors
    /// [`S3Error`]; of status 409 when the bucket is there already.
    pub async fn create_bucket(&self) -> Result<(), S3Error> {
        let with_region = Payload::small(create_bucket_configuration(&self.access().region));
        let without = Payload::small("");
        let put = |body: Payload| async move {
            self.call(Method::PUT, "", &[], HeaderMap::new(), &body).await.map(drop)
        };
        match self.retried(|| put(with_region.clone())).await {
            Err(failure) if with_region.bytes() > 0 && may_be_about_body(&failure) => {
                self.retried(|| put(without.clone())).await
            }
            made => made,
        }
    }

    /// Has the bucket say that it holds no object of a key.
    pub(crate) async fn prove_absence(&self, key: &str) -> Result<(), S3Error> {
        let answer = self.first_listed(key).await?;
        let document = self.document(&answer, LISTS_OF_OBJECTS)?;
        let root = document.root_element();
        // A tenant of Ceph stands in front of the name.
        let plain = self.name().rsplit(':').next().unwrap_or_default();
        if child_text(root, "Name").is_some_and(|name| name != plain && name != self.name()) {
            return Err(S3Error::malformed_response("").misaddressed(Reason::OtherBucket));
        }
        let mut listed = root.children().filter(|node| node.tag_name().name() == "Contents");
        if listed.any(|entry| child_text(entry, "Key") == Some(key)) {
            let cause = "the service lists the object and does not find it";
            return Err(S3Error::indeterminate(cause).with_reason(Reason::ListedButNotFound));
        }
        Ok(())
    }

    /// The first entry of the bucket's list of what begins like a key.
    async fn first_listed(&self, key: &str) -> Result<Answer, S3Error> {
        let query = [("list-type", "2"), ("prefix", key), ("max-keys", "1")];
        self.ask(Method::GET, "", &query).await
    }
}

/// The body of `CreateBucket`; none for the region that services take without it.
fn create_bucket_configuration(region: &str) -> Bytes {
    if region == "us-east-1" {
        return Bytes::new();
    }
    Bytes::from(format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}\
         </LocationConstraint></CreateBucketConfiguration>",
        crate::xml::escape(region)
    ))
}

/// Whether the bucket may be made without a region in the request.
fn may_be_about_body(failure: &S3Error) -> bool {
    failure.is_definite_refusal() && !matches!(failure.status(), Some(401 | 403 | 409))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_without_their_quotes() {
        let tag = ETag::new(" \"5d41402abc4b2a76b9719d911017c592\" ");
        assert_eq!(tag, ETag::new("5d41402abc4b2a76b9719d911017c592"));
        assert!(tag.is_md5_of(&Payload::small("hello")) && !tag.is_md5_of(&Payload::small("x")));
        assert_eq!((tag.parts(), ETag::new("\"ab-12\"").parts()), (None, Some(12)));
        assert!(ETag::new("W/\"a\"").is_weak() && !tag.is_weak());
        assert_ne!(ETag::new("W/\"a\""), ETag::new("\"a\""));
    }

    #[test]
    fn what_no_header_can_hold_is_refused() {
        let options = ObjectOptions::default();
        for value in ["", "a b", "a\nb", "\u{e9}"] {
            assert_eq!(options.clone().with_storage_class(value).unwrap_err(), InvalidHeader);
        }
        let options = options.with_metadata("a", "1").unwrap().with_metadata("a", "2").unwrap();
        let meta = ObjectMeta::of(options.headers());
        assert_eq!((meta.metadata("a"), meta.metadata("b")), (Some("2"), None));
    }
}
