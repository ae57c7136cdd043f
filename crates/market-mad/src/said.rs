//! What the monitors of a marketplace say in every cycle: news are news once.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// How many marketplaces are remembered. When there are more, what they say is news again.
const MAX_MARKETS: usize = 10_000;

/// What monitors have said last.
#[derive(Default)]
pub(crate) struct Memory {
    markets: Mutex<HashMap<i64, HashSet<u64>>>,
    hasher: RandomState,
}

impl Memory {
    /// For a monitor of a marketplace, one at a time.
    pub(crate) fn of(&self, market: i64) -> Said {
        let before = self
            .markets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&market)
            .unwrap_or_default();
        Said { before, now: Mutex::default(), hasher: self.hasher.clone() }
    }

    /// The monitor has ended.
    pub(crate) fn keep(&self, market: i64, said: Said) {
        let mut markets = self.markets.lock().unwrap_or_else(PoisonError::into_inner);
        if markets.len() >= MAX_MARKETS {
            markets.clear();
        }
        markets.insert(market, said.now.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What one monitor says, beside what the one before has said.
pub(crate) struct Said {
    before: HashSet<u64>,
    now: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Said {
    /// Whether the monitor before has said this line too.
    pub(crate) fn again(&self, line: &str) -> bool {
        let hash = self.hasher.hash_one(line);
        self.now.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
        self.before.contains(&hash)
    }
}
