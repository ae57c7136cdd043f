//! `marketctl app` as people call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use driver_one::{OneConfig, OneMarket};
use market_core::backend::MarketBackend;
use market_core::encoding::decode;
use market_core::template::Template;
use market_testkit::guest::{Division, Guest, Tools};
use market_testkit::{block_on, context, image, md5_file, require};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_marketctl");

fn app(arguments: &[&str]) -> Output {
    Command::new(EXECUTABLE).arg("app").args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const DESCRIPTION: &str = r#"
name = "Debian 12"
version = "12.1-1"
publisher = "Example"
description = """
A "small" Debian.

With more text: and a colon, a # and 'quotes'."""
tags = ["debian", "linux"]
url = "https://images.example.com/debian-12.qcow2"
creation_time = 1795392332
[vm]
memory_mib = 768
cpu = 0.5
[context]
start_script = 'echo "hi"'
[template]
INFO = 'quoted "text"'
NIC = [{ network = "public" }, { network = "private" }]
HOT_RESIZE = { cpu_hot_add_enabled = false }
"#;

fn built(directory: &Path, description: &str, image: &Path) -> (Output, PathBuf) {
    let toml = directory.join("app.toml");
    fs::write(&toml, description).unwrap();
    let output = directory.join("out");
    let paths = [&toml, image, output.as_path()].map(|path| path.to_str().unwrap());
    (app(&["build", paths[0], "--image", paths[1], "--output", paths[2]]), output)
}

#[test]
fn a_machine_of_arm_gets_its_firmware_where_nobody_adds_it() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().join("disk.qcow2");
    image::qcow2(&disk, 1 << 20, 1).unwrap();
    let description =
        format!("{DESCRIPTION}SCHED_REQUIREMENTS = \"FREE_CPU > 1\"\n[os]\narch = \"arm64\"\n");
    let (output, out) = built(directory.path(), &description, &disk);
    assert!(output.status.success(), "{}", stderr(&output));
    let vm = Template::parse(&fs::read(out.join("vm.tmpl")).unwrap()).unwrap();
    let os =
        |key: &str| String::from_utf8_lossy(vm.get("OS").unwrap().key(key).unwrap()).into_owned();
    assert_eq!((os("ARCH"), os("MACHINE")), ("aarch64".to_owned(), "virt".to_owned()));
    assert_eq!(text(&vm, "SCHED_REQUIREMENTS"), "FREE_CPU > 1 & HYPERVISOR=kvm & ARCH=aarch64");
    let entry: Value =
        serde_json::from_slice(&fs::read(with_extension(&out, "json")).unwrap()).unwrap();
    assert!(!entry["opennebula_template"].as_str().unwrap().contains("FIRMWARE"));
    assert_eq!(entry["os-arch"], "aarch64");
}

#[test]
fn what_no_app_can_be_made_of_is_refused() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().join("disk.img");
    for (content, part) in [
        (image::qcow2_with_backing("/etc/shadow"), "no-backing-file"),
        (vec![0x1f, 0x8b, 8, 0, 0, 0], "packed with gzip"),
        (b"<html>not found</html>".to_vec(), "neither a known format"),
    ] {
        fs::write(&disk, content).unwrap();
        let (output, out) = built(directory.path(), DESCRIPTION, &disk);
        assert_eq!(output.status.code(), Some(11), "{}", stderr(&output));
        assert!(stderr(&output).contains(part) && !out.exists(), "{}", stderr(&output));
    }
}

fn with_extension(directory: &Path, extension: &str) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn text(template: &Template, name: &str) -> String {
    template.text(name).unwrap().unwrap().to_owned()
}

#[test]
fn everything_that_publishing_needs_is_made_from_an_image_and_a_description() {
    let Some(tools) = Tools::find() else { return };
    let directory = TempDir::new().unwrap();
    let (raw, disk) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    Guest::debian().disk(&tools, &raw, 64, Division::Gpt);
    tools.convert(&raw, &disk, &["-O", "qcow2"]);
    let (output, out) = built(directory.path(), DESCRIPTION, &disk);
    assert!(output.status.success(), "{}", stderr(&output));

    let md5 = md5_file(&disk).unwrap();
    let image = Template::parse(&fs::read(out.join("image.tmpl")).unwrap()).unwrap();
    assert_eq!(
        (text(&image, "PATH"), text(&image, "FORMAT")),
        (disk.to_str().unwrap().to_owned(), "qcow2".to_owned())
    );
    assert_eq!(text(&image, "MD5"), md5);
    let vm = Template::parse(&fs::read(out.join("vm.tmpl")).unwrap()).unwrap();
    assert_eq!(vm.get("DISK").unwrap().key("IMAGE"), Some(&b"Debian 12"[..]));
    let market_app = Template::parse(&fs::read(out.join("app.tmpl")).unwrap()).unwrap();
    assert_eq!(
        (text(&market_app, "NAME"), text(&market_app, "TYPE")),
        ("Debian 12".to_owned(), "IMAGE".to_owned())
    );
    assert!(market_app.get("ORIGIN_ID").is_none());
    let part =
        |name: &str| Template::parse(&decode(text(&market_app, name).as_bytes()).unwrap()).unwrap();
    let vm = part("VMTEMPLATE64");
    assert_eq!((text(&vm, "MEMORY"), text(&vm, "CPU")), ("768".to_owned(), "0.5".to_owned()));
    assert_eq!(text(&vm, "INFO"), "quoted \"text\"");
    assert_eq!(vm.get("CONTEXT").unwrap().key("START_SCRIPT"), Some(&b"echo \"hi\""[..]));
    assert_eq!(vm.get_all("NIC").count(), 2);
    assert_eq!(text(&vm, "SCHED_REQUIREMENTS"), "HYPERVISOR=kvm & ARCH=x86_64");
    assert_eq!(text(&part("APPTEMPLATE64"), "DEV_PREFIX"), "vd");

    let entry: Value =
        serde_json::from_slice(&fs::read(with_extension(&out, "json")).unwrap()).unwrap();
    assert_eq!(entry["files"][0]["checksum"]["md5"], md5);
    assert_eq!((&entry["os-id"], &entry["os-arch"]), (&json!("debian"), &json!("x86_64")));
    let template: Value =
        serde_json::from_str(entry["opennebula_template"].as_str().unwrap()).unwrap();
    assert_eq!(template["CONTEXT"]["START_SCRIPT"], "echo \\\"hi\\\"");
    assert!(
        fs::read_to_string(with_extension(&out, "yaml"))
            .unwrap()
            .contains(entry["_id"]["$oid"].as_str().unwrap())
    );
    for entry in [with_extension(&out, "json"), with_extension(&out, "yaml")] {
        let valid = app(&["validate", entry.to_str().unwrap()]);
        assert!(valid.status.success(), "{}", stdout(&valid));
        assert_eq!(stdout(&valid), "1 entries, 0 errors, 0 warnings\n");
    }
    let sums = Command::new("md5sum")
        .args(["-c", "out/MD5SUMS"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(sums.status.success(), "{}", stdout(&sums));
    let (again, _) = built(directory.path(), DESCRIPTION, &disk);
    assert_eq!(again.status.code(), Some(7));
    assert!(stderr(&again).contains("nothing was written"), "{}", stderr(&again));
}

#[test]
fn a_description_that_makes_no_sense_is_refused_with_its_line_or_field() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().join("disk.qcow2");
    image::qcow2(&disk, 1 << 20, 1).unwrap();
    for (from, to, part) in [
        ("memory_mib = 768", "memory = 768", "line 13: unknown field `memory`"),
        ("name = \"Debian 12\"", "name = \"\"", "name is empty"),
        ("name = \"Debian 12\"", "name = \"a/b\\u0001\"", "name: OpenNebula takes no app called"),
        ("https://images", "file:///images", "url is no http or https URL"),
        ("cpu = 0.5", "cpu = -1.0", "cpu and memory_mib"),
        ("INFO = ", "INFO = [[1]] #", "template.INFO is a list"),
        ("INFO = ", "INFO = [] #", "template.INFO is an empty list"),
        ("INFO = ", "INFO = {} #", "template.INFO is an empty vector"),
        ("INFO = ", "INFO = [{ a = 1 }, {}] #", "template.INFO is an empty vector"),
        ("INFO = ", "INFO = { a = { b = 1 } } #", "template.INFO is too deep for a template at a"),
        (
            "INFO = ",
            "INFO = { a = 1, A = 2 } #",
            "template.INFO has a vector in which: A stands there twice",
        ),
        ("INFO = ", "Info = \"1\"\nINFO = ", "template: INFO stands there twice"),
        ("INFO = ", "sched_requirements = [{ a = 1 }] #", "template.sched_requirements is no text"),
        ("INFO = ", "INFO = \"\" #", "template.INFO: is empty, which no entry"),
        ("INFO = ", "\"ß\" = \"1\"\nINFO = ", "the name is not one of the template syntax"),
        ("version = \"12.1-1\"", "version = 'C:\\'", "version ends with a backslash"),
        ("tags = [", "tags = [\"a]]>b\", ", "tags holds ]]>"),
        ("tags = ", "id = \"x\"\ntags = ", "\"x\" is no UUID"),
        ("tags = ", "hypervisor = \"xen\"\ntags = ", "hypervisor: \"xen\" is none of"),
        ("tags = ", "opennebula_version = [\"7\"]\ntags = ", "opennebula_version"),
        (
            "INFO = ",
            "disk = { size = \"1\" }\nINFO = ",
            "template.disk: a template of this app gets its own",
        ),
        ("https://images", "https://me:secret@images", "holds a user's name"),
        ("'quoted \"text\"'", "'C:\\'", "template.INFO: ends with a backslash"),
    ] {
        let description = format!("{}[os]\narch = \"arm64\"\n", DESCRIPTION.replacen(from, to, 1));
        let (output, out) = built(directory.path(), &description, &disk);
        assert_eq!(output.status.code(), Some(4), "{part}: {}", stderr(&output));
        assert!(
            stderr(&output).lines().last().unwrap().contains(part),
            "{part}: {}",
            stderr(&output)
        );
        assert!(!out.exists());
    }
}

/// An entry with which nothing is wrong.
fn entry(id: u8, name: &str) -> Value {
    json!({
        "_id": {"$oid": format!("00000000-0000-4000-8000-0000000000{id:02}")},
        "name": name, "version": "1", "publisher": "P", "description": "D", "short_description": "S", "tags": ["t"],
        "format": "qcow2", "creation_time": 1_795_392_332, "os-arch": "x86_64", "hypervisor": "KVM",
        "opennebula_version": "6.10, 7.0", "opennebula_template": "{\"cpu\": \"1\"}",
        "files": [{
            "name": "f", "url": "https://example.com/f", "type": "OS", "dev_prefix": "vd", "driver": "qcow2", "size": 1024,
            "checksum": {"md5": "0".repeat(32), "sha256": "0".repeat(64)}, "md5": "0".repeat(32), "format": "qcow2",
        }],
    })
}

fn validated(entries: &Value) -> (Option<i32>, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("list.json");
    fs::write(&path, json!({ "appliances": entries }).to_string()).unwrap();
    let output = app(&["validate", path.to_str().unwrap()]);
    (output.status.code(), stdout(&output))
}

#[test]
fn every_field_of_an_entry_is_looked_at() {
    assert_eq!(validated(&json!([entry(1, "one"), entry(2, "two")])).0, Some(0));
    let changes: [(&str, Value, &str); 21] = [
        ("/_id/$oid", json!("../../etc"), "ERROR {f}: one: _id"),
        ("/version", json!([1]), "version is no text"),
        ("/version", json!("C:\\"), "version ends with a backslash"),
        ("/publisher", json!(""), "publisher is empty"),
        ("/tags", json!(["a", 1]), "tags is no list of texts"),
        ("/creation_time", json!("now"), "creation_time"),
        ("/os-arch", json!("sparc"), "os-arch \"sparc\" is none of"),
        ("/hypervisor", json!("virtualbox"), "hypervisor"),
        ("/format", json!("vmdk"), "format \"vmdk\""),
        ("/opennebula_template", json!("{"), "is no JSON"),
        (
            "/opennebula_template",
            json!("{\"info\": \"a \\\"quote\\\"\"}"),
            "opennebula_template.info holds a quote",
        ),
        ("/opennebula_template", json!("{\"a b\": \"1\"}"), "no name of an attribute"),
        ("/type", json!("ROCKET"), "type \"ROCKET\""),
        ("/files", json!([]), "has 0 items"),
        ("/files/0/url", json!("ftp://x/y"), "files.url"),
        ("/files/0/type", json!("KERNEL"), "files.type"),
        ("/files/0/dev_prefix", json!("zz"), "files.dev_prefix"),
        ("/files/0/size", json!(-1), "files.size"),
        ("/files/0/checksum/sha256", json!("xyz"), "files.checksum.sha256"),
        ("/files/0/md5", json!("1".repeat(32)), "files.md5 is not what checksum.md5 is"),
        ("/name", json!(null), "name is no text"),
    ];
    for (pointer, value, part) in changes {
        let mut wrong = entry(1, "one");
        wrong["type"] = json!("IMAGE");
        *wrong.pointer_mut(pointer).unwrap() = value;
        let (code, text) = validated(&json!([wrong]));
        assert_eq!(code, Some(1), "{pointer}: {text}");
        assert!(text.contains(part.trim_start_matches("ERROR {f}: ")), "{pointer}: {text}");
        assert!(text.contains(" 1 errors"), "{pointer}: {text}");
    }
    for (template, part) in [
        (r#"{"os": {"boot": {"x": "1"}}}"#, "a vector in a vector"),
        (r#"{"nic": ["a"]}"#, "is a list, and only vectors"),
        (r#"{"a-b": "1"}"#, "no name of an attribute"),
        (r#"{"path": "C:\\"}"#, "ends with a backslash"),
    ] {
        let mut wrong = entry(1, "one");
        wrong["opennebula_template"] = json!(template);
        let (code, text) = validated(&json!([wrong]));
        assert!(code == Some(1) && text.contains(part), "{template}: {text}");
    }
    let mut fine = entry(1, "one");
    fine["opennebula_template"] =
        json!(r#"{"INFO": "say \\\"hi\\\" \\\\\"there\\\"", "NIC": [{"NETWORK": "a"}]}"#);
    fine["hypervisor"] = json!("");
    let (code, text) = validated(&json!([fine]));
    assert!(code == Some(0), "{text}");
    let mut numbers = entry(1, "one");
    numbers["opennebula_template"] = json!("{\"cpu\": 1, \"os\": {\"acpi\": true}}");
    let (code, text) = validated(&json!([numbers]));
    assert!(
        code == Some(0)
            && text.contains("2 warnings")
            && text.contains("opennebula_template.os.acpi is true"),
        "{text}"
    );
}

#[test]
fn entries_are_looked_at_together() {
    let (code, text) = validated(&json!([entry(1, "one"), entry(1, "two")]));
    assert!(code == Some(1) && text.contains("_id is that of \"one\""), "{text}");
    let (code, text) = validated(&json!([entry(1, "one"), entry(2, "one")]));
    assert!(code == Some(1) && text.contains("in the series 7.0"), "{text}");
    let mut old = entry(2, "one");
    old["opennebula_version"] = json!("5.12");
    assert_eq!(validated(&json!([entry(1, "one"), old])).0, Some(0));
    let made_of = |kind: &str, field: &str, parts: Value| {
        let mut entry = entry(3, "made of others");
        entry["type"] = json!(kind);
        entry[field] = parts;
        entry.as_object_mut().unwrap().remove("files");
        entry
    };
    let vm = made_of("VMTEMPLATE", "disks", json!(["one"]));
    assert_eq!(validated(&json!([entry(1, "one"), vm])).0, Some(0));
    let (code, text) = validated(&json!([vm]));
    assert!(
        code == Some(1) && text.contains("disks names \"one\", which none of the files has"),
        "{text}"
    );
    for parts in [json!(null), json!("one"), json!([]), json!([1])] {
        let (code, text) =
            validated(&json!([entry(1, "one"), made_of("VMTEMPLATE", "disks", parts)]));
        assert!(code == Some(1) && text.contains("disks is not a list of names"), "{text}");
    }
    let itself = made_of("VMTEMPLATE", "disks", json!(["made of others"]));
    assert!(validated(&json!([itself])).1.contains("names the entry itself"));
    let service = made_of("SERVICE_TEMPLATE", "roles", json!({"front": "one"}));
    let (code, text) = validated(&json!([service]));
    assert!(code == Some(1) && text.contains("roles names \"one\""), "{text}");
}

#[test]
fn what_is_no_list_of_entries_is_refused_in_one_line() {
    let directory = TempDir::new().unwrap();
    for (name, content) in [
        ("list.json", "[1"),
        ("list.json", "7"),
        ("entry.yaml", "a: [\n"),
        ("entry.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nc: *nowhere\n"),
        ("list.json", "{\"appliances\": 1}"),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        let output = app(&["validate", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{content}: {}", stdout(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    // Aliases of aliases: a document of a line that would fill the memory.
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let path = directory.path().join("bomb.yaml");
    fs::write(&path, bomb).unwrap();
    assert_eq!(app(&["validate", path.to_str().unwrap()]).status.code(), Some(2));
}

#[test]
fn repositories_of_public_marketplaces_are_read_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The real ones are texts of others and do not ship with the project.
    for (path, entries) in [
        ("../driver-one/tests/data/catalogue.json", 6),
        ("../../../shared/data/appliances_opennebula.json", 139),
        ("../../../shared/data/appliances_community.json", 14),
    ] {
        let path = root.join(path);
        if entries > 6 && !require::data(&path) {
            continue;
        }
        let output = app(&["validate", path.to_str().unwrap(), "--format", "json"]);
        let problems: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        // What is wrong with them: parts that another marketplace, or nobody, has; a zero for the
        // letter O; a quote too many. Of ours, one app is there in two versions.
        let known = |problem: &Value| {
            let text = problem["problem"].as_str().unwrap();
            problem["field"] == "disks"
                || problem["field"] == "name" && problem["entry"] == "Cellar Linux"
                || text.starts_with("begins with \"0\"")
                || text.contains("its quotes are kept")
        };
        let other = |problem: &&Value| problem["level"] == "ERROR" && !known(problem);
        assert_eq!(problems.iter().filter(other).count(), 0, "{problems:?}");
        let table = stdout(&app(&["validate", path.to_str().unwrap()]));
        assert!(
            table.lines().last().unwrap().starts_with(&format!("{entries} entries")),
            "{table}"
        );
    }
}

#[test]
fn a_description_of_a_xen_machine_becomes_a_template() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ubuntu.xen");
    fs::write(&path, "name = \"ubuntu1204\"\nmemory = 512\ndisk = ['file:/i/u.img,xvda,w']\nvif = ['bridge=br0']\nbootloader = \"pygrub\"\nvnc = 1\n").unwrap();
    let output = app(&["convert", path.to_str().unwrap(), "--image", "Ubuntu"]);
    assert!(
        output.status.success() && stderr(&output).contains("line 6: vnc is left out"),
        "{}",
        stderr(&output)
    );
    let template = Template::parse(&output.stdout).unwrap();
    assert_eq!(template.get("DISK").unwrap().key("IMAGE"), Some(&b"Ubuntu"[..]));
    fs::write(&path, "memory = __import__('os').system('id')\n").unwrap();
    let refused = app(&["convert", path.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(stderr(&refused).contains("line 1"), "{}", stderr(&refused));
}

#[test]
fn completions_and_the_manual_are_printed() {
    let run = |arguments: &[&str]| Command::new(EXECUTABLE).args(arguments).output().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && stdout(&output).contains("prepare"));
    }
    let manual = stdout(&run(&["man"]));
    for name in ["marketctl", "marketctl-image-check", "marketctl-app-validate"] {
        assert!(manual.contains(&name.replace('-', "\\-")), "{name}");
    }
}

/// The VM template that a driver makes of an entry.
fn handed_on(entry: &Value) -> Template {
    let market = block_on(OneMarket::connect(OneConfig::default(), &context())).unwrap();
    let mut found = None;
    let told = market.report(json!({"appliances": [entry]}).to_string().as_bytes(), &mut |app| {
        found = Some(decode(app.value("VMTEMPLATE64").unwrap().as_bytes()).unwrap());
        Ok(())
    });
    told.unwrap();
    Template::parse_owned(found.unwrap()).unwrap()
}

#[test]
fn what_an_entry_says_is_what_the_template_says_whatever_is_in_it() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().join("disk.qcow2");
    image::qcow2(&disk, 1 << 20, 1).unwrap();
    let texts = [
        r#"echo "say \"hi\"""#,
        r#"{"a": "b \"c\"", "d": "\\"}"#,
        r#"\\""#,
        r#"\""#,
        "yes",
        "12:30:45",
        "0x1f",
        "1_000",
        "~",
        "- a",
        "a: b # c",
        "two\nlines\n",
        "  blanks  ",
        "\ttab",
        "'single'",
        "é\u{2028}",
        "$USER[X]",
        "% & * !",
        "a\n\n  b\n",
        "|\n>",
    ];
    let texts: Vec<String> = texts.iter().map(|text| text.replace("\\\\", "\\")).collect();
    let template: String = texts.iter().enumerate().map(in_toml).collect();
    let description = DESCRIPTION.replacen("[template]\n", &format!("[template]\n{template}"), 1)
        + "[os]\narch = \"x86_64\"\n";
    let (output, out) = built(directory.path(), &description, &disk);
    assert!(output.status.success(), "{}", stderr(&output));
    let vm = Template::parse(&fs::read(out.join("vm.tmpl")).unwrap()).unwrap();
    let served: Value =
        serde_json::from_slice(&fs::read(with_extension(&out, "json")).unwrap()).unwrap();
    let handed = handed_on(&served);
    for (number, text) in texts.iter().enumerate() {
        for found in [&vm, &handed] {
            assert_eq!(found.text(&format!("T{number}")).unwrap(), Some(text.as_str()));
            assert_eq!(found.get(&format!("V{number}")).unwrap().key("K"), Some(text.as_bytes()));
        }
    }
    let app = Template::parse(&fs::read(out.join("app.tmpl")).unwrap()).unwrap();
    let inner =
        Template::parse_owned(decode(text(&app, "VMTEMPLATE64").as_bytes()).unwrap()).unwrap();
    for attribute in inner.iter() {
        assert_eq!(
            handed.get(attribute.name()),
            inner.get(attribute.name()),
            "{}",
            attribute.name()
        );
    }
    let valid = app_validate(&with_extension(&out, "yaml"));
    assert!(valid.1.ends_with("0 errors, 0 warnings\n"), "{}", valid.1);
}

/// A text as an attribute and in a vector. A string of JSON is one of TOML.
fn in_toml((number, text): (usize, &String)) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!("T{number} = {text}\nV{number} = {{ k = {text} }}\n")
}

fn app_validate(path: &Path) -> (Option<i32>, String) {
    let output = app(&["validate", path.to_str().unwrap()]);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

/// An entry as the repository of a public marketplace has it.
const WRITTEN: &str = "---
id: '11c0fd6e-2ce3-11f1-b234-f875a4a4f528'
name: Cluster
version: 7.4.0-0
publisher: P
description: D
short_description: S
tags: [t]
creation_time: 1784124031
os-arch: x86_64
hypervisor: ALL
opennebula_version: 7.0, 7.2
";

const SERVICE: &str = "type: SERVICE_TEMPLATE
roles:
  front: Cluster Front
opennebula_template:
  name: Cluster
  deployment: straight
  roles:
  - name: front
    cardinality: 1
    parents: []
    vm_template_contents: |
      NIC = [
        NAME = \"NIC0\",
        NETWORK_ID = \"$Public\" ]
      A = \"$A\"
  networks:
    Public: \"M|network|Public| |id:\"
  user_inputs:
    A: \"O|boolean|Whether||YES\"
images: []
";

fn validated_yaml(name: &str, text: &str) -> (Option<i32>, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    // The app that the role names.
    let front = directory.path().join("front.yaml");
    let image = "images:\n- name: f\n  url: https://example.com/f\n  type: OS\n  dev_prefix: vd\n  driver: qcow2\n  size: 1024\n  checksum:\n";
    let sums = format!("    md5: {}\n    sha256: {}\n", "a".repeat(32), "b".repeat(64));
    let other =
        WRITTEN.replace("11c0fd6e", "22c0fd6e").replace("name: Cluster", "name: Cluster Front");
    fs::write(&front, format!("{other}format: qcow2\n{image}{sums}")).unwrap();
    let output = app(&["validate", path.to_str().unwrap(), front.to_str().unwrap()]);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn entries_of_a_repository_are_named_by_their_id_or_their_file() {
    let whole = format!("{WRITTEN}{SERVICE}");
    let fine = "2 entries, 0 errors, 0 warnings\n";
    assert_eq!(validated_yaml("cluster-x86_64.yaml", &whole), (Some(0), fine.to_owned()));
    let without = whole.replace("id: '11c0fd6e-2ce3-11f1-b234-f875a4a4f528'\n", "");
    assert_eq!(
        validated_yaml("11c0fd6e-2ce3-11f1-b234-f875a4a4f528.yaml", &without),
        (Some(0), fine.to_owned())
    );
    let (code, text) = validated_yaml("33c0fd6e-2ce3-11f1-b234-f875a4a4f528.yaml", &whole);
    assert!(
        code == Some(0) && text.contains("WARN ") && text.contains("id differs from the UUID"),
        "{text}"
    );
    let (code, text) = validated_yaml("cluster.yaml", &without);
    assert!(
        code == Some(1) && text.contains("id is missing, and the file is not named by a UUID"),
        "{text}"
    );
    let (code, text) = validated_yaml("cluster.yaml", &whole.replace("11c0fd6e-2ce3", "11c0fd6e"));
    assert!(code == Some(1) && text.contains("is no UUID"), "{text}");
    let (code, text) = validated_yaml("cluster.yaml", &whole.replace("11c0fd6e", "22c0fd6e"));
    assert!(code == Some(1) && text.contains("id is that of \"Cluster\""), "{text}");
}

#[test]
fn the_template_of_a_service_is_looked_at_to_its_last_text() {
    let whole = format!("{WRITTEN}{SERVICE}");
    for (from, to, part) in [
        ("cardinality: 1", "cardinality: 1,", "roles.front.cardinality \"1,\" is no whole number"),
        ("cardinality: 1", "cardinality: -1", "is no whole number"),
        ("cardinality: 1", "cardinality: 'one'", "is no whole number"),
        ("NAME = \"NIC0\",", "NAME = \"NIC0\"", "vm_template_contents is no template: line 3"),
        (
            "A = \"$A\"",
            "A = \"$A\"\"",
            "line 4, column 5: the value goes on behind its closing quote",
        ),
        ("A = \"$A\"", "A = \"$A", "vm_template_contents line 4"),
        ("\"O|boolean", "\"0|boolean", "user_inputs.A begins with \"0\""),
        ("\"O|boolean", "\"o|boolean", "user_inputs.A begins with \"o\""),
        ("\"O|boolean", "\"O|bool", "is of the type \"bool\""),
        ("\"O|boolean|Whether||YES\"", "[O]", "user_inputs.A is no text like"),
        (
            "A: \"O|boolean|Whether||YES\"",
            "- A: \"O|boolean|Whether||YES\"",
            "user_inputs is no map of names",
        ),
        ("\"M|network", "\"|network", "networks.Public begins with \"\""),
        ("parents: []", "parents: [back]", "names \"back\", which is no role"),
        ("deployment: straight", "deployment: crooked", "is none of none, straight"),
        ("- name: front", "- name: back", "roles.back has no app"),
        ("- name: front", "- name: front end", "has no name of letters"),
        (
            "  front: Cluster Front",
            "  front: Cluster Front\n  back: Cluster Front",
            "an app for \"back\"",
        ),
    ] {
        let text = whole.replacen(from, to, 1);
        assert_ne!(text, whole, "{from}");
        let (code, said) = validated_yaml("cluster.yaml", &text);
        assert!(code == Some(1) && said.contains(part), "{part}: {said}");
    }
    // The same, as it is served.
    let json = "type: SERVICE_TEMPLATE\nroles: {front: Cluster Front}\nimages: []\nopennebula_template: '{\"name\": \"C\" \"roles\": []}'\n";
    let (code, said) = validated_yaml("cluster.yaml", &format!("{WRITTEN}{json}"));
    assert!(code == Some(1) && said.contains("opennebula_template is no JSON"), "{said}");
}

#[test]
fn a_number_where_a_text_is_meant_is_a_warning() {
    let whole = format!("{WRITTEN}{SERVICE}");
    for (from, to, part) in [
        (
            "opennebula_version: 7.0, 7.2",
            "opennebula_version: 7.0",
            "opennebula_version is the number 7.0",
        ),
        ("version: 7.4.0-0", "version: 1.0", "version is the number 1.0"),
        ("publisher: P", "publisher: true", "publisher is true"),
    ] {
        let (code, said) = validated_yaml("cluster.yaml", &whole.replacen(from, to, 1));
        assert!(said.contains("WARN  ") && said.contains(part), "{said}");
        assert!(code == Some(0) || said.contains("is not there for the series"), "{said}");
    }
    let (code, said) = validated_yaml(
        "cluster.yaml",
        &whole.replace("opennebula_version: 7.0, 7.2", "opennebula_version: 7"),
    );
    assert!(code == Some(1) && said.contains("holds \"7\", which no client asks for"), "{said}");
}

#[test]
fn a_document_beside_an_entry_is_told_in_one_line() {
    let (code, said) = validated_yaml("metadata.yaml", "app:\n  hypervisor: KVM\ninfra: {}\n");
    assert!(
        code == Some(1)
            && said.contains("metadata.yaml: entry 1: is no entry: it has none of name"),
        "{said}"
    );
    assert!(said.contains("1 entries, 1 errors"), "{said}");
}

#[test]
fn an_empty_vector_is_told() {
    let mut entry = entry(1, "one");
    entry["opennebula_template"] = json!("{\"nic\": {}, \"user_inputs\": {}}");
    let (code, text) = validated(&json!([entry]));
    assert!(
        code == Some(0) && text.contains("opennebula_template.nic is empty: OpenNebula drops it"),
        "{text}"
    );
}

#[test]
fn a_document_that_is_no_yaml_is_told_by_its_line_and_column() {
    for (text, part) in [
        ("a: 1\nb: [\n", "at line "),
        ("a: 1\n\tb: 2\n", "at line "),
        ("a: 1\na: 2\n", "at line 2, column 1: a key stands twice"),
        ("a: *nowhere\n", "an alias names an anchor that is nowhere"),
        ("a: \"x\nb: 1\n", "at line "),
        ("a: 1\n---\nb: 1\n", "more than one document"),
    ] {
        let (code, said) = validated_yaml("a.yaml", text);
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains("is no YAML of an entry") && said.contains(part), "{text}: {said}");
        for foreign in ["Options", "Spanned", "serde", "from_", "DuplicateKeyPolicy", "!", "`"] {
            assert!(!said.contains(foreign), "{text}: {said}");
        }
    }
}

#[test]
fn what_multiplies_is_told_in_part() {
    let wide: Vec<Value> = (0..15_000).map(|_| json!({"name": "a"})).collect();
    let (code, text) = validated(&json!(wide));
    assert!(
        code == Some(1) && text.contains(" more problems are not listed\n15000 entries, "),
        "{}",
        text.len()
    );
    assert!(text.len() < 2 << 20, "{}", text.len());
    let many: Vec<Value> = (0..20_001).map(|_| json!({})).collect();
    assert_eq!(validated(&json!(many)).0, Some(2));
    // A long name before each of many.
    let inner: String = (0..10_000).map(|n| format!("\"k{n}\": 1,")).collect();
    let mut long = entry(1, &"n".repeat(1 << 20));
    long["opennebula_template"] =
        json!(format!("{{\"{}\": {{{inner}\"z\": 1}}}}", "N".repeat(1 << 20)));
    let (code, text) = validated(&json!([long]));
    assert!(code == Some(1) && text.len() < 8 << 20, "{}", text.len());
    // Each entry names all the others.
    let disks: Vec<String> = (0..2_000).map(|n| format!("app {n}")).collect();
    let crowd: Vec<Value> =
        (0..100).map(|_| json!({"name": "a", "type": "VMTEMPLATE", "disks": disks})).collect();
    assert_eq!(validated(&json!(crowd)).0, Some(1));
}
