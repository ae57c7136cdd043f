//! The in-memory marketplace keeps every promise of a storage backend, so that the tests that use
//! it mean something; and each case of the suite fails where its promise is broken.
#![cfg(feature = "storage")]
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use market_testkit::conformance::{self, Outcome};
use market_testkit::memory::{Fault, MemoryMarket};
use market_testkit::{block_on, context};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A marketplace whose writes wait, so that they can be dropped in the middle.
fn market(fault: Fault) -> MemoryMarket {
    let market = MemoryMarket::with(fault);
    market.waits.set(true);
    market
}

#[test]
fn the_marketplace_in_memory_keeps_every_promise() {
    for case in conformance::cases() {
        let outcome = block_on(case.run(&market(Fault::None), &context()));
        assert_eq!(outcome, Outcome::Kept, "{}", case.name());
    }
    block_on(conformance::all(&MemoryMarket::<true>::default(), &context()));
}

#[test]
fn every_case_fails_where_its_promise_is_broken() {
    let broken = [
        ("what_is_published_is_what_was_written", Fault::Corrupt(7)),
        ("what_is_published_is_what_was_written", Fault::Short),
        ("nothing_is_visible_before_it_is_published", Fault::Early),
        ("nothing_is_visible_before_it_is_published", Fault::ListsNothing),
        ("a_discarded_upload_is_gone", Fault::Discard),
        ("an_upload_can_be_given_up_in_the_middle_of_a_write", Fault::LeavesParts),
        ("two_imports_never_meet", Fault::OneName),
        ("an_abandoned_upload_is_found_and_removed", Fault::ListsNothing),
        ("a_removed_upload_is_never_published", Fault::PublishesRemoved),
        ("sources_that_point_elsewhere_are_refused", Fault::TakesAnySource),
        ("monitor_reports_the_space_that_apps_take", Fault::NothingUsed),
        ("monitor_reports_the_space_that_apps_take", Fault::NoSpace),
    ];
    let cases = conformance::cases::<MemoryMarket>();
    let tested: BTreeSet<_> = broken.iter().map(|(name, _)| *name).collect();
    assert_eq!(tested, cases.iter().map(|case| case.name()).collect());
    for (name, fault) in broken {
        let case = cases.iter().find(|case| case.name() == name).unwrap();
        let run = || block_on(case.run(&market(fault), &context()));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{name} does not see {fault:?}");
    }
}
