//! The system on a disk, and what the checks and the summary ask of it.

mod accounts;
mod fstab;
mod path;
mod search;
mod system;
mod tree;
mod walker;

pub(crate) use accounts::{Account, Password};
pub(crate) use fstab::FstabEntry;
pub(crate) use path::join;
pub(crate) use system::first_word;
pub(crate) use tree::{Metadata, Tree};

use crate::deadline::Deadline;
use crate::disk::Disk;
use crate::layout::Layout;
use crate::unavailable::Unavailable;
use std::collections::BTreeSet;

/// A system that was found.
pub(crate) struct Guest {
    pub(crate) tree: Tree,
    /// The number of the volume that its root is on.
    pub(crate) root_volume: usize,
    pub(crate) fstab: Vec<FstabEntry>,
    accounts: Result<Vec<Account>, Unavailable>,
}

impl Guest {
    /// Finds the one system on a disk.
    ///
    /// # Errors
    /// When there is none, and when it is not certain which system starts.
    pub(crate) fn find(
        disk: Disk,
        layout: &Layout,
        deadline: Deadline,
    ) -> Result<Self, Unavailable> {
        let search::Root { tree, volume, fstab } = search::find_root(disk, layout, deadline)?;
        let accounts = accounts::read(&tree);
        Ok(Self { tree, root_volume: volume, fstab, accounts })
    }

    /// The accounts, in the order of /etc/passwd.
    pub(crate) fn accounts(&self) -> Result<&[Account], Unavailable> {
        self.accounts.as_deref().map_err(Clone::clone)
    }

    /// The home directories, each once and without a slash at its end.
    pub(crate) fn homes(&self) -> Result<BTreeSet<&str>, Unavailable> {
        let homes = self.accounts()?.iter().map(|account| account.home.as_str());
        // The home of some accounts is the root directory itself.
        let absolute = homes.filter(|home| home.starts_with('/'));
        let mut found: BTreeSet<&str> = absolute.map(|home| home.trim_end_matches('/')).collect();
        found.insert("/root");
        Ok(found)
    }

    /// A value of os-release.
    pub(crate) fn os_release(&self, key: &str) -> Result<Option<String>, Unavailable> {
        system::os_release(&self.tree, key)
    }

    /// The name of the system for people.
    pub(crate) fn os_name(&self) -> Result<Option<String>, Unavailable> {
        system::os_name(&self.tree)
    }

    /// The architecture, in OpenNebula's word where it has one.
    pub(crate) fn architecture(&self) -> Result<Option<&'static str>, Unavailable> {
        system::architecture(&self.tree)
    }

    /// The version of the package one-context, where dpkg or apk knows it.
    pub(crate) fn context_version(&self) -> Result<Option<String>, Unavailable> {
        system::context_version(&self.tree)
    }
}
