//! What entries of one marketplace mean to each other: ids, names, and the apps that they consist
//! of.

use super::entry::Entry;
use super::problem::Problems;
use std::collections::{BTreeMap, BTreeSet};

impl Problems {
    /// Checks all entries together.
    pub(super) fn check_together(&mut self, entries: &[Entry]) {
        let mut ids: BTreeMap<&str, &Entry> = BTreeMap::new();
        let mut names: BTreeMap<(String, &str), &Entry> = BTreeMap::new();
        for entry in entries {
            if let Some(id) = entry.id.as_deref()
                && let Some(other) = ids.insert(id, entry)
            {
                self.error(
                    entry,
                    entry.id_field(),
                    format!("is that of {:?} in {} too", other.label, other.file),
                );
            }
            for series in entry.series().into_iter().filter(|_| !entry.name().is_empty()) {
                if let Some(other) = names.insert((series.clone(), entry.name()), entry)
                    && !std::ptr::eq(other, entry)
                {
                    self.error(
                        entry,
                        "name",
                        format!("is another entry's too in the series {series}"),
                    );
                }
            }
        }
        let known: BTreeSet<&str> = entries.iter().map(Entry::name).collect();
        for entry in entries {
            for (field, wanted) in entry.references() {
                if wanted == entry.name() {
                    self.error(entry, field, "names the entry itself");
                }
                let is_there = |series: &String| names.contains_key(&(series.clone(), wanted));
                let missing: Vec<String> =
                    entry.series().into_iter().filter(|series| !is_there(series)).collect();
                if !known.contains(wanted) {
                    self.error(
                        entry,
                        field,
                        format!("names {wanted:?}, which none of the files has"),
                    );
                } else if !missing.is_empty() {
                    let series = missing.join(", ");
                    self.error(
                        entry,
                        field,
                        format!("names {wanted:?}, which is not there for the series {series}"),
                    );
                }
            }
        }
    }
}
