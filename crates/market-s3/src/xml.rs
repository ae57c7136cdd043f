//! The XML answers of services.

use roxmltree::{Document, Node, ParsingOptions};

/// A document has at most so many nodes: a page of a list has a few thousand.
const MAX_NODES: u32 = 1_000_000;

/// Parses an answer; entities of its own and too many nodes are refused. White space may come
/// first: services send it to keep a connection alive while they are busy.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    Document::parse_with_options(text, options)
}

/// The text of a child element, in whatever namespace; `None` when there is none, or it is empty.
pub(crate) fn child_text<'n>(node: Node<'n, '_>, name: &str) -> Option<&'n str> {
    node.children().find(|child| child.tag_name().name() == name)?.text()
}

/// A text as the content of an element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
