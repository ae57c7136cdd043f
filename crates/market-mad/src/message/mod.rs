//! The messages of `oned`: lines on standard input, parsed.
//!
//! `ACTION <status> ID DUMP`, with an empty status and so two blanks (docs/one-market.md). Words
//! may be in any letter case, with any number of blanks between them.

mod body;
mod reader;

pub(crate) use body::{Body, ImportBody, with_source};
pub(crate) use reader::start_reader;

use crate::line_splitter::Line;
use crate::protocol::Action;
use body::{child_text, has_bytes};
use market_core::action::{DumpError, MARKET, read_dump};
use market_core::roxmltree::Node;
use std::fmt;
use std::sync::Arc;

/// MARKETPLACEAPP/TYPE of an app that is an image.
pub(crate) const IMAGE: i64 = 1;

/// The texts of FAILURE answers, those of the stock driver.
const CANNOT_DECODE: &str = "Cannot decode driver message";
const WRONG_FORMAT: &str = "Wrong driver message format";

/// A line from `oned`.
#[derive(Debug)]
pub(crate) enum Message {
    Init,
    Finalize,
    /// DRIVER_CANCEL: end every action with this id.
    Cancel(i64),
    Request(Box<Request>),
    /// An action that is answered with FAILURE at once.
    Refused {
        action: Action,
        id: i64,
        /// The text of the answer.
        cause: &'static str,
        /// More about it, for the log.
        detail: String,
    },
    /// A line that cannot be answered, and why.
    Ignored(&'static str),
}

/// An action that `oned` asks for.
pub(crate) struct Request {
    pub(crate) action: Action,
    /// The id to answer with: of the marketplace for a monitor, of the app otherwise.
    pub(crate) id: i64,
    /// MARKETPLACE/ID; -1 when the dump has none.
    pub(crate) market: i64,
    /// MARKETPLACE/MARKET_MAD, the name of the market driver.
    pub(crate) market_mad: String,
    /// MARKETPLACEAPP/TYPE.
    pub(crate) app_type: Option<i64>,
    /// Whether MARKETPLACEAPP/SOURCE is there and not empty.
    pub(crate) has_source: bool,
    pub(crate) body: Arc<Body>,
}

impl fmt::Debug for Request {
    /// Without the dump, which holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("action", &self.action)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// How many bytes of memory it takes, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.market_mad.len() + self.body.bytes()
    }

    /// Whether the app has bytes in a marketplace.
    pub(crate) fn has_bytes(&self) -> bool {
        has_bytes(self.app_type)
    }
}

/// Parses a line; `None` when it holds no word.
fn parse(line: &Line<'_>) -> Option<Message> {
    let mut words = line.bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let word = words.next()?;
    let (id, dump, more) = (words.next(), words.next(), words.next());
    let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    Some(if word.eq_ignore_ascii_case(b"INIT") {
        Message::Init
    } else if word.eq_ignore_ascii_case(b"FINALIZE") {
        Message::Finalize
    } else if word.eq_ignore_ascii_case(b"DRIVER_CANCEL") {
        id.map_or(Message::Ignored("a DRIVER_CANCEL without an id"), Message::Cancel)
    } else {
        match (Action::parse(word), id, dump, more) {
            (None, ..) => Message::Ignored("no action that is known here"),
            (_, None, ..) => Message::Ignored("an action without an id"),
            (_, _, None, _) | (_, _, _, Some(_)) => {
                Message::Ignored("an action with a wrong number of words")
            }
            (Some(action), Some(id), Some(_), None) if line.truncated => {
                let detail = "the message is larger than 64 MiB".to_owned();
                Message::Refused { action, id, cause: CANNOT_DECODE, detail }
            }
            (Some(action), Some(id), Some(dump), None) => parse_request(action, id, dump),
        }
    })
}

fn parse_request(action: Action, id: i64, dump: &[u8]) -> Message {
    let is_import = action == Action::Import;
    let (cause, detail) = match read_dump(dump, MARKET, |root| Fields::read(root, is_import)) {
        Ok(Ok(fields)) => return Message::Request(Box::new(fields.into_request(action, id, dump))),
        Ok(Err(missing)) => (WRONG_FORMAT, format!("{missing} is missing from the dump")),
        // The text of these errors repeats no value of the dump.
        Err(error @ DumpError::Root { .. }) => (WRONG_FORMAT, error.to_string()),
        Err(error) => (CANNOT_DECODE, error.to_string()),
    };
    Message::Refused { action, id, cause, detail }
}

/// What is read from a dump when its message arrives.
struct Fields {
    market: i64,
    market_mad: String,
    app_type: Option<i64>,
    has_source: bool,
    import: Option<ImportBody>,
}

impl Fields {
    /// The error is the name of the element that is missing.
    fn read(root: Node<'_, '_>, is_import: bool) -> Result<Self, &'static str> {
        let text = |path: [&str; 2]| child_text(root, path);
        let market_mad = text(["MARKETPLACE", "MARKET_MAD"]).filter(|mad| !mad.is_empty());
        let app_type = text(["MARKETPLACEAPP", "TYPE"]).and_then(|number| number.parse().ok());
        let market = text(["MARKETPLACE", "ID"]).and_then(|number| number.parse().ok());
        let source = text(["MARKETPLACEAPP", "SOURCE"]);
        let mut fields = Self {
            market: market.unwrap_or(-1),
            market_mad: market_mad.clone().unwrap_or_default(),
            app_type,
            has_source: source.is_some_and(|source| !source.is_empty()),
            import: None,
        };
        // An app without bytes needs no driver, so nothing else may be missing from its dump.
        if !has_bytes(app_type) {
            return Ok(fields);
        }
        market_mad.ok_or("MARKETPLACE/MARKET_MAD")?;
        if is_import {
            let app_type = app_type.ok_or("MARKETPLACEAPP/TYPE")?;
            text(["MARKETPLACEAPP", "ORIGIN_ID"]).ok_or("MARKETPLACEAPP/ORIGIN_ID")?;
            if app_type == IMAGE {
                fields.import = Some(ImportBody::read(root)?);
            }
        }
        Ok(fields)
    }

    fn into_request(self, action: Action, id: i64, dump: &[u8]) -> Request {
        let Self { market, market_mad, app_type, has_source, import } = self;
        let body = Arc::new(import.map_or_else(|| Body::Dump(dump.to_vec()), Body::Import));
        Request { action, id, market, market_mad, app_type, has_source, body }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use market_core::encoding::encode;
    use market_testkit::dump::Dump;

    fn message(line: &str) -> Option<Message> {
        parse(&Line { bytes: line.as_bytes(), truncated: false })
    }

    fn request(line: &str) -> Request {
        match message(line) {
            Some(Message::Request(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_may_be_in_any_letter_case_with_any_blanks_between_them() {
        assert!(matches!(message("INIT"), Some(Message::Init)));
        assert!(matches!(message("finalize \r"), Some(Message::Finalize)));
        assert!(matches!(message("DRIVER_CANCEL  7"), Some(Message::Cancel(7))));
        let monitor = request(&format!("Monitor   107  {}\r", Dump::default().monitor()));
        assert_eq!((monitor.action, monitor.id, monitor.market), (Action::Monitor, 107, 107));
    }

    #[test]
    fn a_line_that_cannot_be_answered_is_ignored() {
        assert!(message("").is_none() && message("  \t ").is_none());
        for line in [
            "MONITOR",
            "MONITOR 7",
            "MONITOR x y",
            "MONITOR 7 a b",
            "EXPORT 7 a",
            "\0\u{1}\u{ff}",
            "DRIVER_CANCEL",
        ] {
            assert!(matches!(message(line), Some(Message::Ignored(_))), "{line:?}");
        }
    }

    #[test]
    fn a_dump_that_cannot_be_read_is_refused_under_its_own_action() {
        let no_mad =
            encode(b"<MARKET_DRIVER_ACTION_DATA><MARKETPLACE/></MARKET_DRIVER_ACTION_DATA>");
        let other = encode(b"<OTHER/>");
        for (dump, expected) in [
            ("%%", CANNOT_DECODE),
            ("PGE+", CANNOT_DECODE),
            (&no_mad, WRONG_FORMAT),
            (&other, WRONG_FORMAT),
        ] {
            match message(&format!("DELETE 7 {dump}")) {
                Some(Message::Refused { action: Action::Delete, id: 7, cause, .. }) => {
                    assert_eq!(cause, expected)
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_message_that_waits_takes_little_more_memory_than_its_dump() {
        let dump = Dump { market_apps: (0..7_600).collect(), ..Dump::default() };
        let secret = [("SECRET_ACCESS_KEY", "swordfish")];
        let dump = Dump { market: Dump::of_market(&secret).market, ..dump };
        let line = format!("DELETE 7 {}", dump.delete());
        let delete = request(&line);
        assert!(
            delete.memory_bytes() < line.len() + 1_000,
            "{} of {}",
            delete.memory_bytes(),
            line.len()
        );
        assert_eq!(delete.body.redaction().apply("swordfish"), "<hidden>");
        let import = request(&format!("IMPORT 7 {}", Dump::of_market(&secret).import()));
        assert_eq!(import.body.redaction().apply("swordfish"), "<hidden>");
    }
}
