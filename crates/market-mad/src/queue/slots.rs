//! How many actions of which kind may run at once, so that a slow marketplace does not hold up the
//! others, and an import holds up neither a delete nor a monitor.

use super::{Length, Subject, Ticket};
use std::collections::HashMap;

/// The slots, and how many of them running actions have.
pub(super) struct Slots {
    total: usize,
    /// The slots that only a marketplace without a running action gets.
    reserved: usize,
    by_market: HashMap<i64, Running>,
    all: Running,
}

/// The number of running actions of each kind.
#[derive(Clone, Copy, Default)]
struct Running {
    deletes: usize,
    monitors: usize,
    imports: usize,
}

impl Running {
    fn total(self) -> usize {
        self.deletes + self.monitors + self.imports
    }

    fn count_of(&mut self, ticket: Ticket) -> &mut usize {
        match (ticket.length, ticket.subject) {
            (Length::Long, _) => &mut self.imports,
            (Length::Short, Subject::App(_)) => &mut self.deletes,
            (Length::Short, Subject::Market(_)) => &mut self.monitors,
        }
    }
}

impl Slots {
    /// A quarter of the slots, but at least one of several, is reserved for marketplaces without a
    /// running action.
    pub(super) fn new(total: usize) -> Self {
        let reserved = if total > 1 { (total / 4).max(1) } else { 0 };
        Self { total, reserved, by_market: HashMap::new(), all: Running::default() }
    }

    pub(super) fn has_free(&self) -> bool {
        self.free() > 0
    }

    fn free(&self) -> usize {
        self.total - self.all.total()
    }

    /// Whether an action may start now.
    pub(super) fn may_start(&self, ticket: Ticket) -> bool {
        let running = self.by_market.get(&ticket.market).copied().unwrap_or_default();
        match ticket.length {
            Length::Short => self.may_start_short(ticket, running),
            Length::Long => self.may_start_long(running),
        }
    }

    /// A short action gets a reserved slot when no other short action of its marketplace runs. For
    /// a delete, a monitor does not count: that may hang.
    fn may_start_short(&self, ticket: Ticket, of_market: Running) -> bool {
        let is_delete = matches!(ticket.subject, Subject::App(_));
        let monitors = if is_delete { 0 } else { of_market.monitors };
        let reserved = if of_market.deletes + monitors == 0 { 0 } else { self.reserved };
        self.free() > reserved
    }

    /// Imports leave one slot of all to short actions, and so do those of one marketplace of its
    /// share. A reserved slot goes to the first action of a marketplace only.
    fn may_start_long(&self, of_market: Running) -> bool {
        if self.total == 1 {
            return self.has_free();
        }
        let leaves_one = self.all.imports + 1 < self.total;
        let max_of_market = self.total - self.reserved - 1;
        let is_in_share = of_market.imports == 0 || of_market.imports < max_of_market;
        leaves_one
            && (of_market.total() == 0 && self.has_free()
                || self.free() > self.reserved && is_in_share)
    }

    /// Counts an action that starts.
    pub(super) fn start(&mut self, ticket: Ticket) {
        *self.by_market.entry(ticket.market).or_default().count_of(ticket) += 1;
        *self.all.count_of(ticket) += 1;
    }

    /// Counts an action that has ended.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        *self.all.count_of(ticket) -= 1;
        if let Some(running) = self.by_market.get_mut(&ticket.market) {
            *running.count_of(ticket) -= 1;
            if running.total() == 0 {
                self.by_market.remove(&ticket.market);
            }
        }
    }
}
