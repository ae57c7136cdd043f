//! `market-http` as oned calls it: real processes, real signals, a real web server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod market;

use market::{BASE_URL, EXECUTABLE, IN_MEMORY, Market, stalls_at, wait_for};
use market_testkit::driver::{answer, failure, run, start};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::{qcow2, qcow2_with_backing, sparse_raw};
use market_testkit::{Random, md5_hex, noise, require};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

fn call(action: &str, dump: &str) -> Output {
    run(Command::new(EXECUTABLE).args([action, "-"]), dump.as_bytes())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn an_app_lives_from_import_to_delete() {
    let market = Market::new();
    let bytes = noise(1, 2_500_000);
    let mut dump = market.import_of(&bytes);
    let output = call("import", &dump.import());
    let source = answer(&output, "SOURCE");
    let name = source.strip_prefix(BASE_URL).unwrap();
    assert_eq!(name.len(), 32);
    assert_eq!(
        (answer(&output, "MD5"), answer(&output, "SIZE"), answer(&output, "FORMAT")),
        (md5_hex(&bytes), "1".into(), "raw".into())
    );
    let published = market.public().join(name);
    assert!(fs::read(&published).unwrap() == bytes);
    assert_eq!(published.metadata().unwrap().mode() & 0o7777, 0o644);
    assert_eq!(market.public().join(".market-staging").metadata().unwrap().mode() & 0o7777, 0o700);

    let report = call("monitor", &dump.monitor());
    let space = rustix::fs::statvfs(market.public()).unwrap();
    assert_eq!(
        answer(&report, "TOTAL_MB"),
        (space.f_blocks * space.f_frsize).div_ceil(1 << 20).to_string()
    );

    dump.app_source = source;
    assert!(call("delete", &dump.delete()).status.success());
    market.assert_nothing();
    let again = call("delete", &dump.delete());
    assert!(again.status.success());
    assert!(
        String::from_utf8_lossy(&again.stderr).starts_with("WARN: delete: app 30: "),
        "{again:?}"
    );
}

#[test]
fn an_app_that_is_gone_from_an_empty_directory_may_be_on_a_disk_that_is_not_mounted() {
    let market = Market::new();
    let dump = Dump { app_source: format!("{BASE_URL}{}", "0".repeat(32)), ..market.dump() };
    let warning = format!(
        "PUBLIC_DIR {} is empty: check that its file system is mounted",
        market.public().display()
    );
    let told = |output: Output| {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.contains("was already gone"), "{stderr}");
        stderr.contains(&warning)
    };
    assert!(told(call("delete", &dump.delete())));
    fs::write(market.public().join("something"), b"").unwrap();
    assert!(!told(call("delete", &dump.delete())));
}

#[test]
fn the_action_is_told_by_the_name_and_what_follows_a_dot_does_not_count() {
    let market = Market::new();
    let directory = TempDir::new().unwrap();
    for name in ["monitor", "monitor.real", "monitor.real.2"] {
        let link = directory.path().join(name);
        symlink(EXECUTABLE, &link).unwrap();
        let output = Command::new(&link).args([&market.dump().monitor(), "107"]).output().unwrap();
        answer(&output, "USED_MB");
    }
    let named = Command::new(EXECUTABLE)
        .arg0("delete.real")
        .args(["-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(failure(&named, 3), "the driver message: the dump is empty");
}

#[test]
fn a_wrong_command_line_or_dump_is_one_line() {
    let market = Market::new();
    let monitor = market.dump().monitor();
    let run = |arguments: &[&str]| {
        Command::new(EXECUTABLE).args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    for (arguments, code, expected) in [
        (vec![], 2, "the action is missing"),
        (vec!["frob"], 2, "there is no action \"frob\""),
        (vec!["monitor"], 2, "the dump is missing"),
        (vec!["monitor", monitor.as_str(), "107", "108"], 2, "too many arguments"),
        (vec!["monitor", monitor.as_str(), "x"], 2, "the id is not a whole number"),
        (vec!["monitor", "--frob"], 2, "--frob"),
        (vec!["monitor", monitor.as_str(), "108"], 3, "is about id 107, the call about id 108"),
        (vec!["monitor", "!!!!"], 3, "not base64"),
        (vec!["import", monitor.as_str()], 3, "MARKETPLACEAPP: missing from the dump"),
        (vec!["monitor", "-"], 3, "the dump is empty"),
    ] {
        let line = failure(&run(&arguments), code);
        assert!(line.contains(expected), "{arguments:?}: {line}");
    }
    assert!(stdout(&run(&["--help"])).contains("Exit codes"));
    assert_eq!(
        stdout(&run(&["--version"])),
        format!("market-http {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_configuration_names_the_marketplace_and_the_attribute() {
    let market = Market::new();
    let public = market.public();
    let public = public.to_str().unwrap();
    let file = market.directory.path().join("file");
    fs::write(&file, b"x").unwrap();
    type Case<'a> = (&'a [(&'a str, &'a str)], i32, &'a str);
    let cases: [Case<'_>; 10] = [
        (&[("BASE_URL", BASE_URL)], 4, "attribute PUBLIC_DIR: missing"),
        (&[("PUBLIC_DIR", public)], 4, "attribute BASE_URL: missing"),
        (&[("PUBLIC_DIR", public), ("BASE_URL", "market")], 4, "attribute BASE_URL: is no http"),
        (
            &[("PUBLIC_DIR", "relative"), ("BASE_URL", BASE_URL)],
            4,
            "attribute PUBLIC_DIR: is not an absolute path",
        ),
        (
            &[("PUBLIC_DIR", "/nonexistent"), ("BASE_URL", BASE_URL)],
            4,
            "attribute PUBLIC_DIR: /nonexistent does not exist",
        ),
        (&[("PUBLIC_DIR", file.to_str().unwrap()), ("BASE_URL", BASE_URL)], 4, "is no directory"),
        (
            &[
                ("PUBLIC_DIR", public),
                ("BASE_URL", BASE_URL),
                ("BRIDGE_LIST", "a -oProxyCommand=x"),
            ],
            4,
            "attribute BRIDGE_LIST: is no name of a host",
        ),
        (
            &[("PUBLIC_DIR", public), ("BASE_URL", BASE_URL), ("IDLE_TIMEOUT", "soon")],
            4,
            "attribute IDLE_TIMEOUT: expected a whole number",
        ),
        (
            &[("PUBLIC_DIR", public), ("BASE_URL", BASE_URL), ("IDLE_TIMEOUT", "0")],
            4,
            "attribute IDLE_TIMEOUT: expected a whole number, one or more",
        ),
        (
            &[("PUBLIC_DIR", public), ("BASE_URL", BASE_URL), ("TLS_INSECURE", "perhaps")],
            4,
            "attribute TLS_INSECURE: expected yes or no",
        ),
    ];
    for (attributes, code, expected) in cases {
        let line = failure(&call("monitor", &Dump::of_market(attributes).monitor()), code);
        assert!(line.contains(expected), "{line}");
        if code == 4 {
            assert!(
                line.starts_with("marketplace 107 (apps): ")
                    && line.contains("onemarket update 107"),
                "{line}"
            );
        }
    }
}

#[test]
fn monitor_and_delete_create_nothing() {
    let market = Market::new();
    answer(&call("monitor", &market.dump().monitor()), "FREE_MB");
    let delete = Dump { app_source: format!("{BASE_URL}{}", "0".repeat(32)), ..market.dump() };
    assert!(call("delete", &delete.delete()).status.success());
    assert!(call("delete", &market.dump().delete()).status.success());
    assert_eq!(fs::read_dir(market.public()).unwrap().count(), 0);
}

#[test]
fn a_sparse_image_keeps_its_allocation_and_a_qcow2_its_format() {
    let market = Market::new();
    let path = market.directory.path().join("sparse");
    sparse_raw(&path, 256 << 20, 1 << 20).unwrap();
    let md5 = md5_hex(&fs::read(&path).unwrap());
    answer(&call("import", &market.import_from(path.to_str().unwrap(), &md5).import()), "SOURCE");
    let stored = market.visible()[0].metadata().unwrap();
    assert_eq!(stored.len(), 256 << 20);
    assert!(
        stored.blocks() <= path.metadata().unwrap().blocks() + 64,
        "{} blocks",
        stored.blocks()
    );
    let path = market.directory.path().join("qcow2");
    qcow2(&path, 64 << 20, 20).unwrap();
    let mut dump = market.import_from(path.to_str().unwrap(), "");
    dump.format = String::new();
    let output = call("import", &dump.import());
    assert_eq!(
        (answer(&output, "FORMAT"), answer(&output, "MD5")),
        ("qcow2".into(), md5_hex(&fs::read(&path).unwrap()))
    );
}

#[test]
fn what_cannot_be_imported_leaves_nothing_and_says_one_line() {
    let market = Market::new();
    let bytes = noise(2, 400_000);
    let cut = {
        let bytes = bytes.clone();
        HttpServer::start(move |_, _| Reply::bytes(bytes.clone()).cut_after(100))
    };
    let image = market.import_of(&bytes).import_source;
    let backing = market.directory.path().join("backing");
    fs::write(&backing, qcow2_with_backing("/etc/shadow")).unwrap();
    let (wrong, backing) = (md5_hex(b"other"), backing.to_str().unwrap().to_owned());
    for (source, md5, code, expected) in [
        (image.as_str(), wrong.as_str(), 9, "the datastore declared"),
        ("/nonexistent", "", 6, "/nonexistent: No such file or directory"),
        ("/dev/zero", "", 11, "is neither a file nor a block device"),
        ("s3://bucket/key", "", 11, "the keys for it are not known here"),
        ("ssh://-oProxyCommand=x:/image", "", 4, "names no host that ssh could be given"),
        ("-x", "", 4, "is neither an absolute path nor a URL"),
        (backing.as_str(), "", 11, "needs the backing file \"/etc/shadow\""),
        (&cut.url("/i?secret=hunter2"), "", 10, "retries did not help"),
    ] {
        let dump = market.import_from(source, md5);
        let line = failure(&call("import", &dump.import()), code);
        assert!(line.contains(expected) && !line.contains("hunter2"), "{line}");
        market.assert_nothing();
    }
}

#[test]
fn hostile_sources_of_a_delete_touch_nothing_outside() {
    let market = Market::new();
    let outside = market.directory.path().join("outside");
    fs::write(&outside, b"mine").unwrap();
    let published = market.public().join("0cc175b9c0f1b6a831c399e269772661");
    fs::write(&published, b"app").unwrap();
    fs::create_dir(market.public().join("subdirectory")).unwrap();
    let long = "a".repeat(4_096);
    for name in [
        "../outside",
        "..%2foutside",
        "%2e%2e/outside",
        "",
        ".",
        "..",
        "*",
        "a\nb",
        "$(touch x)",
        ".market-staging",
        "subdirectory",
        &long,
    ] {
        let dump = Dump { app_source: format!("{BASE_URL}{name}"), ..market.dump() };
        let output = call("delete", &dump.delete());
        // `../` inside a URL is resolved by every URL parser: then it names a file of the
        // marketplace that is not there.
        if !output.status.success() {
            let line = failure(&output, 5);
            assert!(
                line.contains("names no file of this marketplace")
                    || line.contains("is a directory"),
                "{name}: {line}"
            );
        }
        assert!(outside.exists() && published.exists(), "{name}");
    }
    for source in ["/etc/passwd", "../outside", "file:///etc/passwd", outside.to_str().unwrap()] {
        let dump = Dump { app_source: source.to_owned(), ..market.dump() };
        failure(&call("delete", &dump.delete()), 5);
    }
    assert!(outside.exists());
}

#[test]
fn shell_text_in_any_attribute_runs_nothing() {
    let market = Market::new();
    let marker = market.directory.path().join("pwned");
    let bytes = noise(3, 10_000);
    for text in [
        "$(touch PWNED)",
        "`touch PWNED`",
        "; touch PWNED;",
        "| touch PWNED",
        "'; touch PWNED; '",
        "\"; touch PWNED; \"",
        "\ntouch PWNED\n",
        "-oProxyCommand=touch PWNED",
        "&& touch PWNED",
    ] {
        let text = text.replace("PWNED", marker.to_str().unwrap());
        let mut dump = market.import_of(&bytes);
        dump.market
            .extend([("NAME".to_owned(), text.clone()), ("DESCRIPTION".to_owned(), text.clone())]);
        for attribute in ["BASE_URL", "PUBLIC_DIR", "BRIDGE_LIST"] {
            let mut hostile = dump.clone();
            hostile.market.retain(|(name, _)| name != attribute);
            hostile.market.push((attribute.to_owned(), text.clone()));
            for (action, message) in [
                ("monitor", hostile.monitor()),
                ("import", hostile.import()),
                ("delete", hostile.delete()),
            ] {
                call(action, &message);
            }
        }
        for (source, format) in
            [(text.as_str(), "raw"), (dump.import_source.as_str(), text.as_str())]
        {
            let hostile = Dump {
                import_source: source.to_owned(),
                format: format.to_owned(),
                ..dump.clone()
            };
            call("import", &hostile.import());
        }
        let hostile = Dump { app_source: format!("{BASE_URL}{text}"), ..dump.clone() };
        call("delete", &hostile.delete());
        assert!(!marker.exists(), "{text}");
    }
    assert_eq!(market.staged(), Vec::<PathBuf>::new());
}

#[test]
fn no_value_can_add_a_line_to_the_answer() {
    let market = Market::new();
    let mut dump = market.import_of(&noise(4, 1_000));
    dump.format = "raw\"\nINJECTED=\"yes".to_owned();
    let output = call("import", &dump.import());
    assert_eq!(answer(&output, "FORMAT"), dump.format);
    assert_eq!(
        market_core::template::Template::parse(&output.stdout).unwrap().len(),
        4,
        "{}",
        stdout(&output)
    );
    dump.format = "]]>".to_owned();
    failure(&call("import", &dump.import()), 3);
    assert_eq!(market.visible().len(), 1);
}

#[test]
fn a_dump_of_64_mib_is_taken_on_standard_input_and_a_larger_one_refused() {
    let market = Market::new();
    let mut dump = market.dump();
    dump.market.push(("DESCRIPTION".to_owned(), "x".repeat((48 << 20) - 2_000)));
    let text = dump.monitor();
    assert!(text.len() > (64 << 20) - 4_096 && text.len() <= 64 << 20, "{}", text.len());
    answer(&call("monitor", &text), "USED_MB");
    let line = failure(&call("monitor", &"A".repeat((64 << 20) + 4)), 3);
    assert_eq!(line, "the driver message: the dump is larger than 64 MiB of base64");
}

#[test]
fn the_temporary_is_disposed_of_once_on_success_and_on_failure_and_never_changes_the_outcome() {
    let market = Market::new();
    let count = market.directory.path().join("count");
    let dispose = format!("echo x >> {}; echo noise; echo spam >&2; exit 3", count.display());
    let dump = Dump { dispose: dispose.clone(), ..market.import_of(&noise(5, 1_000)) };
    let output = call("import", &dump.import());
    answer(&output, "SOURCE");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("WARN: import: DISPOSE_CMD failed")
            && stderr.contains("DEBUG: import: DISPOSE_CMD: spam"),
        "{stderr}"
    );
    let failing = Dump { md5: md5_hex(b"other"), ..dump.clone() };
    failure(&call("import", &failing.import()), 9);
    let misconfigured = Dump { market: Vec::new(), ..dump };
    failure(&call("import", &misconfigured.import()), 4);
    assert_eq!(fs::read_to_string(&count).unwrap(), "x\nx\nx\n");
}

#[test]
fn two_hundred_imports_of_one_app_at_once_are_two_hundred_files() {
    let market = Market::new();
    let bytes = noise(6, 20_000);
    let dump = market.import_of(&bytes).import();
    let mut children: Vec<Child> =
        (0..200).map(|_| start(Command::new(EXECUTABLE).args(["import", "-"]))).collect();
    for child in &mut children {
        child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    }
    let sources: HashSet<_> = children
        .into_iter()
        .map(|child| answer(&child.wait_with_output().unwrap(), "SOURCE"))
        .collect();
    assert_eq!(sources.len(), 200);
    assert_eq!(market.visible().len(), 200);
    market.assert_all_whole(&md5_hex(&bytes));
    assert_eq!(market.staged(), Vec::<PathBuf>::new());
}

/// Where an import stands still: the source has sent so much and sends no more.
fn stalled_import(market: &Market, after: u64) -> (Child, HttpServer) {
    let bytes = noise(7, 3_000_000);
    let server = HttpServer::start(move |_, _| Reply::bytes(bytes.clone()).stall_after(after));
    let dump = market.import_from(&server.url("/image"), "").import();
    let mut child = start(Command::new(EXECUTABLE).args(["import", "-"]));
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    (child, server)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 30, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}

#[test]
fn every_stopping_signal_discards_what_is_staged() {
    for (signal, name) in
        [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::HUP, "SIGHUP")]
    {
        let market = Market::new();
        let (child, _server) = stalled_import(&market, 1_000_000);
        wait_until("staging", || {
            market.staged().iter().any(|file| file.metadata().is_ok_and(|m| m.len() > 500_000))
        });
        kill_process(pid(&child), signal).unwrap();
        let line = failure(&child.wait_with_output().unwrap(), 12);
        assert!(line.contains(name), "{line}");
        market.assert_nothing();
    }
}

#[test]
fn a_caller_that_goes_away_ends_the_import() {
    let market = Market::new();
    let (mut child, _server) = stalled_import(&market, 1_000_000);
    wait_until("staging", || !market.staged().is_empty());
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(12));
    market.assert_nothing();
}

#[test]
fn an_answer_that_cannot_be_delivered_takes_the_app_back() {
    let market = Market::new();
    let dump = market.import_of(&noise(8, 1_000)).import();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(EXECUTABLE)
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("the answer could not be delivered"),
        "{output:?}"
    );
    market.assert_nothing();
}

/// Starts an import of `dump`, with a standard output of its own.
fn start_import(dump: &str) -> Child {
    let mut child = start(Command::new(EXECUTABLE).args(["import", "-"]));
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    child
}

#[test]
fn killed_or_stopped_in_the_middle_of_a_transfer_nothing_is_visible_and_the_app_names_what_is_left()
{
    let market = Market::new();
    let bytes = noise(9, 4_000_000);
    let mut random = Random::new(9);
    for round in 0..24 {
        let sent = stalls_at(&mut random, bytes.len());
        let body = bytes.clone();
        let server = HttpServer::start(move |_, _| Reply::bytes(body.clone()).stall_after(sent));
        let mut child =
            start_import(&market.import_from(&server.url("/image"), &md5_hex(&bytes)).import());
        assert!(market.wait_for_staged(&mut child, sent - IN_MEMORY), "round {round}: it ended");
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::TERM };
        kill_process(pid(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let killed = signal == Signal::KILL;
        assert_eq!(output.status.code(), (!killed).then_some(12), "round {round}: {output:?}");
        assert!(output.stdout.is_empty(), "round {round}: {output:?}");
        assert!(market.visible().is_empty(), "round {round}: something is visible");
        assert_eq!(market.staged().len(), usize::from(killed), "round {round}");
        // What kill -9 left staged is named by its app, and a delete of that app discards it.
        assert!(call("delete", &market.dump().delete()).status.success());
        market.assert_nothing();
    }
}

#[test]
fn killed_or_stopped_once_everything_is_staged_an_app_is_whole_or_not_there() {
    let market = Market::new();
    let bytes = noise(9, 4_000_000);
    let (dump, md5) = (market.import_of(&bytes).import(), md5_hex(&bytes));
    for round in 0..24 {
        let before = market.visible().len();
        let mut child = start_import(&dump);
        wait_for(&mut child, "an import that has everything", || {
            market.visible().len() > before
                || market.staged().iter().any(|path| {
                    path.metadata().is_ok_and(|metadata| metadata.len() >= bytes.len() as u64)
                })
        });
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::TERM };
        // It may have ended by now.
        let _ = kill_process(pid(&child), signal);
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            let source = answer(&output, "SOURCE");
            let app = market.public().join(source.strip_prefix(BASE_URL).unwrap());
            assert!(app.is_file(), "round {round}: reported and not there");
        }
        market.assert_all_whole(&md5);
        assert!(call("delete", &market.dump().delete()).status.success());
        assert_eq!(market.staged(), Vec::<PathBuf>::new(), "round {round}");
    }
}

#[test]
fn killed_between_publishing_and_answering_it_leaves_a_whole_app() {
    let market = Market::new();
    let bytes = noise(9, 1_000_000);
    // A pipe that is full: the answer has to wait.
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; 64 << 10]).unwrap();
    let mut command = Command::new(EXECUTABLE);
    command.args(["import", "-"]).stdin(Stdio::piped()).stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let dump = market.import_of(&bytes).import();
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    assert!(wait_for(&mut child, "the app", || !market.visible().is_empty()), "it ended");
    kill_process(pid(&child), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    // Nobody knows of it: gc finds it by the list of apps.
    assert_eq!(market.visible().len(), 1);
    market.assert_all_whole(&md5_hex(&bytes));
    assert_eq!(market.staged(), Vec::<PathBuf>::new());
}

#[test]
fn nginx_serves_what_was_imported_and_cannot_see_what_is_staged() {
    let Some(nginx) = require::program("nginx", "nginx-light") else { return };
    if !rustix::process::geteuid().is_root() {
        // Its workers run as another user only then.
        return require::missing("nginx must be started by root to serve as another user");
    }
    let market = Market::new();
    fs::set_permissions(market.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let bytes = noise(10, 1_500_000);
    let source = answer(&call("import", &market.import_of(&bytes).import()), "SOURCE");
    let (mut child, _server) = stalled_import(&market, 1_000_000);
    wait_until("staging", || !market.staged().is_empty());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = market.directory.path().join("nginx.conf");
    let (root, home) = (market.public(), market.directory.path().display().to_string());
    let text = format!(
        "user www-data; daemon off; pid {home}/nginx.pid; error_log {home}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;\n\
         uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         server {{ listen 127.0.0.1:{port}; root {}; autoindex on; }} }}\n",
        root.display()
    );
    fs::write(&configuration, text).unwrap();
    let mut server = Command::new(nginx)
        .arg("-c")
        .arg(&configuration)
        .arg("-e")
        .arg(format!("{home}/error.log"))
        .spawn()
        .unwrap();
    let get = |path: &str| -> Option<(String, Vec<u8>)> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        let head = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
        Some((String::from_utf8_lossy(&reply[..head]).into_owned(), reply[head + 4..].to_vec()))
    };
    wait_until("nginx", || get("/").is_some());
    let name = source.strip_prefix(BASE_URL).unwrap();
    let (head, body) = get(&format!("/{name}")).unwrap();
    assert!(head.contains("200 OK") && body == bytes, "{head}");
    let staged = market.staged()[0].file_name().unwrap().to_str().unwrap().to_owned();
    for path in ["/.market-staging/".to_owned(), format!("/.market-staging/{staged}")] {
        let (head, _) = get(&path).unwrap();
        assert!(head.contains("403"), "{path}: {head}");
    }
    kill_process(pid(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    kill_process(pid(&server), Signal::TERM).unwrap();
    server.wait().unwrap();
}

/// Runs a script in a mount namespace of its own; `None` where the system does not allow that.
fn in_namespace(script: &str, arguments: &[&str]) -> Option<Output> {
    let unshare = require::program("unshare", "util-linux")?;
    let allowed = Command::new(&unshare).args(["-Urm", "true"]).output().unwrap().status.success();
    if !allowed {
        require::missing("user namespaces are not allowed here (unshare -Urm)");
        return None;
    }
    Some(
        Command::new(unshare)
            .args(["-Urm", "sh", "-c", script, "sh"])
            .args(arguments)
            .output()
            .unwrap(),
    )
}

#[test]
fn proxies_are_used_with_their_credentials_in_both_letter_cases() {
    let bytes = noise(14, 10_000);
    for (name, bypass) in [
        ("http_proxy", None),
        ("HTTP_PROXY", None),
        ("http_proxy", Some("no_proxy")),
        ("http_proxy", Some("NO_PROXY")),
    ] {
        let market = Market::new();
        let (proxied, direct) = (bytes.clone(), noise(15, 10_000));
        let proxy = HttpServer::start(move |_, _| Reply::bytes(proxied.clone()));
        let server = HttpServer::start(move |_, _| Reply::bytes(direct.clone()));
        let dump = market.import_from(&server.url("/image"), "");
        let mut command = Command::new(EXECUTABLE);
        command.args(["import", "-"]);
        for known in ["http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"]
        {
            command.env_remove(known);
        }
        command.env(name, proxy.url("").replace("http://", "http://me:hunter2@"));
        if let Some(bypass) = bypass {
            command.env(bypass, "127.0.0.1");
        }
        let output = run(&mut command, dump.import().as_bytes());
        let md5 = answer(&output, "MD5");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
        if bypass.is_some() {
            assert_eq!((proxy.requests().len(), md5), (0, md5_hex(&noise(15, 10_000))));
        } else {
            assert_eq!(md5, md5_hex(&bytes), "{name}");
            assert_eq!(proxy.requests()[0].path, server.url("/image"));
            assert!(
                proxy.requests()[0].header("proxy-authorization").unwrap().starts_with("Basic ")
            );
        }
    }
}

#[test]
fn a_full_disk_is_told_before_the_first_byte_or_when_it_happens_and_leaves_nothing() {
    let market = Market::new();
    let dump = market.directory.path().join("dump");
    let public = market.public();
    let bytes = noise(11, 3_000_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |_, _| Reply::bytes(served.clone()).unannounced());
    let script = "mount -t tmpfs -o size=2m none \"$1\" && \"$3\" import - < \"$2\"; code=$?; find \"$1\" -type f >&2; exit $code";
    for (source, expected) in [
        (market.import_of(&bytes).import_source, "needs 3 MiB, the marketplace has 2 MiB free"),
        (server.url("/image"), "No space left on device"),
    ] {
        fs::write(&dump, market.import_from(&source, "").import()).unwrap();
        let Some(output) =
            in_namespace(script, &[public.to_str().unwrap(), dump.to_str().unwrap(), EXECUTABLE])
        else {
            return;
        };
        let line = failure(&output, 8);
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_told() {
    let market = Market::new();
    let dump = market.import_of(&noise(12, 1_000)).import();
    let path = market.directory.path().join("dump");
    fs::write(&path, dump).unwrap();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$3\" import - < \"$2\"";
    let public = market.public();
    let Some(output) =
        in_namespace(script, &[public.to_str().unwrap(), path.to_str().unwrap(), EXECUTABLE])
    else {
        return;
    };
    let line = failure(&output, 5);
    assert!(
        line.contains("Read-only file system") && line.contains("check who may read or write it"),
        "{line}"
    );
    market.assert_nothing();
}

#[test]
fn a_staging_directory_that_others_could_read_or_that_is_a_link_is_refused() {
    let market = Market::new();
    let staging = market.public().join(".market-staging");
    let dump = market.import_of(&noise(13, 1_000)).import();
    fs::create_dir(&staging).unwrap();
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).unwrap();
    let line = failure(&call("import", &dump), 5);
    assert!(line.contains("could be read by others") && line.contains("0700"), "{line}");
    fs::remove_dir(&staging).unwrap();
    let elsewhere = TempDir::new().unwrap();
    symlink(elsewhere.path(), &staging).unwrap();
    let line = failure(&call("import", &dump), 5);
    assert!(line.contains("is no directory of ours"), "{line}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_stranger_who_has_taken_the_name_of_the_staging_directory_is_not_in_the_way() {
    if !rustix::process::geteuid().is_root() {
        return require::missing("a directory of another user can only be made by root");
    }
    let market = Market::new();
    let taken = market.public().join(".market-staging");
    fs::create_dir(&taken).unwrap();
    std::os::unix::fs::chown(&taken, Some(65_534), Some(65_534)).unwrap();
    let bytes = noise(14, 1_000);
    for _ in 0..2 {
        let answered = call("import", &market.import_of(&bytes).import());
        assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
    }
    let entries = fs::read_dir(market.public()).unwrap().map(|entry| entry.unwrap());
    let names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let staging: Vec<_> =
        names.iter().filter(|name| name.starts_with(".market-staging-")).collect();
    assert_eq!(
        (names.len(), staging.len()),
        (4, 1),
        "one directory of ours, and two apps: {names:?}"
    );
    let ours = market.public().join(staging[0]);
    assert_eq!(
        (ours.metadata().unwrap().mode() & 0o7777, fs::read_dir(&ours).unwrap().count()),
        (0o700, 0)
    );
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 0);
}
