//! Whatever an index holds, every app that is reported reads back, and comes from the server that
//! was asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use driver_linuxcontainers::{LinuxContainersConfig, LinuxContainersMarket};
use market_core::backend::MarketBackend;
use market_core::catalogue::{NamePrefix, Server};
use market_core::encoding::encode;
use market_core::report::{DiscoveredApp, is_valid_app_name};
use market_testkit::{block_on, context};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Parts of keys and paths that have broken something somewhere.
fn text() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "..",
        "/",
        "//",
        "%2e%2e",
        "%2f",
        "\\",
        "?",
        "#",
        "\"",
        "'",
        "$(x)",
        "`",
        " ",
        "\n",
        "\0",
        "]]>",
        ":",
        "@",
        "http://evil",
        "a",
        "images",
        ".",
        "é",
        "&",
        ";",
        "%",
        "~",
    ]);
    prop::collection::vec(nasty, 0..6).prop_map(|parts| parts.concat())
}

fn product() -> impl Strategy<Value = (String, Value)> {
    let distro = prop_oneof![Just("debian".to_owned()), Just("alpine".to_owned()), text()];
    let arch = prop::sample::select(vec!["amd64", "arm64", "riscv64"]);
    let version = prop_oneof![3 => Just("20261122_07:42".to_owned()), 1 => text()];
    (distro, text(), arch, version, text(), text()).prop_map(
        |(distro, release, arch, version, path, sha256)| {
            let item = json!({"path": format!("i{path}"), "sha256": sha256});
            let mut versions = serde_json::Map::new();
            versions.insert(version, json!({"items": {"root.tar.xz": item}}));
            (format!("{distro}:r{release}:{arch}:default"), json!({ "versions": versions }))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_reported_image_reads_back(products in prop::collection::vec(product(), 1..8), prefix in "[a-z]{0,3}") {
        let mut config = LinuxContainersConfig::default();
        config.app_name_prefix = NamePrefix::new(&prefix).unwrap();
        config.skip_untested = Some(false);
        let market = block_on(LinuxContainersMarket::connect(config, &context())).unwrap();
        let index = json!({"products": products.into_iter().collect::<serde_json::Map<_, _>>()}).to_string();
        let server = Server::parse("https://me:hunter2@host/tree/").unwrap();
        let mut names = HashSet::new();
        let told = market.report(index.as_bytes(), &server, &mut |app| {
            let text = app.write()?;
            let read = DiscoveredApp::read(encode(&text).as_bytes()).unwrap();
            assert!(is_valid_app_name(&read.name) && read.name.starts_with(&prefix) && names.insert(read.name.clone()), "{read:?}");
            let source = read.source.as_str().strip_prefix("lxd://https://host/tree/").unwrap();
            let path = source.strip_suffix("?size=2048&filesystem=ext4&format=raw").unwrap();
            assert!(!path.contains(['?', '#', '"', '\'', '$', '`', ' ', '\\']) && path.split('/').all(|segment| segment != ".."), "{path}");
            assert!(!String::from_utf8(text).unwrap().contains("hunter2"));
            Ok(())
        });
        // An index of other things is refused as a whole.
        prop_assert!(told.is_ok() || names.is_empty());
    }
}
