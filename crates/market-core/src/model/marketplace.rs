//! A marketplace.

use super::{AppId, Element, ElementError, MiB, Owner, Permissions, numbered};
use crate::template::Template;

numbered! {
    /// Whether a marketplace takes actions.
    MarketplaceState {
        /// It is monitored, apps can be imported and deleted.
        Enabled = 0,
        /// Nothing is called for it.
        Disabled = 1,
    }
}

/// A marketplace, the `MARKETPLACE` element of a dump: what the operator wrote into its template,
/// and what the last monitor reported.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Marketplace {
    /// `ID`.
    pub id: i64,
    /// `UID`, `GID`, `UNAME` and `GNAME`.
    pub owner: Owner,
    /// `NAME`.
    pub name: String,
    /// `STATE`: whether it takes actions.
    pub state: MarketplaceState,
    /// `MARKET_MAD`: the driver (`http`, `s3`, ...).
    pub market_mad: String,
    /// `ZONE_ID`: the zone it belongs to.
    pub zone_id: i64,
    /// `TOTAL_MB`: its capacity at the last monitor; 0 before the first.
    pub total: MiB,
    /// `FREE_MB`: its free space at the last monitor.
    pub free: MiB,
    /// `USED_MB`: the space that is used, at the last monitor.
    pub used: MiB,
    /// `MARKETPLACEAPPS`: the ids of the apps in it.
    pub apps: Vec<AppId>,
    /// `PERMISSIONS`: who may use it.
    pub permissions: Permissions,
    /// `TEMPLATE`: the driver's configuration (docs/driver-contract.md section 5). It may hold keys.
    pub template: Template,
}

impl Marketplace {
    pub(crate) fn from_element(element: &Element<'_, '_>) -> Result<Self, ElementError> {
        Ok(Self {
            id: element.id()?,
            owner: element.owner()?,
            name: element.text("NAME"),
            state: MarketplaceState::from_number(element.number("STATE")?),
            market_mad: element.text("MARKET_MAD"),
            zone_id: element.number("ZONE_ID")?,
            total: element.size("TOTAL_MB")?,
            free: element.size("FREE_MB")?,
            used: element.size("USED_MB")?,
            apps: element.ids("MARKETPLACEAPPS")?.into_iter().map(AppId).collect(),
            permissions: element.permissions(),
            template: element.template()?,
        })
    }
}
