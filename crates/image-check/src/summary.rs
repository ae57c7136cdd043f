//! What an image is and what is in it.

use crate::container::Format;
use crate::inspection::{Inspection, Tables};
use crate::partition::PartitionTable;
use crate::text::printable;
use crate::unavailable::Unavailable;
use crate::volume::Content;
use serde::Serialize;

/// What an image is. What could not be found out is `None`; `notes` say why. Texts that come from
/// the image are on one line, without control characters.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The container's format.
    pub format: Format,
    /// The size of the disk that a guest sees, in bytes.
    pub virtual_bytes: Option<u64>,
    /// The size of the file, in bytes.
    pub file_bytes: u64,
    /// What the file takes on the disk that it is stored on, in bytes: less, where it has holes.
    pub allocated_bytes: u64,
    /// `zlib` or `zstd`, where clusters are compressed.
    pub compression: Option<&'static str>,
    /// How many internal snapshots there are.
    pub snapshots: u32,
    /// How the disk is divided.
    pub table: Option<PartitionTable>,
    /// What it is divided into; one entry without a number for a disk without partitions.
    pub partitions: Vec<PartitionSummary>,
    /// The guest's operating system for people: PRETTY_NAME of os-release, or a release file.
    pub os: Option<String>,
    /// ID of os-release.
    pub os_id: Option<String>,
    /// VERSION_ID of os-release.
    pub os_version: Option<String>,
    /// The guest's architecture: `x86_64` and `aarch64` as OpenNebula calls them, others as Linux
    /// does.
    pub architecture: Option<&'static str>,
    /// The version of the package one-context, where dpkg or apk knows it.
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
    /// Where it begins, in bytes of the disk.
    pub start_bytes: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it holds.
    pub content: Content,
    /// The guest's root file system is on it.
    pub is_root: bool,
}

impl Summary {
    /// What an inspection has found of a file of these sizes, in bytes.
    pub(crate) fn new(inspection: &Inspection, file_bytes: u64, allocated_bytes: u64) -> Self {
        let header = inspection.header.as_ref().and_then(|header| header.as_ref().ok());
        let mut summary = Self {
            format: inspection.container.format,
            virtual_bytes: inspection.virtual_bytes(),
            file_bytes,
            allocated_bytes,
            compression: inspection.compression(),
            snapshots: header.map_or(0, |header| header.snapshots),
            table: None,
            partitions: Vec::new(),
            os: None,
            os_id: None,
            os_version: None,
            architecture: None,
            context_version: None,
            notes: Vec::new(),
        };
        summary.add_guest(inspection);
        if let Ok(Tables::Damaged(damage)) = &inspection.tables {
            summary.notes.push(damage.message().to_owned());
        }
        summary.add_partitions(inspection);
        summary.notes.dedup();
        summary
    }

    fn add_guest(&mut self, inspection: &Inspection) {
        let guest = match &inspection.guest {
            Ok(guest) => guest,
            Err(unavailable) => return self.notes.push(unavailable.message.clone()),
        };
        self.os = self.known(guest.os_name());
        self.os_id = self.known(guest.os_release("ID"));
        self.os_version = self.known(guest.os_release("VERSION_ID"));
        self.context_version = self.known(guest.context_version());
        self.architecture = self.noted(guest.architecture());
    }

    /// A text of the guest, as it may be printed.
    fn known(&mut self, text: Result<Option<String>, Unavailable>) -> Option<String> {
        self.noted(text).map(|text| printable(text.as_bytes()))
    }

    /// What was found, or nothing and a note.
    fn noted<T>(&mut self, found: Result<Option<T>, Unavailable>) -> Option<T> {
        found.unwrap_or_else(|unavailable| {
            self.notes.push(unavailable.message);
            None
        })
    }

    fn add_partitions(&mut self, inspection: &Inspection) {
        let Ok(layout) = &inspection.layout else { return };
        let root = inspection.guest.as_ref().ok().map(|guest| guest.root_volume);
        self.table = Some(layout.table);
        let volumes = layout.volumes.iter().enumerate();
        let partitions = volumes.map(|(index, volume)| PartitionSummary {
            number: volume.partition.as_ref().map(|partition| partition.number),
            start_bytes: volume.range.start,
            bytes: volume.bytes(),
            content: volume.content,
            is_root: root == Some(index),
        });
        self.partitions = partitions.collect();
    }
}
