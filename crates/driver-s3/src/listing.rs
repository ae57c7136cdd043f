//! What a bucket holds: objects, unfinished uploads, parts. All pages of each.

use crate::key::Keys;
use crate::parts::MAX_PARTS;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method};
use market_core::model::AppId;
use market_core::transfer::s3::{Answer, Bucket, LISTS_OF_OBJECTS, S3Error};
use percent_encoding::percent_decode_str;
use roxmltree::{Document, Node};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::time::Instant;

/// Lists that go on without saying anything new are given up.
const MAX_EMPTY_PAGES: u32 = 20;
const MAX_PAGES: usize = 100_000;
const MAX_UPLOADS: usize = 20_000;

/// Nothing that a list names is longer: keys have a thousand characters at most, encoded ones three
/// times as many.
const LONGEST_TEXT: usize = 8 << 10;

/// How long a list may take, all pages of it.
const LIST_PATIENCE: Duration = Duration::from_secs(3_600);

/// An app's object.
pub(crate) struct Object {
    pub(crate) app: AppId,
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

/// Tells of every object whose key is an app's; what else the bucket holds is not looked at.
pub(crate) async fn list(
    bucket: &Bucket,
    keys: &Keys,
    sink: &mut dyn FnMut(Object),
) -> Result<(), S3Error> {
    let mut pages = Pages::new();
    let mut token = String::new();
    loop {
        let mut query =
            vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", keys.prefix())];
        if !token.is_empty() {
            query.push(("continuation-token", &token));
        }
        let answer = ask(bucket, "", &query).await?;
        let page = Page::of(bucket, &answer, LISTS_OF_OBJECTS)?;
        for entry in page.each("Contents") {
            let key = page.key(entry, "Key")?;
            if let Some(app) = keys.app(&key) {
                let (bytes, age) = (page.number(entry, "Size")?, page.age(entry, "LastModified")?);
                sink(Object { app, key, bytes, age });
            }
        }
        let first =
            page.each("Contents").next().map(|entry| page.text(entry, "Key")).transpose()?;
        let Some(next) = page.next("NextContinuationToken")? else { return Ok(()) };
        pages.turn(&next, first.as_deref())?;
        token = next;
    }
}

/// All unfinished uploads of keys of apps.
pub(crate) async fn uploads(bucket: &Bucket, keys: &Keys) -> Result<Vec<Unfinished>, S3Error> {
    uploads_of(bucket, keys.prefix(), |key| keys.app(key).is_some()).await
}

/// All unfinished uploads of one key.
pub(crate) async fn uploads_to(bucket: &Bucket, key: &str) -> Result<Vec<Unfinished>, S3Error> {
    uploads_of(bucket, key, |other| other == key).await
}

async fn uploads_of(
    bucket: &Bucket,
    prefix: &str,
    ours: impl Fn(&str) -> bool,
) -> Result<Vec<Unfinished>, S3Error> {
    let mut found = Vec::new();
    let mut pages = Pages::new();
    let (mut after, mut after_id) = (String::new(), String::new());
    loop {
        let mut query = vec![("uploads", ""), ("encoding-type", "url"), ("prefix", prefix)];
        if !after.is_empty() {
            query.extend([("key-marker", after.as_str()), ("upload-id-marker", after_id.as_str())]);
        }
        let answer = match ask(bucket, "", &query).await {
            // One that has none in an empty bucket says so.
            Err(failure) if failure.code == "NoSuchUpload" => return Ok(found),
            answer => answer?,
        };
        let page = Page::of(bucket, &answer, &["ListMultipartUploads"])?;
        for entry in page.each("Upload") {
            let key = page.key(entry, "Key")?;
            if ours(&key) {
                found.push(Unfinished {
                    key,
                    id: page.text(entry, "UploadId")?,
                    age: page.age(entry, "Initiated")?,
                });
            }
        }
        if found.len() > MAX_UPLOADS {
            return Err(endless());
        }
        let first =
            page.each("Upload").next().map(|entry| page.text(entry, "UploadId")).transpose()?;
        let Some(next) = page.next("NextKeyMarker")? else { return Ok(found) };
        let next_id =
            page.text(page.document.root_element(), "NextUploadIdMarker").unwrap_or_default();
        pages.turn(&format!("{next}\n{next_id}"), first.as_deref())?;
        (after, after_id) = (page.decoded(next), next_id);
    }
}

/// All parts of an upload, in order.
pub(crate) async fn parts(bucket: &Bucket, key: &str, id: &str) -> Result<Vec<Part>, S3Error> {
    let mut found = BTreeMap::new();
    let mut pages = Pages::new();
    let mut marker = String::new();
    loop {
        let mut query = vec![("uploadId", id)];
        if !marker.is_empty() {
            query.push(("part-number-marker", &marker));
        }
        let answer = ask(bucket, key, &query).await?;
        let page = Page::of(bucket, &answer, &["ListParts"])?;
        for entry in page.each("Part") {
            let number = page.number(entry, "PartNumber")?;
            let (etag, bytes) = (page.text(entry, "ETag")?, page.number(entry, "Size")?);
            let part = Part { number, etag, bytes, age: page.age(entry, "LastModified")? };
            if !(1..=MAX_PARTS).contains(&number) || found.insert(number, part).is_some() {
                return Err(S3Error::garbled(
                    "the service lists a part that cannot be, or one part twice",
                ));
            }
        }
        let first =
            page.each("Part").next().map(|entry| page.text(entry, "PartNumber")).transpose()?;
        let Some(next) = page.next("NextPartNumberMarker")? else {
            return Ok(found.into_values().collect());
        };
        pages.turn(&next, first.as_deref())?;
        marker = next;
    }
}

/// What a list has said so far: it goes on only as long as it says something new. Lists need not be
/// in order.
struct Pages {
    /// Of where its pages began, hashed.
    seen: HashSet<u64>,
    first: Option<String>,
    empty: u32,
    until: Instant,
}

impl Pages {
    fn new() -> Self {
        Self { seen: HashSet::new(), first: None, empty: 0, until: Instant::now() + LIST_PATIENCE }
    }

    /// The list goes on there, after a page that began with this entry.
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
        if Instant::now() > self.until {
            return Err(S3Error::garbled("the service's list takes more than an hour"));
        }
        Ok(())
    }
}

async fn ask(bucket: &Bucket, key: &str, query: &[(&str, &str)]) -> Result<Answer, S3Error> {
    bucket.retried(|| bucket.send(Method::GET, key, query, HeaderMap::new(), Bytes::new())).await
}

fn endless() -> S3Error {
    S3Error::garbled("the service's list goes on for ever")
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
    fn of(bucket: &Bucket, answer: &'a Answer, names: &[&str]) -> Result<Self, S3Error> {
        Ok(Self::read(bucket.document(answer, names)?, &answer.headers))
    }

    fn read(document: Document<'a>, headers: &HeaderMap) -> Self {
        let mut page = Self { document, encoded: false, now: clock(headers) };
        page.encoded = page.find(page.document.root_element(), "EncodingType") == Some("url");
        page
    }

    fn each(&self, name: &'static str) -> impl Iterator<Item = Node<'_, 'a>> {
        self.document.root_element().children().filter(move |node| node.tag_name().name() == name)
    }

    fn find<'n>(&self, node: Node<'n, 'a>, name: &str) -> Option<&'n str> {
        Some(
            node.children()
                .find(|child| child.tag_name().name() == name)?
                .text()
                .unwrap_or_default(),
        )
    }

    fn text(&self, node: Node<'_, 'a>, name: &str) -> Result<String, S3Error> {
        let lacking = || S3Error::garbled(format!("the service's list lacks {name}"));
        let text = self.find(node, name).ok_or_else(lacking)?;
        if text.len() > LONGEST_TEXT {
            return Err(S3Error::garbled(format!("{name} in the service's list is too long")));
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
        let text = self.text(node, name)?;
        text.trim()
            .parse()
            .map_err(|_| S3Error::garbled(format!("{name} in the service's list is no number")))
    }

    /// How long ago something was.
    fn age(&self, node: Node<'_, 'a>, name: &str) -> Result<Duration, S3Error> {
        let text = self.text(node, name)?;
        let time = DateTime::parse_from_rfc3339(text.trim());
        let time =
            time.map_err(|_| S3Error::garbled(format!("{name} in the service's list is no time")))?;
        Ok((self.now - time.to_utc()).to_std().unwrap_or_default())
    }

    fn is_truncated(&self) -> bool {
        self.find(self.document.root_element(), "IsTruncated")
            .is_some_and(|text| text.trim() == "true")
    }

    /// Where the next page begins, when there is one.
    fn next(&self, name: &str) -> Result<Option<String>, S3Error> {
        if !self.is_truncated() {
            return Ok(None);
        }
        self.text(self.document.root_element(), name).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market_core::transfer::s3::xml;

    #[test]
    fn keys_are_decoded_where_the_service_has_encoded_them() {
        let list = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>\
                    <Contents><Key>a+b%2Bc%2Fd%0A%C3%A9</Key><Size>7</Size>\
                    <LastModified>2026-11-22T16:00:00.000Z</LastModified></Contents></ListBucketResult>";
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 22 Nov 2026 16:00:10 GMT".parse().unwrap());
        let page = Page::read(xml(list).unwrap(), &headers);
        let entry = page.each("Contents").next().unwrap();
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
