//! Sources deliver every byte once and in order, or fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::sparse_raw;
use market_testkit::{block_on, noise, read_to_end};
use market_transfer::{
    Algorithm, DigestSet, Digests, Document, Error, ErrorKind, FileSink, HttpStatus, Options,
    Piece, Sha1, Sha256, Source, SparseFile, Transfer, rename_new,
};
use sha2::Digest;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

fn options() -> Options {
    Options::default()
        .with_first_pause(Duration::ZERO)
        .with_idle_timeout(Duration::from_millis(300))
}

/// The HTTP date of a moment that comes within two seconds.
fn soon() -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2))
}

fn read(location: &str) -> Result<Vec<u8>, Error> {
    block_on(async { read_to_end(&mut Source::open(location, &options()).await?).await })
}

#[test]
fn a_broken_transfer_is_resumed_at_the_byte_it_had_reached() {
    let bytes = noise(1, 1_000_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |request, nth| {
        let reply = Reply::bytes(served.clone()).ranged(request, "\"v1\"");
        if nth < 3 { reply.cut_after(250_000) } else { reply }
    });
    assert!(read(&server.url("/i")).unwrap() == bytes);
    let starts: Vec<_> =
        server.requests().iter().map(market_testkit::http::Request::range_start).collect();
    assert_eq!(starts, [None, Some(250_000), Some(500_000), Some(750_000)]);
}

#[test]
fn a_server_without_ranges_is_read_again_and_compared() {
    let bytes = noise(2, 1_000_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |_, nth| {
        let reply = Reply::bytes(served.clone());
        if nth < 2 { reply.cut_after(300_000 * (nth as u64 + 1)) } else { reply }
    });
    assert!(read(&server.url("/i")).unwrap() == bytes);
    assert_eq!(server.requests().len(), 3);
}

/// How a server answers to a request for the rest of an object.
type Resumes = fn(Reply) -> Reply;

/// Serves the first object with a header, cut; then the second one, its rest as told and all of it
/// with the same header.
fn replaced(
    first: (&'static str, &'static str),
    one: &[u8],
    two: &[u8],
    resumes: Resumes,
) -> HttpServer {
    let (one, two) = (one.to_vec(), two.to_vec());
    HttpServer::start(move |request, nth| {
        let whole = |bytes: &[u8]| Reply::bytes(bytes).header(first.0, first.1).header("Date", NOW);
        match request.range_start() {
            _ if nth == 0 => whole(&one).cut_after(CUT as u64),
            Some(_) => resumes(Reply::bytes(&two[CUT..]).into_partial()),
            None => whole(&two),
        }
    })
}

const CUT: usize = 100_000;
const NOW: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
const LONG_AGO: &str = "Mon, 14 Nov 1994 12:45:26 GMT";
const RANGE: (&str, &str) = ("Content-Range", "bytes 100000-499999/500000");

/// Answers that prove nothing, after a strong ETag.
const UNPROVEN: [(&str, Resumes); 12] = [
    ("a weak ETag", |part| part.header(RANGE.0, RANGE.1).header("ETag", "W/\"b\"")),
    ("the same one, but weak", |part| part.header(RANGE.0, RANGE.1).header("ETag", "W/\"a\"")),
    ("no ETag", |part| part.header(RANGE.0, RANGE.1)),
    ("no ETag, but a time", |part| part.header(RANGE.0, RANGE.1).header("Last-Modified", LONG_AGO)),
    ("another ETag", |part| part.header(RANGE.0, RANGE.1).header("ETag", "\"b\"")),
    ("two ETags", |part| {
        part.header(RANGE.0, RANGE.1).header("ETag", "\"a\"").header("ETag", "\"b\"")
    }),
    ("another total", |part| {
        part.header(RANGE.0, "bytes 100000-499999/500001").header("ETag", "\"a\"")
    }),
    ("no total", |part| part.header(RANGE.0, "bytes 100000-499999/*").header("ETag", "\"a\"")),
    ("another place", |part| {
        part.header(RANGE.0, "bytes 90000-489999/500000").header("ETag", "\"a\"")
    }),
    ("no range", |part| part.header("ETag", "\"a\"")),
    ("an encoding", |part| {
        part.header(RANGE.0, RANGE.1).header("ETag", "\"a\"").header("Content-Encoding", "gzip")
    }),
    ("several parts", |part| {
        let kind = "multipart/byteranges; boundary=x";
        part.header(RANGE.0, RANGE.1).header("ETag", "\"a\"").header("Content-Type", kind)
    }),
];

#[test]
fn a_part_that_proves_nothing_is_not_used() {
    let (one, two) = (noise(3, 500_000), noise(4, 500_000));
    for (case, resumes) in UNPROVEN {
        let server = replaced(("ETag", "\"a\""), &one, &two, resumes);
        assert_eq!(
            read(&server.url("/i")).map(drop).unwrap_err().kind,
            ErrorKind::Changed,
            "{case}"
        );
        assert_eq!(server.requests()[1].header("if-range"), Some("\"a\""), "{case}");
        // The same object is read again, and is whole.
        let server = replaced(("ETag", "\"a\""), &one, &one, resumes);
        assert!(read(&server.url("/i")).unwrap() == one, "{case}");
    }
}

#[test]
fn a_first_answer_that_promises_nothing_is_not_resumed() {
    let (one, two) = (noise(3, 500_000), noise(4, 500_000));
    let resumes: Resumes = |part| part.header(RANGE.0, RANGE.1);
    // The last one was modified in the second in which it was sent.
    for first in [
        ("ETag", "W/\"a\""),
        ("ETag", "a"),
        ("X-Nothing", "a"),
        ("Last-Modified", NOW),
        ("Last-Modified", "yesterday"),
    ] {
        let server = replaced(first, &one, &two, resumes);
        assert_eq!(
            read(&server.url("/i")).map(drop).unwrap_err().kind,
            ErrorKind::Changed,
            "{first:?}"
        );
        assert!(
            server.requests().iter().all(|request| request.range_start().is_none()),
            "{first:?}"
        );
    }
}

#[test]
fn a_time_proves_something_where_there_is_no_etag_and_the_length_is_the_same() {
    let (one, two) = (noise(3, 500_000), noise(4, 500_000));
    let time = ("Last-Modified", LONG_AGO);
    let server = replaced(time, &one, &one, |part| {
        part.header(RANGE.0, RANGE.1).header("Last-Modified", LONG_AGO)
    });
    assert!(read(&server.url("/i")).unwrap() == one);
    let asked: Vec<_> =
        server.requests().iter().map(|asked| asked.header("if-range").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some(LONG_AGO.to_owned())]);
    let unproven: [Resumes; 4] = [
        |part| part.header(RANGE.0, RANGE.1),
        |part| part.header(RANGE.0, RANGE.1).header("Last-Modified", NOW),
        |part| {
            part.header(RANGE.0, RANGE.1)
                .header("Last-Modified", LONG_AGO)
                .header("ETag", "W/\"a\"")
        },
        |part| part.header(RANGE.0, "bytes 100000-499999/500001").header("Last-Modified", LONG_AGO),
    ];
    for (number, resumes) in unproven.into_iter().enumerate() {
        let server = replaced(time, &one, &two, resumes);
        assert_eq!(
            read(&server.url("/i")).map(drop).unwrap_err().kind,
            ErrorKind::Changed,
            "{number}"
        );
    }
}

#[test]
fn what_was_compared_in_part_is_compared_from_the_start_again() {
    let (one, two) = (noise(3, 500_000), noise(4, 500_000));
    let server = HttpServer::start(move |request, nth| match nth {
        0 => Reply::bytes(one.clone()).ranged(request, "\"a\"").cut_after(200_000),
        // Another object, whose own rest would fit.
        1 => Reply::bytes(two.clone()).ranged(request, "\"b\"").cut_after(100_000),
        _ => Reply::bytes(two.clone()).ranged(request, "\"b\""),
    });
    assert_eq!(read(&server.url("/i")).map(drop).unwrap_err().kind, ErrorKind::Changed);
}

#[test]
fn another_mirror_s_part_is_not_taken_for_the_same() {
    let (one, two) = (noise(3, 500_000), noise(4, 500_000));
    let server = HttpServer::start(move |request, nth| match request.path.as_str() {
        "/i" => Reply::status(302)
            .header("Location", if nth == 0 { "/one?sig=1" } else { "/two?sig=2" }),
        "/one?sig=1" => Reply::bytes(one.clone()).ranged(request, "\"a\"").cut_after(100_000),
        _ => Reply::bytes(two.clone()).ranged(request, "\"a\""),
    });
    assert_eq!(read(&server.url("/i")).map(drop).unwrap_err().kind, ErrorKind::Changed);
}

#[test]
fn a_refusal_behind_a_redirect_or_in_mid_transfer_is_tried_again() {
    let bytes = noise(5, 400_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |request, nth| match (request.path.as_str(), nth) {
        ("/i", _) => Reply::status(302).header("Location", format!("/mirror-{nth}")),
        // The second mirror does not have it, and the third has only half of it.
        ("/mirror-0", _) => Reply::status(404),
        ("/mirror-2", _) => {
            Reply::bytes(served.clone()).ranged(request, "\"a\"").cut_after(200_000)
        }
        ("/mirror-4", _) => Reply::status(403),
        _ => Reply::bytes(served.clone()).ranged(request, "\"a\""),
    });
    assert!(read(&server.url("/i")).unwrap() == bytes);
    let nowhere = HttpServer::start(|request, _| match request.path.as_str() {
        "/i" => Reply::status(302).header("Location", "http://me:hunter2@localhost:1/"),
        _ => Reply::status(404),
    });
    let error = read(&nowhere.url("/i")).unwrap_err();
    assert!(!everything(&error).contains("hunter2"), "{error:?}");
    let missing = HttpServer::start(|request, _| match request.path.as_str() {
        "/i" => Reply::status(302).header("Location", "/gone"),
        _ => Reply::status(404),
    });
    let error = read(&missing.url("/i")).unwrap_err();
    assert_eq!((error.kind, missing.requests().len()), (ErrorKind::Absent, 8), "{error}");
    let short = HttpServer::start(|request, nth| match (request.range_start(), nth) {
        (_, 0) => {
            Reply::bytes(vec![7; 100_000]).ranged(request, "\"a\"").unannounced().cut_after(50_000)
        }
        (Some(_), _) => Reply::status(416),
        _ => Reply::bytes(vec![7; 50_000]),
    });
    assert_eq!(read(&short.url("/i")).unwrap(), vec![7; 50_000]);
}

/// All that an error and those that it was made from say of themselves.
fn everything(error: &Error) -> String {
    let first: &dyn std::error::Error = error;
    let chain = std::iter::successors(Some(first), |error| error.source());
    chain.map(|error| format!("{error} {error:?}\n")).collect()
}

#[test]
fn a_redirect_tells_nobody_where_it_came_from() {
    let other = HttpServer::start(|_, _| Reply::bytes(b"bytes".to_vec()));
    let target = other.url("/there");
    let server =
        HttpServer::start(move |_, _| Reply::status(302).header("Location", target.clone()));
    let url = server.url("/i?X-Amz-Signature=hunter2").replace("http://", "http://me:hunter2@");
    assert_eq!(read(&url).unwrap(), b"bytes");
    let request = &other.requests()[0];
    assert_eq!((request.header("referer"), request.header("authorization")), (None, None));
}

#[test]
fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    let server = HttpServer::start(|_, nth| match nth {
        0 => Reply::status(503).header("Retry-After", "0"),
        1 => Reply::status(500),
        _ => Reply::bytes(b"bytes".to_vec()),
    });
    assert_eq!(read(&server.url("/i")).unwrap(), b"bytes");
    // A date, and not the minute that is waited otherwise.
    let server = HttpServer::start(|_, nth| match nth {
        0 => Reply::status(503).header("Retry-After", soon()),
        _ => Reply::bytes(b"bytes".to_vec()),
    });
    let slow = options().with_first_pause(Duration::from_secs(60));
    let (start, url) = (Instant::now(), server.url("/i"));
    let fetched = block_on(Document::fetch(&url, 100, &slow)).unwrap();
    assert_eq!(fetched.bytes, b"bytes");
    let server = HttpServer::start(|_, nth| match nth {
        0 => Reply::status(429).header("Retry-After", soon()),
        _ => Reply::bytes(b"bytes".to_vec()),
    });
    let url = server.url("/i");
    let bytes = block_on(async { read_to_end(&mut Source::open(&url, &slow).await?).await });
    assert_eq!(bytes.unwrap(), b"bytes");
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    for (status, kind, requests) in
        [(404, ErrorKind::Absent, 1), (401, ErrorKind::Denied, 1), (500, ErrorKind::Unreachable, 4)]
    {
        let server = HttpServer::start(move |_, _| Reply::status(status));
        let error = read(&server.url("/i")).unwrap_err();
        assert_eq!((error.kind, server.requests().len()), (kind, requests), "{error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(error.caused_by(), Some(&HttpStatus(status)));
    }
}

#[test]
fn redirects_are_followed_and_nobody_listening_is_said() {
    let server = HttpServer::start(|request, _| match request.path.as_str() {
        "/old" => Reply::status(301).header("Location", "/new"),
        _ => Reply::bytes(b"bytes".to_vec()),
    });
    assert_eq!(read(&server.url("/old")).unwrap(), b"bytes");
    let gone = server.url("/x?key=hunter2").replace("http://", "http://me:hunter2@");
    drop(server);
    let error = read(&gone).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    let system = error.caused_by::<std::io::Error>().unwrap();
    assert_eq!(system.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!everything(&error).contains("hunter2"), "{error:?}");
    assert!(error.to_string().contains("3 retries did not help"), "{error}");
}

#[test]
fn no_encoding_is_asked_for_and_credentials_are_sent_but_never_shown() {
    let server = HttpServer::start(|_, _| Reply::status(401));
    let url = server.url("/i").replace("http://", "http://me:hunter2@");
    let error = read(&url).unwrap_err();
    assert!(!everything(&error).contains("hunter2"), "{error:?}");
    let request = &server.requests()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert!(request.header("authorization").unwrap().starts_with("Basic "));
}

#[test]
fn a_file_keeps_its_holes_on_every_road() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sparse");
    sparse_raw(&path, 64 << 20, 100_000).unwrap();
    let md5 = market_testkit::md5(&std::fs::read(&path).unwrap());
    let allocated = path.metadata().unwrap().blocks();
    let receive = |location: &str, name: &str| -> (Digests, u64) {
        let target = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(directory.path().join(name))
            .unwrap();
        let mut file = SparseFile::new(target, true);
        let transferred = block_on(async {
            Source::open(location, &options())
                .await
                .unwrap()
                .transfer(
                    &mut FileSink::durable(&mut file, "target"),
                    Transfer::hashed(DigestSet::MD5),
                )
                .await
                .unwrap()
        });
        file.finish().unwrap();
        assert_eq!(market_testkit::md5(&std::fs::read(directory.path().join(name)).unwrap()), md5);
        (transferred.digests, file.file().metadata().unwrap().blocks())
    };
    let (digests, blocks) = receive(path.to_str().unwrap(), "from file");
    assert_eq!((digests.bytes, digests.md5.as_ref()), (64 << 20, Some(&md5)));
    assert!(blocks <= allocated + 64, "{blocks} of {allocated}");
    let server = HttpServer::directory(directory.path());
    let (digests, blocks) = receive(&server.url("/sparse"), "from http");
    assert_eq!(digests.md5.as_ref(), Some(&md5));
    // Zeros in a stream are found at a grain of 64 KiB.
    assert!(blocks <= allocated + 10 * 2 * 128, "{blocks} of {allocated}");
}

#[test]
fn holes_become_zeros_where_that_is_asked_for() {
    let directory = TempDir::new().unwrap();
    let mut file = SparseFile::new(File::create(directory.path().join("f")).unwrap(), false);
    file.write(&Piece::Hole(1 << 20)).unwrap();
    file.finish().unwrap();
    assert!(file.file().metadata().unwrap().blocks() * 512 >= 1 << 20);
}

#[test]
fn a_rename_never_replaces() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("a"), b"a").unwrap();
    std::fs::write(directory.path().join("b"), b"b").unwrap();
    let handle = File::open(directory.path()).unwrap();
    assert_eq!(
        rename_new(&handle, "a", &handle, "b").unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    assert_eq!(std::fs::read(directory.path().join("b")).unwrap(), b"b");
    rename_new(&handle, "a", &handle, "c").unwrap();
    assert_eq!(std::fs::read(directory.path().join("c")).unwrap(), b"a");
}

#[test]
fn peeking_takes_nothing_away() {
    let bytes = noise(5, 300_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |_, _| Reply::bytes(served.clone()));
    block_on(async {
        let mut source = Source::open(&server.url("/i"), &options()).await.unwrap();
        assert!(source.peek(70_000).await.unwrap() == bytes[..70_000]);
        assert!(source.peek(10).await.unwrap() == bytes[..10]);
        let mut file = SparseFile::new(tempfile::tempfile().unwrap(), true);
        let transferred = source
            .transfer(
                &mut FileSink::temporary(&mut file, "target"),
                Transfer::hashed(Algorithm::ALL.into_iter().collect()),
            )
            .await
            .unwrap();
        assert!(transferred.head == bytes[..64 << 10]);
        let digests = transferred.digests;
        let expected = Digests::new(300_000)
            .with(market_testkit::md5(&bytes))
            .with(Sha1::from(sha1::Sha1::digest(&bytes).0))
            .with(Sha256::from(sha2::Sha256::digest(&bytes).0));
        assert_eq!(digests, expected);
    });
}
