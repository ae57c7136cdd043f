//! Which lines a monitor writes again in every cycle.
//!
//! `oned` asks for a monitor of each marketplace every few minutes, and most drivers write the same
//! INFO lines each time. A line that the previous run of the same marketplace wrote too goes to the
//! log with level DEBUG.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// The number of marketplaces whose lines are remembered. With more, all are forgotten and their
/// next lines count as new.
const MAX_MARKETS: usize = 10_000;

/// The lines of the last monitor run of every marketplace, as hashes.
#[derive(Default)]
pub(crate) struct MonitorHistory {
    markets: Mutex<HashMap<i64, HashSet<u64>>>,
    hasher: RandomState,
}

impl MonitorHistory {
    /// Begins a monitor run of a marketplace; the queue runs one of a marketplace at a time.
    pub(crate) fn begin(&self, market: i64) -> MonitorLines {
        let previous = self
            .markets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&market)
            .unwrap_or_default();
        MonitorLines { previous, current: Mutex::default(), hasher: self.hasher.clone() }
    }

    /// Keeps the lines of a run that has ended for the next one.
    pub(crate) fn finish(&self, market: i64, lines: MonitorLines) {
        let mut markets = self.markets.lock().unwrap_or_else(PoisonError::into_inner);
        if markets.len() >= MAX_MARKETS {
            markets.clear();
        }
        markets.insert(market, lines.current.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The lines of one monitor run and of the run before it.
pub(crate) struct MonitorLines {
    previous: HashSet<u64>,
    current: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl MonitorLines {
    /// Records a line; whether the previous run wrote it too.
    pub(crate) fn is_repeat(&self, line: &str) -> bool {
        let hash = self.hasher.hash_one(line);
        self.current.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
        self.previous.contains(&hash)
    }
}
