//! The suite on a real service: the gateway of Ceph.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod suite;

use market_testkit::s3::CephGateway;

#[test]
fn everything_holds_on_a_gateway_of_ceph() {
    let Some(gateway) = CephGateway::start() else { return };
    let service = |bucket: &str, more: &[(&str, &str)]| gateway.market(bucket, more);
    suite::all(&service);
    suite::what_breaks_is_whole_or_nothing(gateway.address(), &service, 40);
}
