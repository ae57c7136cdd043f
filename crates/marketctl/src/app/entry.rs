//! An entry of a public marketplace: as YAML in a marketplace's repository, as JSON as it is
//! served.

use super::entry_template::InEntry;
use serde::Serialize;

/// What both forms have. The order is that of the public marketplaces.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) publisher: String,
    pub(super) description: String,
    pub(super) short_description: String,
    pub(super) tags: Vec<String>,
    pub(super) format: String,
    pub(super) creation_time: u64,
    #[serde(rename = "os-id", skip_serializing_if = "Option::is_none")]
    pub(super) os_id: Option<String>,
    #[serde(rename = "os-release", skip_serializing_if = "Option::is_none")]
    pub(super) os_release: Option<String>,
    #[serde(rename = "os-arch")]
    pub(super) os_arch: String,
    pub(super) hypervisor: String,
    pub(super) opennebula_version: String,
}

/// The image of an entry.
#[derive(Clone, Debug, Serialize)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) url: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) dev_prefix: String,
    pub(super) driver: String,
    /// The size of the disk that a guest sees, in bytes.
    pub(super) size: u64,
    pub(super) checksum: Checksum,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Checksum {
    pub(super) md5: String,
    pub(super) sha256: String,
}

/// As a marketplace's repository has it; those that say no `id` name the file by the UUID.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    pub(super) id: &'a str,
    #[serde(flatten)]
    pub(super) entry: &'a Entry,
    pub(super) opennebula_template: InEntry<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logo: Option<&'a str>,
    pub(super) images: [&'a File; 1],
}

/// As a marketplace serves it.
#[derive(Serialize)]
pub(super) struct Served<'a> {
    #[serde(rename = "_id")]
    pub(super) id: Id<'a>,
    #[serde(flatten)]
    pub(super) entry: &'a Entry,
    /// JSON in a string.
    pub(super) opennebula_template: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logo: Option<&'a str>,
    pub(super) files: [ServedFile<'a>; 1],
}

#[derive(Serialize)]
pub(super) struct Id<'a> {
    #[serde(rename = "$oid")]
    pub(super) oid: &'a str,
}

/// The image as it is served: some of the entry again.
#[derive(Serialize)]
pub(super) struct ServedFile<'a> {
    #[serde(flatten)]
    pub(super) file: &'a File,
    pub(super) md5: &'a str,
    pub(super) hypervisor: &'a str,
    #[serde(rename = "os-arch")]
    pub(super) os_arch: &'a str,
    pub(super) format: &'a str,
}
