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

/// A datastore, the `DATASTORE` element of a dump.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Datastore {
    /// `ID`.
    pub id: i64,
    /// `UID`, `GID`, `UNAME` and `GNAME`.
    pub owner: Owner,
    /// `NAME`.
    pub name: String,
    /// `PERMISSIONS`: who may use it.
    pub permissions: Permissions,
    /// `DS_MAD`: the datastore driver (`fs`, `ceph`, ...).
    pub ds_mad: String,
    /// `TM_MAD`: the transfer driver (`shared`, `ssh`, ...).
    pub tm_mad: String,
    /// `BASE_PATH`: the directory of its images.
    pub base_path: String,
    /// `TYPE`: what it keeps.
    pub datastore_type: DatastoreType,
    /// `DISK_TYPE`: how it keeps disks.
    pub disk_type: DiskType,
    /// `STATE`: whether it can be used.
    pub state: DatastoreState,
    /// `CLUSTERS`: the ids of the clusters that it serves.
    pub clusters: Vec<i64>,
    /// `TOTAL_MB`: its capacity at the last monitor; 0 before the first.
    pub total: MiB,
    /// `FREE_MB`: its free space at the last monitor.
    pub free: MiB,
    /// `USED_MB`: the space that is used, at the last monitor.
    pub used: MiB,
    /// `IMAGES`: the ids of the images in it.
    pub images: Vec<i64>,
    /// `TEMPLATE`: its configuration. It may hold keys.
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
