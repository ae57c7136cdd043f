//! What a bucket holds: objects, unfinished uploads, parts. All pages of each.

use crate::parts::MOST_PARTS;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method};
use market_core::transfer::s3::{Answer, Bucket, Failure, xml};
use percent_encoding::percent_decode_str;
use roxmltree::{Document, Node};
use std::time::Duration;

/// Lists that go on without saying anything new are given up.
const MOST_EMPTY_PAGES: u32 = 20;
const MOST_UPLOADS: usize = 1_000_000;

/// An object.
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
}

/// An unfinished upload.
pub(crate) struct Unfinished {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) age: Duration,
}

/// A part of an unfinished upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) etag: String,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
}

/// Tells of every object whose key begins so.
pub(crate) async fn objects(bucket: &Bucket, prefix: &str, sink: &mut dyn FnMut(Object)) -> Result<(), Failure> {
    let mut token = String::new();
    let mut last = String::new();
    let mut empty_pages = 0;
    loop {
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)];
        if !token.is_empty() {
            query.push(("continuation-token", &token));
        }
        let answer = ask(bucket, "", &query).await?;
        let page = Page::of(&answer, "ListBucketResult")?;
        for entry in page.each("Contents") {
            let key = page.key(entry, "Key")?;
            if key <= last {
                return Err(Failure::garbled("the service lists objects without an end or an order"));
            }
            last.clone_from(&key);
            sink(Object { bytes: page.number(entry, "Size")?, age: page.age(entry, "LastModified")?, key });
        }
        // Keys go on and on, so that this ends; a few pages may hold nothing.
        empty_pages = if page.each("Contents").next().is_some() { 0 } else { empty_pages + 1 };
        if empty_pages > MOST_EMPTY_PAGES {
            return Err(endless());
        }
        match page.next("NextContinuationToken", &token)? {
            Some(next) => token = next,
            None => return Ok(()),
        }
    }
}

/// All unfinished uploads whose key begins so.
pub(crate) async fn uploads(bucket: &Bucket, prefix: &str) -> Result<Vec<Unfinished>, Failure> {
    let mut found = Vec::new();
    let (mut key, mut id) = (String::new(), String::new());
    loop {
        let mut query = vec![("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)];
        if !key.is_empty() {
            query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
        }
        let answer = ask(bucket, "", &query).await?;
        let page = Page::of(&answer, "ListMultipartUploadsResult")?;
        for entry in page.each("Upload") {
            let age = page.age(entry, "Initiated")?;
            found.push(Unfinished { key: page.key(entry, "Key")?, id: page.text(entry, "UploadId")?, age });
        }
        if found.len() > MOST_UPLOADS {
            return Err(endless());
        }
        let after = format!("{key}\n{id}");
        let root = page.document.root_element();
        let (next_key, next_id) = (page.key(root, "NextKeyMarker"), page.text(root, "NextUploadIdMarker"));
        if !page.is_truncated() {
            return Ok(found);
        }
        (key, id) = (next_key?, next_id.unwrap_or_default());
        if format!("{key}\n{id}") == after || page.each("Upload").next().is_none() {
            return Err(endless());
        }
    }
}

/// All parts of an upload, in order.
pub(crate) async fn parts(bucket: &Bucket, key: &str, id: &str) -> Result<Vec<Part>, Failure> {
    let mut found: Vec<Part> = Vec::new();
    let mut marker = String::new();
    loop {
        let mut query = vec![("uploadId", id)];
        if !marker.is_empty() {
            query.push(("part-number-marker", &marker));
        }
        let answer = ask(bucket, key, &query).await?;
        let page = Page::of(&answer, "ListPartsResult")?;
        for entry in page.each("Part") {
            let number = page.number(entry, "PartNumber")?;
            if found.last().is_some_and(|last| last.number >= number) || number > MOST_PARTS {
                return Err(Failure::garbled("the service lists parts without an order"));
            }
            let (etag, bytes) = (page.text(entry, "ETag")?, page.number(entry, "Size")?);
            found.push(Part { number, etag, bytes, age: page.age(entry, "LastModified")? });
        }
        if page.is_truncated() && page.each("Part").next().is_none() {
            return Err(endless());
        }
        match page.next("NextPartNumberMarker", &marker)? {
            Some(next) => marker = next,
            None => return Ok(found),
        }
    }
}

async fn ask(bucket: &Bucket, key: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
    bucket.retried(|| bucket.send(Method::GET, key, query, HeaderMap::new(), Bytes::new())).await
}

fn endless() -> Failure {
    Failure::garbled("the service's list goes on for ever")
}

/// The service's clock: ages are told by it.
fn clock(headers: &HeaderMap) -> DateTime<Utc> {
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let theirs = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    theirs.map_or_else(Utc::now, |date| date.to_utc())
}

/// One page of a list.
struct Page<'a> {
    document: Document<'a>,
    /// Whether keys are encoded as in URLs: XML cannot hold every key.
    encoded: bool,
    now: DateTime<Utc>,
}

impl<'a> Page<'a> {
    fn of(answer: &'a Answer, name: &str) -> Result<Self, Failure> {
        let none = || Failure::garbled("the answer is no list of S3; is ENDPOINT an S3 service?");
        let text = std::str::from_utf8(&answer.body).map_err(|_| none())?;
        let document = xml(text).map_err(|_| none())?;
        if document.root_element().tag_name().name() != name {
            return Err(none());
        }
        let mut page = Self { document, encoded: false, now: clock(&answer.headers) };
        page.encoded = page.find(page.document.root_element(), "EncodingType") == Some("url");
        Ok(page)
    }

    fn each(&self, name: &'static str) -> impl Iterator<Item = Node<'_, 'a>> {
        self.document.root_element().children().filter(move |node| node.tag_name().name() == name)
    }

    fn find<'n>(&self, node: Node<'n, 'a>, name: &str) -> Option<&'n str> {
        Some(node.children().find(|child| child.tag_name().name() == name)?.text().unwrap_or_default())
    }

    fn text(&self, node: Node<'_, 'a>, name: &str) -> Result<String, Failure> {
        let lacking = || Failure::garbled(format!("the service's list lacks {name}"));
        self.find(node, name).map(str::to_owned).ok_or_else(lacking)
    }

    fn key(&self, node: Node<'_, 'a>, name: &str) -> Result<String, Failure> {
        let text = self.text(node, name)?;
        if !self.encoded {
            return Ok(text);
        }
        // A blank is a plus sign here, as in forms.
        Ok(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned())
    }

    fn number(&self, node: Node<'_, 'a>, name: &str) -> Result<u64, Failure> {
        let text = self.text(node, name)?;
        text.trim().parse().map_err(|_| Failure::garbled(format!("{name} in the service's list is no number")))
    }

    /// How long ago something was.
    fn age(&self, node: Node<'_, 'a>, name: &str) -> Result<Duration, Failure> {
        let text = self.text(node, name)?;
        let time = DateTime::parse_from_rfc3339(text.trim());
        let time = time.map_err(|_| Failure::garbled(format!("{name} in the service's list is no time")))?;
        Ok((self.now - time.to_utc()).to_std().unwrap_or_default())
    }

    fn is_truncated(&self) -> bool {
        self.find(self.document.root_element(), "IsTruncated").is_some_and(|text| text.trim() == "true")
    }

    /// Where the next page begins, when there is one.
    fn next(&self, name: &str, before: &str) -> Result<Option<String>, Failure> {
        if !self.is_truncated() {
            return Ok(None);
        }
        let next = self.text(self.document.root_element(), name)?;
        if next == before || next.is_empty() { Err(endless()) } else { Ok(Some(next)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 22 Nov 2026 16:00:10 GMT".parse().unwrap());
        Answer { headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn keys_are_decoded_where_the_service_has_encoded_them() {
        let list = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>\
                    <Contents><Key>a+b%2Bc%2Fd%0A%C3%A9</Key><Size>7</Size>\
                    <LastModified>2026-11-22T16:00:00.000Z</LastModified></Contents></ListBucketResult>";
        let answer = answer(list);
        let page = Page::of(&answer, "ListBucketResult").unwrap();
        let entry = page.each("Contents").next().unwrap();
        assert_eq!(page.key(entry, "Key").unwrap(), "a b+c/d\n\u{e9}");
        assert_eq!(page.number(entry, "Size").unwrap(), 7);
        assert_eq!(page.age(entry, "LastModified").unwrap(), Duration::from_secs(10));
        assert_eq!(page.next("NextContinuationToken", "").unwrap(), None);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in
            ["", "<html></html>", "{}", "<ListBucketResult>", "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>"]
        {
            assert!(Page::of(&answer(text), "ListBucketResult").is_err(), "{text}");
        }
        let truncated = answer("<ListBucketResult><IsTruncated>true</IsTruncated><N>same</N></ListBucketResult>");
        let page = Page::of(&truncated, "ListBucketResult").unwrap();
        assert!(page.next("N", "same").is_err() && page.next("Missing", "").is_err());
        assert_eq!(page.next("N", "other").unwrap().unwrap(), "same");
    }
}
