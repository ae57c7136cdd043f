//! What a driver answers, checked before it can be printed.
//!
//! `oned` reads an answer as one template: one broken line loses all of it, and `]]>` inside an
//! `APP` record crashes the daemon. So every answer here is a type, and its `write` is the only way
//! to text: it refuses what `oned` could not read back.
//!
//! ```
//! use market_core::model::{AppType, MiB};
//! use market_core::report::{AppTemplate, MonitorReport};
//!
//! let mut app = AppTemplate::new("Alpine 3.20", AppType::Image)?;
//! app.single("SOURCE", "http://market/appliance/1/download/0")?;
//! app.single("SIZE", "256")?;
//! let mut report = MonitorReport::of_space(MiB(40), MiB(60), MiB(100));
//! report.apps.push(app);
//! assert!(report.write()?.starts_with(b"USED_MB=\"40\"\nFREE_MB=\"60\"\nTOTAL_MB=\"100\"\nAPP=\""));
//! # Ok::<(), market_core::report::ReportError>(())
//! ```

use crate::action::{ImportInfo, dispose};
use crate::encoding;
use crate::model::{AppType, Element, MiB, Secret, SourceUrl};
use crate::template::{self, ParseError, Rules, Template, WriteError, Writer};
use market_checksum::Md5;
use std::collections::BTreeSet;
use std::fmt;
use thiserror::Error;

/// Why an answer cannot be printed, or is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A value that the template syntax, or `oned`, cannot hold.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A name that `oned` would replace by `imported--1`.
    #[error(
        "the app name {name:?} is not valid: 1 to 128 bytes, none of & | : \\ \" ; / ' # {{ }} $ < > or a line break"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// `oned` takes apps of equal names for one app.
    #[error("two apps are named {name:?}: OpenNebula would take them for one")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An attribute that must be there is missing or empty.
    #[error("{attribute} is missing or empty")]
    Missing {
        /// The attribute.
        attribute: &'static str,
    },
    /// An attribute has not the form it must have.
    #[error("{attribute} is not {expected}")]
    Form {
        /// The attribute.
        attribute: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A text that should be an answer is no template.
    #[error("the answer is no template: {0}")]
    Parse(ParseError),
}

fn form<T>(attribute: &'static str, expected: &'static str) -> Result<T, ReportError> {
    Err(ReportError::Form { attribute, expected })
}

/// Whether `oned` takes a name as it is (docs/driver-contract.md section 4).
pub fn is_valid_app_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.contains(|c| "&|:\\\";/'#{}$<>\t\n\u{b}\u{c}\r".contains(c))
}

/// The answer to `monitor`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorReport {
    /// Used, free and total space; `None` for a marketplace that only discovers apps.
    pub space: Option<Space>,
    /// Discovered apps. Never a partial list: `oned` drops what is missing from three reports.
    pub apps: Vec<AppTemplate>,
}

/// The space of a marketplace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What the apps take.
    pub used: MiB,
    /// What can still be stored; never negative.
    pub free: MiB,
    /// Capacity.
    pub total: MiB,
}

impl MonitorReport {
    /// A report without discovery.
    pub fn of_space(used: MiB, free: MiB, total: MiB) -> Self {
        Self { space: Some(Space { used, free, total }), apps: Vec::new() }
    }

    /// The text that `monitor` prints.
    ///
    /// # Errors
    /// When a size is negative, or two apps have one name, or an image has no `SOURCE`.
    pub fn write(&self) -> Result<Vec<u8>, ReportError> {
        let mut writer = Writer::new(Rules::Oned);
        if let Some(Space { used, free, total }) = self.space {
            for (name, size) in [("USED_MB", used), ("FREE_MB", free), ("TOTAL_MB", total)] {
                if size.0 < 0 {
                    return form(name, "zero or more");
                }
                writer.single(name, size.0.to_string())?;
            }
        }
        let mut names = BTreeSet::new();
        for app in &self.apps {
            if !names.insert(app.name.as_str()) {
                return Err(ReportError::DuplicateName { name: app.name.clone() });
            }
            writer.single("APP", encoding::encode(&app.write()?))?;
        }
        Ok(writer.finish())
    }

    /// Reads what a driver printed: the sizes (the published guide's `USED_MD` is taken for
    /// `USED_MB`) and the apps as `oned` makes them out.
    ///
    /// # Errors
    /// When the text is no template, or an `APP` record would crash `oned`.
    pub fn read(text: &[u8]) -> Result<(Space, Vec<DiscoveredApp>), ReportError> {
        let template =
            Template::parse(text).map_err(|failure| ReportError::Parse(failure.error))?;
        let size = |name| MiB(stream_integer(first_single(&template, name).unwrap_or_default()).0);
        let used =
            if template.get("USED_MB").is_some() { size("USED_MB") } else { size("USED_MD") };
        let space = Space { used, free: size("FREE_MB"), total: size("TOTAL_MB") };
        let apps =
            template.get_all("APP").filter_map(|app| app.as_bytes()).map(DiscoveredApp::read);
        Ok((space, apps.collect::<Result<_, _>>()?))
    }
}

/// What most templates of apps fit in.
const USUAL_BYTES: usize = 4 << 10;

/// The template of a discovered app: attributes in the order they are added, valid name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppTemplate {
    name: String,
    app_type: AppType,
    /// Those with one value, to be looked up: names and values one behind the other, and where they
    /// end.
    singles: String,
    ends: Vec<(usize, usize)>,
    /// All of them, written.
    written: Writer,
}

impl AppTemplate {
    /// A template with its `NAME`; `TYPE` is added by [`write`](Self::write) unless it was added
    /// before.
    ///
    /// # Errors
    /// When `oned` would not take the name, or the type has no word.
    pub fn new(name: &str, app_type: AppType) -> Result<Self, ReportError> {
        if !is_valid_app_name(name) {
            return Err(ReportError::Name { name: name.chars().take(128).collect() });
        }
        if app_type.word().is_none() {
            return form("TYPE", "IMAGE, VMTEMPLATE or SERVICE_TEMPLATE");
        }
        Ok(Self {
            name: name.to_owned(),
            app_type,
            singles: String::with_capacity(USUAL_BYTES),
            ends: Vec::with_capacity(24),
            written: Writer::with_capacity(Rules::Oned, USUAL_BYTES),
        })
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds `NAME="value"`.
    ///
    /// # Errors
    /// When the syntax or `oned` cannot hold it.
    pub fn single(&mut self, name: &str, value: &str) -> Result<(), ReportError> {
        self.written.single(name, value)?;
        self.singles.push_str(name);
        let end_of_name = self.singles.len();
        self.singles.push_str(value);
        self.ends.push((end_of_name, self.singles.len()));
        Ok(())
    }

    /// Adds `NAME=[ KEY="value", ... ]`.
    ///
    /// # Errors
    /// When the syntax or `oned` cannot hold it.
    pub fn vector(&mut self, name: &str, pairs: &[(&str, &str)]) -> Result<(), ReportError> {
        Ok(self.written.vector(name, pairs.iter().copied())?)
    }

    /// What kind of app it is.
    pub fn app_type(&self) -> AppType {
        self.app_type
    }

    /// The value of an attribute that was added by [`single`](Self::single).
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut start = 0;
        for &(end_of_name, end) in &self.ends {
            if &self.singles[start..end_of_name] == name {
                return Some(&self.singles[end_of_name..end]);
            }
            start = end;
        }
        None
    }

    /// The template's text, as it goes in base64 into an `APP` line.
    ///
    /// # Errors
    /// When an image has no `SOURCE`, or `SIZE` or `REGTIME` is no whole number.
    pub fn write(&self) -> Result<Vec<u8>, ReportError> {
        if self.app_type == AppType::Image && self.value("SOURCE").unwrap_or_default().is_empty() {
            return Err(ReportError::Missing { attribute: "SOURCE" });
        }
        for name in ["SIZE", "REGTIME"] {
            if self.value(name).is_some_and(|value| value.parse::<i64>().is_err()) {
                return form(name, "a whole number");
            }
        }
        let mut writer = Writer::with_capacity(Rules::Oned, self.written.as_bytes().len() + 512);
        writer.single("NAME", &self.name)?;
        if self.value("TYPE").is_none() {
            writer.single("TYPE", self.app_type.word().unwrap_or_default())?;
        }
        let mut text = writer.finish();
        text.extend_from_slice(self.written.as_bytes());
        Ok(text)
    }
}

/// An `APP` record as `oned` takes it apart: fields moved out of the template, the rest kept.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveredApp {
    /// `NAME`.
    pub name: String,
    /// `SOURCE`.
    pub source: SourceUrl,
    /// `MD5`.
    pub md5: String,
    /// `SIZE`: the number at the start of the text, and whether that was all of it.
    pub size: (MiB, bool),
    /// `FORMAT`.
    pub format: String,
    /// `REGTIME`, in seconds since 1970, and whether the text was nothing else.
    pub registered: (i64, bool),
    /// `TYPE`.
    pub app_type: AppType,
    /// `DESCRIPTION`, `VERSION`, `APPTEMPLATE64` and everything that is no field.
    pub template: Template,
}

impl DiscoveredApp {
    /// Takes the value of an `APP` line apart by the rules of `oned`, its base64 decoder included:
    /// what that one does not like is an app without attributes.
    ///
    /// # Errors
    /// When the record is no template; `]]>` in it crashes `oned`.
    pub fn read(value: &[u8]) -> Result<Self, ReportError> {
        let text = encoding::decode_as_oned(value);
        let mut template =
            Template::parse_owned(text).map_err(|failure| ReportError::Parse(failure.error))?;
        let mut take = |name: &str| {
            let value = first_single(&template, name)
                .map(|value| String::from_utf8_lossy(value).into_owned());
            template.remove(name);
            value.unwrap_or_default()
        };
        let app_type = AppType::from_word(&take("TYPE"));
        take("ORIGIN_ID");
        let (size, registered) = (take("SIZE"), take("REGTIME"));
        let (size, whole_size) = stream_integer(size.as_bytes());
        Ok(Self {
            app_type,
            name: take("NAME"),
            source: SourceUrl::new(take("SOURCE")),
            size: (MiB(size), whole_size),
            md5: take("MD5"),
            format: take("FORMAT"),
            registered: stream_integer(registered.as_bytes()),
            template,
        })
    }
}

fn first_single<'a>(template: &'a Template, name: &str) -> Option<&'a [u8]> {
    template.get_all(name).find_map(|value| value.as_bytes())
}

/// A number as a C++ stream reads it: leading blanks, a sign, digits; then whether nothing else
/// follows.
fn stream_integer(text: &[u8]) -> (i64, bool) {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let magnitude = digits[..count].iter().fold(0_i128, |number, digit| {
        (number * 10 + i128::from(digit - b'0')).min(i128::from(u64::MAX))
    });
    let number = if negative { -magnitude } else { magnitude };
    let saturated = i64::try_from(number).unwrap_or(if negative { i64::MIN } else { i64::MAX });
    (saturated, count > 0 && count == digits.len() && i128::from(saturated) == number)
}

/// The answer to `import`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedApp {
    /// Where an export finds the bytes.
    pub source: SourceUrl,
    /// MD5 of the bytes.
    pub md5: Md5,
    /// The image's virtual size.
    pub size: MiB,
    /// The image's format.
    pub format: String,
}

impl ImportedApp {
    /// The text that `import` prints.
    ///
    /// # Errors
    /// When one of the four is empty or of the wrong form: `oned` would set the app to ERROR.
    pub fn write(&self) -> Result<Vec<u8>, ReportError> {
        if self.size.0 < 0 {
            return form("SIZE", "zero or more");
        }
        let mut writer = Writer::new(Rules::Oned);
        let (md5, size) = (self.md5.to_string(), self.size.0.to_string());
        for (attribute, value) in [
            ("SOURCE", self.source.as_str()),
            ("MD5", &md5),
            ("SIZE", &size),
            ("FORMAT", &self.format),
        ] {
            if value.trim().is_empty() {
                return Err(ReportError::Missing { attribute });
            }
            writer.single(attribute, value)?;
        }
        Ok(writer.finish())
    }
}

impl ImportInfo {
    /// The XML that a datastore's `export` prints.
    ///
    /// # Errors
    /// When there is no source, or a value is one that XML cannot carry.
    pub fn write(&self) -> Result<String, ReportError> {
        if self.source.is_empty() {
            return Err(ReportError::Missing { attribute: "IMPORT_SOURCE" });
        }
        let mut out = String::from("<IMPORT_INFO>");
        let md5 = self.md5.map_or_else(String::new, |md5| md5.to_string());
        let size = self.size.map_or_else(String::new, |size| size.0.to_string());
        let dispose = if self.dispose.is_some() { "YES" } else { "NO" };
        for (name, value) in [
            ("IMPORT_SOURCE", self.source.as_str()),
            ("MD5", &md5),
            ("SIZE", &size),
            ("FORMAT", &self.format),
            ("DISPOSE", dispose),
            ("DISPOSE_CMD", self.dispose.as_deref().unwrap_or_default()),
        ] {
            template::xml_element(&mut out, name, value.as_bytes())?;
        }
        out.push_str("</IMPORT_INFO>\n");
        Ok(out)
    }

    /// Reads what an `export` printed. A stray `"` behind the closing tag, as the stock Ceph driver
    /// prints it, is accepted.
    ///
    /// # Errors
    /// When it is no such XML.
    pub fn read(text: &str) -> Result<Self, ReportError> {
        read_info(text, |element| {
            Self::from_element(element)
                .map_err(|error| ReportError::Parse(ParseError::Xml(error.to_string())))
        })
    }
}

/// What an `export` printed, as it goes into the message of the import: the values as they are, for
/// a driver to judge.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportedElements {
    /// `IMPORT_SOURCE`, `MD5`, `SIZE`, `FORMAT`, `DISPOSE` and `DISPOSE_CMD`, one after the other.
    pub xml: String,
    /// The command that removes a temporary, when there is one.
    pub dispose: Option<Secret>,
}

impl fmt::Debug for ExportedElements {
    /// The values may hold keys, so only their size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportedElements")
            .field("xml", &format_args!("<{} bytes>", self.xml.len()))
            .field("dispose", &self.dispose)
            .finish()
    }
}

impl ExportedElements {
    /// Takes the elements out of what an `export` printed, as [`ImportInfo::read`] does; those that
    /// are missing are empty.
    ///
    /// ```
    /// use market_core::report::ExportedElements;
    ///
    /// let elements = ExportedElements::read("<IMPORT_INFO><IMPORT_SOURCE>/a</IMPORT_SOURCE></IMPORT_INFO>\"")?;
    /// assert!(elements.xml.starts_with("<IMPORT_SOURCE><![CDATA[/a]]></IMPORT_SOURCE><MD5>"));
    /// # Ok::<(), market_core::report::ReportError>(())
    /// ```
    ///
    /// # Errors
    /// When it is no such XML.
    pub fn read(text: &str) -> Result<Self, ReportError> {
        read_info(text, |element| {
            let mut xml = String::new();
            for name in ["IMPORT_SOURCE", "MD5", "SIZE", "FORMAT", "DISPOSE", "DISPOSE_CMD"] {
                template::xml_element(&mut xml, name, element.text(name).trim().as_bytes())?;
            }
            Ok(Self { xml, dispose: dispose(element).map(Secret::new) })
        })
    }
}

fn read_info<T>(
    text: &str,
    read: impl FnOnce(&Element<'_, '_>) -> Result<T, ReportError>,
) -> Result<T, ReportError> {
    let xml = text.trim().trim_end_matches('"').trim_end();
    let document = template::xml_document(xml).map_err(ReportError::Parse)?;
    if document.root_element().tag_name().name() != "IMPORT_INFO" {
        return form("the answer", "an <IMPORT_INFO> document");
    }
    read(&Element::new("IMPORT_INFO", document.root_element()))
}

/// The answer to a datastore's `cp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedImage {
    /// Where the datastore keeps the image.
    pub path: String,
    /// The image's format.
    pub format: String,
}

impl CopiedImage {
    /// The line that `cp` prints: the core takes its first two words.
    ///
    /// # Errors
    /// When one of them is empty or holds a blank, which would cut it.
    pub fn write(&self) -> Result<String, ReportError> {
        for (attribute, value) in [("the image's path", &self.path), ("FORMAT", &self.format)] {
            if value.is_empty() {
                return Err(ReportError::Missing { attribute });
            }
            if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return form(attribute, "free of blanks, which would cut the answer");
            }
        }
        Ok(format!("{} {}\n", self.path, self.format))
    }
}
