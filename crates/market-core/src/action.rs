//! The messages that `oned` and `one_market` hand to a driver: a dump, base64 of XML, decoded into
//! typed actions.
//!
//! ```
//! use market_core::action::MonitorAction;
//! use market_core::encoding::encode;
//!
//! let xml = "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>100</ID><NAME>apps</NAME><MARKET_MAD>http</MARKET_MAD>\
//!            <TEMPLATE><BASE_URL><![CDATA[http://market/]]></BASE_URL></TEMPLATE></MARKETPLACE></MARKET_DRIVER_ACTION_DATA>";
//! let action = MonitorAction::decode(encode(xml.as_bytes()).as_bytes())?;
//! assert_eq!(action.marketplace.id, 100);
//! assert_eq!(action.marketplace.template.text("BASE_URL")?, Some("http://market/"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Dumps come from other processes and hold what users wrote: they are capped ([`MAX_DUMP_BYTES`],
//! [`MAX_XML_NODES`](crate::template::MAX_XML_NODES)), document types are refused, and no message
//! repeats a value.

use crate::encoding;
use crate::model::{
    Datastore, Element, ElementError, Image, Marketplace, MarketplaceApp, MiB, Secret, SourceUrl,
};
use crate::template::{self, ValueError};
use market_checksum::{Malformed, Md5};
use roxmltree::Node;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The largest base64 text that is taken for a dump: 64 MiB.
pub const MAX_DUMP_BYTES: usize = 64 << 20;

/// The word by which an executable of a market driver says that it reads its dump from standard
/// input when its first argument is `-`: `one_market` looks for it in the bytes of the executable.
/// What is built on `market_core::runtime` has it; a script has it in a comment.
pub const DUMP_ON_STDIN: &str = "market-driver.dump-on-stdin";

/// Why a dump cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// There is nothing.
    #[error("the dump is empty")]
    Empty,
    /// It is beyond [`MAX_DUMP_BYTES`].
    #[error("the dump is larger than 64 MiB of base64")]
    TooLarge,
    /// It is no base64.
    #[error("the dump is {0}")]
    Base64(#[from] encoding::DecodeError),
    /// It is no UTF-8.
    #[error("the dump is not UTF-8")]
    NotUtf8,
    /// It is no XML, or XML of a kind that is refused.
    #[error("the dump is refused: {0}")]
    Xml(String),
    /// It is another message.
    #[error("the dump holds <{found}>, not <{expected}>")]
    Root {
        /// The element it should begin with.
        expected: &'static str,
        /// The element it begins with.
        found: String,
    },
    /// An element is missing or has the wrong form.
    #[error("the dump's {0}")]
    Element(#[from] ElementError),
}

/// Why an attribute of an image is no checksum.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChecksumError {
    /// It is no text.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It has not the digits of one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// `monitor` of a marketplace.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorAction {
    /// The marketplace.
    pub marketplace: Marketplace,
}

/// `import` of an image into a marketplace.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportAction {
    /// The new app.
    pub app: MarketplaceApp,
    /// The marketplace that it goes into.
    pub marketplace: Marketplace,
    /// The image it is made of.
    pub image: Option<Image>,
    /// The image's datastore.
    pub datastore: Option<Datastore>,
    /// What the datastore's `export` said about the bytes, or what is wrong with it.
    pub info: Result<ImportInfo, ElementError>,
    /// The command that removes the temporary of the export, when there is one: it runs whatever
    /// becomes of the import.
    pub dispose: Option<Secret>,
}

/// What a datastore's `export` says about an image: where its bytes are, and what they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ImportInfo {
    /// Where the bytes are.
    pub source: SourceUrl,
    /// Their MD5; `None` when the datastore does not say.
    pub md5: Option<Md5>,
    /// The image's virtual size; `None` when the datastore does not say.
    pub size: Option<MiB>,
    /// The image's format; empty when the datastore does not say.
    pub format: String,
    /// The command that removes a temporary at `source`, when there is one.
    pub dispose: Option<String>,
}

impl fmt::Debug for ImportInfo {
    /// The command is not shown: it may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, md5, size, format, dispose } = self;
        let mut shown = f.debug_struct("ImportInfo");
        shown.field("source", source).field("md5", md5).field("size", size).field("format", format);
        shown.field("dispose", &dispose.is_some()).finish()
    }
}

/// `delete` of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteAction {
    /// The app.
    pub app: MarketplaceApp,
    /// Its marketplace.
    pub marketplace: Marketplace,
}

/// A datastore's `export`: the first step of an import.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportAction {
    /// The image.
    pub image: Image,
    /// Its datastore.
    pub datastore: Datastore,
}

/// A datastore's `cp`: the step that fetches an image, from an app or from anywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyAction {
    /// The new image.
    pub image: Image,
    /// The datastore it goes into.
    pub datastore: Datastore,
    /// The marketplace of the app that the image comes from.
    pub marketplace: Option<Marketplace>,
}

/// The root element of the messages to market drivers.
pub const MARKET: &str = "MARKET_DRIVER_ACTION_DATA";
/// The root element of the messages to datastore drivers.
pub const DATASTORE: &str = "DS_DRIVER_ACTION_DATA";

/// Decodes a dump and hands its root element to `read`.
fn decode<T>(
    base64: &[u8],
    root: &'static str,
    read: impl FnOnce(Element<'_, '_>) -> Result<T, ElementError>,
) -> Result<T, DumpError> {
    Ok(read_dump(base64, root, |node| read(Element::new("", node)))??)
}

/// Decodes the message of any action, and hands its root element, which must be of this name, to
/// `read`: for programs that pass messages on. Drivers have the types of this module.
///
/// # Errors
/// [`DumpError`] says what is wrong with it.
pub fn read_dump<T>(
    base64: &[u8],
    root: &'static str,
    read: impl FnOnce(Node<'_, '_>) -> T,
) -> Result<T, DumpError> {
    if base64.len() > MAX_DUMP_BYTES {
        return Err(DumpError::TooLarge);
    }
    // Some take the end of a text along, encoded or behind it; the stock drivers' parser passes
    // over it.
    let mut bytes = encoding::decode(without_end(base64))?;
    bytes.truncate(without_end(&bytes).len());
    if bytes.is_empty() {
        return Err(DumpError::Empty);
    }
    read_xml(bytes, root, |node| Ok(read(node)))
}

/// A text without blanks and NUL bytes at its end.
fn without_end(text: &[u8]) -> &[u8] {
    let last = text.iter().rposition(|byte| *byte != 0 && !byte.is_ascii_whitespace());
    &text[..last.map_or(0, |last| last + 1)]
}

/// Parses a document and hands its root element to `read`.
fn read_xml<T>(
    xml: Vec<u8>,
    root: &'static str,
    read: impl FnOnce(Node<'_, '_>) -> Result<T, ElementError>,
) -> Result<T, DumpError> {
    let text = String::from_utf8(xml).map_err(|_| DumpError::NotUtf8)?;
    // The XML parser's messages quote names from the document, never its text.
    let document =
        template::xml_document(&text).map_err(|error| DumpError::Xml(error.to_string()))?;
    let found = document.root_element().tag_name().name();
    if found != root {
        let found = found.chars().take(64).collect();
        return Err(DumpError::Root { expected: root, found });
    }
    Ok(read(document.root_element())?)
}

/// Reads a marketplace as an operator has it: the output of `onemarket show -x`, or a driver
/// message.
///
/// # Errors
/// [`DumpError`] says what is wrong with it.
pub fn read_marketplace(text: &[u8]) -> Result<Marketplace, DumpError> {
    let text = text.trim_ascii();
    if text.starts_with(b"<") {
        return read_xml(text.to_vec(), "MARKETPLACE", |node| {
            Marketplace::from_element(&Element::new("MARKETPLACE", node))
        });
    }
    MonitorAction::decode(text).map(|action| action.marketplace)
}

/// Reads apps as an operator has them: the output of `onemarketapp list -x`.
///
/// # Errors
/// [`DumpError`] says what is wrong with it.
pub fn read_apps(xml: &[u8]) -> Result<Vec<MarketplaceApp>, DumpError> {
    read_xml(xml.trim_ascii().to_vec(), "MARKETPLACEAPP_POOL", |pool| {
        let apps = pool.children().filter(|node| node.tag_name().name() == "MARKETPLACEAPP");
        apps.map(|app| MarketplaceApp::from_element(&Element::new("MARKETPLACEAPP", app))).collect()
    })
}

impl MonitorAction {
    /// Decodes a dump.
    ///
    /// # Errors
    /// [`DumpError`] says what is wrong with it.
    pub fn decode(base64: &[u8]) -> Result<Self, DumpError> {
        decode(base64, MARKET, |root| {
            Ok(Self { marketplace: Marketplace::from_element(&root.required("MARKETPLACE")?)? })
        })
    }
}

impl ImportAction {
    /// Decodes a dump.
    ///
    /// # Errors
    /// [`DumpError`] says what is wrong with it.
    pub fn decode(base64: &[u8]) -> Result<Self, DumpError> {
        decode(base64, MARKET, |root| {
            Ok(Self {
                app: MarketplaceApp::from_element(&root.required("MARKETPLACEAPP")?)?,
                marketplace: Marketplace::from_element(&root.required("MARKETPLACE")?)?,
                image: root.child("IMAGE").map(|image| Image::from_element(&image)).transpose()?,
                datastore: root
                    .child("DATASTORE")
                    .map(|datastore| Datastore::from_element(&datastore))
                    .transpose()?,
                info: ImportInfo::from_element(&root),
                dispose: dispose(&root).map(Secret::new),
            })
        })
    }
}

impl ImportInfo {
    pub(crate) fn from_element(element: &Element<'_, '_>) -> Result<Self, ElementError> {
        let text = |name: &str| element.text(name).trim().to_owned();
        let md5 = match text("MD5").as_str() {
            "" => None,
            md5 => {
                let refused = |_| element.error("MD5", "not 32 hexadecimal digits");
                Some(md5.parse().map_err(refused)?)
            }
        };
        let size = match text("SIZE").as_str() {
            "" => None,
            size => {
                Some(MiB(size.parse().map_err(|_| element.error("SIZE", "not a whole number"))?))
            }
        };
        Ok(Self {
            source: SourceUrl::new(text("IMPORT_SOURCE")),
            md5,
            size,
            format: text("FORMAT"),
            dispose: dispose(element),
        })
    }
}

pub(crate) fn dispose(element: &Element<'_, '_>) -> Option<String> {
    let command = element.text("DISPOSE_CMD").trim().to_owned();
    (element.text("DISPOSE").trim().eq_ignore_ascii_case("yes") && !command.is_empty())
        .then_some(command)
}

impl DeleteAction {
    /// Decodes a dump.
    ///
    /// # Errors
    /// [`DumpError`] says what is wrong with it.
    pub fn decode(base64: &[u8]) -> Result<Self, DumpError> {
        decode(base64, MARKET, |root| {
            Ok(Self {
                app: MarketplaceApp::from_element(&root.required("MARKETPLACEAPP")?)?,
                marketplace: Marketplace::from_element(&root.required("MARKETPLACE")?)?,
            })
        })
    }
}

impl ExportAction {
    /// Decodes a dump.
    ///
    /// # Errors
    /// [`DumpError`] says what is wrong with it.
    pub fn decode(base64: &[u8]) -> Result<Self, DumpError> {
        decode(base64, DATASTORE, |root| {
            Ok(Self {
                image: Image::from_element(&root.required("IMAGE")?)?,
                datastore: Datastore::from_element(&root.required("DATASTORE")?)?,
            })
        })
    }
}

impl CopyAction {
    /// Decodes a dump.
    ///
    /// # Errors
    /// [`DumpError`] says what is wrong with it.
    pub fn decode(base64: &[u8]) -> Result<Self, DumpError> {
        decode(base64, DATASTORE, |root| {
            Ok(Self {
                image: Image::from_element(&root.required("IMAGE")?)?,
                datastore: Datastore::from_element(&root.required("DATASTORE")?)?,
                marketplace: root
                    .child("MARKETPLACE")
                    .map(|market| Marketplace::from_element(&market))
                    .transpose()?,
            })
        })
    }

    /// An attribute of the image's template that holds a checksum; `None` when it is missing or
    /// empty.
    ///
    /// # Errors
    /// When the attribute is there but is no checksum: what cannot be read must not pass for none.
    pub fn checksum<C>(&self, name: &str) -> Result<Option<C>, ChecksumError>
    where
        C: FromStr<Err = Malformed>,
    {
        match self.image.template.text(name)?.unwrap_or_default().trim() {
            "" => Ok(None),
            text => Ok(Some(text.parse()?)),
        }
    }
}
