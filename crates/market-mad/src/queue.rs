//! Which action may start next: a slow marketplace does not hold up the others, and an app has one
//! action at a time.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// What an action is about: of one subject one action runs at a time, in the order they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An app, by its id.
    App(i64),
    /// A marketplace as such, by its id.
    Market(i64),
}

/// How long an action takes by its nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// A delete or a monitor: nobody wants to wait for an import before it.
    Short,
    /// An import, which may take hours.
    Long,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) market: i64,
    pub(crate) subject: Subject,
    pub(crate) length: Length,
}

/// Actions that wait, and who is at work.
pub(crate) struct Queue<T> {
    slots: usize,
    /// Slots that are kept for marketplaces without a running action.
    reserved: usize,
    /// Marketplaces with actions that may start, the next one first.
    turn: VecDeque<i64>,
    /// The actions that may start, by marketplace; of every subject at most one.
    ready: HashMap<i64, Ready<T>>,
    /// The actions behind another one of their subject.
    behind: HashMap<Subject, Line<T>>,
    /// Subjects with an action that is ready, and where it stands, or that runs.
    taken: HashMap<Subject, Option<Place>>,
    /// How many actions have become ready.
    count: u64,
    running: HashMap<i64, Running>,
    all_running: Running,
}

type Line<T> = VecDeque<(Ticket, T)>;

/// Where a ready action stands.
#[derive(Clone, Copy)]
struct Place {
    market: i64,
    length: Length,
    number: u64,
}

/// The actions of a marketplace that may start, by their numbers.
struct Ready<T> {
    short: BTreeMap<u64, (Ticket, T)>,
    long: BTreeMap<u64, (Ticket, T)>,
}

/// How many actions run.
#[derive(Clone, Copy, Default)]
struct Running {
    deletes: usize,
    monitors: usize,
    imports: usize,
}

impl Running {
    fn all(self) -> usize {
        self.deletes + self.monitors + self.imports
    }

    fn of(&mut self, ticket: Ticket) -> &mut usize {
        match (ticket.length, ticket.subject) {
            (Length::Long, _) => &mut self.imports,
            (Length::Short, Subject::App(_)) => &mut self.deletes,
            (Length::Short, Subject::Market(_)) => &mut self.monitors,
        }
    }
}

impl<T> Ready<T> {
    fn new() -> Self {
        Self { short: BTreeMap::new(), long: BTreeMap::new() }
    }

    fn of(&mut self, length: Length) -> &mut BTreeMap<u64, (Ticket, T)> {
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
    /// With so many slots. A quarter of them, at least one of several, is kept for marketplaces
    /// without a running action.
    pub(crate) fn new(slots: usize) -> Self {
        let reserved = if slots > 1 { (slots / 4).max(1) } else { 0 };
        Self {
            slots,
            reserved,
            turn: VecDeque::new(),
            ready: HashMap::new(),
            behind: HashMap::new(),
            taken: HashMap::new(),
            count: 0,
            running: HashMap::new(),
            all_running: Running::default(),
        }
    }

    /// An action has come.
    pub(crate) fn push(&mut self, ticket: Ticket, action: T) {
        if self.taken.contains_key(&ticket.subject) {
            self.behind.entry(ticket.subject).or_default().push_back((ticket, action));
        } else {
            self.make_ready(ticket, action);
        }
    }

    fn make_ready(&mut self, ticket: Ticket, action: T) {
        let ready = self.ready.entry(ticket.market).or_insert_with(Ready::new);
        if ready.is_empty() {
            self.turn.push_back(ticket.market);
        }
        let place = Place { market: ticket.market, length: ticket.length, number: self.count };
        ready.of(ticket.length).insert(place.number, (ticket, action));
        self.taken.insert(ticket.subject, Some(place));
        self.count += 1;
    }

    /// The next action that may start; it holds a slot until [`finish`](Self::finish). Short ones
    /// go first.
    pub(crate) fn next(&mut self) -> Option<(Ticket, T)> {
        self.next_of(Length::Short).or_else(|| self.next_of(Length::Long))
    }

    fn next_of(&mut self, length: Length) -> Option<(Ticket, T)> {
        if self.all_running.all() >= self.slots {
            return None;
        }
        let may_start = |market: &i64| {
            let first = self.ready.get(market).and_then(|ready| ready.first(length));
            first.is_some_and(|ticket| self.may_start(ticket))
        };
        let place = self.turn.iter().position(may_start)?;
        let market = self.turn.remove(place)?;
        let ready = self.ready.get_mut(&market)?;
        let (_, started) = ready.of(length).pop_first()?;
        self.taken.insert(started.0.subject, None);
        // It comes round again while it has actions.
        if ready.is_empty() {
            self.ready.remove(&market);
        } else {
            self.turn.push_back(market);
        }
        *self.running.entry(market).or_default().of(started.0) += 1;
        *self.all_running.of(started.0) += 1;
        Some(started)
    }

    /// Marketplaces of which nothing runs keep their slots; so does a short action among imports:
    /// of its own marketplace, and of all. A delete does not wait for a slow monitor either.
    fn may_start(&self, ticket: Ticket) -> bool {
        let running = self.running.get(&ticket.market).copied().unwrap_or_default();
        let free = self.slots - self.all_running.all();
        let is_delete = matches!(ticket.subject, Subject::App(_));
        match ticket.length {
            Length::Short => {
                let before = running.deletes + if is_delete { 0 } else { running.monitors };
                free > if before == 0 { 0 } else { self.reserved }
            }
            Length::Long if self.slots == 1 => free > 0,
            Length::Long => {
                let leaves_one = self.all_running.imports + 1 < self.slots;
                let of_share = self.slots - self.reserved - 1;
                leaves_one
                    && (running.all() == 0 && free > 0
                        || free > self.reserved
                            && (running.imports == 0 || running.imports < of_share))
            }
        }
    }

    /// An action has ended.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        *self.all_running.of(ticket) -= 1;
        if let Some(running) = self.running.get_mut(&ticket.market) {
            *running.of(ticket) -= 1;
            if running.all() == 0 {
                self.running.remove(&ticket.market);
            }
        }
        self.release(ticket.subject);
    }

    /// The subject is free for the next action about it.
    fn release(&mut self, subject: Subject) {
        let Some(behind) = self.behind.get_mut(&subject) else {
            self.taken.remove(&subject);
            return;
        };
        let next = behind.pop_front();
        if behind.is_empty() {
            self.behind.remove(&subject);
        }
        match next {
            Some((ticket, action)) => self.make_ready(ticket, action),
            None => drop(self.taken.remove(&subject)),
        }
    }

    /// Whether an action about the subject waits or runs.
    pub(crate) fn has(&self, subject: Subject) -> bool {
        self.taken.contains_key(&subject)
    }

    /// Takes out all actions that wait behind another one of their subject.
    pub(crate) fn take_behind(&mut self, subject: Subject) -> Vec<T> {
        self.behind.remove(&subject).into_iter().flatten().map(|(_, action)| action).collect()
    }

    /// Takes out all actions about a subject that wait and are meant.
    pub(crate) fn take_out(&mut self, subject: Subject, meant: impl Fn(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        if let Some(waiting) = self.behind.remove(&subject) {
            let (gone, rest): (Line<T>, Line<T>) =
                waiting.into_iter().partition(|(_, action)| meant(action));
            out.extend(gone.into_iter().map(|(_, action)| action));
            if !rest.is_empty() {
                self.behind.insert(subject, rest);
            }
        }
        // It was the first of them.
        let first = self.take_ready(subject, meant);
        if first.is_some() {
            self.release(subject);
        }
        out.splice(0..0, first);
        out
    }

    fn take_ready(&mut self, subject: Subject, meant: impl Fn(&T) -> bool) -> Option<T> {
        let Place { market, length, number } = (*self.taken.get(&subject)?)?;
        let ready = self.ready.get_mut(&market)?;
        if !ready.of(length).get(&number).is_some_and(|(_, action)| meant(action)) {
            return None;
        }
        let taken = ready.of(length).remove(&number);
        if ready.is_empty() {
            self.ready.remove(&market);
            self.turn.retain(|other| *other != market);
        }
        taken.map(|(_, action)| action)
    }

    /// Takes out all that wait.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.turn.clear();
        let ready = self
            .ready
            .drain()
            .flat_map(|(_, ready)| ready.short.into_values().chain(ready.long.into_values()));
        let mut all: Vec<_> = ready.map(|(_, action)| action).collect();
        all.extend(self.behind.drain().flat_map(|(_, actions)| actions).map(|(_, action)| action));
        all
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
    fn with_imports_of_many_marketplaces_a_slot_is_left_and_short_actions_go_first() {
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
    fn what_is_taken_out_leaves_its_place_to_the_next() {
        let mut queue = Queue::new(4);
        for action in 0..4 {
            queue.push(app(1, 7), action);
        }
        assert_eq!(queue.take_out(Subject::App(7), |action| action % 2 == 0), [0, 2]);
        assert_eq!(start_all(&mut queue), [1]);
        queue.finish(app(1, 7));
        assert_eq!(start_all(&mut queue), [3]);
        assert_eq!(
            queue.take_out(Subject::App(7), |_| true),
            [] as [i64; 0],
            "what runs is not waiting"
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
                let ticket = if id % 2 == 0 { import(market, market * 10 + id) } else { app(market, market * 10 + id) };
                queue.push(ticket, action);
                while let Some((ticket, action)) = queue.next() {
                    prop_assert!(running.iter().all(|other| other.subject != ticket.subject), "an app has one action at a time");
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
                let later = started[at..].iter().filter(|(other, _)| other.subject == ticket.subject);
                prop_assert!(later.map(|(_, action)| action).is_sorted(), "{action}");
            }
            prop_assert!(queue.take_all().is_empty());
        }
    }
}
