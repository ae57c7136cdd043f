//! Which action may start next: a slow marketplace does not hold up the others, and an app has one action at a time.

use std::collections::{HashMap, HashSet, VecDeque};

/// What an action is about: of one subject one action runs at a time, in the order they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An app, by its id.
    App(i64),
    /// A marketplace as such, by its id.
    Market(i64),
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) market: i64,
    pub(crate) subject: Subject,
}

/// Actions that wait, and who is at work.
pub(crate) struct Queue<T> {
    free: usize,
    /// Slots that only a marketplace without a running action may take.
    reserved: usize,
    /// Marketplaces with actions that may start, the next one first.
    turn: VecDeque<i64>,
    /// The actions that may start, by marketplace; of every subject at most one.
    ready: HashMap<i64, VecDeque<(Subject, T)>>,
    /// The actions behind another one of their subject.
    behind: HashMap<Subject, VecDeque<(i64, T)>>,
    /// Subjects with an action that is ready or runs.
    taken: HashSet<Subject>,
    running: HashMap<i64, usize>,
}

impl<T> Queue<T> {
    /// With so many slots. A quarter of them, at least one of several, is kept for marketplaces without a running action.
    pub(crate) fn new(slots: usize) -> Self {
        let reserved = if slots > 1 { (slots / 4).max(1) } else { 0 };
        Self {
            free: slots,
            reserved,
            turn: VecDeque::new(),
            ready: HashMap::new(),
            behind: HashMap::new(),
            taken: HashSet::new(),
            running: HashMap::new(),
        }
    }

    /// An action has come.
    pub(crate) fn push(&mut self, ticket: Ticket, action: T) {
        if self.taken.insert(ticket.subject) {
            self.make_ready(ticket, action);
        } else {
            self.behind.entry(ticket.subject).or_default().push_back((ticket.market, action));
        }
    }

    fn make_ready(&mut self, ticket: Ticket, action: T) {
        let actions = self.ready.entry(ticket.market).or_default();
        if actions.is_empty() {
            self.turn.push_back(ticket.market);
        }
        actions.push_back((ticket.subject, action));
    }

    /// The next action that may start; it holds a slot until [`finish`](Self::finish).
    pub(crate) fn next(&mut self) -> Option<(Ticket, T)> {
        for _ in 0..self.turn.len() {
            let market = self.turn.pop_front()?;
            let running = self.running.entry(market).or_default();
            let may_start = self.free > if *running == 0 { 0 } else { self.reserved };
            let action = if may_start { self.ready.get_mut(&market).and_then(VecDeque::pop_front) } else { None };
            if action.is_some() {
                *running += 1;
                self.free -= 1;
            }
            self.come_round(market);
            if let Some((subject, action)) = action {
                return Some((Ticket { market, subject }, action));
            }
        }
        None
    }

    /// A marketplace had its turn; it comes round again while it has actions.
    fn come_round(&mut self, market: i64) {
        if self.ready.get(&market).is_some_and(|actions| !actions.is_empty()) {
            self.turn.push_back(market);
        } else {
            self.ready.remove(&market);
        }
        if self.running.get(&market) == Some(&0) {
            self.running.remove(&market);
        }
    }

    /// An action has ended.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        self.free += 1;
        if let Some(running) = self.running.get_mut(&ticket.market) {
            *running -= 1;
            if *running == 0 {
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
            Some((market, action)) => self.make_ready(Ticket { market, subject }, action),
            None => drop(self.taken.remove(&subject)),
        }
    }

    /// Takes out all actions that wait behind another one of their subject.
    pub(crate) fn take_behind(&mut self, subject: Subject) -> Vec<T> {
        self.behind.remove(&subject).into_iter().flatten().map(|(_, action)| action).collect()
    }

    /// Takes out all actions about a subject that wait and are meant.
    pub(crate) fn take_out(&mut self, subject: Subject, meant: impl Fn(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        if let Some(waiting) = self.behind.remove(&subject) {
            let (gone, rest): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(|(_, action)| meant(action));
            out.extend(gone.into_iter().map(|(_, action)| action));
            if !rest.is_empty() {
                self.behind.insert(subject, rest);
            }
        }
        let place = self.ready.iter().find_map(|(market, actions)| {
            actions.iter().position(|(of, action)| *of == subject && meant(action)).map(|at| (*market, at))
        });
        if let Some((market, at)) = place {
            let action = self.ready.get_mut(&market).and_then(|actions| actions.remove(at));
            // It was the first of them.
            out.splice(0..0, action.map(|(_, action)| action));
            if self.ready.get(&market).is_some_and(VecDeque::is_empty) {
                self.ready.remove(&market);
                self.turn.retain(|other| *other != market);
            }
            self.release(subject);
        }
        out
    }

    /// Takes out all that wait.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.turn.clear();
        let ready = self.ready.drain().flat_map(|(_, actions)| actions);
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
        Ticket { market, subject: Subject::App(app) }
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
        assert_eq!(queue.take_out(Subject::App(7), |_| true), [] as [i64; 0], "what runs is not waiting");
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
                queue.push(app(market, market * 10 + id), action);
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
