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

/// A marketplace: what the operator wrote into its template, and what the last monitor reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Marketplace {
    /// Its id.
    pub id: i64,
    /// Its owner and group.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Whether it is enabled.
    pub state: MarketplaceState,
    /// The driver (`http`, `s3`, ...).
    pub market_mad: String,
    /// The zone it belongs to.
    pub zone_id: i64,
    /// Capacity at the last monitor.
    pub total: MiB,
    /// Free space at the last monitor.
    pub free: MiB,
    /// Space used at the last monitor.
    pub used: MiB,
    /// The apps in it.
    pub apps: Vec<AppId>,
    /// Who may use it.
    pub permissions: Permissions,
    /// The driver's configuration (docs/driver-contract.md section 5).
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
