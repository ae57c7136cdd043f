//! Which action may start next.
//!
//! Marketplaces take turns, an app has one action at a time, deletes and monitors go before
//! imports. How many actions of which kind may run at once is decided in `slots.rs`.

mod slots;

use slots::Slots;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// What an action is about. Actions about one subject run one at a time, in the order in which they
/// came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An app, by its id.
    App(i64),
    /// A marketplace itself, by its id.
    Market(i64),
}

/// How long an action usually takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Seconds: a delete or a monitor.
    Short,
    /// Up to hours: an import.
    Long,
}

/// What the queue has to know of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The id of its marketplace.
    pub(crate) market: i64,
    pub(crate) subject: Subject,
    pub(crate) length: Length,
}

/// Waiting actions, and a count of the running ones.
pub(crate) struct Queue<T> {
    slots: Slots,
    /// The marketplaces with ready actions; the first one's turn is next.
    turns: VecDeque<i64>,
    /// The actions that may start, by marketplace; at most one of each subject.
    ready: HashMap<i64, ReadyActions<T>>,
    /// The actions that wait until an earlier action about their subject has ended.
    blocked: HashMap<Subject, Waiting<T>>,
    /// The subjects with an action that is ready (and where it is) or that runs (`None`).
    busy: HashMap<Subject, Option<ReadyKey>>,
    /// The number of the next action that becomes ready.
    next_number: u64,
}

type Waiting<T> = VecDeque<(Ticket, T)>;

/// Where a ready action is found.
#[derive(Clone, Copy)]
struct ReadyKey {
    market: i64,
    length: Length,
    number: u64,
}

/// The ready actions of a marketplace, in the order in which they became ready.
struct ReadyActions<T> {
    short: BTreeMap<u64, (Ticket, T)>,
    long: BTreeMap<u64, (Ticket, T)>,
}

impl<T> ReadyActions<T> {
    fn new() -> Self {
        Self { short: BTreeMap::new(), long: BTreeMap::new() }
    }

    fn of_mut(&mut self, length: Length) -> &mut BTreeMap<u64, (Ticket, T)> {
        match length {
            Length::Short => &mut self.short,
            Length::Long => &mut self.long,
        }
    }

    fn first(&self, length: Length) -> Option<Ticket> {
        let first = match length {
            Length::Short => self.short.first_key_value(),
            Length::Long => self.long.first_key_value(),
        };
        first.map(|(_, (ticket, _))| *ticket)
    }

    fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }
}

impl<T> Queue<T> {
    /// A queue that lets at most `slots` actions run at once.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: Slots::new(slots),
            turns: VecDeque::new(),
            ready: HashMap::new(),
            blocked: HashMap::new(),
            busy: HashMap::new(),
            next_number: 0,
        }
    }

    /// Adds an action.
    pub(crate) fn push(&mut self, ticket: Ticket, action: T) {
        if self.busy.contains_key(&ticket.subject) {
            self.blocked.entry(ticket.subject).or_default().push_back((ticket, action));
        } else {
            self.make_ready(ticket, action);
        }
    }

    fn make_ready(&mut self, ticket: Ticket, action: T) {
        let ready = self.ready.entry(ticket.market).or_insert_with(ReadyActions::new);
        if ready.is_empty() {
            self.turns.push_back(ticket.market);
        }
        let Ticket { market, subject, length } = ticket;
        let key = ReadyKey { market, length, number: self.next_number };
        ready.of_mut(length).insert(key.number, (ticket, action));
        self.busy.insert(subject, Some(key));
        self.next_number += 1;
    }

    /// The next action that may start; it has a slot until [`finish`](Self::finish). Short actions
    /// of all marketplaces go before long ones.
    pub(crate) fn next(&mut self) -> Option<(Ticket, T)> {
        self.next_of(Length::Short).or_else(|| self.next_of(Length::Long))
    }

    fn next_of(&mut self, length: Length) -> Option<(Ticket, T)> {
        if !self.slots.has_free() {
            return None;
        }
        let may_start = |market: &i64| {
            let first = self.ready.get(market).and_then(|ready| ready.first(length));
            first.is_some_and(|ticket| self.slots.may_start(ticket))
        };
        let turn = self.turns.iter().position(may_start)?;
        let market = self.turns.remove(turn)?;
        let ready = self.ready.get_mut(&market)?;
        let (_, started) = ready.of_mut(length).pop_first()?;
        self.busy.insert(started.0.subject, None);
        // With more ready actions, the marketplace gets another turn after all others.
        if ready.is_empty() {
            self.ready.remove(&market);
        } else {
            self.turns.push_back(market);
        }
        self.slots.start(started.0);
        Some(started)
    }

    /// Frees the slot of an action that has ended.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        self.slots.finish(ticket);
        self.release(ticket.subject);
    }

    /// Makes the next action about a subject ready.
    fn release(&mut self, subject: Subject) {
        let Some(blocked) = self.blocked.get_mut(&subject) else {
            self.busy.remove(&subject);
            return;
        };
        let next = blocked.pop_front();
        if blocked.is_empty() {
            self.blocked.remove(&subject);
        }
        match next {
            Some((ticket, action)) => self.make_ready(ticket, action),
            None => drop(self.busy.remove(&subject)),
        }
    }

    /// Whether an action about the subject waits or runs.
    pub(crate) fn has(&self, subject: Subject) -> bool {
        self.busy.contains_key(&subject)
    }

    /// Removes all actions that wait for an earlier action about the subject.
    pub(crate) fn remove_blocked(&mut self, subject: Subject) -> Vec<T> {
        self.blocked.remove(&subject).into_iter().flatten().map(|(_, action)| action).collect()
    }

    /// Removes all actions about the subject that have not started and that `matches` selects, in
    /// their order.
    pub(crate) fn remove_waiting(
        &mut self,
        subject: Subject,
        matches: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        let mut removed = Vec::new();
        if let Some(blocked) = self.blocked.remove(&subject) {
            let (gone, kept): (Waiting<T>, Waiting<T>) =
                blocked.into_iter().partition(|(_, action)| matches(action));
            removed.extend(gone.into_iter().map(|(_, action)| action));
            if !kept.is_empty() {
                self.blocked.insert(subject, kept);
            }
        }
        // The ready action came before the blocked ones.
        let first = self.remove_ready(subject, matches);
        if first.is_some() {
            self.release(subject);
        }
        removed.splice(0..0, first);
        removed
    }

    fn remove_ready(&mut self, subject: Subject, matches: impl Fn(&T) -> bool) -> Option<T> {
        let ReadyKey { market, length, number } = (*self.busy.get(&subject)?)?;
        let ready = self.ready.get_mut(&market)?;
        if !ready.of_mut(length).get(&number).is_some_and(|(_, action)| matches(action)) {
            return None;
        }
        let removed = ready.of_mut(length).remove(&number);
        if ready.is_empty() {
            self.ready.remove(&market);
            self.turns.retain(|other| *other != market);
        }
        removed.map(|(_, action)| action)
    }

    /// Removes all actions that have not started.
    pub(crate) fn remove_all_waiting(&mut self) -> Vec<T> {
        self.turns.clear();
        let ready = self
            .ready
            .drain()
            .flat_map(|(_, ready)| ready.short.into_values().chain(ready.long.into_values()));
        let blocked = self.blocked.drain().flat_map(|(_, actions)| actions);
        ready.chain(blocked).map(|(_, action)| action).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn app(market: i64, app: i64) -> Ticket {
        Ticket { market, subject: Subject::App(app), length: Length::Short }
    }

    fn import(market: i64, app: i64) -> Ticket {
        Ticket { length: Length::Long, ..self::app(market, app) }
    }

    fn start_all(queue: &mut Queue<i64>) -> Vec<i64> {
        std::iter::from_fn(|| queue.next()).map(|(_, action)| action).collect()
    }

    #[test]
    fn a_marketplace_full_of_slow_actions_leaves_room_for_others() {
        let mut queue = Queue::new(15);
        for id in 0..100 {
            queue.push(app(1, id), id);
        }
        assert_eq!(start_all(&mut queue).len(), 12);
        queue.push(app(2, 1_000), 1_000);
        queue.push(app(2, 1_001), 1_001);
        assert_eq!(start_all(&mut queue), [1_000], "one of each other marketplace");
    }

    #[test]
    fn a_delete_waits_neither_for_imports_nor_for_the_monitor_of_its_marketplace() {
        for slots in [3, 4, 5, 15] {
            let mut queue = Queue::new(slots);
            let monitor = Ticket { market: 1, subject: Subject::Market(1), length: Length::Short };
            queue.push(monitor, 300);
            assert_eq!(start_all(&mut queue), [300]);
            for id in 0..100 {
                queue.push(import(1, id), id);
            }
            start_all(&mut queue);
            queue.push(app(1, 200), 200);
            queue.push(app(1, 201), 201);
            assert_eq!(start_all(&mut queue).first(), Some(&200), "{slots}");
            queue.finish(monitor);
            queue.push(monitor, 301);
            queue.finish(app(1, 200));
            assert_eq!(start_all(&mut queue).first(), Some(&201), "{slots}");
        }
    }

    #[test]
    fn marketplaces_take_turns() {
        let mut queue = Queue::new(2);
        for id in 0..3 {
            queue.push(app(1, id), id);
        }
        queue.push(app(2, 10), 10);
        assert_eq!(start_all(&mut queue), [0, 10]);
        queue.finish(app(1, 0));
        queue.push(app(3, 20), 20);
        assert_eq!(start_all(&mut queue), [1]);
        queue.finish(app(2, 10));
        assert_eq!(start_all(&mut queue), [20], "before the third of the first marketplace");
    }

    #[test]
    fn imports_leave_room_for_a_short_action_and_for_another_marketplace() {
        for (slots, imports) in [(2, 1), (3, 1), (4, 2), (5, 3), (15, 11)] {
            let mut queue = Queue::new(slots);
            for id in 0..100 {
                queue.push(import(1, id), id);
            }
            assert_eq!(start_all(&mut queue).len(), imports, "{slots}");
            queue.push(app(1, 200), 200);
            assert_eq!(
                start_all(&mut queue),
                [200],
                "{slots}: a delete does not wait for an import"
            );
            if slots > 2 {
                queue.push(import(2, 300), 300);
                assert_eq!(start_all(&mut queue), [300], "{slots}: nor does another marketplace");
            }
        }
    }

    #[test]
    fn imports_of_many_marketplaces_leave_a_slot_and_short_actions_go_first() {
        let mut queue = Queue::new(5);
        for id in 0..20 {
            queue.push(import(id, id), id);
        }
        assert_eq!(start_all(&mut queue).len(), 4);
        queue.push(app(0, 100), 100);
        assert_eq!(start_all(&mut queue), [100], "of a marketplace whose import runs");
        queue.push(app(7, 101), 101);
        queue.push(app(0, 102), 102);
        assert_eq!(start_all(&mut queue), [0; 0]);
        queue.finish(import(1, 1));
        assert_eq!(start_all(&mut queue), [101], "before any import");
        queue.finish(app(0, 100));
        assert_eq!(start_all(&mut queue), [102]);
    }

    #[test]
    fn one_slot_serves_all() {
        let mut queue = Queue::new(1);
        queue.push(app(1, 0), 0);
        queue.push(app(2, 1), 1);
        assert_eq!(start_all(&mut queue), [0]);
        queue.finish(app(1, 0));
        assert_eq!(start_all(&mut queue), [1]);
    }

    #[test]
    fn a_removed_action_makes_the_next_about_its_subject_ready() {
        let mut queue = Queue::new(4);
        for action in 0..4 {
            queue.push(app(1, 7), action);
        }
        assert_eq!(queue.remove_waiting(Subject::App(7), |action| action % 2 == 0), [0, 2]);
        assert_eq!(start_all(&mut queue), [1]);
        queue.finish(app(1, 7));
        assert_eq!(start_all(&mut queue), [3]);
        assert_eq!(
            queue.remove_waiting(Subject::App(7), |_| true),
            [] as [i64; 0],
            "a running action is not removed"
        );
    }

    proptest! {
        #[test]
        fn every_action_runs_once_in_order_and_alone(
            slots in 1usize..6,
            steps in prop::collection::vec((0i64..4, 0i64..6, prop::bool::ANY), 1..120),
        ) {
            let mut queue = Queue::new(slots);
            let mut running: Vec<Ticket> = Vec::new();
            let mut started: Vec<(Ticket, usize)> = Vec::new();
            let total = steps.len();
            for (action, (market, id, finish)) in steps.into_iter().enumerate() {
                // An app belongs to one marketplace.
                let new = if id % 2 == 0 { import } else { app };
                let ticket = new(market, market * 10 + id);
                queue.push(ticket, action);
                while let Some((ticket, action)) = queue.next() {
                    let is_alone = running.iter().all(|other| other.subject != ticket.subject);
                    prop_assert!(is_alone, "an app has one action at a time");
                    running.push(ticket);
                    started.push((ticket, action));
                    prop_assert!(running.len() <= slots);
                }
                if finish && !running.is_empty() {
                    queue.finish(running.remove(0));
                }
            }
            loop {
                while let Some((ticket, action)) = queue.next() {
                    running.push(ticket);
                    started.push((ticket, action));
                }
                if running.is_empty() {
                    break;
                }
                queue.finish(running.remove(0));
            }
            prop_assert_eq!(started.len(), total);
            for (at, (ticket, action)) in started.iter().enumerate() {
                let is_same = |(other, _): &&(Ticket, usize)| other.subject == ticket.subject;
                let mut later = started[at..].iter().filter(is_same).map(|(_, action)| action);
                prop_assert!(later.by_ref().is_sorted(), "{action}");
            }
            prop_assert!(queue.remove_all_waiting().is_empty());
        }
    }
}
