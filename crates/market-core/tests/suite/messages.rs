//! Dumps, answers, and what oned makes of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![cfg(feature = "model")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use market_core::action::{
    CopyAction, DeleteAction, DumpError, ExportAction, ImportAction, ImportInfo, MAX_DUMP_BYTES,
    MonitorAction,
};
use market_core::checksum::Md5;
use market_core::encoding;
use market_core::model::{AppId, AppState, AppType, DatastoreType, ImageType, MiB, SourceUrl};
use market_core::report::{
    AppTemplate, CopiedImage, DiscoveredApp, ImportedApp, MonitorReport, ReportError,
};
use serde_json::Value as Json;

fn vectors(file: &str) -> String {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rows(file: &str) -> Vec<Json> {
    vectors(file).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn dump(name: &str) -> Vec<u8> {
    encoding::encode(vectors(&format!("dumps/{name}.xml")).as_bytes()).into_bytes()
}

#[test]
fn a_captured_import_is_decoded() {
    let action = ImportAction::decode(&dump("market-http-import")).unwrap();
    assert_eq!(action.app.id, AppId(30));
    assert_eq!(
        (action.app.state, action.app.app_type, action.app.origin_id),
        (AppState::Locked, AppType::Image, 7)
    );
    assert_eq!(action.app.description, "rig & <test> \"q\"");
    assert!(action.app.source.is_empty());
    assert_eq!(action.marketplace.id, 107);
    assert_eq!(action.marketplace.total, MiB(258_020));
    assert_eq!(
        action.marketplace.template.text("PUBLIC_DIR").unwrap(),
        Some("/var/local/market-http")
    );
    assert_eq!(action.marketplace.permissions.owner, [true, true, false]);
    assert_eq!(action.image.as_ref().unwrap().image_type, ImageType::Os);
    assert_eq!(action.datastore.as_ref().unwrap().clusters, [0]);
    assert_eq!(action.datastore.as_ref().unwrap().datastore_type, DatastoreType::Image);
    let info = action.info.unwrap();
    let md5: Md5 = "399447eede14ccb9e008571d362984a5".parse().unwrap();
    assert_eq!(info.md5, Some(md5));
    assert_eq!((info.size, info.format.as_str(), &info.dispose), (Some(MiB(4)), "raw", &None));
}

#[test]
fn captured_monitor_delete_export_and_copy_are_decoded() {
    for name in ["market-http-monitor", "market-one-monitor"] {
        MonitorAction::decode(&dump(name)).unwrap();
    }
    let delete = DeleteAction::decode(&dump("market-http-delete")).unwrap();
    assert_eq!(
        delete.app.source.as_str(),
        "http://market.example:8080/55ed0bc34ecf89807809ba3fca00eec9"
    );
    assert_eq!(delete.marketplace.apps, [AppId(30)]);
    let export = ExportAction::decode(&dump("datastore-fs-export")).unwrap();
    assert_eq!(
        export.image.source.as_str(),
        "/var/lib/one//datastores/103/21ca6da344cda2ed4000d1daa702d234"
    );
    let copy = CopyAction::decode(&dump("datastore-fs-cp-from-http-app")).unwrap();
    assert_eq!(
        copy.checksum::<Md5>("FROM_APP_MD5").unwrap(),
        Some("399447eede14ccb9e008571d362984a5".parse().unwrap())
    );
    assert_eq!(copy.marketplace.unwrap().id, 107);
    assert!(CopyAction::decode(&dump("datastore-fs-cp-upload")).unwrap().marketplace.is_none());
    CopyAction::decode(&dump("datastore-fs-cp-from-one-app")).unwrap();
}

#[test]
fn a_dump_is_taken_wrapped_unpadded_or_with_blanks() {
    let text = String::from_utf8(dump("market-http-monitor")).unwrap();
    let wrapped: String = text
        .as_bytes()
        .chunks(60)
        .map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap()))
        .collect();
    for form in [wrapped, text.trim_end_matches('=').to_owned(), format!("  {text}\n")] {
        assert_eq!(MonitorAction::decode(form.as_bytes()).unwrap().marketplace.id, 100);
    }
}

fn monitor_dump(template: &str) -> Vec<u8> {
    let xml = format!(
        "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>1</ID><TEMPLATE>{template}</TEMPLATE></MARKETPLACE></MARKET_DRIVER_ACTION_DATA>"
    );
    encoding::encode(xml.as_bytes()).into_bytes()
}

#[test]
fn hostile_dumps_are_refused_in_one_line_without_their_values() {
    let laughs = "<!DOCTYPE lolz [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]><MARKET_DRIVER_ACTION_DATA>&b;</MARKET_DRIVER_ACTION_DATA>";
    let encode = |text: &str| encoding::encode(text.as_bytes()).into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "the dump is empty"),
        (b"!!!hunter2".to_vec(), "not base64"),
        (encode("hunter2"), "the dump is refused"),
        (encode("<A>hunter2</A>"), "the dump holds <A>, not <MARKET_DRIVER_ACTION_DATA>"),
        (encode("<MARKET_DRIVER_ACTION_DATA/>"), "MARKETPLACE: missing from the dump"),
        (
            encode("<MARKET_DRIVER_ACTION_DATA><MARKETPLACE/></MARKET_DRIVER_ACTION_DATA>"),
            "MARKETPLACE/ID: missing",
        ),
        (encode(laughs), "the dump is refused"),
        (encoding::encode(b"<\xff>").into_bytes(), "not UTF-8"),
        (vec![b'A'; MAX_DUMP_BYTES + 4], "larger than 64 MiB"),
    ];
    for (dump, expected) in cases {
        let message = MonitorAction::decode(&dump).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("hunter2") && !message.contains('\n'), "{message}");
    }
    let wrong = encode(
        "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>hunter2</ID></MARKETPLACE></MARKET_DRIVER_ACTION_DATA>",
    );
    assert_eq!(
        MonitorAction::decode(&wrong).unwrap_err().to_string(),
        "the dump's MARKETPLACE/ID: not a whole number"
    );
}

#[test]
fn a_dump_at_the_cap_is_accepted() {
    let filler = "x".repeat(MAX_DUMP_BYTES / 4 * 3 - 400);
    let dump = monitor_dump(&format!("<A>{filler}</A>"));
    assert!(dump.len() > MAX_DUMP_BYTES - 400 && dump.len() <= MAX_DUMP_BYTES);
    let action = MonitorAction::decode(&dump).unwrap();
    assert_eq!(action.marketplace.template.text("A").unwrap().unwrap().len(), filler.len());
}

#[test]
fn xml_that_takes_quadratic_time_is_refused_or_read_in_linear_time() {
    let attributes: String = (0..200_000).map(|n| format!(" a{n}=\"\"")).collect();
    let namespaces = "<N xmlns:a=\"u\">".repeat(20_000);
    for hostile in [format!("<A{attributes}/>"), namespaces] {
        let error = MonitorAction::decode(&monitor_dump(&hostile)).unwrap_err().to_string();
        assert!(error.contains("more attributes than any dump has"), "{error}");
    }
    let mut names: Vec<_> = (0..300_000).map(|n| format!("<A{n:06}>1</A{n:06}>")).collect();
    names.reverse();
    let action = MonitorAction::decode(&monitor_dump(&names.concat())).unwrap();
    assert_eq!(action.marketplace.template.len(), 300_000);
    let same = MonitorAction::decode(&monitor_dump(&"<A>1</A>".repeat(300_000))).unwrap();
    assert_eq!(same.marketplace.template.len(), 300_000);
}

#[test]
fn more_xml_nodes_than_the_cap_are_refused() {
    let many = "<A/>".repeat(market_core::template::MAX_XML_NODES as usize);
    assert!(matches!(MonitorAction::decode(&monitor_dump(&many)), Err(DumpError::Xml(_))));
}

#[test]
fn what_we_encode_is_what_oned_decodes() {
    let rows = rows("base64.jsonl");
    for row in &rows {
        let input = STANDARD.decode(row["input_b64"].as_str().unwrap()).unwrap();
        let expected = STANDARD.decode(row["out_b64"].as_str().unwrap()).unwrap();
        assert_eq!(encoding::decode_as_oned(&input), expected, "{}", row["id"]);
        assert_eq!(
            encoding::decode_as_oned(encoding::encode(&input).as_bytes()),
            input,
            "{}",
            row["id"]
        );
        assert_eq!(
            encoding::decode(encoding::encode(&input).as_bytes()).unwrap(),
            input,
            "{}",
            row["id"]
        );
    }
    assert_eq!(rows.len(), 428);
}

#[test]
fn app_records_are_taken_apart_as_oned_does() {
    let rows = rows("app64.jsonl");
    for row in &rows {
        let id = &row["id"];
        let value = STANDARD.decode(row["input_b64"].as_str().unwrap()).unwrap();
        let read = DiscoveredApp::read(&value);
        if row["rc"] == 1 {
            assert!(matches!(read, Err(ReportError::Parse(_))), "{id}: it would crash oned");
            continue;
        }
        let app = read.unwrap();
        let word = app.app_type.word().unwrap_or("UNKNOWN");
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        assert_eq!(word, text("type"), "{id}");
        assert_eq!(
            (app.name, app.source.as_str()),
            (text("app_name"), text("source").as_str()),
            "{id}"
        );
        assert_eq!((app.md5, app.format), (text("md5"), text("format")), "{id}");
        assert_eq!(
            (app.size.0.0, app.registered.0),
            (row["size"].as_i64().unwrap(), row["regtime"].as_i64().unwrap()),
            "{id}"
        );
        assert_eq!(
            (app.size.1, app.registered.1),
            (row["size_ok"] == true, row["regtime_ok"] == true),
            "{id}"
        );
        let names: Vec<_> = app.template.iter().map(|a| a.name().to_owned()).collect();
        let expected: Vec<_> = row["attrs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, expected, "{id}");
    }
    assert_eq!(rows.len(), 36);
}

fn app(name: &str) -> AppTemplate {
    let mut app = AppTemplate::new(name, AppType::Image).unwrap();
    app.single("SOURCE", "http://m/1").unwrap();
    app
}

#[test]
fn a_monitor_report_is_read_back_as_oned_reads_it() {
    let mut report = MonitorReport::of_space(MiB(1), MiB(2), MiB(3));
    let mut described = app("a (b)");
    described.single("DESCRIPTION", "quotes \" and ] = , [\nlines").unwrap();
    described.vector("DISK", &[("NAME", "d0"), ("APP", "x")]).unwrap();
    report.apps = vec![described, app("c")];
    let (space, apps) = MonitorReport::read(&report.write().unwrap()).unwrap();
    assert_eq!(Some(space), report.space);
    assert_eq!((apps[0].name.as_str(), apps[1].name.as_str()), ("a (b)", "c"));
    assert_eq!(apps[0].template.text("DESCRIPTION").unwrap(), Some("quotes \" and ] = , [\nlines"));
    let (space, _) = MonitorReport::read(b"USED_MD=7\nFREE_MB=1.5\nTOTAL_MB=x\n").unwrap();
    assert_eq!((space.used, space.free, space.total), (MiB(7), MiB(1), MiB(0)));
}

#[test]
fn reports_that_would_hurt_oned_are_refused() {
    for name in ["", "a/b", "a\nb", "a\"b", "a#b", &"x".repeat(129)] {
        assert!(
            matches!(AppTemplate::new(name, AppType::Image), Err(ReportError::Name { .. })),
            "{name}"
        );
    }
    assert!(AppTemplate::new("a", AppType::Unknown).is_err());
    let mut hostile = app("a");
    for value in ["]]>", "a\n]]>b", "a\0b", "a\u{1b}b", "a b\\", "\r"] {
        assert!(hostile.single("DESCRIPTION", value).is_err(), "{value:?}");
        assert!(hostile.vector("DISK", &[("NAME", value)]).is_err(), "{value:?}");
    }
    assert!(hostile.vector("DISK", &[("1A", "x")]).is_err(), "no XML element can have that name");
    assert!(hostile.vector("DISK", &[]).is_err(), "it would be lost in XML");
    assert_eq!(hostile, app("a"), "nothing of it was kept");
    let doubled = MonitorReport { space: None, apps: vec![app("a"), app("a")] };
    assert_eq!(doubled.write().unwrap_err(), ReportError::DuplicateName { name: "a".into() });
    let nowhere =
        MonitorReport { space: None, apps: vec![AppTemplate::new("a", AppType::Image).unwrap()] };
    assert_eq!(nowhere.write().unwrap_err().to_string(), "SOURCE is missing or empty");
    assert!(MonitorReport::of_space(MiB(1), MiB(-1), MiB(0)).write().is_err());
}

#[test]
fn an_import_answer_needs_its_four_attributes_and_cannot_be_injected_into() {
    let good = ImportedApp {
        source: SourceUrl::new("http://m/1"),
        md5: Md5::from([0; 16]),
        size: MiB(0),
        format: "raw".into(),
    };
    assert_eq!(
        String::from_utf8(good.write().unwrap()).unwrap(),
        format!("SOURCE=\"http://m/1\"\nMD5=\"{}\"\nSIZE=\"0\"\nFORMAT=\"raw\"\n", "0".repeat(32))
    );
    for broken in [
        ImportedApp { source: SourceUrl::default(), ..good.clone() },
        ImportedApp { source: SourceUrl::new("x]]>"), ..good.clone() },
        ImportedApp { size: MiB(-1), ..good.clone() },
        ImportedApp { format: " ".into(), ..good.clone() },
    ] {
        assert!(broken.write().is_err(), "{broken:?}");
    }
    let quoted = ImportedApp { format: "x\"\nINJECTED=\"yes".into(), ..good };
    let read = market_core::template::Template::parse(&quoted.write().unwrap()).unwrap();
    assert_eq!(read.len(), 4, "{read:?}");
}

#[test]
fn import_info_goes_through_xml_and_takes_the_stray_quote_of_the_stock_ceph_driver() {
    let info = ImportInfo {
        source: SourceUrl::new("/var/lib/one/datastores/1/a b&]]>c"),
        md5: Some(Md5::from([0; 16])),
        size: Some(MiB(4)),
        format: "raw".into(),
        dispose: Some("rm -rf '/tmp/x'".into()),
    };
    let xml = info.write().unwrap();
    assert_eq!(ImportInfo::read(&xml).unwrap(), info);
    assert_eq!(ImportInfo::read(&format!("{}\"\n", xml.trim_end())).unwrap(), info);
    assert!(ImportInfo::default().write().is_err());
    assert!(ImportInfo::read("<IMPORT_INFO><MD5>nonsense</MD5></IMPORT_INFO>").is_err());
}

#[test]
fn a_copy_answer_is_two_words() {
    let copied = CopiedImage { path: "/ds/100/abc".into(), format: "qcow2".into() };
    assert_eq!(copied.write().unwrap(), "/ds/100/abc qcow2\n");
    assert!(CopiedImage { path: "/ds 100/abc".into(), ..copied.clone() }.write().is_err());
    assert!(CopiedImage { format: String::new(), ..copied }.write().is_err());
}

#[test]
fn debug_of_a_dump_shows_no_key() {
    let action =
        MonitorAction::decode(&monitor_dump("<SECRET_ACCESS_KEY>hunter2</SECRET_ACCESS_KEY>"))
            .unwrap();
    assert!(!format!("{action:?}").contains("hunter2"));
    let url = SourceUrl::new("rbd://user:hunter2@host/pool/image?CEPH_KEY=hunter2");
    assert!(!format!("{url:?}").contains("hunter2"));
}
