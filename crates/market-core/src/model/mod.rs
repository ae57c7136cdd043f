//! Marketplaces, apps, images and datastores as a driver sees them in a dump.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: i64,
    /// Group id.
    pub gid: i64,
    /// User name.
    pub uname: String,
    /// Group name.
    pub gname: String,
}

/// The nine permission bits: use, manage and admin for the owner, the group and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Use, manage, admin of the owner.
    pub owner: [bool; 3],
    /// Use, manage, admin of the group.
    pub group: [bool; 3],
    /// Use, manage, admin of everybody else.
    pub other: [bool; 3],
}

/// An enum with OpenNebula's numbers; a number of a later release is kept as it is.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
