//! Marketplaces, apps, images and datastores as a driver sees them in a dump.
//!
//! They are read only: [`action`](crate::action) decodes them from what `oned` hands to a driver.
//! Each field names the XML element that it comes from (OpenNebula's `share/doc/xsd`).
//!
//! Integers are 64-bit and sizes are [`MiB`], as in OpenNebula. Elements that these types do not
//! know are ignored; numbers that are missing or empty are 0. What must be there is the `ID`, and
//! what is there must have its form: an error names the path of the element
//! (`MARKETPLACEAPP/SIZE`). Source: docs/driver-contract.md section 3.

mod app;
mod datastore;
mod element;
mod image;
mod marketplace;
mod secret;
mod units;

pub use app::{AppId, AppState, AppType, MarketplaceApp};
pub use datastore::{Datastore, DatastoreState, DatastoreType};
pub(crate) use element::Element;
pub use element::ElementError;
pub use image::{DiskType, Image, ImageState, ImageType};
pub use marketplace::{Marketplace, MarketplaceState};
pub use secret::{Secret, SourceUrl};
pub use units::MiB;

/// Who owns an object.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `UID`: the user's id.
    pub uid: i64,
    /// `GID`: the group's id.
    pub gid: i64,
    /// `UNAME`: the user's name.
    pub uname: String,
    /// `GNAME`: the group's name.
    pub gname: String,
}

/// The nine permission bits: use, manage and admin for the owner, the group and the others. A bit
/// that is missing from the dump is not set.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `OWNER_U`, `OWNER_M`, `OWNER_A`.
    pub owner: [bool; 3],
    /// `GROUP_U`, `GROUP_M`, `GROUP_A`.
    pub group: [bool; 3],
    /// `OTHER_U`, `OTHER_M`, `OTHER_A`.
    pub other: [bool; 3],
}

/// An enum with OpenNebula's numbers; a number of a later release is kept as it is.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// A number that this version does not know.
            Other(i64),
        }

        impl $name {
            /// From OpenNebula's number.
            pub fn from_number(number: i64) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }

            /// OpenNebula's number.
            pub fn number(self) -> i64 {
                match self { $(Self::$variant => $number,)* Self::Other(other) => other }
            }
        }
    };
}
pub(crate) use numbered;
