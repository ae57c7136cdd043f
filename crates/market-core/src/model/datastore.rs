//! A datastore.

use super::{DiskType, Element, ElementError, MiB, Owner, Permissions, numbered};
use crate::template::Template;

numbered! {
    /// What a datastore keeps.
    DatastoreType {
        /// Disk images.
        Image = 0,
        /// Disks of running machines.
        System = 1,
        /// Plain files (kernels, context files).
        File = 2,
        /// Backups.
        Backup = 3,
    }
}

numbered! {
    /// Whether a datastore can be used.
    DatastoreState {
        /// It can.
        Ready = 0,
        /// It is switched off.
        Disabled = 1,
    }
}

/// A datastore.
#[derive(Clone, Debug, PartialEq)]
pub struct Datastore {
    /// Its id.
    pub id: i64,
    /// Its owner and group.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Who may use it.
    pub permissions: Permissions,
    /// The datastore driver (`fs`, `ceph`, ...).
    pub ds_mad: String,
    /// The transfer driver.
    pub tm_mad: String,
    /// The directory of its images.
    pub base_path: String,
    /// What it keeps.
    pub datastore_type: DatastoreType,
    /// How it keeps disks.
    pub disk_type: DiskType,
    /// Whether it can be used.
    pub state: DatastoreState,
    /// The clusters it serves.
    pub clusters: Vec<i64>,
    /// Capacity.
    pub total: MiB,
    /// Free space.
    pub free: MiB,
    /// Space used.
    pub used: MiB,
    /// The images in it.
    pub images: Vec<i64>,
    /// Its configuration.
    pub template: Template,
}

impl Datastore {
    pub(crate) fn from_element(element: &Element<'_, '_>) -> Result<Self, ElementError> {
        Ok(Self {
            id: element.id()?,
            owner: element.owner()?,
            name: element.text("NAME"),
            permissions: element.permissions(),
            ds_mad: element.text("DS_MAD"),
            tm_mad: element.text("TM_MAD"),
            base_path: element.text("BASE_PATH"),
            datastore_type: DatastoreType::from_number(element.number("TYPE")?),
            disk_type: DiskType::from_number(element.number("DISK_TYPE")?),
            state: DatastoreState::from_number(element.number("STATE")?),
            clusters: element.ids("CLUSTERS")?,
            total: element.size("TOTAL_MB")?,
            free: element.size("FREE_MB")?,
            used: element.size("USED_MB")?,
            images: element.ids("IMAGES")?,
            template: element.template()?,
        })
    }
}
