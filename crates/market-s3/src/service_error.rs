//! The error document of a service: the body of a refusal ("Error responses" of the Amazon S3 API
//! Reference).

use crate::redactor::Redactor;
use crate::xml::{child_text, parse};

/// What an error document says, without secrets; empty where there is none.
#[derive(Default)]
pub(crate) struct ServiceError {
    /// `Code`: one word, as `NoSuchKey`; empty when there is none.
    pub(crate) code: String,
    /// `Region`, where the bucket is in another one.
    pub(crate) region: Option<String>,
    /// `Message`: a sentence in the service's own words; empty when there is none.
    pub(crate) message: String,
}

impl ServiceError {
    pub(crate) fn parse(body: &[u8], redactor: &Redactor) -> Self {
        let Some(document) = std::str::from_utf8(body).ok().and_then(|text| parse(text).ok())
        else {
            return Self::default();
        };
        // Some services answer <ErrorResponse><Error>..; elsewhere <Code> would be something else.
        let root = document.root_element();
        let error = match root.tag_name().name() {
            "Error" => root,
            _ => match root.children().find(|node| node.tag_name().name() == "Error") {
                Some(inner) => inner,
                None => return Self::default(),
            },
        };
        Self {
            code: child_text(error, "Code")
                .and_then(|text| redactor.word(text))
                .unwrap_or_default(),
            region: child_text(error, "Region").and_then(|text| redactor.word(text)),
            message: child_text(error, "Message")
                .map(|text| redactor.sentence(text))
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_has_a_code() {
        let redactor = Redactor::new(["AKIAKEY0".to_owned()]);
        let code = |text: &str| ServiceError::parse(text.as_bytes(), &redactor).code;
        assert_eq!(code("<Error><Code>NoSuchKey</Code></Error>"), "NoSuchKey");
        assert_eq!(
            code(" \r\n<?xml version=\"1.0\"?><Error><Code> SlowDown </Code></Error>"),
            "SlowDown"
        );
        assert_eq!(
            code("<ErrorResponse><Error><Code>NoSuchKey</Code></Error></ErrorResponse>"),
            "NoSuchKey"
        );
        for none in [
            "<html><Code>NoSuchKey</Code></html>",
            "",
            "{}",
            "<Error><Code>AKIAKEY0</Code></Error>",
        ] {
            assert_eq!(code(none), "", "{none}");
        }
    }
}
