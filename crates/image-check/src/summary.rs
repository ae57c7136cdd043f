//! What an image is and what is in it, in one look.

use crate::container::Format;
use crate::image::{Image, Inspection};
use crate::partition::Table;
use crate::tree::shown;
use crate::volume::Content;
use serde::Serialize;

/// What an image is. What could not be found out is `None`; `notes` say why.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The container's format.
    pub format: Format,
    /// The size of the disk that a guest sees, in bytes.
    pub virtual_bytes: Option<u64>,
    /// The size of the file, in bytes.
    pub file_bytes: u64,
    /// What the file takes on the disk, in bytes.
    pub allocated_bytes: u64,
    /// `zlib` or `zstd`, where clusters are compressed.
    pub compression: Option<&'static str>,
    /// Internal snapshots.
    pub snapshots: u32,
    /// How the disk is divided.
    pub table: Option<Table>,
    /// What it is divided into; one entry without a number for a disk that is not.
    pub partitions: Vec<PartitionSummary>,
    /// The guest's operating system, for people.
    pub os: Option<String>,
    /// ID of os-release.
    pub os_id: Option<String>,
    /// VERSION_ID of os-release.
    pub os_version: Option<String>,
    /// The guest's architecture, as OpenNebula calls it.
    pub architecture: Option<&'static str>,
    /// The version of the one-context package.
    pub context_version: Option<String>,
    /// Why something is missing.
    pub notes: Vec<String>,
}

/// A part of a disk.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PartitionSummary {
    /// As the guest numbers it; `None` for a disk without partitions.
    pub number: Option<u32>,
    /// Where it begins, in bytes.
    pub start_bytes: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it holds.
    pub content: Content,
    /// The guest's root file system is on it.
    pub is_root: bool,
}

impl Summary {
    pub(crate) fn of(image: &Image, looked: &Inspection) -> Self {
        let mut notes = Vec::new();
        let mut root = None;
        let mut summary = Self {
            format: looked.container.format,
            virtual_bytes: looked.virtual_bytes(),
            file_bytes: image.file_bytes,
            allocated_bytes: image.allocated_bytes,
            compression: looked.compression(),
            snapshots: looked
                .header
                .as_ref()
                .and_then(|header| header.as_ref().ok())
                .map_or(0, |header| header.snapshots),
            table: None,
            partitions: Vec::new(),
            os: None,
            os_id: None,
            os_version: None,
            architecture: None,
            context_version: None,
            notes: Vec::new(),
        };
        match &looked.guest {
            Ok(guest) => {
                root = Some(guest.root);
                let mut text = |value: Result<Option<String>, crate::tree::Unavailable>| match value
                {
                    Ok(value) => value.map(|value| shown(value.as_bytes())),
                    Err(unread) => {
                        notes.push(unread.0);
                        None
                    }
                };
                summary.os = text(guest.os_name());
                summary.os_id = text(guest.os_release("ID"));
                summary.os_version = text(guest.os_release("VERSION_ID"));
                summary.context_version = text(guest.context_version());
                summary.architecture = guest.architecture().unwrap_or_else(|unread| {
                    notes.push(unread.0);
                    None
                });
            }
            Err(reason) => notes.push(reason.clone()),
        }
        if let Ok(Some(Err(flaw))) = &looked.tables {
            notes.push(flaw.clone());
        }
        if let Ok(layout) = &looked.layout {
            summary.table = Some(layout.table);
            let volumes = layout.volumes.iter().enumerate();
            summary.partitions = volumes
                .map(|(index, volume)| PartitionSummary {
                    number: volume.partition.as_ref().map(|partition| partition.number),
                    start_bytes: volume.stretch.start,
                    bytes: volume.stretch.end - volume.stretch.start,
                    content: volume.content,
                    is_root: root == Some(index),
                })
                .collect();
        }
        notes.dedup();
        summary.notes = notes;
        summary
    }
}
