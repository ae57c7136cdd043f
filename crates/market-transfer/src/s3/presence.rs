//! Whether an object is there: what is not found is gone only when its bucket says so.
//!
//! A 404 alone is no proof. A web server answers so, and so does an S3 service whose endpoint has
//! the bucket in its path already, or that takes the first part of a key for a bucket as it serves
//! no hosts with buckets in front.

use super::error::Reason;
use super::{Answer, Bucket, S3Error, xml};
use bytes::Bytes;
use http::{HeaderMap, Method};

impl Bucket {
    /// Looks for an object: its headers, or `None` when the bucket itself says that it has none of
    /// that key. Asks once.
    ///
    /// # Errors
    /// [`S3Error`]; also when something else answers than the bucket.
    pub async fn look(&self, key: &str) -> Result<Option<HeaderMap>, S3Error> {
        match self.send(Method::HEAD, key, &[], HeaderMap::new(), Bytes::new()).await {
            Ok(answer) => Ok(Some(answer.headers)),
            Err(failure) if failure.status == Some(404) => {
                self.prove_absence(key).await.map(|()| None)
            }
            // An answer to HEAD says no more than its status.
            Err(failure) if failure.is_certain() => {
                Err(self.probe(key).await.err().unwrap_or(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Has the bucket say that it holds no object of a key.
    ///
    /// # Errors
    /// [`S3Error`] when it does not, or something else answers.
    pub(super) async fn prove_absence(&self, key: &str) -> Result<(), S3Error> {
        let answer = self.probe(key).await?;
        let document = self.document(&answer, LISTS_OF_OBJECTS)?;
        let root = document.root_element();
        let child = |node: roxmltree::Node<'_, '_>, name: &str| {
            let found = node.children().find(|child| child.tag_name().name() == name);
            found.and_then(|node| node.text()).map(str::to_owned)
        };
        // A tenant of Ceph stands in front of the name.
        let asked = self.name().rsplit(':').next().unwrap_or_default();
        if child(root, "Name")
            .is_some_and(|name| !name.is_empty() && name != asked && name != self.name())
        {
            return Err(S3Error::garbled("").misaddressed(Reason::OtherBucket));
        }
        let listed = root.children().filter(|node| node.tag_name().name() == "Contents");
        if listed.into_iter().any(|entry| child(entry, "Key").as_deref() == Some(key)) {
            let unsettled = S3Error::unsettled("the service lists the object and does not find it");
            return Err(S3Error { reason: Reason::StillListed, ..unsettled });
        }
        Ok(())
    }

    /// The bucket's list of what begins like a key, one entry of it.
    async fn probe(&self, key: &str) -> Result<Answer, S3Error> {
        let query = [("list-type", "2"), ("prefix", key), ("max-keys", "1")];
        self.send(Method::GET, "", &query, HeaderMap::new(), Bytes::new()).await
    }

    /// Reads a document whose root has one of these names. Services differ in how they end:
    /// `ListPartsResult`, `ListPartsResponse`.
    ///
    /// # Errors
    /// [`S3Error`]: the error that the answer is instead, or what else may answer there.
    pub fn document<'a>(
        &self,
        answer: &'a Answer,
        names: &[&str],
    ) -> Result<roxmltree::Document<'a>, S3Error> {
        let document = std::str::from_utf8(&answer.body).ok().and_then(|text| xml(text).ok());
        let root =
            document.as_ref().map(|document| document.root_element().tag_name().name().to_owned());
        let stem = root
            .as_deref()
            .and_then(|root| root.strip_suffix("Result").or(root.strip_suffix("Response")));
        match (document, stem) {
            (Some(document), Some(stem)) if names.contains(&stem) => Ok(document),
            _ if root.as_deref() == Some("ListAllMyBucketsResult") => {
                Err(S3Error::garbled("the service lists its buckets")
                    .misaddressed(Reason::NoVirtualHosts))
            }
            _ => Err(S3Error::told_in(&answer.body, &self.transport.secrets)
                .unwrap_or_else(|| S3Error::garbled("").misaddressed(Reason::NotS3))),
        }
    }

    /// What a refusal of a request about the bucket itself means.
    pub(super) fn of_bucket(failure: S3Error) -> S3Error {
        match (failure.status, failure.code.as_str()) {
            (_, "NoSuchKey") => failure.misaddressed(Reason::BucketInEndpoint),
            (Some(404), "") => failure.misaddressed(Reason::NotS3),
            _ => failure,
        }
    }
}

/// How the roots of lists of objects begin.
pub const LISTS_OF_OBJECTS: &[&str] = &["ListBucket", "ListObjects", "ListObjectsV2"];
