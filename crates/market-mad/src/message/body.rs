//! The dump of a request, and the dumps that the executables of drivers get.

use crate::redaction::Redaction;
use market_core::action::{DATASTORE, MARKET, read_dump};
use market_core::encoding::encode;
use market_core::roxmltree::{Document, Node};
use market_core::template::xml_element;
use std::ops::Range;

/// Whether an app of this TYPE has bytes in a marketplace: VM templates (2) and service templates
/// (3) have none.
pub(super) fn has_bytes(app_type: Option<i64>) -> bool {
    !matches!(app_type, Some(2 | 3))
}

/// The dump of a request.
#[derive(Clone)]
pub(crate) enum Body {
    /// Base64 as it came, for the driver.
    Dump(Vec<u8>),
    /// The decoded XML of an import, whose dump is completed with the answer of `export`.
    Import(ImportBody),
}

/// The XML of an import, with the places of the elements that its two steps need.
#[derive(Clone)]
pub(crate) struct ImportBody {
    /// DATASTORE/DS_MAD, the name of the datastore driver.
    pub(crate) ds_mad: String,
    xml: String,
    image: Range<usize>,
    datastore: Range<usize>,
    /// Where the closing tag of the root element begins.
    root_end: usize,
}

impl Body {
    /// How many bytes of memory it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Dump(dump) => dump.len(),
            Self::Import(import) => import.xml.len(),
        }
    }

    /// What must not be shown of it. A redaction takes many times the memory of the message, so it
    /// is made when the action starts, not when the message arrives.
    pub(crate) fn redaction(&self) -> Redaction {
        let redaction = match self {
            Self::Dump(dump) => read_dump(dump, MARKET, Redaction::of).ok(),
            Self::Import(import) => {
                Document::parse(&import.xml).ok().map(|xml| Redaction::of(xml.root_element()))
            }
        };
        redaction.unwrap_or_else(Redaction::of_everything)
    }
}

impl ImportBody {
    /// The error is the name of the element that is missing.
    pub(super) fn read(root: Node<'_, '_>) -> Result<Self, &'static str> {
        let xml = root.document().input_text();
        let ds_mad = child_text(root, ["DATASTORE", "DS_MAD"]).filter(|mad| !mad.is_empty());
        let range = |name| child(root, name).map(|node| node.range());
        Ok(Self {
            ds_mad: ds_mad.ok_or("DATASTORE/DS_MAD")?,
            image: range("IMAGE").ok_or("IMAGE")?,
            datastore: range("DATASTORE").ok_or("DATASTORE")?,
            root_end: closing_tag(root).ok_or("the end")?,
            xml: xml.to_owned(),
        })
    }

    /// The dump for the datastore's `export`, in base64.
    pub(crate) fn for_export(&self) -> Vec<u8> {
        let (image, datastore) = (&self.xml[self.image.clone()], &self.xml[self.datastore.clone()]);
        encode(format!("<{DATASTORE}>{image}{datastore}</{DATASTORE}>").as_bytes()).into_bytes()
    }

    /// The dump for the market driver, in base64: with the elements that `export` has printed.
    pub(crate) fn for_import(&self, elements: &str) -> Vec<u8> {
        let (before, after) = self.xml.split_at(self.root_end);
        encode(format!("{before}{elements}{after}").as_bytes()).into_bytes()
    }
}

/// The dump of a delete with this SOURCE, for a message that `oned` wrote before it knew of one;
/// `None` when the dump cannot be read.
pub(crate) fn with_source(dump: &[u8], source: &str) -> Option<Vec<u8>> {
    let xml = read_dump(dump, MARKET, |root| {
        let app = child(root, "MARKETPLACEAPP")?;
        let xml = root.document().input_text();
        let replaced = match child(app, "SOURCE") {
            Some(node) => node.range(),
            None => closing_tag(app).map(|end| end..end)?,
        };
        let mut element = String::new();
        xml_element(&mut element, "SOURCE", source.as_bytes()).ok()?;
        Some(format!("{}{element}{}", &xml[..replaced.start], &xml[replaced.end..]))
    });
    xml.ok().flatten().map(|xml| encode(xml.as_bytes()).into_bytes())
}

/// Where the closing tag of an element begins.
fn closing_tag(node: Node<'_, '_>) -> Option<usize> {
    let range = node.range();
    let start = range.start;
    node.document().input_text()[range].rfind("</").map(|at| start + at)
}

fn child<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Option<Node<'a, 'd>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The text of an element of an element of the root, without blanks around it.
pub(super) fn child_text(root: Node<'_, '_>, [parent, name]: [&str; 2]) -> Option<String> {
    let node = child(child(root, parent)?, name)?;
    Some(node.children().filter_map(|text| text.text()).collect::<String>().trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test part fails its test")]
mod tests {
    use super::*;
    use market_core::action::{DeleteAction, ExportAction, ImportAction};
    use market_testkit::dump::Dump;

    #[test]
    fn the_dumps_of_both_steps_of_an_import_are_read_back() {
        let dump = Dump {
            image_source: "/images/a&b".into(),
            ..Dump::of_market(&[("X", "</MARKETPLACE>")])
        };
        // As it comes from oned: without the elements of the export.
        let request = dump.import();
        let body = read_dump(request.as_bytes(), MARKET, |root| ImportBody::read(root).unwrap());
        let body = body.unwrap();
        assert_eq!(body.ds_mad, "fs");
        let export = ExportAction::decode(&body.for_export()).unwrap();
        assert_eq!(export.image.source.as_str(), "/images/a&b");
        let import =
            ImportAction::decode(&body.for_import("<LATER><![CDATA[x]]></LATER>")).unwrap();
        assert_eq!(import.marketplace.template.text("X").unwrap(), Some("</MARKETPLACE>"));
    }

    #[test]
    fn the_dump_of_a_delete_is_completed_with_a_source() {
        for dump in [Dump::default(), Dump { app_source: "old".into(), ..Dump::default() }] {
            let dump = with_source(dump.delete().as_bytes(), "http://market/a&<b>").unwrap();
            assert_eq!(
                DeleteAction::decode(&dump).unwrap().app.source.as_str(),
                "http://market/a&<b>"
            );
        }
    }
}
