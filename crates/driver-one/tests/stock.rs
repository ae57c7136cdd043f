//! Catalogues, beside what the stock driver makes of them; each difference has a name here.
//!
//! tests/data holds a catalogue of our own with every kind of entry, and its reports in the form of
//! the stock driver. The real catalogues are texts of others and do not ship with the project:
//! they are compared where they are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use driver_one::{OneConfig, OneMarket};
use market_core::backend::MarketBackend;
use market_core::encoding::{decode, encode};
use market_core::report::{AppTemplate, DiscoveredApp};
use market_core::template::{Template, Value as Found};
use market_testkit::{block_on, context, require};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn shared(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    require::data(&path).then(|| std::fs::read(path).unwrap())
}

fn own(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn report(catalogue: &[u8]) -> (Vec<AppTemplate>, Vec<String>) {
    let context = context();
    let market = block_on(OneMarket::connect(OneConfig::default(), &context)).unwrap();
    let mut apps = Vec::new();
    market
        .report(catalogue, &mut |app| {
            apps.push(app);
            Ok(())
        })
        .unwrap();
    // There is no OpenNebula here whose release could be asked for.
    let lines =
        context.log.lines().into_iter().filter(|line| !line.contains("VERSION cannot be read"));
    (apps, lines.collect())
}

/// Attributes in order, vectors as sorted pairs.
fn attributes(text: &[u8]) -> Vec<(String, String)> {
    let template = Template::parse(text)
        .unwrap_or_else(|failure| panic!("{}: {}", failure.error, String::from_utf8_lossy(text)));
    template
        .iter()
        .map(|attribute| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let value = match attribute.value() {
                Found::Single(value) => text(value),
                Found::Vector(vector) => {
                    let pairs: BTreeMap<_, _> =
                        vector.iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
                    format!("{pairs:?}")
                }
            };
            (attribute.name().to_owned(), value)
        })
        .collect()
}

fn differs(ours: &[(String, String)], theirs: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in ours.iter().filter(|pair| !theirs.contains(pair)) {
        found.push(format!("+{name}={value}"));
    }
    for (name, value) in theirs.iter().filter(|pair| !ours.contains(pair)) {
        found.push(format!("-{name}={value}"));
    }
    found
}

#[test]
fn every_kind_of_entry_is_reported_as_the_stock_driver_does_but_for_what_is_named() {
    assert_eq!(
        compare(&own("catalogue.json"), own("stock.jsonl")),
        Compared { apps: 6, renamed: 1 }
    );
}

#[test]
fn the_139_entries_are_reported_as_the_stock_driver_does_but_for_what_is_named() {
    let Some(catalogue) = shared("data/appliances_opennebula.json") else { return };
    let Some(stock) = shared("vectors/one_monitor_stock.jsonl") else { return };
    assert_eq!(compare(&catalogue, stock), Compared { apps: 139, renamed: 7 });
}

#[derive(Debug, PartialEq)]
struct Compared {
    apps: usize,
    renamed: usize,
}

/// Compares our report of a catalogue with lines of the stock driver's, one an app.
fn compare(catalogue: &[u8], stock: Vec<u8>) -> Compared {
    let (apps, log) = report(catalogue);
    let stock: Vec<Value> = String::from_utf8(stock)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut renamed = 0;
    assert_eq!(stock.len(), apps.len());
    for stock in &stock {
        let id = stock["import_id"].as_str();
        let app = apps.iter().find(|app| app.value("IMPORT_ID") == id).unwrap();
        let (ours, theirs) = (app.write().unwrap(), stock["template"].as_str().unwrap());
        for difference in differs(&attributes(&ours), &attributes(theirs.as_bytes())) {
            let (name, value) = difference[1..].split_once('=').unwrap();
            match (&difference[..1], name) {
                // Names are unique in a report.
                ("+" | "-", "NAME") => renamed += usize::from(difference.starts_with('+')),
                ("+", "SHA256") => assert_eq!(value.len(), 64),
                // Random in the stock driver.
                ("+" | "-", "DISK") => {}
                ("+" | "-", "VMTEMPLATE64" | "APPTEMPLATE64") => {}
                _ => panic!("{}: {difference}", stock["import_id"]),
            }
        }
        for name in ["VMTEMPLATE64", "APPTEMPLATE64"] {
            let theirs = attributes(theirs.as_bytes()).into_iter().find(|(found, _)| found == name);
            match (app.value(name), theirs) {
                (None, None) => {}
                (Some(ours), Some((_, theirs))) => {
                    same_template(ours, &theirs, &app.write().unwrap())
                }
                (ours, theirs) => {
                    panic!("{}: {name}: {ours:?}, stock {theirs:?}", stock["import_id"])
                }
            }
        }
    }
    assert!(log.is_empty(), "a healthy monitor says nothing: {log:?}");
    Compared { apps: apps.len(), renamed }
}

/// The same, but for what the stock driver loses.
fn same_template(ours: &str, theirs: &str, app: &[u8]) {
    let (ours, theirs) = (decode(ours.as_bytes()).unwrap(), decode(theirs.as_bytes()).unwrap());
    if ours == theirs {
        return;
    }
    let ours = attributes(&ours);
    let Ok(_) = Template::parse(&theirs) else {
        // `KEY = [ "value" ]`, which no parser reads.
        assert!(
            String::from_utf8_lossy(&theirs).contains("= [ \""),
            "{}",
            String::from_utf8_lossy(&theirs)
        );
        return;
    };
    let theirs = attributes(&theirs);
    let requirements = theirs
        .iter()
        .find(|(name, _)| name == "SCHED_REQUIREMENTS")
        .map(|(_, value)| value.clone());
    for difference in differs(&ours, &theirs) {
        let (name, value) = difference[1..].split_once('=').unwrap();
        let added = difference.starts_with('+');
        match name {
            // It says nothing of it to the datastore.
            "SHA256" => assert!(added && value.len() == 64, "{difference}"),
            // The stock driver forgets it for x86_64.
            "SCHED_REQUIREMENTS" if added => {
                assert_eq!(
                    value,
                    format!("{} & ARCH=x86_64", requirements.as_deref().unwrap_or_default())
                );
            }
            "SCHED_REQUIREMENTS" => {}
            // Numbers and booleans end the stock driver's template, or are left out of it.
            _ => panic!("{difference}: {}", String::from_utf8_lossy(app)),
        }
    }
}

#[test]
fn every_entry_is_reported_and_read_back() {
    read_back(&own("catalogue.json"), 6);
}

#[test]
fn the_14_entries_of_the_community_are_all_reported_and_read_back() {
    let Some(catalogue) = shared("data/appliances_community.json") else { return };
    read_back(&catalogue, 14);
}

fn read_back(catalogue: &[u8], entries: usize) {
    let (apps, log) = report(catalogue);
    assert_eq!(apps.len(), entries, "{log:?}");
    for app in &apps {
        let record = encode(&app.write().unwrap());
        assert_eq!(DiscoveredApp::read(record.as_bytes()).unwrap().name, app.name());
    }
    assert_eq!(report(catalogue).0, apps, "two runs differ");
}
