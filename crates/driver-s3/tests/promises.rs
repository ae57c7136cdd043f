//! Every promise of a backend, on the server in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use driver_s3::S3Market;
use market_core::attributes::S3Attributes;
use market_core::backend::{Context, MarketBackend};
use market_core::template::{Template, serde::from_template};
use market_testkit::s3::S3Server;
use market_testkit::{block_on, conformance};

async fn open(attributes: &[(String, String)], context: &Context) -> S3Market {
    let mut template = Template::new();
    for (name, value) in attributes {
        template.push(name, value).unwrap();
    }
    let config: S3Attributes = from_template(&template).unwrap();
    S3Market::open(config, context).await.unwrap()
}

#[test]
fn a_bucket_keeps_every_promise_of_a_backend() {
    let server = S3Server::start();
    server.create_bucket("apps");
    server.put("apps", "index.html", b"not an app");
    server.put("apps", "marketapp-x", b"nor this");
    block_on(async {
        let context = market_testkit::context();
        let market = open(&server.market("apps", &[]), &context).await;
        conformance::all(&market, &context).await;
    });
    assert_eq!(server.keys("apps"), ["index.html", "marketapp-x"]);
    assert_eq!(server.uploads(), 0);
}
