//! Whatever a catalogue holds, every app that is reported reads back as it was meant.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use driver_one::{OneConfig, OneMarket};
use market_core::backend::MarketBackend;
use market_core::catalogue::template_value;
use market_core::encoding::{decode, encode};
use market_core::report::{AppTemplate, DiscoveredApp, is_valid_app_name};
use market_core::template::Template;
use market_testkit::{block_on, context};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;

fn report(catalogue: &str) -> Vec<AppTemplate> {
    let market = block_on(OneMarket::connect(OneConfig::default(), &context())).unwrap();
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
        "\"", "\\", "\\\"", "]]>", "]", "[", "=", ",", "\n", "\r\n", "\0", "\u{1}", "#", "'",
        "$(x)", "`", "<x>", "&amp;", "é", "\u{fffe}", "a", " ", "\t", "\u{2028}",
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
                    prop_assert_eq!(found.unwrap_or_default(), template_value(said));
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
    assert!(
        apps[0].name().starts_with("half \u{fffd}") && apps[0].name().ends_with(" of a character")
    );
    assert_eq!(apps[0].value("DESCRIPTION").unwrap().len(), 1 << 20);
    assert_eq!(apps[1].name(), "deep");
}

/// The VM template that is made of one, as `oned` reads it.
fn vm_template(template: &Value) -> Template {
    let entry = json!({"_id": {"$oid": "a"}, "name": "a", "files": [{"size": 1}], "opennebula_template": template});
    let apps = report(&json!({"appliances": [entry]}).to_string());
    let text = decode(apps[0].value("VMTEMPLATE64").unwrap().as_bytes()).unwrap();
    Template::parse_owned(text).unwrap()
}

#[test]
fn every_text_of_a_template_is_escaped_once_wherever_it_stands() {
    // As publishers write it: JSON in a string, a quote with a backslash before it.
    let written = r#"HYPERVISOR!=\"vcenter\""#;
    let meant = r#"HYPERVISOR!=\"vcenter\""#.replace('\\', "");
    let template = json!({
        "SCHED_REQUIREMENTS": written, "INFO": written, "OS": {"BOOT": written}, "NIC": [{"MODEL": written}],
        "LIST": [written, 7, true, null], "DEEP": {"INNER": {"A": written}, "LIST": [written]},
        "NUMBER": 1.5, "FLAG": false, "NOTHING": null, "EMPTY": "", "NONE": [], "NO_PAIRS": {},
    });
    for given in [
        template.clone(),
        json!(template.to_string()),
        json!(json!(template.to_string()).to_string()),
    ] {
        let vm = vm_template(&given);
        let single = |name: &str| vm.text(name).unwrap().map(str::to_owned);
        let pair = |name: &str, key: &str| {
            String::from_utf8(vm.get(name).unwrap().key(key).unwrap().to_vec()).unwrap()
        };
        assert_eq!(single("SCHED_REQUIREMENTS").unwrap(), format!("{meant} & HYPERVISOR=kvm"));
        assert_eq!(
            (single("INFO").unwrap(), pair("OS", "BOOT"), pair("NIC", "MODEL")),
            (meant.clone(), meant.clone(), meant.clone())
        );
        let list: Vec<_> =
            vm.get_all("LIST").map(|value| value.as_bytes().unwrap().to_vec()).collect();
        assert_eq!(list, [meant.as_bytes(), b"7", b"true"]);
        assert_eq!(
            (single("NUMBER").as_deref(), single("FLAG").as_deref()),
            (Some("1.5"), Some("false"))
        );
        // What stays JSON keeps the escapes that make it JSON.
        let inner: Value = serde_json::from_str(&pair("DEEP", "INNER")).unwrap();
        let list: Value = serde_json::from_str(&pair("DEEP", "LIST")).unwrap();
        assert_eq!((inner, list), (json!({"A": written}), json!([written])));
        for name in ["NOTHING", "EMPTY", "NONE", "NO_PAIRS"] {
            assert!(vm.get(name).is_none(), "{name}");
        }
    }
}

#[test]
fn what_arm_needs_is_added_to_what_is_there_in_either_form() {
    for os in [json!({"BOOT": "disk0", "ARCH": "x"}), json!([{"BOOT": "disk0"}]), json!(null)] {
        let entry = json!({
            "_id": {"$oid": "a"}, "name": "a", "os-arch": "arm64", "files": [{"size": 1}], "opennebula_template": {"OS": os},
        });
        let apps = report(&json!({"appliances": [entry]}).to_string());
        let text = decode(apps[0].value("VMTEMPLATE64").unwrap().as_bytes()).unwrap();
        let vm = Template::parse_owned(text).unwrap();
        let found = vm.get("OS").unwrap();
        assert_eq!(
            (found.key("ARCH"), found.key("MACHINE")),
            (Some(&b"aarch64"[..]), Some(&b"virt"[..]))
        );
        assert_eq!(found.key("BOOT"), (!os.is_null()).then_some(&b"disk0"[..]));
    }
}

/// A text as an entry holds it: between quotes, which a backslash escapes.
fn published(text: &str) -> String {
    text.replace('"', "\\\"")
}

proptest! {
    #[test]
    fn a_template_means_what_its_publisher_wrote(texts in prop::collection::vec(text(), 5)) {
        let given = json!({
            "SCHED_REQUIREMENTS": published(&texts[0]), "A": published(&texts[1]), "OS": {"B": published(&texts[2])},
            "NIC": [{"C": published(&texts[3])}, {"C": "x"}], "D": [published(&texts[4])],
        });
        let vm = vm_template(&json!(given.to_string()));
        let fit = |text: &str| template_value(text).into_owned().into_bytes();
        if !texts[0].is_empty() {
            let expected = format!("{} & HYPERVISOR=kvm", template_value(&texts[0]));
            prop_assert_eq!(vm.text("SCHED_REQUIREMENTS").unwrap(), Some(expected.as_str()));
        }
        for (found, text) in [
            (vm.get("A").and_then(|value| value.as_bytes()), &texts[1]),
            (vm.get("OS").and_then(|value| value.key("B")), &texts[2]),
            (vm.get("NIC").and_then(|value| value.key("C")).filter(|found| *found != b"x"), &texts[3]),
            (vm.get("D").and_then(|value| value.as_bytes()), &texts[4]),
        ] {
            prop_assert_eq!(found.unwrap_or_default(), fit(text));
        }
    }
}

#[test]
fn an_entry_that_would_multiply_costs_itself() {
    // A long name before each item of a long array: 40 GB of template.
    let long = "N".repeat(100_000);
    let many = "1,".repeat(49_000);
    let bomb = format!("{{\"{long}\": [{many}1]}}");
    let pairs: String = (0..49_000).map(|n| format!("\"K{n}\":1,")).collect();
    let template = format!(
        "{{\"OS\": {{{pairs}\"Z\":1}}, \"{}\": [{}1]}}",
        "L".repeat(100_000),
        "1,".repeat(49_000)
    );
    let entries = json!([
        {"_id": {"$oid": "a"}, "name": "bomb", "files": [{"size": 1}], "opennebula_template": bomb},
        {"_id": {"$oid": "b"}, "name": "pairs", "files": [{"size": 1}], "opennebula_template": template},
        {"_id": {"$oid": "c"}, "name": "huge", "short_description": "x".repeat(5 << 20)},
        {"_id": {"$oid": "d"}, "name": "good"},
    ]);
    let apps = report(&json!({"appliances": entries}).to_string());
    assert_eq!(apps.iter().map(AppTemplate::name).collect::<Vec<_>>(), ["bomb", "pairs", "good"]);
    assert!(apps.iter().all(|app| app.write().unwrap().len() < 8 << 20));
}
