//! A marketplace app.

use super::{Element, ElementError, MiB, Owner, Permissions, Secret, SourceUrl, numbered};
use crate::template::Template;
use market_checksum::{Expected, Malformed, Md5, Sha256};
use std::fmt;
use std::str::FromStr;

/// The id of an app; part of the name of everything that is stored for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub i64);

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

numbered! {
    /// The state of an app.
    AppState {
        /// Just created.
        Init = 0,
        /// Its image can be exported.
        Ready = 1,
        /// Its import runs.
        Locked = 2,
        /// Its import failed.
        Error = 3,
        /// Switched off by its owner.
        Disabled = 4,
    }
}

numbered! {
    /// What an app holds.
    AppType {
        /// Not known.
        Unknown = 0,
        /// A disk image: the only type that reaches `import` and `delete`.
        Image = 1,
        /// A VM template with the apps of its disks.
        VmTemplate = 2,
        /// A service template with the apps of its roles.
        ServiceTemplate = 3,
    }
}

impl AppType {
    /// The word that app templates use; `None` where there is none.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Image => Some("IMAGE"),
            Self::VmTemplate => Some("VMTEMPLATE"),
            Self::ServiceTemplate => Some("SERVICE_TEMPLATE"),
            Self::Unknown | Self::Other(_) => None,
        }
    }

    /// From the word of an app template, in any letter case; empty means an image, as it does for
    /// `oned`.
    pub fn from_word(word: &str) -> Self {
        match word.to_ascii_uppercase().as_str() {
            "" | "IMAGE" => Self::Image,
            "VMTEMPLATE" => Self::VmTemplate,
            "SERVICE_TEMPLATE" => Self::ServiceTemplate,
            _ => Self::Unknown,
        }
    }
}

/// An app of a marketplace, the `MARKETPLACEAPP` element of a dump.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct MarketplaceApp {
    /// `ID`.
    pub id: AppId,
    /// `UID`, `GID`, `UNAME` and `GNAME`.
    pub owner: Owner,
    /// `REGTIME`: when it was registered, in seconds since 1970.
    pub registered: i64,
    /// `NAME`.
    pub name: String,
    /// `ZONE_ID`: the zone of its marketplace.
    pub zone_id: i64,
    /// `ORIGIN_ID`: the image that it was made from; -1 for a discovered app.
    pub origin_id: i64,
    /// `SOURCE`: where its bytes are, in the form that its driver gave it; empty until its import
    /// has succeeded.
    pub source: SourceUrl,
    /// `MD5` of the bytes, as stored; `None` when unknown, an error when the record holds something
    /// else.
    pub md5: Result<Option<Md5>, Malformed>,
    /// `SIZE`: the size of the disk, not of the file.
    pub size: MiB,
    /// `DESCRIPTION`: free text.
    pub description: String,
    /// `VERSION`: free text.
    pub version: String,
    /// `FORMAT` of the image (`qcow2`, `raw`, ...); empty when unknown.
    pub format: String,
    /// `APPTEMPLATE64`: the template of the image that an export creates, in base64; it may hold
    /// passwords.
    pub app_template64: Secret,
    /// `MARKETPLACE_ID`.
    pub marketplace_id: i64,
    /// `MARKETPLACE`: the name of its marketplace.
    pub marketplace: String,
    /// `STATE`.
    pub state: AppState,
    /// `TYPE`: what it holds.
    pub app_type: AppType,
    /// Whether there is a `LOCK`: a user has locked it.
    pub locked: bool,
    /// `PERMISSIONS`: who may use it.
    pub permissions: Permissions,
    /// `TEMPLATE`: everything else.
    pub template: Template,
}

impl MarketplaceApp {
    pub(crate) fn from_element(element: &Element<'_, '_>) -> Result<Self, ElementError> {
        Ok(Self {
            id: AppId(element.id()?),
            owner: element.owner()?,
            registered: element.number("REGTIME")?,
            name: element.text("NAME"),
            zone_id: element.number("ZONE_ID")?,
            origin_id: element.number("ORIGIN_ID")?,
            source: SourceUrl::new(element.text("SOURCE")),
            md5: recorded(&element.text("MD5")),
            size: element.size("SIZE")?,
            description: element.text("DESCRIPTION"),
            version: element.text("VERSION"),
            format: element.text("FORMAT"),
            app_template64: Secret::new(element.text("APPTEMPLATE64")),
            marketplace_id: element.number("MARKETPLACE_ID")?,
            marketplace: element.text("MARKETPLACE"),
            state: AppState::from_number(element.number("STATE")?),
            app_type: AppType::from_number(element.number("TYPE")?),
            locked: element.child("LOCK").is_some(),
            permissions: element.permissions(),
            template: element.template()?,
        })
    }

    /// The SHA-256 of the bytes, as stored, in the template of an app that a catalogue or an
    /// operator has given one; `None` when there is none.
    ///
    /// # Errors
    /// When `SHA256` is something else.
    pub fn sha256(&self) -> Result<Option<Sha256>, Malformed> {
        recorded(self.template.text("SHA256").ok().flatten().unwrap_or_default())
    }

    /// The checksums that the record of the app declares: `MD5` and `SHA256`.
    ///
    /// # Errors
    /// When one of them is something else.
    pub fn recorded(&self) -> Result<Expected, Malformed> {
        let expected = Expected::new().and_maybe("MD5 of the app", self.md5.clone()?);
        Ok(expected.and_maybe("SHA256 of the app", self.sha256()?))
    }
}

/// A checksum of a record, when there is one.
fn recorded<C: FromStr<Err = Malformed>>(text: &str) -> Result<Option<C>, Malformed> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}
