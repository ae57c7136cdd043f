//! The in-memory marketplace keeps every promise of a storage backend, so that the tests that use
//! it mean something.
#![cfg(feature = "driver")]

use market_testkit::conformance;
use market_testkit::memory::MemoryMarket;

#[test]
fn the_marketplace_in_memory_keeps_every_promise() {
    market_testkit::block_on(async {
        conformance::all(&<MemoryMarket>::default(), &market_testkit::context()).await;
        conformance::all(&MemoryMarket::<true>::default(), &market_testkit::context()).await;
    });
}
