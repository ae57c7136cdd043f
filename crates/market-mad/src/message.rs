//! What `oned` says: lines from standard input, made into messages. A thread reads them, so that a
//! large dump holds up nobody.

use crate::protocol::Action;
use crate::redaction::Redaction;
use crate::splitter::{Line, Splitter};
use market_core::action::{DATASTORE, DumpError, MARKET, MAX_DUMP_BYTES, read_dump};
use market_core::encoding::encode;
use market_core::roxmltree::{Document, Node};
use market_core::template::xml_element;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The longest line that is kept: the largest dump, and the words before it.
const MAX_LINE_BYTES: usize = MAX_DUMP_BYTES + 256;

/// The type of an app that is an image.
pub(crate) const IMAGE: i64 = 1;

/// Whether an app of this type has bytes in a marketplace: VM and service templates have none.
pub(crate) fn has_bytes(app_type: Option<i64>) -> bool {
    !matches!(app_type, Some(2 | 3))
}

/// A line from `oned`.
#[derive(Debug)]
pub(crate) enum Message {
    Init,
    Finalize,
    /// Ends every action with this id.
    Cancel(i64),
    Request(Box<Request>),
    /// An action that cannot be done, and why.
    Refused {
        action: Action,
        id: i64,
        cause: &'static str,
        detail: String,
    },
    /// Nothing that can be answered; why.
    Ignored(&'static str),
}

/// An action.
pub(crate) struct Request {
    pub(crate) action: Action,
    /// The id that the answer is for: of the marketplace for a monitor, of the app otherwise.
    pub(crate) id: i64,
    /// The marketplace.
    pub(crate) market: i64,
    /// Its driver.
    pub(crate) market_mad: String,
    /// The app's TYPE.
    pub(crate) app_type: Option<i64>,
    /// Whether it says where the app is.
    pub(crate) has_source: bool,
    pub(crate) body: Arc<Body>,
}

/// What a driver is told.
#[derive(Clone)]
pub(crate) enum Body {
    /// The dump as it came.
    Dump(Vec<u8>),
    /// The XML of an import, which the datastore's `export` is to complete.
    Import(ImportBody),
}

/// The message of an import before its first step.
#[derive(Clone)]
pub(crate) struct ImportBody {
    pub(crate) ds_mad: String,
    xml: String,
    image: Range<usize>,
    datastore: Range<usize>,
    /// Where the root element's closing tag begins.
    end: usize,
}

impl ImportBody {
    /// The dump for the datastore's `export`.
    pub(crate) fn for_export(&self) -> Vec<u8> {
        let (image, datastore) = (&self.xml[self.image.clone()], &self.xml[self.datastore.clone()]);
        encode(format!("<{DATASTORE}>{image}{datastore}</{DATASTORE}>").as_bytes()).into_bytes()
    }

    /// The dump for the market driver, with what the export has told.
    pub(crate) fn for_import(&self, elements: &str) -> Vec<u8> {
        let (before, after) = self.xml.split_at(self.end);
        encode(format!("{before}{elements}{after}").as_bytes()).into_bytes()
    }
}

impl Body {
    /// What must not be shown of it. It takes many times the memory of the message, so it is made
    /// when the action starts.
    pub(crate) fn redaction(&self) -> Redaction {
        let redaction = match self {
            Self::Dump(dump) => read_dump(dump, MARKET, Redaction::of).ok(),
            Self::Import(import) => {
                Document::parse(&import.xml).ok().map(|xml| Redaction::of(xml.root_element()))
            }
        };
        redaction.unwrap_or_else(Redaction::of_anything)
    }
}

impl std::fmt::Debug for Request {
    /// Neither the dump nor the keys in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("action", &self.action)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// How much memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let body = match &*self.body {
            Body::Dump(dump) => dump.len(),
            Body::Import(import) => import.xml.len(),
        };
        size_of::<Self>() + self.market_mad.len() + body
    }
}

/// Starts the thread that reads standard input. It ends with [`Message::Finalize`] when there is no
/// more.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn read() -> io::Result<mpsc::Receiver<Message>> {
    let (sender, messages) = mpsc::channel(1);
    std::thread::Builder::new().spawn(move || {
        let mut splitter = Splitter::new(MAX_LINE_BYTES);
        let mut buffer = vec![0; 256 << 10];
        let mut wanted = true;
        while wanted && let Some(count) = read_some(&mut buffer) {
            splitter.feed(&buffer[..count], |line| {
                if let (true, Some(message)) = (wanted, parse(&line)) {
                    wanted = sender.blocking_send(message).is_ok();
                }
            });
        }
        // What has no line end was cut off: nobody knows what is missing.
        let _ = sender.blocking_send(Message::Finalize);
    })?;
    Ok(messages)
}

/// Reads from standard input, which may have been left non-blocking; `None` at its end.
fn read_some(buffer: &mut [u8]) -> Option<usize> {
    let stdin = rustix::stdio::stdin();
    loop {
        match rustix::io::read(stdin, &mut *buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
            }
            Err(_) => return None,
        }
    }
}

/// A line as a message; `None` for one without a word.
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
        match (Action::of(word), id, dump, more) {
            (None, ..) => Message::Ignored("no action that is known here"),
            (_, None, ..) => Message::Ignored("an action without an id"),
            (_, _, None, _) | (_, _, _, Some(_)) => {
                Message::Ignored("an action with a wrong number of words")
            }
            (Some(action), Some(id), Some(_), None) if line.cut => {
                let detail = "the message is larger than 64 MiB".to_owned();
                Message::Refused { action, id, cause: CANNOT_DECODE, detail }
            }
            (Some(action), Some(id), Some(dump), None) => request(action, id, dump),
        }
    })
}

const CANNOT_DECODE: &str = "Cannot decode driver message";
const WRONG_FORMAT: &str = "Wrong driver message format";

fn request(action: Action, id: i64, dump: &[u8]) -> Message {
    match read_dump(dump, MARKET, |root| Parts::of(root, action == Action::Import)) {
        Ok(Ok(parts)) => Message::Request(Box::new(parts.request(action, id, dump))),
        Ok(Err(missing)) => Message::Refused {
            action,
            id,
            cause: WRONG_FORMAT,
            detail: format!("{missing} is missing from the dump"),
        },
        // No message of this type repeats a value.
        Err(error @ DumpError::Root { .. }) => {
            Message::Refused { action, id, cause: WRONG_FORMAT, detail: error.to_string() }
        }
        Err(error) => {
            Message::Refused { action, id, cause: CANNOT_DECODE, detail: error.to_string() }
        }
    }
}

/// What is read from a dump.
struct Parts {
    market: i64,
    market_mad: String,
    app_type: Option<i64>,
    has_source: bool,
    import: Option<ImportBody>,
}

impl Parts {
    /// The name of the element that is missing otherwise.
    fn of(root: Node<'_, '_>, import: bool) -> Result<Self, &'static str> {
        let text = |path: [&str; 2]| text(root, path);
        let market_mad = text(["MARKETPLACE", "MARKET_MAD"]).filter(|mad| !mad.is_empty());
        let app_type = text(["MARKETPLACEAPP", "TYPE"]).and_then(|number| number.parse().ok());
        let mut parts = Self {
            market: text(["MARKETPLACE", "ID"])
                .and_then(|number| number.parse().ok())
                .unwrap_or(-1),
            market_mad: market_mad.clone().unwrap_or_default(),
            app_type,
            has_source: text(["MARKETPLACEAPP", "SOURCE"]).is_some_and(|source| !source.is_empty()),
            import: None,
        };
        // Of one without bytes no more is needed, and an import of it must not be answered.
        if !has_bytes(app_type) {
            return Ok(parts);
        }
        market_mad.ok_or("MARKETPLACE/MARKET_MAD")?;
        if import {
            let app_type = app_type.ok_or("MARKETPLACEAPP/TYPE")?;
            text(["MARKETPLACEAPP", "ORIGIN_ID"]).ok_or("MARKETPLACEAPP/ORIGIN_ID")?;
            if app_type == IMAGE {
                parts.import = Some(ImportBody::of(root)?);
            }
        }
        Ok(parts)
    }

    fn request(self, action: Action, id: i64, dump: &[u8]) -> Request {
        let Self { market, market_mad, app_type, has_source, import } = self;
        // A type without bytes needs no message: nothing will be run.
        let body = Arc::new(import.map_or_else(|| Body::Dump(dump.to_vec()), Body::Import));
        Request { action, id, market, market_mad, app_type, has_source, body }
    }
}

impl ImportBody {
    fn of(root: Node<'_, '_>) -> Result<Self, &'static str> {
        let xml = root.document().input_text();
        let ds_mad = text(root, ["DATASTORE", "DS_MAD"]).filter(|mad| !mad.is_empty());
        let range = |name| child(root, name).map(|node| node.range());
        Ok(Self {
            ds_mad: ds_mad.ok_or("DATASTORE/DS_MAD")?,
            image: range("IMAGE").ok_or("IMAGE")?,
            datastore: range("DATASTORE").ok_or("DATASTORE")?,
            end: closing_tag(root).ok_or("the end")?,
            xml: xml.to_owned(),
        })
    }
}

/// Where an element's closing tag begins.
fn closing_tag(node: Node<'_, '_>) -> Option<usize> {
    let range = node.range();
    let start = range.start;
    node.document().input_text()[range].rfind("</").map(|at| start + at)
}

fn child<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Option<Node<'a, 'd>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text(root: Node<'_, '_>, [parent, name]: [&str; 2]) -> Option<String> {
    let node = child(child(root, parent)?, name)?;
    Some(node.children().filter_map(|text| text.text()).collect::<String>().trim().to_owned())
}

/// The message of a delete with the app's SOURCE, when it has come before `oned` knew of one.
pub(crate) fn with_source(dump: &[u8], source: &str) -> Option<Vec<u8>> {
    let xml = read_dump(dump, MARKET, |root| {
        let app = child(root, "MARKETPLACEAPP")?;
        let xml = root.document().input_text();
        let place = match child(app, "SOURCE") {
            Some(node) => node.range(),
            None => closing_tag(app).map(|end| end..end)?,
        };
        let mut element = String::new();
        xml_element(&mut element, "SOURCE", source.as_bytes()).ok()?;
        Some(format!("{}{element}{}", &xml[..place.start], &xml[place.end..]))
    });
    xml.ok().flatten().map(|xml| encode(xml.as_bytes()).into_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use market_core::action::{DeleteAction, ImportAction};
    use market_testkit::dump::Dump;

    fn message(line: &str) -> Option<Message> {
        parse(&Line { bytes: line.as_bytes(), cut: false })
    }

    fn request(line: &str) -> Request {
        match message(line) {
            Some(Message::Request(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_are_split_on_runs_of_blanks_in_any_letter_case() {
        assert!(matches!(message("INIT"), Some(Message::Init)));
        assert!(matches!(message("finalize \r"), Some(Message::Finalize)));
        assert!(matches!(message("DRIVER_CANCEL  7"), Some(Message::Cancel(7))));
        let monitor = request(&format!("Monitor   107  {}\r", Dump::default().monitor()));
        assert_eq!((monitor.action, monitor.id, monitor.market), (Action::Monitor, 107, 107));
    }

    #[test]
    fn what_cannot_be_answered_is_ignored() {
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
    fn what_cannot_be_read_is_refused_under_its_own_action() {
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
    fn a_message_that_waits_takes_no_more_than_its_own_bytes() {
        let dump = Dump { market_apps: (0..7_600).collect(), ..Dump::default() };
        let secret = [("SECRET_ACCESS_KEY", "swordfish")];
        let dump = Dump { market: Dump::of_market(&secret).market, ..dump };
        let line = format!("DELETE 7 {}", dump.delete());
        let delete = request(&line);
        assert!(delete.bytes() < line.len() + 1_000, "{} of {}", delete.bytes(), line.len());
        assert_eq!(delete.body.redaction().apply("swordfish"), "<hidden>");
        let import = request(&format!("IMPORT 7 {}", Dump::of_market(&secret).import()));
        assert_eq!(import.body.redaction().apply("swordfish"), "<hidden>");
    }

    #[test]
    fn an_import_goes_to_the_datastore_and_then_to_the_driver() {
        let dump = Dump {
            image_source: "/images/a&b".into(),
            ..Dump::of_market(&[("X", "</MARKETPLACE>")])
        };
        // As it comes from oned: without what the export tells.
        let import = request(&format!("IMPORT  30  {}", dump.import()));
        let Body::Import(body) = &*import.body else { panic!("an import") };
        assert_eq!(body.ds_mad, "fs");
        let export = market_core::action::ExportAction::decode(&body.for_export()).unwrap();
        assert_eq!(export.image.source.as_str(), "/images/a&b");
        let import =
            ImportAction::decode(&body.for_import("<LATER><![CDATA[x]]></LATER>")).unwrap();
        assert_eq!(import.marketplace.template.text("X").unwrap(), Some("</MARKETPLACE>"));
    }

    #[test]
    fn a_delete_learns_the_source_of_an_import_that_had_just_ended() {
        for dump in [Dump::default(), Dump { app_source: "old".into(), ..Dump::default() }] {
            let dump = with_source(dump.delete().as_bytes(), "http://market/a&<b>").unwrap();
            assert_eq!(
                DeleteAction::decode(&dump).unwrap().app.source.as_str(),
                "http://market/a&<b>"
            );
        }
    }
}
