//! An image of a datastore.

use super::{Element, ElementError, MiB, Owner, Permissions, SourceUrl, numbered};
use crate::template::Template;

numbered! {
    /// What an image is for.
    ImageType {
        /// A bootable disk.
        Os = 0,
        /// A CD-ROM.
        Cdrom = 1,
        /// A data disk.
        Datablock = 2,
        /// A kernel file.
        Kernel = 3,
        /// An initial RAM disk file.
        Ramdisk = 4,
        /// A file for the contextualization CD.
        Context = 5,
        /// A backup.
        Backup = 6,
        /// A shared file system.
        Filesystem = 7,
    }
}

numbered! {
    /// How the disk is kept.
    DiskType {
        /// A file.
        File = 0,
        /// A CD-ROM.
        Cdrom = 1,
        /// A block device.
        Block = 2,
        /// A Ceph RBD volume.
        Rbd = 3,
    }
}

numbered! {
    /// The state of an image.
    ImageState {
        /// Just created.
        Init = 0,
        /// Ready for use.
        Ready = 1,
        /// Used by a machine.
        Used = 2,
        /// Switched off by its owner.
        Disabled = 3,
        /// A driver works on it.
        Locked = 4,
        /// A driver failed on it.
        Error = 5,
        /// It is being cloned.
        Clone = 6,
        /// It is being deleted.
        Delete = 7,
        /// Used by a machine, and persistent.
        UsedPersistent = 8,
        /// A driver works on it while it is used.
        LockedUsed = 9,
        /// The same for a persistent one.
        LockedUsedPersistent = 10,
    }
}

/// An image of a datastore, the `IMAGE` element of a dump.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// `ID`.
    pub id: i64,
    /// `UID`, `GID`, `UNAME` and `GNAME`.
    pub owner: Owner,
    /// `NAME`.
    pub name: String,
    /// `TYPE`: what it is for.
    pub image_type: ImageType,
    /// `DISK_TYPE`: how it is kept.
    pub disk_type: DiskType,
    /// `PERSISTENT`: whether machines write back to it.
    pub persistent: bool,
    /// `REGTIME`: when it was registered, in seconds since 1970.
    pub registered: i64,
    /// `SOURCE`: where the datastore keeps it; empty until it has been copied there.
    pub source: SourceUrl,
    /// `PATH`: where it is copied from.
    pub path: SourceUrl,
    /// `FORMAT` of the image (`qcow2`, `raw`, ...); empty when unknown.
    pub format: String,
    /// `SIZE`: the size of the disk, not of the file.
    pub size: MiB,
    /// `STATE`.
    pub state: ImageState,
    /// `DATASTORE_ID`.
    pub datastore_id: i64,
    /// `DATASTORE`: the name of its datastore.
    pub datastore: String,
    /// `PERMISSIONS`: who may use it.
    pub permissions: Permissions,
    /// `TEMPLATE`: everything else; when the image comes from an app, `FROM_APP` and `FROM_APP_MD5` among it.
    pub template: Template,
}

impl Image {
    pub(crate) fn from_element(element: &Element<'_, '_>) -> Result<Self, ElementError> {
        Ok(Self {
            id: element.id()?,
            owner: element.owner()?,
            name: element.text("NAME"),
            image_type: ImageType::from_number(element.number("TYPE")?),
            disk_type: DiskType::from_number(element.number("DISK_TYPE")?),
            persistent: element.number("PERSISTENT")? != 0,
            registered: element.number("REGTIME")?,
            source: SourceUrl::new(element.text("SOURCE")),
            path: SourceUrl::new(element.text("PATH")),
            format: element.text("FORMAT"),
            size: element.size("SIZE")?,
            state: ImageState::from_number(element.number("STATE")?),
            datastore_id: element.number("DATASTORE_ID")?,
            datastore: element.text("DATASTORE"),
            permissions: element.permissions(),
            template: element.template()?,
        })
    }
}
