//! Multipart uploads: created, filled with parts, completed or aborted. Nobody sees the object
//! before its upload is completed.

use crate::bucket::Bucket;
use crate::error::S3Error;
use crate::object::{ETag, ObjectOptions, PutMode};
use crate::payload::Payload;
use crate::xml::{child_text, escape};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ETAG, HeaderMap};
use std::fmt::Write as _;

/// A part that the service has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Its number, from 1.
    pub number: u64,
    /// The entity tag that the service gave it.
    pub etag: ETag,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Bucket {
    /// Creates a multipart upload (`CreateMultipartUpload`): its id. Where an answer is lost there
    /// may be an upload whose id nobody knows.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn create_upload(
        &self,
        key: &str,
        options: &ObjectOptions,
    ) -> Result<String, S3Error> {
        let empty = Payload::small("");
        let answer =
            self.call(Method::POST, key, &[("uploads", "")], options.headers(), &empty).await?;
        let names = &["InitiateMultipartUpload", "CreateMultipartUpload"];
        let document = self.document(&answer, names)?;
        child_text(document.root_element(), "UploadId").map(str::to_owned).ok_or_else(|| {
            S3Error::malformed_response("the service has begun an upload and does not name it")
        })
    }

    /// Sends a part (`UploadPart`), with its MD5 and SHA-256 for the service to verify. Numbers
    /// begin at 1; a part that was there under the number is replaced.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn upload_part(
        &self,
        key: &str,
        id: &str,
        number: u64,
        payload: &Payload,
    ) -> Result<Part, S3Error> {
        let digits = number.to_string();
        let query = [("partNumber", digits.as_str()), ("uploadId", id)];
        let answer = self.put(key, &query, HeaderMap::new(), payload).await?;
        let etag = answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(ETag::new);
        let etag =
            etag.ok_or_else(|| S3Error::malformed_response("the service took it without an ETag"))?;
        Ok(Part { number, etag, bytes: payload.bytes() })
    }

    /// Makes an object of an upload's parts, which are in order (`CompleteMultipartUpload`): the
    /// entity tag of the object, where the service tells it.
    ///
    /// # Errors
    /// [`S3Error`], as [`put_object`](Self::put_object). Unless it
    /// [is a definite refusal](S3Error::is_definite_refusal), the upload may have been completed,
    /// or still be.
    pub async fn complete_upload(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        mode: PutMode,
    ) -> Result<Option<ETag>, S3Error> {
        let mut headers = HeaderMap::new();
        mode.add_to(&mut headers);
        let body = Payload::small(list_of_parts(parts));
        let answer = self.call(Method::POST, key, &[("uploadId", id)], headers, &body).await?;
        let document = self.document(&answer, &["CompleteMultipartUpload"])?;
        Ok(child_text(document.root_element(), "ETag").map(ETag::new))
    }

    /// Gives an upload up (`AbortMultipartUpload`). Parts that are on their way at that moment may
    /// be stored all the same: it must be aborted again then.
    ///
    /// # Errors
    /// [`S3Error`]; see [`is_no_such_upload`](S3Error::is_no_such_upload).
    pub async fn abort_upload(&self, key: &str, id: &str) -> Result<(), S3Error> {
        self.ask(Method::DELETE, key, &[("uploadId", id)]).await.map(drop)
    }
}

fn list_of_parts(parts: &[Part]) -> Bytes {
    let mut body =
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for Part { number, etag, .. } in parts {
        let etag = escape(etag.as_str());
        let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    body.push_str("</CompleteMultipartUpload>");
    Bytes::from(body)
}
