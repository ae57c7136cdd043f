//! `market-one` as `one_market` and people call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::encoding::decode;
use market_core::report::MonitorReport;
use market_core::template::Template;
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn call(arguments: &[&str], message: &str, one: &Path) -> Output {
    run(
        Command::new(env!("CARGO_BIN_EXE_market-one")).args(arguments).env("ONE_LOCATION", one),
        message,
    )
}

fn entry(id: &str, name: &str) -> Value {
    json!({
        "_id": {"$oid": id}, "name": name, "version": "1.0", "publisher": "us", "short_description": "An \"app\"",
        "tags": ["one", "two"], "format": "qcow2", "creation_time": 1_784_023_482, "hypervisor": "ALL", "os-arch": "amd64",
        "opennebula_template": "{\"CPU\": 1, \"MEMORY\": \"512\", \"NIC\": [{\"MODEL\": \"virtio\"}]}",
        "files": [{"size": 1_048_577, "md5": "0cc175b9c0f1b6a831c399e269772661", "dev_prefix": "vd", "type": "OS",
                   "checksum": {"sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}}]
    })
}

fn catalogue(entries: &[Value]) -> Vec<u8> {
    json!({"sEcho": 1, "appliances": entries}).to_string().into_bytes()
}

fn market(server: &HttpServer) -> Dump {
    Dump::of_market(&[("ENDPOINT", server.url("/store").as_str()), ("IDLE_TIMEOUT", "1")])
}

#[test]
fn one_request_becomes_a_report() {
    let one = tempfile::tempdir().unwrap();
    fs::create_dir_all(one.path().join("var/remotes")).unwrap();
    fs::write(one.path().join("var/remotes/VERSION"), "7.4.1\n").unwrap();
    fs::write(one.path().join("var/remotes/EDITION"), "EE\n").unwrap();
    let server = HttpServer::start(|_, _| {
        Reply::bytes(catalogue(&[entry("a-1", "App"), entry("b-2", "App")]))
    });
    let output = call(&["monitor", "-"], &market(&server).monitor(), one.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let (_, apps) = MonitorReport::read(&output.stdout).unwrap();
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["App", "App b-2"]);
    assert_eq!(stderr(&output), "", "a healthy monitor says nothing");
    let app = &apps[0];
    assert_eq!(app.source.as_str(), server.url("/store/appliance/a-1/download/0"));
    assert_eq!(
        (app.size.0.0, app.md5.as_str(), app.format.as_str()),
        (2, "0cc175b9c0f1b6a831c399e269772661", "qcow2")
    );
    let text = |name: &str| app.template.text(name).unwrap().unwrap().to_owned();
    assert_eq!(
        (text("DESCRIPTION"), text("TAGS")),
        ("An \"app\"".to_owned(), "one, two".to_owned())
    );
    assert_eq!(text("SHA256").len(), 64);
    // An export makes the image's template of it, which the datastore's cp is handed.
    let image = Template::parse(&decode(text("APPTEMPLATE64").as_bytes()).unwrap()).unwrap();
    assert_eq!(image.text("SHA256").unwrap(), Some(text("SHA256").as_str()));
    assert_eq!(
        (image.text("TYPE").unwrap(), image.text("DEV_PREFIX").unwrap()),
        (Some("OS"), Some("vd"))
    );
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].path.as_str()), (1, "/store/appliance"));
    assert_eq!(requests[0].header("user-agent"), Some("OpenNebula 7.4.1 EE (Market Driver)"));
    assert_eq!(requests[0].header("accept-encoding"), Some("gzip"));
    let again = call(&["monitor", "-"], &market(&server).monitor(), one.path());
    assert!(again.stdout == output.stdout, "two runs differ");
}

#[test]
fn an_answer_that_is_not_whole_prints_nothing() {
    let one = tempfile::tempdir().unwrap();
    let good = catalogue(&[entry("a", "A")]);
    let half = good[..good.len() / 2].to_vec();
    let cut = good.clone();
    let cases: Vec<(HttpServer, i32, &str)> = vec![
        (HttpServer::start(|_, _| Reply::status(404)), 6, "404 Not Found"),
        (
            HttpServer::start(|_, _| Reply::status(302).header("Location", "/again")),
            10,
            "redirects without end",
        ),
        (
            HttpServer::start(|_, _| Reply::bytes(b"<html>".to_vec())),
            9,
            "list of appliances is no JSON; nothing was reported",
        ),
        (HttpServer::start(|_, _| Reply::bytes(b"[]".to_vec())), 9, "is not of the form"),
        (
            HttpServer::start(|_, _| Reply::bytes(b"{\"appliances\": {}}".to_vec())),
            9,
            "is not of the form",
        ),
        (
            HttpServer::start(|_, _| Reply::bytes(b"{\"appliances\": [{\"a\": 1}, 2]}".to_vec())),
            9,
            "holds no appliance",
        ),
        (
            HttpServer::start(|_, _| {
                Reply::bytes(format!("{{\"appliances\": [{}0]}}", "0,".repeat(50_000)))
            }),
            9,
            "holds more than 50,000 items",
        ),
        (HttpServer::start(move |_, _| Reply::bytes(half.clone())), 9, "is no JSON"),
        (HttpServer::start(|_, _| Reply::bytes(vec![b' '; 65 << 20])), 9, "is larger than 64 MiB"),
        (
            HttpServer::start(|_, _| Reply::bytes(vec![1; 90]).header("Content-Encoding", "gzip")),
            9,
            "is no whole gzip stream",
        ),
        (
            HttpServer::start(|_, _| Reply::bytes(vec![1; 90]).header("Content-Encoding", "br")),
            11,
            "an encoding that was not asked for",
        ),
        (
            HttpServer::start(move |_, _| Reply::bytes(cut.clone()).cut_after(100)),
            10,
            "(3 retries did not help)",
        ),
        (
            HttpServer::start(|_, _| Reply::status(500).header("Retry-After", "0")),
            10,
            "500 Internal Server Error (3 retries",
        ),
    ];
    for (server, code, expected) in &cases {
        let line = failure(&call(&["monitor", "-"], &market(server).monitor(), one.path()), *code);
        assert!(line.contains(expected), "{line}");
    }
    let wrong = Dump::of_market(&[("ENDPOINT", "marketplace.local")]);
    assert!(
        failure(&call(&["monitor", "-"], &wrong.monitor(), one.path()), 4)
            .contains("ENDPOINT: is no http://")
    );
}

#[test]
fn a_server_that_never_ends_is_given_up() {
    let one = tempfile::tempdir().unwrap();
    let server = HttpServer::start(|_, nth| {
        if nth == 0 { Reply::bytes(vec![b' '; 9]).stall_after(3) } else { Reply::status(404) }
    });
    let start = Instant::now();
    failure(&call(&["monitor", "-"], &market(&server).monitor(), one.path()), 6);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_is_packed_is_unpacked_and_what_is_empty_is_told() {
    let one = tempfile::tempdir().unwrap();
    // A gzip stream of {"appliances":[]}, in one stored block.
    let text = b"{\"appliances\":[]}";
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    let length = u16::try_from(text.len()).unwrap();
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(text);
    packed.extend(crc32(text).to_le_bytes());
    packed.extend(u32::from(length).to_le_bytes());
    let server = HttpServer::start(move |_, _| {
        Reply::bytes(packed.clone()).header("Content-Encoding", "gzip")
    });
    let output = call(&["monitor", "-"], &market(&server).monitor(), one.path());
    assert!(output.status.success() && output.stdout.is_empty());
    let said = stderr(&output);
    assert!(
        said.contains("WARN: monitor: the catalogue holds no app") && said.contains("VERSION"),
        "{said}"
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

#[test]
fn a_bad_entry_costs_that_entry() {
    let one = tempfile::tempdir().unwrap();
    let with = |id: &str, name: &str, changes: Value| {
        let mut entry = entry(id, name);
        for (key, value) in changes.as_object().unwrap() {
            entry[key] = value.clone();
        }
        entry
    };
    let entries = [
        json!(7),
        json!({"name": "no id"}),
        with("../../etc", "an id that is a path", json!({})),
        with("c", "", json!({})),
        with("d", "Other", json!({"type": "KERNEL"})),
        with(
            "e",
            "Odd",
            json!({"tags": {"a": 1}, "opennebula_template": "not JSON", "creation_time": "soon"}),
        ),
        with("e", "The same id", json!({})),
        with("f", "Digest", json!({"files": [{"md5": "xyz", "size": "1"}]})),
        entry("g", "Good"),
    ];
    let server = HttpServer::start(move |_, _| Reply::bytes(catalogue(&entries)));
    let output = call(&["monitor", "-"], &market(&server).monitor(), one.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let (_, apps) = MonitorReport::read(&output.stdout).unwrap();
    assert_eq!(
        apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["Odd", "Digest", "Good"]
    );
    let said = stderr(&output);
    for expected in [
        "appliance number 1 is skipped: it is no object",
        "appliance number 2 is skipped: it has no _id",
        "appliance number 3 is skipped: its _id has characters that none may have",
        "appliance number 4 is skipped: it has no name",
        "appliance e is skipped: another one has its _id",
        "appliance e: opennebula_template is left out: it is no JSON object",
        "appliance f: MD5 is left out: it is not 32 hexadecimal digits",
    ] {
        assert!(said.contains(&format!("WARN: monitor: {expected}")), "{said}");
    }
}

#[test]
fn import_and_delete_are_refused_in_one_line() {
    let one = tempfile::tempdir().unwrap();
    let path = one.path().join("exported");
    fs::write(&path, b"temporary").unwrap();
    let dump = Dump { dispose: format!("rm {}", path.display()), ..Dump::default() };
    let line = failure(&call(&["import", "-"], &dump.import(), one.path()), 11);
    assert!(line.starts_with("Cannot import app into OpenNebula marketplace"), "{line}");
    assert!(!path.exists(), "what the export made stays");
    let line = failure(&call(&["delete", "-"], &dump.delete(), one.path()), 11);
    assert!(line.starts_with("Cannot delete app from OpenNebula marketplace"), "{line}");
}

#[test]
fn a_dry_run_is_for_people() {
    let one = tempfile::tempdir().unwrap();
    let server = HttpServer::start(|_, _| {
        Reply::bytes(catalogue(&[entry("a", "App"), entry("b", "An\napp")]))
    });
    let market_file = one.path().join("market.xml");
    let text = format!(
        "<MARKETPLACE><ID>0</ID><NAME>m</NAME><MARKET_MAD>one</MARKET_MAD><TEMPLATE><ENDPOINT>{}</ENDPOINT></TEMPLATE></MARKETPLACE>",
        server.url("/")
    );
    fs::write(&market_file, text).unwrap();
    let file = market_file.to_str().unwrap();
    let output = call(&["--dry-run", file], "", one.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0].starts_with("name") && lines[1].starts_with("App     IMAGE    2  x86_64  kvm"),
        "{table}"
    );
    assert_eq!((lines.len(), *lines.last().unwrap()), (4, "2 app(s)"));
    let output = call(
        &["monitor", "--dry-run", "--format", "json", "-"],
        &market(&server).monitor(),
        one.path(),
    );
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (json["apps"][1]["name"].as_str(), json["apps"][0]["size_mib"].as_i64()),
        (Some("An-app"), Some(2))
    );
    for (arguments, expected) in [
        (&["--dry-run", "--format", "xml"][..], "--format: expected table or json"),
        (&["--dry-run", "a", "b"], "unexpected argument"),
        (&["--dry-run", "nonsense"], "the marketplace:"),
    ] {
        let line = failure(&call(arguments, "", one.path()), 2);
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_prefix_keeps_the_names_of_two_marketplaces_apart() {
    let one = tempfile::tempdir().unwrap();
    let long = "n".repeat(130);
    let parts = json!({
        "_id": {"$oid": "c"}, "name": "Parts", "type": "VMTEMPLATE", "disks": ["App"], "opennebula_template": "{\"CPU\": 1}",
    });
    let roles = json!({"_id": {"$oid": "d"}, "name": "Roles", "type": "SERVICE_TEMPLATE", "roles": {"front": "App"}});
    let entries =
        [entry("a", "App"), entry("b", "App"), entry("e", &long), entry("f", &long), parts, roles];
    let server = HttpServer::start(move |_, _| Reply::bytes(catalogue(&entries)));
    let endpoint = server.url("/store");
    let dump = |prefix: &str| {
        Dump::of_market(&[("ENDPOINT", endpoint.as_str()), ("APP_NAME_PREFIX", prefix)])
    };
    let output = call(&["monitor", "-"], &dump("lab-").monitor(), one.path());
    let (_, apps) = MonitorReport::read(&output.stdout).unwrap();
    let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names[..2], ["lab-App", "lab-App b"]);
    assert!(
        names[2].len() == 128 && names[3].len() == 128 && names[3].ends_with(" f"),
        "{names:?}"
    );
    assert!(names.iter().all(|name| name.starts_with("lab-")), "{names:?}");
    // What is made of other apps finds them by the names that they have.
    assert_eq!(apps[4].template.get("DISK").unwrap().key("APP"), Some(&b"lab-App"[..]));
    assert_eq!(apps[5].template.get("ROLE").unwrap().key("APP"), Some(&b"lab-App"[..]));
    for (prefix, expected) in [
        ("a/b", "APP_NAME_PREFIX: holds what no name"),
        (&long, "APP_NAME_PREFIX: is longer than 48"),
    ] {
        let line = failure(&call(&["monitor", "-"], &dump(prefix).monitor(), one.path()), 4);
        assert!(line.contains(expected) && line.contains("marketplace 107"), "{line}");
    }
}

#[test]
fn who_asks_is_never_part_of_what_is_reported_or_said() {
    let one = tempfile::tempdir().unwrap();
    let server = HttpServer::start(|request, _| match request.header("authorization") {
        Some(_) => Reply::bytes(catalogue(&[entry("a", "App")])),
        None => Reply::status(401),
    });
    let endpoint = server.url("/store").replace("http://", "http://me:hunter2@");
    let output =
        call(&["monitor", "-"], &Dump::of_market(&[("ENDPOINT", &endpoint)]).monitor(), one.path());
    assert!(output.status.success(), "{}", stderr(&output));
    let (_, apps) = MonitorReport::read(&output.stdout).unwrap();
    assert_eq!(apps[0].source.as_str(), server.url("/store/appliance/a/download/0"));
    let all = format!("{:?} {}", apps, stderr(&output));
    assert!(!all.contains("hunter2"), "{all}");
    let broken = HttpServer::start(|_, _| Reply::bytes(b"no".to_vec()));
    for endpoint in [
        broken.url("/x").replace("http://", "http://me:hunter2@"),
        "http://me:hunter2@127.0.0.1:1/".to_owned(),
        "http://me:hunter2@host/?a=b".to_owned(),
        "http://me:hunter2/x@host/".to_owned(),
        "ftp://me:hunter2@host/".to_owned(),
    ] {
        let dump = Dump::of_market(&[
            ("ENDPOINT", endpoint.as_str()),
            ("IDLE_TIMEOUT", "1"),
            ("CONNECT_TIMEOUT", "1"),
        ]);
        let output = call(&["monitor", "-"], &dump.monitor(), one.path());
        assert!(
            !output.status.success() && !stderr(&output).contains("hunter2"),
            "{}",
            stderr(&output)
        );
    }
}
