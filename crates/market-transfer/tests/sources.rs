//! Sources deliver every byte once and in order, or fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::sparse_raw;
use market_testkit::{block_on, md5_hex, noise, read_to_end};
use market_transfer::{
    Digests, Error, ErrorKind, FileSink, Options, Piece, Source, SparseFile, Transfer, Wanted, rename_new,
};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tempfile::TempDir;

fn options() -> Options {
    Options { backoff: Duration::ZERO, idle_timeout: Duration::from_millis(300), ..Options::default() }
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
    let starts: Vec<_> = server.requests().iter().map(market_testkit::http::Request::range_start).collect();
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

#[test]
fn a_resume_into_another_object_fails() {
    let (one, two) = (noise(3, 500_000), noise(4, 500_000));
    let with_other_etag = HttpServer::start({
        let (one, two) = (one.clone(), two.clone());
        move |request, nth| match nth {
            0 => Reply::bytes(one.clone()).ranged(request, "\"v1\"").cut_after(100_000),
            // A bad server: ignores If-Range and resumes within the new object.
            _ => Reply::bytes(two[100_000..].to_vec())
                .header("ETag", "\"v2\"")
                .header("Content-Range", "bytes 100000-499999/500000")
                .into_partial(),
        }
    });
    let at_another_place = HttpServer::start({
        let one = one.clone();
        move |request, nth| match nth {
            0 => Reply::bytes(one.clone()).ranged(request, "\"v1\"").cut_after(100_000),
            _ => Reply::bytes(one[90_000..].to_vec())
                .header("ETag", "\"v1\"")
                .header("Content-Range", "bytes 90000-499999/500000")
                .into_partial(),
        }
    });
    let replaced = HttpServer::start(move |request, nth| {
        let body = if nth == 0 { &one } else { &two };
        let reply = Reply::bytes(body.clone()).ranged(request, if nth == 0 { "\"v1\"" } else { "\"v2\"" });
        if nth == 0 { reply.cut_after(100_000) } else { reply }
    });
    for server in [with_other_etag, at_another_place, replaced] {
        assert_eq!(read(&server.url("/i")).unwrap_err().kind, ErrorKind::Changed);
    }
}

#[test]
fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    let server = HttpServer::start(|_, nth| match nth {
        0 => Reply::status(503).header("Retry-After", "0"),
        1 => Reply::status(500),
        _ => Reply::bytes(b"bytes".to_vec()),
    });
    assert_eq!(read(&server.url("/i")).unwrap(), b"bytes");
    for (status, kind, requests) in
        [(404, ErrorKind::Absent, 1), (401, ErrorKind::Denied, 1), (500, ErrorKind::Unreachable, 4)]
    {
        let server = HttpServer::start(move |_, _| Reply::status(status));
        let error = read(&server.url("/i")).unwrap_err();
        assert_eq!((error.kind, server.requests().len()), (kind, requests), "{error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
}

#[test]
fn redirects_are_followed_and_nobody_listening_is_said() {
    let server = HttpServer::start(|request, _| match request.path.as_str() {
        "/old" => Reply::status(301).header("Location", "/new"),
        _ => Reply::bytes(b"bytes".to_vec()),
    });
    assert_eq!(read(&server.url("/old")).unwrap(), b"bytes");
    let gone = server.url("/x");
    drop(server);
    let error = read(&gone).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.to_string().contains("3 retries did not help"), "{error}");
}

#[test]
fn no_encoding_is_asked_for_and_credentials_are_sent_but_never_shown() {
    let server = HttpServer::start(|_, _| Reply::status(401));
    let url = server.url("/i").replace("http://", "http://me:hunter2@");
    let error = read(&url).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let request = &server.requests()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert!(request.header("authorization").unwrap().starts_with("Basic "));
}

#[test]
fn a_file_keeps_its_holes_on_every_road() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sparse");
    sparse_raw(&path, 64 << 20, 100_000).unwrap();
    let md5 = md5_hex(&std::fs::read(&path).unwrap());
    let allocated = path.metadata().unwrap().blocks();
    let receive = |location: &str, name: &str| -> (Digests, u64) {
        let target = File::options().create_new(true).read(true).write(true).open(directory.path().join(name)).unwrap();
        let mut file = SparseFile::new(target, true);
        let transferred = block_on(async {
            Source::open(location, &options())
                .await
                .unwrap()
                .transfer(
                    &mut FileSink { file: &mut file, subject: "target", durable: true },
                    Transfer::hashed(Wanted::MD5),
                )
                .await
                .unwrap()
        });
        file.finish().unwrap();
        assert_eq!(md5_hex(&std::fs::read(directory.path().join(name)).unwrap()), md5);
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
    assert_eq!(rename_new(&handle, "a", &handle, "b").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
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
                &mut FileSink { file: &mut file, subject: "t", durable: false },
                Transfer::hashed(Wanted { md5: true, sha1: true, sha256: true }),
            )
            .await
            .unwrap();
        assert!(transferred.head == bytes[..64 << 10]);
        let digests = transferred.digests;
        assert_eq!(digests.md5.unwrap(), md5_hex(&bytes));
        assert_eq!((digests.sha1.unwrap().len(), digests.sha256.unwrap().len()), (40, 64));
    });
}
