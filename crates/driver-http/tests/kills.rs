//! Imports that are killed, and bridges that die, at moments spread over an import: no reader ever
//! gets a wrong app.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::dump::Dump;
use market_testkit::http::HttpServer;
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{Random, md5_hex, noise};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_market-http");
const BASE_URL: &str = "http://market.example/";

fn start(dump: &Path, ssh: &str) -> Child {
    Command::new(EXECUTABLE)
        .args(["import", "-"])
        .env("SSH", ssh)
        .stdin(fs::File::open(dump).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn visible(public: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(public).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

/// What gc leaves: nothing, once everything that was killed is gone.
fn gc_leaves_nothing(public: &Path, bridges: &str, ssh: &str) {
    let market = public.with_file_name("market.xml");
    let text = format!(
        "<MARKETPLACE><ID>1</ID><NAME>m</NAME><MARKET_MAD>http</MARKET_MAD><TEMPLATE><BASE_URL>{BASE_URL}</BASE_URL>\
         <PUBLIC_DIR>{}</PUBLIC_DIR><BRIDGE_LIST>{bridges}</BRIDGE_LIST></TEMPLATE></MARKETPLACE>",
        public.display()
    );
    fs::write(&market, text).unwrap();
    let staging = public.join(".market-staging");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut gc = Command::new(EXECUTABLE);
        gc.arg("gc").arg(&market).args(["--delete", "--older-than", "0"]);
        let output = gc.env("SSH", ssh).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let left = visible(&staging);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "gc leaves {left:?}");
        std::thread::yield_now();
    }
}

/// Asks for a file as any client does; its body, when the server has it.
fn get(server: &HttpServer, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server.address()).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: market\r\n\r\n").ok()?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).ok()?;
    let head = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
    reply.starts_with(b"HTTP/1.1 200").then(|| reply[head + 4..].to_vec())
}

#[test]
fn no_reader_gets_bytes_of_an_import_that_is_killed() {
    let directory = TempDir::new().unwrap();
    let (public, images) = (directory.path().join("public"), directory.path().join("images"));
    for path in [&public, &images] {
        fs::create_dir(path).unwrap();
    }
    let bytes = noise(1, 2_000_000);
    let md5 = md5_hex(&bytes);
    let image = images.join("image");
    fs::write(&image, &bytes).unwrap();
    let (source, market) = (HttpServer::directory(&images), HttpServer::directory(&public));
    let market_of = [("BASE_URL", BASE_URL), ("PUBLIC_DIR", public.to_str().unwrap())];
    let dumps = [image.to_str().unwrap().to_owned(), source.url("/image")].map(|from| {
        let dump = Dump { import_source: from, md5: md5.clone(), ..Dump::of_market(&market_of) };
        let path = directory.path().join(format!("dump-{}", dump.import_source.len()));
        fs::write(&path, dump.import()).unwrap();
        path
    });
    let begin = Instant::now();
    assert!(start(&dumps[0], "ssh").wait().unwrap().success());
    let whole = begin.elapsed();
    let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    for path in visible(&public) {
                        let name = path.file_name().unwrap().to_str().unwrap();
                        if let Some(body) = get(&market, &format!("/{name}")) {
                            assert_eq!(
                                md5_hex(&body),
                                md5,
                                "a reader got {} bytes of {name}",
                                body.len()
                            );
                            reads.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        let mut random = Random::new(1);
        for round in 0..200 {
            let mut child = start(&dumps[round % 2], "ssh");
            std::thread::sleep(whole.mul_f64(random.below(1_200) as f64 / 1_000.0));
            let _ = child.kill();
            let status = child.wait().unwrap();
            let mut answer = String::new();
            child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
            // A kill may come between the answer and the end.
            let told = answer.contains("SOURCE=");
            assert!(status.success() == told || (told && status.code().is_none()), "{answer}");
            // A few stay for the readers.
            for path in visible(&public).into_iter().skip(3) {
                assert_eq!(md5_hex(&fs::read(&path).unwrap()), md5);
                fs::remove_file(path).unwrap();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(reads.load(Ordering::SeqCst) > 100, "the readers read nothing");
    gc_leaves_nothing(&public, "", "ssh");
}

#[test]
fn a_client_or_a_bridge_that_is_killed_at_any_moment_publishes_nothing_wrong() {
    if Sshd::start(&[("bridge", Kind::Plain)]).is_none() {
        return;
    }
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || fifty_kills(seed));
        }
    });
}

fn fifty_kills(seed: u64) {
    let sshd = Sshd::start(&[("bridge", Kind::Plain)]).unwrap();
    let directory = TempDir::new().unwrap();
    let public = directory.path().join("public");
    fs::create_dir(&public).unwrap();
    let bytes = noise(seed, 1_000_000);
    let md5 = md5_hex(&bytes);
    let image = directory.path().join("image");
    fs::write(&image, &bytes).unwrap();
    let attributes = [
        ("BASE_URL", BASE_URL),
        ("PUBLIC_DIR", public.to_str().unwrap()),
        ("BRIDGE_LIST", "bridge"),
    ];
    let dump = Dump {
        import_source: image.to_str().unwrap().into(),
        md5: md5.clone(),
        ..Dump::of_market(&attributes)
    };
    let path = directory.path().join("dump");
    fs::write(&path, dump.import()).unwrap();
    let begin = Instant::now();
    assert!(start(&path, &sshd.ssh()).wait().unwrap().success());
    let whole = begin.elapsed();
    let mut random = Random::new(seed);
    for round in 0..50 {
        let mut child = start(&path, &sshd.ssh());
        std::thread::sleep(whole.mul_f64(random.below(1_100) as f64 / 1_000.0));
        match round % 3 {
            0 => sshd.kill_sessions(),
            1 => drop(kill_process(pid(&child), Signal::KILL)),
            _ => drop(kill_process(pid(&child), Signal::TERM)),
        }
        let mut answer = String::new();
        child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
        let finished = child.wait().unwrap().success();
        for path in visible(&public) {
            assert_eq!(
                md5_hex(&fs::read(&path).unwrap()),
                md5,
                "seed {seed}, round {round}: a wrong app is visible"
            );
        }
        if finished {
            let name =
                answer.split(BASE_URL).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            assert!(public.join(name).is_file(), "seed {seed}, round {round}: {answer}");
        }
    }
    gc_leaves_nothing(&public, "bridge", &sshd.ssh());
}
