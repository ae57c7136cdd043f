//! The last step of an upload: its parts become an object, if there is none of its key; and what became of that step when its
//! answer was lost.

use crate::listing;
use crate::unfinished::{find_once, is_gone};
use crate::upload::{Sent, Upload};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use market_core::backend::Published;
use market_core::transfer::ErrorKind as FailureKind;
use market_core::transfer::s3::{Failure, xml};
use std::fmt::Write as _;
use std::time::Duration;

/// Whether the service was asked to complete an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    NotAsked,
    /// So many times it was asked what became of it.
    Unknown(u32),
    Known,
}

impl Upload {
    /// Makes the parts an object, unless there is one of its key.
    pub(crate) async fn complete(&self, source: &str) -> Published {
        match self.bucket.retried(|| self.look(source)).await {
            Ok(None) => self.ask_to_complete(source).await,
            Ok(Some(published)) => published,
            Err(failure) => Published::NotPublished(self.error(failure)),
        }
    }

    async fn ask_to_complete(&self, source: &str) -> Published {
        let outcome = self.ask(source).await;
        self.settle(outcome)
    }

    /// Remembers that it is known what became of the upload.
    fn settle(&self, outcome: Published) -> Published {
        if !matches!(outcome, Published::Unknown(_)) {
            self.completion.set(Completion::Known);
        }
        outcome
    }

    async fn ask(&self, source: &str) -> Published {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        self.completion.set(match self.completion.get() {
            Completion::Unknown(asked) => Completion::Unknown(asked),
            _ => Completion::Unknown(0),
        });
        let failure = match self.send_completion(headers).await {
            Ok(()) => return Published::At(source.to_owned()),
            // A service that knows no such condition. There is no object of that key: it was just looked for.
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                match self.send_completion(HeaderMap::new()).await {
                    Ok(()) => return Published::At(source.to_owned()),
                    Err(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        if !failure.is_certain() {
            return Published::Unknown(self.error(failure));
        }
        // Refused: because the key is taken, or the upload is gone; perhaps as an earlier answer was lost.
        match self.look(source).await {
            Ok(Some(published)) => published,
            Ok(None) => Published::NotPublished(self.error(failure)),
            Err(unknown) => Published::Unknown(self.error(unknown)),
        }
    }

    async fn send_completion(&self, headers: HeaderMap) -> Result<(), Failure> {
        let mut body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
        for Sent { number, etag, .. } in &self.sent {
            let etag = etag.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        body.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", self.id.as_str())];
        let answer = self.bucket.send(Method::POST, &self.key, &query, headers, Bytes::from(body)).await?;
        let told = std::str::from_utf8(&answer.body).ok().and_then(|text| xml(text).ok());
        match told.map(|document| document.root_element().tag_name().name() == "CompleteMultipartUploadResult") {
            Some(true) => Ok(()),
            _ => Err(Failure::told_in(&answer.body)
                .unwrap_or_else(|| Failure::garbled("the answer does not tell whether the upload was completed"))),
        }
    }

    /// Finds out what became of a completion whose answer was lost. While the upload is still there it may yet be under way: it
    /// is asked for again after some time.
    pub(crate) async fn resolve(&self, source: &str, backoff: Duration) -> Published {
        if let Completion::Unknown(asked) = self.completion.get() {
            self.completion.set(Completion::Unknown(asked + 1));
            tokio::time::sleep(backoff * 2_u32.saturating_pow(asked)).await;
        }
        match self.look(source).await {
            Ok(Some(published)) => return self.settle(published),
            Ok(None) => {}
            Err(failure) => return Published::Unknown(self.error(failure)),
        }
        match listing::parts(&self.bucket, &self.key, &self.id).await {
            Ok(_) => self.ask_to_complete(source).await,
            Err(failure) if !is_gone(&failure) => Published::Unknown(self.error(failure)),
            // It may have been completed between the two questions.
            Err(failure) => match self.look(source).await {
                Ok(Some(published)) => self.settle(published),
                Ok(None) => self.settle(Published::NotPublished(self.error(failure))),
                Err(failure) => Published::Unknown(self.error(failure)),
            },
        }
    }

    /// What has the key: this upload's object, or another one. Not tried again: who must know asks again.
    async fn look(&self, source: &str) -> Result<Option<Published>, Failure> {
        let found = find_once(&self.bucket, &self.key).await?;
        Ok(found.map(|found| match found.mark {
            Some(mark) if mark == self.mark => Published::At(source.to_owned()),
            _ => Published::Exists(self.bucket.subject(&self.key)),
        }))
    }
}
