//! What can be wrong with a template's text, with a value taken from one, and with a value put into
//! one.

use std::fmt;
use thiserror::Error;

/// A place in a template's text.
///
/// OpenNebula counts columns over the whole input and never starts again at a new line; `columns`
/// repeats that count, so that a message can be compared with one of `oned.log`. `line` and
/// `column` are what an editor shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Byte in that line, from 1.
    pub column: u64,
    /// First and one-past-last byte of the token in the whole input, counted from 1.
    pub columns: (u64, u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text is no template. The attributes before the error are in
/// [`ParseFailure::partial`](super::ParseFailure).
///
/// The text of values is never part of the message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A token that the grammar does not allow there.
    #[error("{position}: {}expected {expected}, found {found}", within(attribute))]
    Unexpected {
        /// Where the token is.
        position: Position,
        /// The attribute (`NAME` or `NAME/KEY`) that was being read, when there is one.
        attribute: Option<String>,
        /// The token's name in the core's grammar (`VARIABLE`, `EQUAL`, `$end`, ...).
        found: &'static str,
        /// What the grammar allows instead, in the core's words.
        expected: &'static str,
    },
    /// `]]>` on the line of a value: the core gives up without a message, and crashes when it
    /// happens inside an `APP` record.
    #[error(
        "{position}: {}the line holds `]]>`, which OpenNebula's parser refuses; write `]]>` across a line break or encode the value in base64",
        within(attribute)
    )]
    CdataEnd {
        /// Where the value starts.
        position: Position,
        /// The attribute that was being read.
        attribute: Option<String>,
    },
    /// XML that is not well formed, or that needs a document type, which is refused.
    #[error("the XML of the template is not well formed: {0}")]
    Xml(String),
    /// More than 4 GiB of text.
    #[error("the template is larger than 4 GiB")]
    TooLarge,
}

fn within(attribute: &Option<String>) -> String {
    attribute.as_ref().map_or_else(String::new, |name| format!("attribute {name}: "))
}

impl ParseError {
    /// The place of the error, when it has one.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Unexpected { position, .. } | Self::CdataEnd { position, .. } => Some(*position),
            Self::Xml(_) | Self::TooLarge => None,
        }
    }

    /// The message in the form that `oned` logs, with its cumulative columns; `None` where the core
    /// has no message at all.
    ///
    /// ```
    /// let failure = market_core::template::Template::parse(b"NAME=x y").unwrap_err();
    /// assert_eq!(
    ///     failure.error.as_logged_by_oned().unwrap(),
    ///     "syntax error, unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 1, columns 8:9",
    /// );
    /// ```
    pub fn as_logged_by_oned(&self) -> Option<String> {
        match self {
            Self::Unexpected { position, found, expected, .. } => Some(format!(
                "syntax error, unexpected {found}, expecting {expected} at line {}, columns {}:{}",
                position.line, position.columns.0, position.columns.1
            )),
            Self::CdataEnd { .. } => None,
            Self::Xml(_) => Some("XML Template malformed.".to_owned()),
            Self::TooLarge => Some(self.to_string()),
        }
    }
}

/// Why an attribute cannot be had as the text that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("attribute {attribute}: {reason}")]
#[non_exhaustive]
pub struct ValueError {
    /// The attribute, as `NAME` or `NAME/KEY`.
    pub attribute: String,
    /// What is wrong with it.
    pub reason: ValueErrorReason,
}

/// What is wrong with a value that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueErrorReason {
    /// The bytes are not UTF-8.
    #[error("the value is not UTF-8")]
    NotUtf8,
    /// A vector (`NAME=[...]`) where a single value is needed.
    #[error("a vector stands where a single value is needed")]
    IsVector,
}

/// Why an attribute cannot be written: the grammar has no way to say it. See
/// docs/template-grammar.md section 3.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("attribute {attribute}: {reason}")]
#[non_exhaustive]
pub struct WriteError {
    /// The attribute, as `NAME` or `NAME/KEY`.
    pub attribute: String,
    /// What stands in the way.
    pub reason: WriteErrorReason,
}

/// What stands in the way of writing an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteErrorReason {
    /// Names are `[A-Z_][A-Z0-9_]*`, keys of a vector `[A-Z0-9_]+`.
    #[error(
        "the name is not one of the template syntax (upper-case letters, digits and _; no digit first)"
    )]
    Name,
    /// The same key twice in one vector: the reader keeps only the first.
    #[error("the key stands twice in its vector")]
    DuplicateKey,
    /// A NUL byte ends the input for OpenNebula.
    #[error("the value holds a NUL byte")]
    Nul,
    /// `]]>` without a line break makes OpenNebula's parser give up.
    #[error("the value holds `]]>`")]
    CdataEnd,
    /// `\` at the end of a value that needs quotes would escape the closing quote.
    #[error("the value ends in a backslash and needs quotes, which the syntax cannot express")]
    TrailingBackslash,
    /// A byte or character that cannot be stored as XML, as OpenNebula does with every template.
    #[error(
        "the value holds bytes that XML cannot carry (control characters, or text that is not UTF-8)"
    )]
    NotXml,
    /// A key was to be edited where no vector of that name stands.
    #[error("there is no such vector")]
    NoVector,
    /// The text around it, which is kept, would change its meaning: a quote that is never closed.
    #[error(
        "the text around it does not allow the edit: a quote is not closed, or a value ends in a backslash"
    )]
    Surroundings,
    /// A vector without pairs, which is lost when it is stored as XML.
    #[error("the vector is empty")]
    EmptyVector,
    /// More than 4 GiB of text.
    #[error("the template would be larger than 4 GiB")]
    TooLarge,
}
