//! Whatever a catalogue holds, every app that is reported reads back as it was meant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use driver_one::{OneConfig, OneMarket};
use market_core::backend::MarketBackend;
use market_core::catalogue::value;
use market_core::encoding::{decode, encode};
use market_core::report::{AppTemplate, DiscoveredApp, is_valid_app_name};
use market_core::template::Template;
use market_testkit::{block_on, context};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;

fn report(catalogue: &str) -> Vec<AppTemplate> {
    let market = block_on(OneMarket::open(OneConfig { endpoint: None }, &context())).unwrap();
    let mut apps = Vec::new();
    let told = market.report(catalogue.as_bytes(), &mut |app| {
        apps.push(app);
        Ok(())
    });
    told.unwrap();
    apps
}

/// Texts that have broken something somewhere.
fn text() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "\"", "\\", "\\\"", "]]>", "]", "[", "=", ",", "\n", "\r\n", "\0", "\u{1}", "#", "'", "$(x)", "`", "<x>",
        "&amp;", "é", "\u{fffe}", "a", " ", "\t", "\u{2028}",
    ]);
    prop::collection::vec(nasty, 0..12).prop_map(|parts| parts.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop_oneof!["[A-Z_]{1,6}", text()], inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn entry() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        json!(null),
        json!("IMAGE"),
        json!("VMTEMPLATE"),
        json!("SERVICE_TEMPLATE"),
        json!("X"),
    ]);
    let fields = prop::collection::vec(json_value(), 14);
    let template = json_value();
    ("[a-z0-9]{1,6}", text(), kind, fields, template, any::<bool>()).prop_map(|(id, name, kind, fields, template, encoded)| {
        let template = if encoded { json!(template.to_string()) } else { template };
        json!({
            "_id": {"$oid": id}, "name": format!("n{name}"), "type": kind, "opennebula_template": template,
            "version": fields[0], "publisher": fields[1], "short_description": fields[2], "tags": fields[3],
            "creation_time": fields[4], "hypervisor": fields[5], "os-arch": fields[6], "format": fields[7],
            "disks": fields[8], "roles": fields[9],
            "files": [{"size": fields[10], "md5": fields[11], "dev_prefix": fields[12], "type": fields[13], "checksum": fields[0]}],
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_reported_app_reads_back(entries in prop::collection::vec(entry(), 1..5)) {
        let catalogue = json!({"appliances": entries}).to_string();
        let apps = report(&catalogue);
        let mut names = HashSet::new();
        for app in &apps {
            prop_assert!(is_valid_app_name(app.name()) && names.insert(app.name().to_owned()), "{:?}", app.name());
            let text = app.write().unwrap();
            let record = DiscoveredApp::read(encode(&text).as_bytes()).unwrap();
            prop_assert_eq!(&record.name, app.name());
            let whole = Template::parse(&text).unwrap();
            for name in ["VERSION", "PUBLISHER", "DESCRIPTION", "TAGS", "HYPERVISOR", "ARCHITECTURE"] {
                let found = whole.text(name).unwrap();
                prop_assert_eq!(found, app.value(name));
                // And it is what the catalogue said, in a form that a template can hold.
                let id = app.value("IMPORT_ID").unwrap();
                let said = entries.iter().find(|entry| entry["_id"]["$oid"] == id).unwrap();
                if let ("PUBLISHER", Some(said)) = (name, said["publisher"].as_str()) {
                    prop_assert_eq!(found.unwrap_or_default(), value(said));
                }
            }
            for name in ["VMTEMPLATE64", "APPTEMPLATE64"] {
                let service = app.value("TYPE") == Some("SERVICE_TEMPLATE");
                if let Some(encoded) = app.value(name).filter(|_| !service) {
                    let inner = decode(encoded.as_bytes()).unwrap();
                    prop_assert!(Template::parse(&inner).is_ok(), "{}", String::from_utf8_lossy(&inner));
                }
            }
        }
        prop_assert_eq!(report(&catalogue), apps);
    }
}

#[test]
fn large_and_broken_texts_cost_nothing_but_themselves() {
    let long = "x".repeat(1 << 20);
    let catalogue = format!(
        "{{\"appliances\":[{{\"_id\":{{\"$oid\":\"a\"}},\"name\":\"half \\ud800 of a character\",\"short_description\":\"{long}\"}},\
         {{\"_id\":{{\"$oid\":\"b\"}},\"name\":\"deep\",\"tags\":{}{}}}]}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let apps = report(&catalogue);
    assert!(apps[0].name().starts_with("half \u{fffd}") && apps[0].name().ends_with(" of a character"));
    assert_eq!(apps[0].value("DESCRIPTION").unwrap().len(), 1 << 20);
    assert_eq!(apps[1].name(), "deep");
}
