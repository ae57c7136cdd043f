//! The suite on the server in this process, and what only such a server can be made to do.

use crate::common::{
    self, EXECUTABLE, PART, call, delete, dump, image, import, succeeded, wait_until,
};
use market_testkit::driver::{answer, failure, run, stderr};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::s3::{self, DOMAIN, Fate, S3Server};
use market_testkit::{md5_hex, noise, require};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[test]
fn all_pages_count_and_only_objects_of_the_marketplace() {
    let server = S3Server::start();
    server.create_bucket("apps");
    for number in 0..2_500 {
        let key = if number % 3 == 0 {
            format!("foreign-{number}")
        } else {
            format!("marketapp-{number}")
        };
        server.put("apps", &key, &[0; 1_000]);
    }
    for foreign in ["marketapp-1.bak", "marketapp-x", "marketapp-", "marketapp-2-7"] {
        server.put("apps", foreign, &[0; 1_000_000]);
    }
    let message = dump(server.market("apps", &[]), "", "").monitor();
    // 1,666 objects of 1,000 bytes.
    assert!(succeeded(&call("monitor", &message)).starts_with("USED_MB=\"2\"\n"));
    let pages = server.seen().iter().filter(|seen| seen.what() == "list").count();
    assert_eq!(pages, 2, "{:?}", server.seen().len());
    assert_eq!(server.seen().len(), 2, "monitor asks for nothing else");
}

#[test]
fn a_bucket_may_stand_in_front_of_the_host() {
    let server = S3Server::start();
    server.create_bucket("apps");
    let directory = TempDir::new().unwrap();
    let more = [("ENDPOINT", &*format!("http://{DOMAIN}/")), ("FORCE_PATH_STYLE", "")];
    let dump = dump(server.market("apps", &more), &image(directory.path(), b"bytes"), "");
    // The server plays the proxy that knows the name.
    let call = |action: &str, message: String| {
        run(
            Command::new(EXECUTABLE).args([action, "-"]).env("http_proxy", server.endpoint()),
            message,
        )
    };
    assert_eq!(answer(&call("import", dump.import()), "SOURCE"), "s3://apps/marketapp-30");
    assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"bytes");
    assert!(
        call(
            "delete",
            Dump { app_source: "s3://apps/marketapp-30".into(), ..dump.clone() }.delete()
        )
        .status
        .success()
    );
    assert!(
        server.seen().iter().all(|seen| seen.host == format!("apps.{DOMAIN}")),
        "{:?}",
        server.seen()
    );
    // Path style on the same name.
    let dump = Dump { market: server.market("apps", &[more[0]]), ..dump };
    assert!(call("monitor", dump.monitor()).status.success());
    assert_eq!(server.seen().last().unwrap().host, DOMAIN);
}

#[test]
fn nothing_is_ever_replaced() {
    let directory = TempDir::new().unwrap();
    // Another import is faster: its object is there when this one looks a second time, or right
    // after that.
    for looks in [2, 3] {
        let place = Arc::new(OnceLock::<PathBuf>::new());
        let (told, count) = (Arc::clone(&place), AtomicUsize::new(0));
        let server = S3Server::start_with(move |seen, _| {
            let looked = matches!(seen.what(), "head" | "complete");
            if looked && count.fetch_add(1, Ordering::SeqCst) + 1 == looks {
                fs::write(told.get().unwrap(), b"the other").unwrap();
            }
            Fate::Whole
        });
        server.create_bucket("apps");
        place.set(server.path("apps", "marketapp-30")).unwrap();
        let dump = dump(server.market("apps", &[]), &image(directory.path(), b"this"), "");
        let line = failure(&import(&dump), 7);
        assert!(line.contains("already exists in the marketplace; nothing was replaced"), "{line}");
        assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"the other");
        assert_eq!(server.uploads(), 0);
        assert!(
            server.seen().iter().filter(|seen| seen.what() == "complete").all(|seen| seen.creates)
        );
    }
}

#[test]
fn a_service_without_conditions_is_asked_without_them() {
    let directory = TempDir::new().unwrap();
    let server = S3Server::start_with(|seen, _| {
        if seen.creates { Fate::Refused(501, "NotImplemented", None) } else { Fate::Whole }
    });
    let dump = dump(server.market("apps", &[]), &image(directory.path(), b"bytes"), "");
    answer(&import(&dump), "SOURCE");
    assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"bytes");
}

#[test]
fn what_a_bucket_does_not_allow_is_told_by_its_code() {
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    for (what, code, status, exit, expected) in [
        (
            "create upload",
            "AccessDenied",
            403,
            5,
            "403 AccessDenied: these keys may not do that (it says: no); check what these keys may do",
        ),
        ("head", "AccessDenied", 403, 5, "403 Forbidden: these keys may not do that"),
        ("part", "QuotaExceeded", 403, 8, "part 1 of s3://apps/marketapp-30"),
        ("complete", "InvalidPart", 400, 1, "400 InvalidPart"),
        ("list parts", "AccessDenied", 403, 5, "the parts of s3://apps/marketapp-30"),
        // Whether a key is free could not be known.
        ("list", "AccessDenied", 403, 5, "s3://apps/ at 127.0.0.1"),
        (
            "list",
            "PermanentRedirect",
            301,
            4,
            "301 PermanentRedirect: the bucket is elsewhere; the endpoint or the region",
        ),
    ] {
        let server = S3Server::start_with(move |seen, _| {
            if seen.what() == what { Fate::Refused(status, code, None) } else { Fate::Whole }
        });
        server.create_bucket("apps");
        let line = failure(&import(&dump(server.market("apps", &[]), &path, "")), exit);
        assert!(line.contains(expected) && line.contains("s3://apps/"), "{what}: {line}");
        assert_eq!((server.uploads(), server.keys("apps").len()), (0, 0), "{what}");
    }
}

#[test]
fn an_endpoint_that_is_no_s3_service_is_told() {
    let page = HttpServer::start(|_, _| Reply::bytes(b"<html>hello</html>".to_vec()));
    let json = HttpServer::start(|_, _| Reply::bytes(b"{}".to_vec()));
    let missing = HttpServer::start(|_, _| Reply::status(404));
    let moved =
        HttpServer::start(|_, _| Reply::status(302).header("Location", "http://127.0.0.1:1/"));
    let endless = HttpServer::start(|_, _| Reply::bytes(vec![b' '; 20 << 20]));
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    for (server, code, expected) in [
        (&page, 10, "is ENDPOINT an S3 service?"),
        (&json, 10, "is ENDPOINT an S3 service?"),
        (&missing, 10, "404 Not Found: that is no answer of S3; is ENDPOINT an S3 service?"),
        (&moved, 4, "the bucket is elsewhere"),
        (&endless, 10, "the service's answer is too long"),
    ] {
        let dump = dump(s3::market(&server.url("/"), "here", "apps", &[]), &path, "");
        for output in [call("monitor", &dump.monitor()), import(&dump)] {
            let line = failure(&output, code);
            assert!(line.contains(expected), "{line}");
        }
    }
}

#[test]
fn a_list_that_lies_is_no_report() {
    let page = |more: &str| {
        format!(
            "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents>\
             <Key>marketapp-1</Key><Size>1</Size><LastModified>2026-11-22T16:00:00Z</LastModified></Contents>{more}\
             </ListBucketResult>"
        )
    };
    for (text, expected) in [
        (page(""), "goes on for ever"),
        (page("<Contents><Key>marketapp-2</Key></Contents>"), "lacks Size"),
        (
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>".to_owned(),
            "lacks NextContinuationToken",
        ),
        ("<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>COUNT</NextContinuationToken></ListBucketResult>".to_owned(), "goes on for ever"),
        (page("").replace("marketapp-1", &"k".repeat(9_000)), "Key in the service's list is too long"),
        (page("").replace("<Size>1", "<Size>-1"), "Size in the service's list is no number"),
    ] {
        let server =
            HttpServer::start(move |_, nth| Reply::bytes(text.replace("COUNT", &nth.to_string()).into_bytes()));
        let message = dump(s3::market(&server.url(""), "here", "apps", &[]), "", "").monitor();
        let line = failure(&call("monitor", &message), 10);
        assert!(line.contains(expected), "{line}");
    }
}

/// Runs openssl in a directory.
fn openssl(program: &Path, directory: &Path, arguments: &str) {
    let made =
        Command::new(program).args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn a_certificate_that_does_not_verify_is_told_with_what_helps() {
    let Some(program) = require::program("openssl", "openssl") else { return };
    let directory = TempDir::new().unwrap();
    let make = |arguments: &str| openssl(&program, directory.path(), arguments);
    make(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=authority",
    );
    make("req -newkey rsa:2048 -nodes -keyout key -out csr -subj /CN=server");
    let authority = directory.path().join("ca.pem");
    let trusted = [("TLS_CA", authority.to_str().unwrap())];
    for (name, days, more, code, expected) in [
        (
            "IP:127.0.0.1",
            2,
            &[][..],
            10,
            ["authority that is unknown here", "; set TLS_CA to a file"],
        ),
        (
            "DNS:s3.local",
            2,
            &trusted[..],
            4,
            ["for another host name", "; use a host name in ENDPOINT that the certificate is for"],
        ),
        (
            "IP:127.0.0.1",
            0,
            &trusted[..],
            10,
            ["has expired", "; renew that certificate, or set the clock"],
        ),
    ] {
        fs::write(directory.path().join("extension"), format!("subjectAltName={name}\n")).unwrap();
        make(&format!(
            "x509 -req -in csr -CA ca.pem -CAkey ca.key -days {days} -extfile extension -out pem"
        ));
        let server = TlsServer::start(&program, directory.path());
        let market = |more: &[(&str, &str)]| s3::market(&server.endpoint, "here", "apps", more);
        // What expires at once has not yet in the same second.
        let monitor = || call("monitor", &dump(market(more), "", "").monitor());
        wait_until("the certificate is refused", || {
            !stderr(&monitor()).contains("is ENDPOINT an S3 service?")
        });
        let line = failure(&monitor(), code);
        assert!(
            line.contains("s3://apps/ at 127.0.0.1")
                && expected.iter().all(|text| line.contains(text)),
            "{line}"
        );
        let output = call("monitor", &dump(market(&[("TLS_INSECURE", "YES")]), "", "").monitor());
        assert!(
            stderr(&output).contains("is ENDPOINT an S3 service?"),
            "it is spoken to: {}",
            stderr(&output)
        );
    }
}

/// A web server with a certificate; it ends when it is dropped.
struct TlsServer {
    endpoint: String,
    process: Child,
}

impl TlsServer {
    fn start(openssl: &Path, directory: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let accept = format!("127.0.0.1:{port}");
        let process = Command::new(openssl)
            .args(["s_server", "-quiet", "-www", "-key", "key", "-cert", "pem", "-accept", &accept])
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the server answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { endpoint: format!("https://{accept}"), process }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_lost_answer_to_a_deletion_is_no_failure_and_a_missing_bucket_is_one() {
    let server = S3Server::start_with(|seen, nth| match seen.what() {
        "delete" if nth < 3 => Fate::Lost,
        _ => Fate::Whole,
    });
    server.create_bucket("apps");
    server.put("apps", "marketapp-30", b"bytes");
    let plain = dump(server.market("apps", &[]), "", "");
    assert!(stderr(&delete(&plain, "s3://apps/marketapp-30")).contains("removed"));
    assert_eq!(server.keys("apps").len(), 0);
    let line = failure(&delete(&plain, "s3://gone/marketapp-30"), 4);
    assert!(
        line.contains("there is no such bucket") && line.contains("check BUCKET and ENDPOINT"),
        "{line}"
    );
    assert!(!server.path("gone", "").exists(), "delete makes no bucket");
}

#[test]
fn an_upload_whose_part_is_refused_is_given_up_and_looked_after() {
    let server = S3Server::start_with(|seen, _| match seen.what() {
        "part" if seen.query.contains("partNumber=2") => Fate::Refused(403, "AccessDenied", None),
        _ => Fate::Whole,
    });
    let directory = TempDir::new().unwrap();
    let bytes = noise(9, 2 * PART.1 + 10);
    let path = image(directory.path(), &bytes);
    let line = failure(
        &import(&dump(server.market("apps", &[("READ_LENGTH", PART.0)]), &path, &md5_hex(&bytes))),
        5,
    );
    assert!(line.contains("part 2 of s3://apps/marketapp-30"), "{line}");
    assert_eq!((server.uploads(), server.keys("apps").len()), (0, 0));
    let last = server.seen().into_iter().rev().take(2).map(|seen| seen.what()).collect::<Vec<_>>();
    assert_eq!(last, ["list parts", "abort"], "it is looked after");
}

#[test]
fn a_completion_that_stays_unknown_is_left_to_gc_and_said() {
    let server = S3Server::start_with(|seen, _| match seen.what() {
        "complete" => Fate::Refused(503, "SlowDown", None),
        _ => Fate::Whole,
    });
    let directory = TempDir::new().unwrap();
    let market = server.market("apps", &[]);
    let context = common::impatient();
    let path = image(directory.path(), b"bytes");
    let outcome = market_testkit::block_on(common::import_with(&market, &path, "", &context));
    let line = outcome.unwrap_err().to_string();
    assert!(line.contains("whether the app was published could not be found out"), "{line}");
    assert!(line.contains("look for it in the marketplace before importing again"), "{line}");
    let log = context.log.lines().join("\n");
    assert!(log.contains("may be completed at this moment"), "{log}");
    assert_eq!((server.uploads(), server.keys("apps").len()), (1, 0));
}

#[test]
fn what_is_completed_when_a_signal_comes_is_waited_for_and_its_outcome_found_out() {
    // It takes a service two seconds, or its answer is lost.
    for (fate, seconds) in [(Fate::Whole, 2), (Fate::Lost, 0)] {
        let becomes = fate.clone();
        let server = S3Server::start_with(move |seen, _| match seen.what() {
            "complete" => Fate::Held(Box::new(becomes.clone())),
            _ => Fate::Whole,
        });
        server.create_bucket("apps");
        let directory = TempDir::new().unwrap();
        let child = common::started(&dump(
            server.market("apps", &[]),
            &image(directory.path(), b"bytes"),
            "",
        ));
        wait_until("it is asked to complete", || server.held() == 1);
        common::signal(&child, rustix::process::Signal::TERM);
        let begun = Instant::now();
        wait_until("the service is busy", || begun.elapsed() >= Duration::from_secs(seconds));
        let output = std::thread::scope(|scope| {
            let ended = scope.spawn(|| child.wait_with_output().unwrap());
            // A completion whose answer is lost is asked for again.
            wait_until("the import ends", || {
                server.release();
                ended.is_finished()
            });
            ended.join().unwrap()
        });
        assert_eq!(answer(&output, "SOURCE"), "s3://apps/marketapp-30", "{fate:?}");
        assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"bytes");
        assert_eq!(server.uploads(), 0);
    }
}
