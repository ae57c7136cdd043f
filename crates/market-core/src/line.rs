//! Text from elsewhere, made fit for one line of a log or of an answer.
//!
//! These are the functions of `market-redact`, which market-transfer uses too.

pub use market_redact::{one_line, secrets_of_urls, without_secrets_of_urls};
