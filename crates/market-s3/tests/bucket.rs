//! Buckets of a server in this process, by the library alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_core::model::Secret;
use market_s3::{Access, Bucket, ETag, ObjectOptions, Payload, PutMode, Reason, S3Error, S3Scheme};
use market_testkit::proxy::{Break, Proxy};
use market_testkit::s3::{ACCESS_KEY_ID, Fate, S3Server, SECRET_ACCESS_KEY};
use market_testkit::{block_on, noise};
use market_transfer::{ErrorKind, Options, Piece, Source};
use std::time::Duration;

fn access(endpoint: &str) -> Access {
    Access::new("default", ACCESS_KEY_ID, Secret::new(SECRET_ACCESS_KEY))
        .with_endpoint(endpoint)
        .with_path_style(true)
}

fn options() -> Options {
    Options::default().with_first_pause(Duration::ZERO).with_idle_timeout(Duration::from_secs(5))
}

fn bucket(server: &S3Server) -> Bucket {
    Bucket::new(&access(&server.endpoint()), "apps", &options()).unwrap()
}

async fn payload(bytes: &[u8]) -> Payload {
    Payload::new(vec![bytes.to_vec().into()]).await
}

#[test]
fn an_object_is_stored_found_listed_and_deleted() {
    let server = S3Server::start();
    let bucket = bucket(&server);
    block_on(async {
        let missing = bucket.head("a b").await.unwrap_err();
        assert_eq!((missing.code(), missing.reason()), ("NoSuchBucket", &Reason::NoSuchBucket));
        bucket.create_bucket().await.unwrap();
        assert!(bucket.head("a b").await.unwrap().is_none());
        let bytes = payload(b"hello").await;
        let marked = ObjectOptions::default().with_metadata("import", "1").unwrap();
        bucket.put_object("a b", &bytes, &marked, PutMode::Create).await.unwrap();
        let found = bucket.head("a b").await.unwrap().unwrap();
        assert_eq!((found.bytes, found.metadata("import")), (Some(5), Some("1")));
        assert!(found.etag.unwrap().is_md5_of(&bytes) && found.last_modified.is_some());
        let taken = bucket.put_object("a b", &bytes, &marked, PutMode::Create).await.unwrap_err();
        assert_eq!((taken.kind(), taken.status()), (ErrorKind::Changed, Some(412)));
        assert!(taken.is_definite_refusal() && !taken.is_retryable());
        let mut listed = Vec::new();
        bucket.list_objects("a", |_| true, &mut |object| listed.push(object)).await.unwrap();
        assert_eq!((listed.len(), listed[0].key.as_str(), listed[0].bytes), (1, "a b", 5));
        assert!(listed[0].age < Duration::from_secs(60));
        bucket.delete_object("a b").await.unwrap();
        assert!(bucket.head("a b").await.unwrap().is_none());
    });
}

#[test]
fn an_upload_is_an_object_when_it_is_completed_and_nothing_when_it_is_aborted() {
    let server = S3Server::start();
    server.create_bucket("apps");
    let bucket = bucket(&server);
    block_on(async {
        let parts = [payload(&noise(1, 5 << 20)).await, payload(b"the end").await];
        let options = ObjectOptions::default();
        for complete in [true, false] {
            let id = bucket.create_upload("app", &options).await.unwrap();
            let mut taken = Vec::new();
            for (number, part) in (1..).zip(&parts) {
                taken.push(bucket.upload_part("app", &id, number, part).await.unwrap());
            }
            let held = bucket.list_parts("app", &id).await.unwrap();
            assert!(held.iter().zip(&taken).all(|(held, taken)| held.etag == taken.etag));
            let listed = bucket.list_uploads("app", |key| key == "app").await.unwrap();
            assert_eq!((listed.len(), listed[0].id.as_str()), (1, id.as_str()));
            if complete {
                let etag = bucket.complete_upload("app", &id, &taken, PutMode::Create).await;
                assert_eq!(etag.unwrap().as_ref().and_then(ETag::parts), Some(2));
                assert_eq!(bucket.head("app").await.unwrap().unwrap().bytes, Some((5 << 20) + 7));
                bucket.delete_object("app").await.unwrap();
            } else {
                bucket.abort_upload("app", &id).await.unwrap();
                assert!(bucket.abort_upload("app", &id).await.unwrap_err().is_no_such_upload());
                assert!(bucket.head("app").await.unwrap().is_none());
            }
            assert!(bucket.list_uploads("", |_| true).await.unwrap().is_empty());
        }
    });
}

#[test]
fn an_object_is_a_source_that_is_resumed_where_it_broke() {
    let server = S3Server::start();
    server.create_bucket("apps");
    let bytes = noise(2, 4_000_000);
    server.put("apps", "app", &bytes);
    let proxy = Proxy::start(server.address(), |nth| match nth {
        0 => Break::Reset(1_500_000),
        _ => Break::Never,
    });
    let read = block_on(async {
        let endpoint = format!("http://127.0.0.1:{}", proxy.port());
        let options = options().with_scheme(S3Scheme::new(access(&endpoint)));
        let mut source = Source::open("s3://apps/app", &options).await.unwrap();
        assert_eq!(source.length(), Some(4_000_000));
        let mut read = Vec::new();
        while let Some(piece) = source.next().await.unwrap() {
            let Piece::Data(data) = piece else { panic!("noise has no holes") };
            read.extend_from_slice(&data);
        }
        let absent = Source::open("s3://apps/other", &options).await.err().unwrap();
        assert_eq!(absent.kind, ErrorKind::Absent);
        read
    });
    assert!(read == bytes);
    let ranges: Vec<_> = server.seen().into_iter().filter(|seen| seen.what() == "get").collect();
    assert!(ranges.iter().any(|seen| seen.headers.contains_key("range")), "it was read again");
}

#[test]
fn a_service_that_is_busy_is_asked_again_as_often_as_the_options_allow() {
    for (busy, retries, succeeds) in [(2, 2, true), (3, 2, false), (1, 0, false)] {
        let server = S3Server::start_with(move |_, nth| {
            if nth < busy { Fate::Refused(503, "SlowDown", Some(0)) } else { Fate::Whole }
        });
        server.create_bucket("apps");
        let options = options().with_retries(retries);
        let bucket = Bucket::new(&access(&server.endpoint()), "apps", &options).unwrap();
        let outcome = block_on(bucket.list_objects("", |_| true, &mut |_| {}));
        assert_eq!(outcome.is_ok(), succeeds, "{outcome:?}");
        if let Err(failure) = outcome {
            assert_eq!((failure.status(), failure.code()), (Some(503), "SlowDown"));
            assert!(failure.is_retryable() && !failure.is_definite_refusal());
        }
        assert_eq!(server.seen().len(), usize::try_from(retries).unwrap() + 1);
    }
}

#[test]
fn a_failure_has_its_cause_and_no_secret() {
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let access = access(&format!("http://{closed}"));
    let bucket = Bucket::new(&access, "apps", &options().with_retries(0)).unwrap();
    let failure: S3Error = block_on(bucket.head("app")).unwrap_err();
    assert_eq!((failure.kind(), failure.reason()), (ErrorKind::Unreachable, &Reason::NoConnection));
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(&failure);
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    let refused = |cause: &&(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<std::io::Error>();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    assert!(causes.iter().any(refused), "{causes:?}");
    let shown = format!("{failure} {failure:?} {bucket:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(ACCESS_KEY_ID), "{shown}");
}

#[test]
fn a_key_that_no_url_can_hold_is_not_asked_for() {
    let server = S3Server::start();
    server.create_bucket("apps");
    let bucket = bucket(&server);
    for key in ["..", "a/../b", "./a", "a\nb"] {
        let failure = block_on(bucket.delete_object(key)).unwrap_err();
        assert_eq!((failure.kind(), failure.status()), (ErrorKind::Malformed, None), "{key:?}");
    }
    assert_eq!(server.seen().len(), 0);
}
