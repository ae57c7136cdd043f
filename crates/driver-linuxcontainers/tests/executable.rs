//! `market-linuxcontainers` as `one_market` and people call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::encoding::decode;
use market_core::report::{DiscoveredApp, MonitorReport};
use market_core::template::Template;
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use serde_json::{Value, json};
use std::process::{Command, Output};

fn call(arguments: &[&str], message: &str) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_market-linuxcontainers")).args(arguments), message)
}

fn build(path: &str, sha256: &str) -> Value {
    json!({"items": {"root.tar.xz": {"path": path, "size": 7, "sha256": sha256}, "lxd.tar.xz": {"path": "other"}}})
}

/// Versions out of order, items that are missing, variants and architectures that are not wanted.
fn index() -> Value {
    json!({"products": {
        "alpine:3.22:amd64:default": {"versions": {
            "20261101_13:00": build("images/alpine/3.22/amd64/default/20261101_13:00/rootfs.tar.xz", "one"),
            "20261122_07:42": build("images/alpine/3.22/amd64/default/20261122_07:42/rootfs.tar.xz", "two"),
            "20261115_13:00": build("images/alpine/3.22/amd64/default/20261115_13:00/rootfs.tar.xz", "three"),
        }},
        "debian:trixie:arm64:default": {"versions": {
            "20261120_05:24": build("/images/debian/trixie/arm64/default/20261120_05:24/rootfs.tar.xz", "four"),
            "20261121_05:24": {"items": {"lxd.tar.xz": {"path": "x"}}},
        }},
        "gentoo:current:amd64:default": {"versions": {"20261120_16:07": build("images/gentoo/rootfs.tar.xz", "five")}},
        "alpine:3.22:amd64:cloud": {"versions": {"20261120_16:07": build("x", "six")}},
        "alpine:3.22:riscv64:default": {"versions": {"20261120_16:07": build("x", "seven")}},
        "oracle:9:amd64:default": {"versions": {}},
        "fedora:43:amd64:default": {"versions": {"20261120_20:33": build("../../etc/passwd", "eight")}},
        "ubuntu:noble:amd64:default": 7,
        "odd": {},
    }})
}

fn served(index: Value) -> HttpServer {
    HttpServer::start(move |_, _| Reply::bytes(index.to_string().into_bytes()))
}

fn market(server: &HttpServer, more: &[(&str, &str)]) -> Dump {
    let endpoint = server.url("");
    Dump::of_market(&[&[("ENDPOINT", endpoint.as_str())], more].concat())
}

fn apps(dump: &Dump) -> Vec<DiscoveredApp> {
    let output = call(&["monitor", "-"], &dump.monitor());
    assert!(output.status.success(), "{}", stderr(&output));
    MonitorReport::read(&output.stdout).unwrap().1
}

fn text(app: &DiscoveredApp, name: &str) -> String {
    app.template.text(name).unwrap().unwrap_or_default().to_owned()
}

fn vm_template(app: &DiscoveredApp) -> Template {
    Template::parse_owned(decode(text(app, "VMTEMPLATE64").as_bytes()).unwrap()).unwrap()
}

#[test]
fn the_newest_build_of_each_product_is_reported() {
    let server = served(index());
    let output = call(&["monitor", "-"], &market(&server, &[]).monitor());
    let apps = apps(&market(&server, &[]));
    assert_eq!(
        apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["alpine_3.22", "debian_trixie (aarch64)"]
    );
    let endpoint = server.url("/");
    let path = "images/alpine/3.22/amd64/default/20261122_07:42/rootfs.tar.xz";
    assert_eq!(
        apps[0].source.as_str(),
        format!("lxd://{endpoint}{path}?size=2048&filesystem=ext4&format=raw")
    );
    assert_eq!(
        (apps[0].size.0.0, apps[0].registered.0, apps[0].format.as_str()),
        (2_048, 1_795_333_320, "raw")
    );
    for (name, value) in [
        ("PUBLISHER", endpoint.as_str()),
        ("LINK", &format!("{endpoint}{path}")),
        ("DESCRIPTION", &format!("Downloaded from {endpoint}")),
        ("ARCHITECTURE", "x86_64"),
        ("HYPERVISOR", "lxc"),
        ("IMPORT_ID", "-1"),
        ("VERSION", "1.0"),
        ("APPTEMPLATE64", "RFJJVkVSPSJyYXciCg=="),
    ] {
        assert_eq!(text(&apps[0], name), value, "{name}");
    }
    assert!(
        apps[1].source.as_str().contains("/images/debian/trixie/arm64/default/20261120_05:24/")
    );
    assert!(!apps[1].source.as_str().contains("//images"), "joined with one slash");
    let vm = vm_template(&apps[1]);
    for (name, value) in [
        ("SCHED_REQUIREMENTS", "HYPERVISOR=lxc & ARCH=aarch64"),
        ("CPU", "1"),
        ("VCPU", "2"),
        ("MEMORY", "768"),
        ("LXC_UNPRIVILEGED", "false"),
        ("HYPERVISOR", "lxc"),
    ] {
        assert_eq!(vm.text(name).unwrap(), Some(value), "{name}");
    }
    let said = stderr(&output);
    for expected in [
        "oracle:9:amd64:default is skipped: it has no image",
        "fedora:43:amd64:default is skipped: the path of its image has characters that none may have",
        "ubuntu:noble:amd64:default is skipped: it is no object",
        "odd is skipped: its name is not",
    ] {
        assert!(said.contains(&format!("WARN: monitor: product {expected}")), "{said}");
    }
    assert_eq!(server.requests()[0].path, "/streams/v1/images.json");
    assert_eq!(server.requests().len(), 2, "one request each");
}

#[test]
fn attributes_are_honoured_and_checked() {
    let server = served(index());
    let more = [
        ("IMAGE_SIZE_MB", "4096"),
        ("FILESYSTEM", "xfs"),
        ("FORMAT", "QCOW2"),
        ("SKIP_UNTESTED", "NO"),
        ("CPU", "0.5"),
        ("VCPU", "4"),
        ("MEMORY", "1024"),
        ("PRIVILEGED", "False"),
    ];
    let found = apps(&market(&server, &more));
    assert_eq!(found.len(), 3);
    assert!(found[0].source.as_str().ends_with("?size=4096&filesystem=xfs&format=qcow2"));
    let vm = vm_template(&found[0]);
    let text = |name: &str| vm.text(name).unwrap().unwrap().to_owned();
    assert_eq!(
        [text("CPU"), text("VCPU"), text("MEMORY"), text("LXC_UNPRIVILEGED")],
        ["0.5", "4", "1024", "true"]
    );
    for (name, value, expected) in [
        ("FILESYSTEM", "btrfs", "attribute FILESYSTEM: is none of ext4, xfs"),
        ("FORMAT", "vmdk", "attribute FORMAT: is none of raw, qcow2"),
        ("IMAGE_SIZE_MB", "0", "attribute IMAGE_SIZE_MB: is zero"),
        ("MEMORY", "much", "MEMORY: expected a whole number"),
        ("CPU", "-1", "attribute CPU"),
        ("PRIVILEGED", "perhaps", "PRIVILEGED: expected yes or no"),
        ("ENDPOINT", "images.local", "attribute ENDPOINT"),
    ] {
        let dump = Dump::of_market(&[(name, value)]);
        let line = failure(&call(&["monitor", "-"], &dump.monitor()), 4);
        assert!(line.contains(expected), "{line}");
    }
    // As the web interface writes it.
    let alias = Dump::of_market(&[("BASE_URL", &server.url("/"))]);
    assert_eq!(apps(&alias).len(), 2);
}

#[test]
fn the_md5_changes_exactly_when_the_build_or_the_options_do() {
    let md5 =
        |index: Value, more: &[(&str, &str)]| apps(&market(&served(index), more))[0].md5.clone();
    let first = md5(index(), &[]);
    assert_eq!(first.len(), 32);
    assert_eq!(md5(index(), &[]), first);
    let mut rebuilt = index();
    rebuilt["products"]["alpine:3.22:amd64:default"]["versions"]["20261122_07:42"]["items"]["root.tar.xz"]
        ["sha256"] = json!("new");
    assert_ne!(md5(rebuilt, &[]), first);
    let mut older = index();
    older["products"]["alpine:3.22:amd64:default"]["versions"]["20261101_13:00"]["items"]["root.tar.xz"]
        ["sha256"] = json!("new");
    assert_eq!(md5(older, &[]), first, "an older build is none of its business");
    for more in [("FORMAT", "qcow2"), ("MEMORY", "1"), ("PRIVILEGED", "no")] {
        assert_ne!(md5(index(), &[more]), first);
    }
}

/// A server whose index is elsewhere.
fn redirecting(to: String) -> HttpServer {
    HttpServer::start(move |_, _| Reply::status(301).header("Location", to.clone()))
}

#[test]
fn the_images_are_where_redirects_of_the_index_lead() {
    let target = served(index());
    for (to, images) in [
        ("/mirror/streams/v1/images.json", "/mirror/images/"),
        ("/mirror/streams/v1/images.json?token=hunter2#x", "/mirror/images/"),
        ("/lxc-images/meta/simplestreams/v1/images.json", "/lxc-images/images/"),
        ("/meta/simplestreams/v1/images.json", "/images/"),
        ("/a/../b/./streams/v1/images.json", "/b/images/"),
        ("/mirror/streams/v1/images.json/", "/mirror/images/"),
    ] {
        let to = target.url(to).replace("http://", "http://me:hunter2@");
        let server = redirecting(to.clone());
        let dump = market(&server, &[]);
        let output = call(&["monitor", "-"], &dump.monitor());
        assert!(output.status.success(), "{}", stderr(&output));
        let apps = MonitorReport::read(&output.stdout).unwrap().1;
        assert!(
            apps[0].source.as_str().starts_with(&format!("lxd://{}", target.url(images))),
            "{to}: {:?}",
            apps[0]
        );
        assert!(!format!("{apps:?}{}", stderr(&output)).contains("hunter2"), "{apps:?}");
    }
}

#[test]
fn a_redirect_that_says_nothing_of_the_images_leaves_them_at_the_endpoint() {
    for to in ["/lists/images.json", "/mystreams/v1/images.json", "/list?of=streams/v1/images.json"]
    {
        let server = HttpServer::start(move |request, _| {
            if request.path.ends_with("/streams/v1/images.json")
                && !request.path.contains("mystreams")
            {
                return Reply::status(302).header("Location", to);
            }
            Reply::bytes(index().to_string().into_bytes())
        });
        let endpoint = server.url("/tree/").replace("http://", "http://me:hunter2@");
        let found = apps(&Dump::of_market(&[("ENDPOINT", endpoint.as_str())]));
        assert!(
            found[0].source.as_str().starts_with(&format!("lxd://{}images/", server.url("/tree/"))),
            "{to}: {found:?}"
        );
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}

#[test]
fn a_path_that_leads_elsewhere_costs_its_product() {
    let mut wrong = index();
    for (product, path) in [
        ("alpine:3.22:amd64:default", "images/%2e%2e/%2e%2e/etc/passwd"),
        ("oracle:9:amd64:default", "x/%2E%2e/../a"),
    ] {
        wrong["products"][product] = json!({"versions": {"20261122_07:42": build(path, "x")}});
    }
    // Neither another scheme nor another host.
    wrong["products"]["ubuntu:noble:amd64:default"] =
        json!({"versions": {"20261122_07:42": build("http://evil/x", "x")}});
    wrong["products"]["fedora:43:amd64:default"] =
        json!({"versions": {"20261122_07:42": build("//evil/x", "x")}});
    let server = served(wrong);
    let dump =
        Dump::of_market(&[("ENDPOINT", server.url("/tree").as_str()), ("APP_NAME_PREFIX", "lxc.")]);
    let found = apps(&dump);
    assert_eq!(
        found.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["lxc.debian_trixie (aarch64)", "lxc.fedora_43", "lxc.ubuntu_noble"]
    );
    for app in &found {
        assert!(
            app.source.as_str().starts_with(&format!("lxd://{}", server.url("/tree/"))),
            "{app:?}"
        );
    }
}

#[test]
fn what_is_no_index_prints_nothing() {
    for (body, expected) in [
        ("", "no JSON"),
        ("[]", "holds no products"),
        ("{\"products\": []}", "holds no products"),
        (
            "{\"products\": {\"index.html\": {}, \"debian:b:amd64:default\": 7}}",
            "holds no valid product",
        ),
    ] {
        let server = HttpServer::start(move |_, _| Reply::bytes(body.as_bytes().to_vec()));
        let line = failure(&call(&["monitor", "-"], &market(&server, &[]).monitor()), 9);
        assert!(line.contains(expected), "{line}");
    }
    let line = failure(&call(&["delete", "-"], &Dump::default().delete()), 11);
    assert!(line.starts_with("Cannot delete app from linuxcontainers.org marketplace"), "{line}");
    let server = served(index());
    let table = call(&["--dry-run", &market(&server, &[]).monitor()], "");
    assert!(String::from_utf8_lossy(&table.stdout).ends_with("2 app(s)\n"), "{}", stderr(&table));
    let server = served(json!({"products": {}}));
    let empty = call(&["monitor", "-"], &market(&server, &[]).monitor());
    assert!(
        empty.status.success() && stderr(&empty).contains("SKIP_UNTESTED"),
        "{}",
        stderr(&empty)
    );
}
