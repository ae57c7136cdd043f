//! Types from templates and templates from types, through serde.
//!
//! Fields match attributes in any letter case; a missing or empty attribute is `None`; a repeated
//! attribute is a sequence; a vector is a struct or a map. Booleans are yes/no/true/false/1/0 in
//! any case, unit enum variants match in any case.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use market_core::template::{Template, serde::{from_template, to_template}};
//!
//! #[derive(Deserialize, Serialize, PartialEq, Debug)]
//! struct Config {
//!     bucket: String,
//!     #[serde(default)]
//!     force_path_style: bool,
//!     endpoint: Option<String>,
//! }
//!
//! let template = Template::parse(b"BUCKET=apps\nFORCE_PATH_STYLE=YES\n")?;
//! let config: Config = from_template(&template)?;
//! assert_eq!(config, Config { bucket: "apps".into(), force_path_style: true, endpoint: None });
//!
//! let wrong = Template::parse(b"BUCKET=apps\nFORCE_PATH_STYLE=maybe\n")?;
//! assert_eq!(
//!     from_template::<Config>(&wrong).unwrap_err().to_string(),
//!     "attribute FORCE_PATH_STYLE: expected yes or no, found something else",
//! );
//! assert_eq!(to_template(&config)?.write()?, b"BUCKET=\"apps\"\nFORCE_PATH_STYLE=\"YES\"\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A TEMPLATE element is read the same way, through
//! [`Template::from_element`](super::Template::from_element) or, as text,
//! [`Template::parse_text_or_xml`](super::Template::parse_text_or_xml):
//!
//! ```
//! # use market_core::template::{Template, serde::from_template};
//! # #[derive(serde::Deserialize)] struct Config { bucket: String }
//! let template = Template::parse_text_or_xml(b"<TEMPLATE><BUCKET><![CDATA[apps]]></BUCKET></TEMPLATE>")?;
//! assert_eq!(from_template::<Config>(&template)?.bucket, "apps");
//! assert_eq!(
//!     from_template::<Config>(&Template::new()).err().unwrap().to_string(),
//!     "attribute BUCKET: missing",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Messages name the attribute, never its value: it may be a secret.

mod de;
mod ser;

pub use de::from_template;
pub use ser::to_template;

use std::fmt;

/// What does not fit between a type and a template.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// The attribute, as `NAME` or `NAME/KEY`; `None` when the whole template is meant.
    pub attribute: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl Error {
    fn new(reason: impl fmt::Display) -> Self {
        Self { attribute: None, reason: reason.to_string() }
    }

    /// Names the attribute, or puts it in front of the key that is named already.
    fn at(mut self, name: &str) -> Self {
        self.attribute = Some(match self.attribute {
            Some(key) => format!("{name}/{key}"),
            None => name.to_owned(),
        });
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attribute {
            Some(attribute) => write!(f, "attribute {attribute}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Error {}

impl ::serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("missing").at(&field.to_ascii_uppercase())
    }

    // serde's own words for these quote the value.
    fn invalid_value(_: ::serde::de::Unexpected<'_>, expected: &dyn ::serde::de::Expected) -> Self {
        // The one type whose words are not those of an operator.
        let expected = match expected.to_string() {
            nonzero if nonzero.starts_with("a nonzero") => "a whole number, one or more".to_owned(),
            other => other,
        };
        Self::new(format_args!("expected {expected}, found something else"))
    }

    fn invalid_type(
        unexpected: ::serde::de::Unexpected<'_>,
        expected: &dyn ::serde::de::Expected,
    ) -> Self {
        Self::invalid_value(unexpected, expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format_args!("expected one of {}, found something else", expected.join(", ")))
    }
}

impl ::serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message)
    }
}
