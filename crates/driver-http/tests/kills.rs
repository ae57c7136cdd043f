//! Imports that are killed, and bridges that die, at any byte of an import: no reader ever gets a
//! wrong app.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod market;

use market::{BASE_URL, EXECUTABLE, IN_MEMORY, Market, files, stalls_at, wait_for};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{Random, md5_hex, noise};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn start(dump: &Dump, ssh: &str) -> Child {
    let mut command = Command::new(EXECUTABLE);
    command.args(["import", "-"]).env("SSH", ssh);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(dump.import().as_bytes()).unwrap();
    child
}

/// What a child has answered, and whether it succeeded.
fn end(mut child: Child) -> (String, bool) {
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    (answer, child.wait().unwrap().success())
}

/// A server that sends so many bytes of an image and then stands still.
fn stalling(bytes: &[u8], sent: u64) -> HttpServer {
    let body = bytes.to_vec();
    HttpServer::start(move |_, _| Reply::bytes(body.clone()).stall_after(sent))
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
        let left = files(&staging);
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

/// Sets a flag when it goes, after a failure too: those who wait for it end then.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_reader_gets_bytes_of_an_import_that_is_killed() {
    let market = Market::new();
    let bytes = noise(1, 2_000_000);
    let md5 = md5_hex(&bytes);
    let local = market.import_of(&bytes);
    let web = HttpServer::directory(market.public());
    let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let reader = || {
        while !over.load(Ordering::SeqCst) {
            for path in market.visible() {
                let name = path.file_name().unwrap().to_str().unwrap();
                if let Some(body) = get(&web, &format!("/{name}")) {
                    assert_eq!(md5_hex(&body), md5, "{} bytes of {name}", body.len());
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let _end = Ends(&over);
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        let mut random = Random::new(1);
        for round in 0..60 {
            if round % 3 == 0 {
                // From a file, and killed once everything is staged: it may be an app by then.
                let mut child = start(&local, "ssh");
                market.wait_for_staged(&mut child, bytes.len() as u64);
                let _ = child.kill();
                let (answer, succeeded) = end(child);
                // A kill may come between the answer and the end.
                assert!(!succeeded || answer.contains("SOURCE="), "{answer}");
            } else {
                let sent = stalls_at(&mut random, bytes.len());
                let server = stalling(&bytes, sent);
                let mut child = start(&market.import_from(&server.url("/image"), &md5), "ssh");
                let before = market.staged().len();
                let reached = market.wait_for_staged(&mut child, sent - IN_MEMORY);
                assert!(reached, "round {round}: it ended");
                child.kill().unwrap();
                assert_eq!(end(child), (String::new(), false), "round {round}");
                assert!(market.staged().len() >= before, "round {round}");
            }
            // A few stay for the readers.
            for path in market.visible().into_iter().skip(3) {
                assert_eq!(md5_hex(&fs::read(&path).unwrap()), md5);
                fs::remove_file(path).unwrap();
            }
            // Others would be taken for what the next import has staged.
            gc_leaves_nothing(&market.public(), "", "ssh");
        }
        // The last ones are for the readers.
        let whole = start(&local, "ssh").wait().unwrap();
        assert!(whole.success());
        let enough = reads.load(Ordering::SeqCst) + 100;
        while reads.load(Ordering::SeqCst) < enough && readers.iter().any(|one| !one.is_finished())
        {
            std::thread::yield_now();
        }
    });
    assert!(reads.load(Ordering::SeqCst) >= 100, "the readers read nothing");
}

#[test]
fn a_client_or_a_bridge_that_is_killed_in_the_middle_publishes_nothing() {
    if Sshd::start(&[("bridge", Kind::Plain)]).is_none() {
        return;
    }
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || kills_of_a_bridge(seed));
        }
    });
}

fn kills_of_a_bridge(seed: u64) {
    let sshd = Sshd::start(&[("bridge", Kind::Plain)]).unwrap();
    let market = Market::new();
    let bytes = noise(seed, 2_000_000);
    let md5 = md5_hex(&bytes);
    let public = market.public();
    let attributes = [
        ("BASE_URL", BASE_URL),
        ("PUBLIC_DIR", public.to_str().unwrap()),
        ("BRIDGE_LIST", "bridge"),
    ];
    let dump_of = |source: &str| Dump {
        import_source: source.to_owned(),
        md5: md5.clone(),
        ..Dump::of_market(&attributes)
    };
    let image = market.import_of(&bytes).import_source;
    let mut random = Random::new(seed);
    for round in 0..12 {
        let at = stalls_at(&mut random, bytes.len());
        // A client that waits for its source does not see that its bridge has gone: those imports
        // are not held up, and may have ended.
        let kills_bridge = round % 3 == 0;
        let server = stalling(&bytes, at);
        let source = if kills_bridge { image.clone() } else { server.url("/image") };
        let before = market.visible().len();
        let mut child = start(&dump_of(&source), &sshd.ssh());
        let staged = at - IN_MEMORY;
        let reached = wait_for(&mut child, "staged bytes", || {
            let large = |path: &Path| path.metadata().is_ok_and(|found| found.len() >= staged);
            market.visible().len() > before || market.staged().iter().any(|path| large(path))
        });
        assert!(reached, "seed {seed}, round {round}: it ended");
        match round % 3 {
            0 => sshd.kill_sessions(),
            1 => kill_process(Pid::from_child(&child), Signal::KILL).unwrap(),
            _ => kill_process(Pid::from_child(&child), Signal::TERM).unwrap(),
        }
        let (answer, finished) = end(child);
        market.assert_all_whole(&md5);
        if !kills_bridge {
            assert!(!finished && market.visible().len() == before, "seed {seed}, round {round}");
        }
        if finished {
            let name =
                answer.split(BASE_URL).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            assert!(public.join(name).is_file(), "seed {seed}, round {round}: {answer}");
        }
        gc_leaves_nothing(&public, "bridge", &sshd.ssh());
    }
}
