//! What a bucket holds: objects, multipart uploads in progress, their parts. All pages of each.
//!
//! Lists need not be in order, may be endless, and may lie; what they name is not trusted.

use crate::bucket::Bucket;
use crate::error::S3Error;
use crate::object::{ETag, LISTS_OF_OBJECTS};
use crate::part_sizes::MAX_PARTS;
use crate::time::parse_iso8601;
use crate::transport::Answer;
use percent_encoding::percent_decode_str;
use reqwest::Method;
use reqwest::header::{DATE, HeaderMap};
use roxmltree::{Document, Node};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A list is given up after so many pages in a row without an entry, pages in all, and uploads.
const MAX_EMPTY_PAGES: u32 = 20;
const MAX_PAGES: usize = 100_000;
const MAX_UPLOADS: usize = 20_000;

/// The longest text of an entry: keys have a thousand characters at most, encoded ones three times
/// as many.
const MAX_TEXT_BYTES: usize = 8 << 10;

/// How long a list may take, all pages of it.
const LIST_TIMEOUT: Duration = Duration::from_secs(3_600);

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// How long ago it was stored, by the service's clock.
    pub age: Duration,
}

/// A multipart upload in progress: neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedUpload {
    /// The key of the object that it becomes.
    pub key: String,
    /// The id that the service gave it.
    pub id: String,
    /// How long ago it was created, by the service's clock.
    pub age: Duration,
}

/// A part that the service holds of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedPart {
    /// Its number, from 1.
    pub number: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its length in bytes.
    pub bytes: u64,
    /// How long ago it was stored, by the service's clock.
    pub age: Duration,
}

impl Bucket {
    /// Tells of every object whose key begins with a prefix and passes a filter (`ListObjectsV2`),
    /// page by page. Of what does not pass nothing but the key is read.
    ///
    /// # Errors
    /// [`S3Error`]; also when the list is malformed, or never ends.
    pub async fn list_objects(
        &self,
        prefix: &str,
        filter: impl Fn(&str) -> bool,
        sink: &mut dyn FnMut(ListedObject),
    ) -> Result<(), S3Error> {
        let mut pages = Pages::new();
        let mut token = String::new();
        loop {
            let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)];
            if !token.is_empty() {
                query.push(("continuation-token", &token));
            }
            let answer = page_of(self, "", &query).await?;
            let page = Page::new(self, &answer, LISTS_OF_OBJECTS)?;
            for entry in page.entries("Contents") {
                let key = page.key(entry, "Key")?;
                if filter(&key) {
                    let bytes = page.number(entry, "Size")?;
                    sink(ListedObject { key, bytes, age: page.age(entry, "LastModified")? });
                }
            }
            let Some(next) = page.next("NextContinuationToken")? else { return Ok(()) };
            pages.turn(&next, page.first("Contents", "Key")?.as_deref())?;
            token = next;
        }
    }

    /// All multipart uploads in progress to keys that begin with a prefix and pass a filter
    /// (`ListMultipartUploads`); an error when these are more than 20,000.
    ///
    /// # Errors
    /// As [`list_objects`](Self::list_objects).
    pub async fn list_uploads(
        &self,
        prefix: &str,
        filter: impl Fn(&str) -> bool,
    ) -> Result<Vec<ListedUpload>, S3Error> {
        let mut found = Vec::new();
        let mut pages = Pages::new();
        let (mut after, mut after_id) = (String::new(), String::new());
        loop {
            let mut query = vec![("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)];
            if !after.is_empty() {
                query.extend([("key-marker", &*after), ("upload-id-marker", &*after_id)]);
            }
            let answer = match page_of(self, "", &query).await {
                // So some services say that an empty bucket has none.
                Err(failure) if failure.is_no_such_upload() => return Ok(found),
                answer => answer?,
            };
            let page = Page::new(self, &answer, &["ListMultipartUploads"])?;
            for entry in page.entries("Upload") {
                let key = page.key(entry, "Key")?;
                if filter(&key) {
                    let (id, age) = (page.text(entry, "UploadId")?, page.age(entry, "Initiated")?);
                    found.push(ListedUpload { key, id, age });
                }
            }
            if found.len() > MAX_UPLOADS {
                return Err(endless());
            }
            let Some(next) = page.next("NextKeyMarker")? else { return Ok(found) };
            let next_id = page.text(page.root(), "NextUploadIdMarker").unwrap_or_default();
            pages.turn(
                &format!("{next}\n{next_id}"),
                page.first("Upload", "UploadId")?.as_deref(),
            )?;
            (after, after_id) = (page.decoded(next), next_id);
        }
    }

    /// All parts that the service holds of an upload (`ListParts`), in order.
    ///
    /// # Errors
    /// As [`list_objects`](Self::list_objects).
    pub async fn list_parts(&self, key: &str, id: &str) -> Result<Vec<ListedPart>, S3Error> {
        let mut found = BTreeMap::new();
        let mut pages = Pages::new();
        let mut marker = String::new();
        loop {
            let mut query = vec![("uploadId", id)];
            if !marker.is_empty() {
                query.push(("part-number-marker", &marker));
            }
            let answer = page_of(self, key, &query).await?;
            let page = Page::new(self, &answer, &["ListParts"])?;
            for entry in page.entries("Part") {
                let part = page.part(entry)?;
                let valid = (1..=MAX_PARTS).contains(&part.number);
                if !valid || found.insert(part.number, part).is_some() {
                    return Err(S3Error::malformed_response(
                        "the service lists a part that cannot be, or one part twice",
                    ));
                }
            }
            let Some(next) = page.next("NextPartNumberMarker")? else {
                return Ok(found.into_values().collect());
            };
            pages.turn(&next, page.first("Part", "PartNumber")?.as_deref())?;
            marker = next;
        }
    }
}

/// What a list has said so far: it goes on only as long as it says something new.
struct Pages {
    /// The markers that its pages began at, hashed.
    seen: HashSet<u64>,
    first: Option<String>,
    empty: u32,
    deadline: Instant,
}

impl Pages {
    fn new() -> Self {
        let deadline = Instant::now() + LIST_TIMEOUT;
        Self { seen: HashSet::new(), first: None, empty: 0, deadline }
    }

    /// The list goes on at this marker, after a page that began with this entry.
    fn turn(&mut self, next: &str, first: Option<&str>) -> Result<(), S3Error> {
        let mut hasher = DefaultHasher::new();
        next.hash(&mut hasher);
        let new = self.seen.insert(hasher.finish());
        self.empty = if first.is_some() { 0 } else { self.empty + 1 };
        let same = first.is_some() && self.first.as_deref() == first;
        self.first = first.map(str::to_owned);
        if next.is_empty()
            || !new
            || same
            || self.empty > MAX_EMPTY_PAGES
            || self.seen.len() > MAX_PAGES
        {
            return Err(endless());
        }
        if Instant::now() > self.deadline {
            let cause = "the service's list takes more than an hour";
            return Err(S3Error::malformed_response(cause));
        }
        Ok(())
    }
}

async fn page_of(bucket: &Bucket, key: &str, query: &[(&str, &str)]) -> Result<Answer, S3Error> {
    bucket.retried(|| bucket.ask(Method::GET, key, query)).await
}

fn endless() -> S3Error {
    S3Error::malformed_response("the service's list goes on for ever")
}

/// The service's clock: ages are told by it.
fn clock(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now)
}

/// One page of a list.
struct Page<'a> {
    document: Document<'a>,
    /// Whether keys are encoded as in URLs: XML cannot hold every key.
    encoded: bool,
    now: SystemTime,
}

impl<'a> Page<'a> {
    fn new(bucket: &Bucket, answer: &'a Answer, names: &[&str]) -> Result<Self, S3Error> {
        Ok(Self::of(bucket.document(answer, names)?, &answer.headers))
    }

    fn of(document: Document<'a>, headers: &HeaderMap) -> Self {
        let mut page = Self { document, encoded: false, now: clock(headers) };
        page.encoded = page.find(page.root(), "EncodingType") == Some("url");
        page
    }

    fn root(&self) -> Node<'_, 'a> {
        self.document.root_element()
    }

    fn entries(&self, name: &'static str) -> impl Iterator<Item = Node<'_, 'a>> {
        self.root().children().filter(move |node| node.tag_name().name() == name)
    }

    /// A text of the first entry.
    fn first(&self, entry: &'static str, name: &str) -> Result<Option<String>, S3Error> {
        self.entries(entry).next().map(|entry| self.text(entry, name)).transpose()
    }

    fn find<'n>(&self, node: Node<'n, 'a>, name: &str) -> Option<&'n str> {
        let child = node.children().find(|child| child.tag_name().name() == name)?;
        Some(child.text().unwrap_or_default())
    }

    fn text(&self, node: Node<'_, 'a>, name: &str) -> Result<String, S3Error> {
        let text = self.find(node, name).ok_or_else(|| {
            S3Error::malformed_response(format!("the service's list lacks {name}"))
        })?;
        if text.len() > MAX_TEXT_BYTES {
            let cause = format!("{name} in the service's list is too long");
            return Err(S3Error::malformed_response(cause));
        }
        Ok(text.to_owned())
    }

    fn key(&self, node: Node<'_, 'a>, name: &str) -> Result<String, S3Error> {
        Ok(self.decoded(self.text(node, name)?))
    }

    fn decoded(&self, text: String) -> String {
        if !self.encoded {
            return text;
        }
        // A blank is a plus sign here, as in forms.
        percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
    }

    fn number(&self, node: Node<'_, 'a>, name: &str) -> Result<u64, S3Error> {
        self.text(node, name)?.trim().parse().map_err(|_| {
            S3Error::malformed_response(format!("{name} in the service's list is no number"))
        })
    }

    /// How long ago a time was.
    fn age(&self, node: Node<'_, 'a>, name: &str) -> Result<Duration, S3Error> {
        let time = parse_iso8601(self.text(node, name)?.trim()).ok_or_else(|| {
            S3Error::malformed_response(format!("{name} in the service's list is no time"))
        })?;
        Ok(self.now.duration_since(time).unwrap_or_default())
    }

    fn part(&self, node: Node<'_, 'a>) -> Result<ListedPart, S3Error> {
        Ok(ListedPart {
            number: self.number(node, "PartNumber")?,
            etag: ETag::new(self.text(node, "ETag")?),
            bytes: self.number(node, "Size")?,
            age: self.age(node, "LastModified")?,
        })
    }

    fn is_truncated(&self) -> bool {
        self.find(self.root(), "IsTruncated").is_some_and(|text| text.trim() == "true")
    }

    /// The marker of the next page, when there is one.
    fn next(&self, name: &str) -> Result<Option<String>, S3Error> {
        if !self.is_truncated() {
            return Ok(None);
        }
        self.text(self.root(), name).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::parse;

    #[test]
    fn keys_are_decoded_where_the_service_has_encoded_them() {
        let list = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>\
                    <Contents><Key>a+b%2Bc%2Fd%0A%C3%A9</Key><Size>7</Size>\
                    <LastModified>2026-11-22T16:00:00.000Z</LastModified></Contents></ListBucketResult>";
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 22 Nov 2026 16:00:10 GMT".parse().unwrap());
        let page = Page::of(parse(list).unwrap(), &headers);
        let entry = page.entries("Contents").next().unwrap();
        assert_eq!(page.key(entry, "Key").unwrap(), "a b+c/d\n\u{e9}");
        assert_eq!(page.number(entry, "Size").unwrap(), 7);
        assert_eq!(page.age(entry, "LastModified").unwrap(), Duration::from_secs(10));
        assert_eq!(page.next("NextContinuationToken").unwrap(), None);
    }

    #[test]
    fn a_list_goes_on_only_as_long_as_it_says_something_new() {
        let mut pages = Pages::new();
        // The order is the service's own affair.
        for (next, first) in
            [("9", "marketapp-9/x"), ("3", "marketapp-9-foo"), ("5", "marketapp-1")]
        {
            pages.turn(next, Some(first)).unwrap();
        }
        assert!(pages.turn("3", Some("another")).is_err(), "a circle");
        let mut pages = Pages::new();
        pages.turn("1", Some("a")).unwrap();
        assert!(pages.turn("2", Some("a")).is_err(), "the same page again");
        assert!(Pages::new().turn("", Some("a")).is_err(), "goes on nowhere");
        let mut pages = Pages::new();
        assert!(
            (0..100).any(|nth: u32| pages.turn(&nth.to_string(), None).is_err()),
            "empty pages without end"
        );
    }
}
