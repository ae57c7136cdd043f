//! Warnings about the entries of a catalogue.

use crate::log::Log;
use std::cell::Cell;
use std::fmt;

/// Logs what is wrong with entries of a catalogue: the first 100 warnings, then one that says that
/// there are more. A catalogue may have thousands of entries, and a monitor runs every few minutes.
#[derive(Debug)]
pub struct Warnings<'a> {
    log: &'a Log,
    count: Cell<usize>,
}

/// The most warnings that are logged.
const MAX_WARNINGS: usize = 100;

impl<'a> Warnings<'a> {
    /// Warnings for this log.
    pub fn new(log: &'a Log) -> Self {
        Self { log, count: Cell::new(0) }
    }

    /// Logs a warning, if it is not one too many.
    pub fn warn(&self, text: impl fmt::Display) {
        let count = self.count.get();
        self.count.set(count.saturating_add(1));
        match count {
            ..MAX_WARNINGS => self.log.warn(text),
            MAX_WARNINGS => self.log.warn("more is wrong with the catalogue, which is not listed"),
            _ => {}
        }
    }
}
