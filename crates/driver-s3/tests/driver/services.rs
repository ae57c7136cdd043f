//! What services do otherwise than AWS, or say of themselves: limits, lists, missing requests,
//! errors.

use crate::common::{
    self, PART, app_bytes, call, command, delete, dump, image, import, market_file, succeeded,
};
use market_core::backend::{Deleted, StorageBackend};
use market_core::transfer::Piece;
use market_testkit::driver::{answer, failure, stderr};
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::s3::{self, Fate, S3Server, Seen};
use market_testkit::{block_on, md5_hex, noise};
use std::fs::{self, File};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

fn said(status: u16, code: &str, message: &str) -> Fate {
    Fate::Says(status, format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

/// A server with the bucket `apps`; what becomes of a request, when it is not the usual.
fn server(judge: impl Fn(&Seen) -> Option<Fate> + Send + Sync + 'static) -> S3Server {
    let server = S3Server::start_with(move |seen, _| judge(seen).unwrap_or_default());
    server.create_bucket("apps");
    server
}

fn asked(server: &S3Server, what: &str) -> Vec<Seen> {
    server.seen().into_iter().filter(|seen| seen.what() == what).collect()
}

#[test]
fn every_part_goes_with_its_md5_and_temporary_keys_with_their_token() {
    // As a bucket with Object Lock does.
    let server = server(|seen| {
        let lacks =
            matches!(seen.what(), "part" | "put") && !seen.headers.contains_key("content-md5");
        lacks.then(|| said(400, "InvalidRequest", "Content-MD5 HTTP header is required"))
    });
    let directory = TempDir::new().unwrap();
    let bytes = noise(1, 2 * PART.1 + 10);
    let token = "FwoGZXIvYXdzEBYaDH/+token==";
    let more = [
        ("READ_LENGTH", PART.0),
        ("SESSION_TOKEN", token),
        ("STORAGE_CLASS", "STANDARD_IA"),
        ("SERVER_SIDE_ENCRYPTION", "AES256"),
    ];
    let dump =
        dump(server.market("apps", &more), &image(directory.path(), &bytes), &md5_hex(&bytes));
    let source = answer(&import(&dump), "SOURCE");
    assert!(app_bytes(&dump.market, 30, &source).unwrap() == bytes);
    assert!(
        call("monitor", &dump.monitor()).status.success()
            && delete(&dump, &source).status.success()
    );
    let seen = server.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.headers.get("x-amz-security-token").is_some_and(|sent| sent == token))
    );
    assert!(seen.iter().any(|seen| seen.what() == "get"), "an export sends it too");
    let signed = |seen: &Seen| {
        seen.headers["authorization"].to_str().unwrap().contains("x-amz-security-token")
    };
    assert!(seen.iter().all(signed));
    assert_eq!(asked(&server, "part").len(), 3);
    let begun = asked(&server, "create upload").remove(0);
    assert_eq!(begun.headers["x-amz-storage-class"], "STANDARD_IA");
    assert_eq!(begun.headers["x-amz-server-side-encryption"], "AES256");
}

#[test]
fn lists_may_have_roots_of_other_names() {
    let server = server(|seen| match seen.what() {
        "list parts" => Some(Fate::Rewritten("ListPartsResult", "ListPartsResponse")),
        "complete" => Some(Fate::Rewritten(
            "CompleteMultipartUploadResult",
            "CompleteMultipartUploadResponse",
        )),
        _ => None,
    });
    let directory = TempDir::new().unwrap();
    let dump = dump(server.market("apps", &[]), &image(directory.path(), b"bytes"), "");
    let output = import(&dump);
    answer(&output, "SOURCE");
    assert!(!stderr(&output).contains("WARN"), "{}", stderr(&output));
    assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"bytes");
}

#[test]
fn where_no_parts_are_listed_their_md5_is_the_proof() {
    let directory = TempDir::new().unwrap();
    let bytes = noise(2, PART.1 + 10);
    let path = image(directory.path(), &bytes);
    for (status, code) in
        [(501, "NotImplemented"), (405, "MethodNotAllowed"), (404, "NoSuchKey"), (404, "")]
    {
        let server = server(move |seen| {
            (seen.what() == "list parts").then_some(Fate::Refused(status, code, None))
        });
        let dump = dump(server.market("apps", &[("READ_LENGTH", PART.0)]), &path, "");
        let output = import(&dump);
        answer(&output, "SOURCE");
        assert!(
            stderr(&output).contains("WARN: import: the service does not list the parts"),
            "{}",
            stderr(&output)
        );
        assert!(server.object("apps", "marketapp-30").unwrap() == bytes);
    }
    let server = server(|seen| match seen.what() {
        "list parts" => Some(Fate::Refused(501, "NotImplemented", None)),
        "part" => Some(Fate::WrongETag),
        _ => None,
    });
    let line = failure(&import(&dump(server.market("apps", &[]), &path, "")), 11);
    assert!(line.contains("lists no parts of uploads and tells no MD5 of them"), "{line}");
    assert_eq!((server.uploads(), server.keys("apps").len()), (0, 0));
}

#[test]
fn where_there_are_no_uploads_in_parts_a_small_object_goes_in_one_conditional_request() {
    let directory = TempDir::new().unwrap();
    let bytes = noise(3, 3_000_000);
    let path = image(directory.path(), &bytes);
    for (status, code) in
        [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "MalformedPOSTRequest")]
    {
        let server = server(move |seen| {
            (seen.what() == "create upload").then_some(Fate::Refused(status, code, None))
        });
        let dump = dump(server.market("apps", &[]), &path, &md5_hex(&bytes));
        let output = import(&dump);
        assert_eq!(answer(&output, "SOURCE"), "s3://apps/marketapp-30");
        assert!(stderr(&output).contains("the object goes in one request"), "{}", stderr(&output));
        assert!(server.object("apps", "marketapp-30").unwrap() == bytes);
        let puts = asked(&server, "put");
        assert!(puts.len() == 1 && puts[0].creates && puts[0].headers.contains_key("content-md5"));
        assert!(failure(&import(&dump), 7).contains("already exists"));
        // A wrong image, and one that is too large for memory.
        let wrong = Dump { app: 31, md5: md5_hex(b"another"), ..dump.clone() };
        assert!(failure(&import(&wrong), 9).contains("the datastore declared"));
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(65 << 20).unwrap();
        let large = Dump {
            app: 32,
            md5: String::new(),
            import_source: large.to_str().unwrap().into(),
            ..dump
        };
        let line = failure(&import(&large), 11);
        assert!(
            line.contains("takes no uploads in parts, and what has more than 64 MiB"),
            "{line}"
        );
        assert_eq!(server.keys("apps"), ["marketapp-30"]);
    }
    // The answer to the only request is lost, or it is changed on its way.
    for fate in [Fate::Lost, Fate::Flipped, Fate::Truncated] {
        let count = AtomicUsize::new(0);
        let server = server(move |seen| match seen.what() {
            "create upload" => Some(Fate::Refused(501, "NotImplemented", None)),
            "put" if count.fetch_add(1, Ordering::SeqCst) == 0 => Some(fate.clone()),
            _ => None,
        });
        answer(&import(&dump(server.market("apps", &[]), &path, "")), "SOURCE");
        assert!(server.object("apps", "marketapp-30").unwrap() == bytes);
    }
    // Nobody says how long it is.
    let server = server(|seen| {
        (seen.what() == "create upload").then_some(Fate::Refused(501, "NotImplemented", None))
    });
    let pages = HttpServer::start(|_, _| Reply::bytes(noise(4, 66 << 20)).chunked());
    let line = failure(&import(&dump(server.market("apps", &[]), &pages.url("/image"), "")), 11);
    assert!(line.contains("more than 64 MiB"), "{line}");
    assert_eq!(server.keys("apps").len(), 0);
}

#[test]
fn a_limit_on_parts_is_learnt_before_they_are_cut() {
    let limited = |most: u64| {
        server(move |seen| {
            let number = seen.query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
            let number: u64 = number?.parse().unwrap();
            if number > most {
                return Some(said(
                    400,
                    "InvalidArgument",
                    "Part number must be an integer between 1 and 1000, inclusive",
                ));
            }
            // It is known by then; the rest of the image is not to be stored.
            let length: u64 = seen.headers["content-length"].to_str().unwrap().parse().unwrap();
            (length > 1).then(|| said(403, "AccessDenied", "enough"))
        })
    };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    File::create(&path).unwrap().set_len(8_001 << 20).unwrap();
    for (most, more, part, told) in [
        (1_000, vec![], 9 << 20, true),
        (5_000, vec![], 8 << 20, true),
        (10_000, vec![], 8 << 20, false),
        (500, vec![("MAX_PARTS", "500")], 17 << 20, false),
    ] {
        let server = limited(most);
        let output = import(&dump(
            server.market("apps", &[&more[..], &[("TOTAL_MB", "1000000")]].concat()),
            path.to_str().unwrap(),
            "",
        ));
        assert!(failure(&output, 5).contains("enough"), "{}", stderr(&output));
        assert_eq!(
            stderr(&output).contains(&format!("the service allows {most} parts")),
            told,
            "{}",
            stderr(&output)
        );
        let longest = asked(&server, "part")
            .iter()
            .map(|seen| seen.headers["content-length"].to_str().unwrap().parse::<u64>().unwrap())
            .max();
        assert_eq!(longest, Some(part), "{most}");
        assert_eq!(server.uploads(), 0);
    }
    // In few and large parts, as the operator says.
    let server = server(|_| None);
    let bytes = noise(5, 2 * PART.1 + 10);
    let path = image(directory.path(), &bytes);
    let market = server.market("apps", &[("READ_LENGTH", PART.0), ("MAX_PARTS", "2")]);
    answer(&import(&dump(market, &path, "")), "SOURCE");
    assert!(
        server.object("apps", "marketapp-30").unwrap() == bytes
            && asked(&server, "part").len() == 2
    );
}

/// An import of 8,001 MiB to a server that allows 1,000 parts, and stores none; what becomes of the
/// upload that asks for the limit.
fn asking_for_the_limit(
    answer: impl Fn() -> Option<Fate> + Send + Sync + 'static,
) -> (S3Server, Output) {
    let begun = AtomicUsize::new(0);
    let server = server(move |seen| match seen.what() {
        "create upload" if !seen.headers.contains_key("x-amz-server-side-encryption") => {
            Some(said(403, "AccessDenied", "not without encryption"))
        }
        "create upload" if begun.fetch_add(1, Ordering::SeqCst) == 1 => answer(),
        "part" if seen.headers["content-length"] != "1" => {
            Some(said(403, "AccessDenied", "enough"))
        }
        "part"
            if !seen.query.contains("partNumber=1000")
                || seen.query.contains("partNumber=10000") =>
        {
            Some(said(
                400,
                "InvalidArgument",
                "Part number must be an integer between 1 and 1000, inclusive",
            ))
        }
        _ => None,
    });
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    File::create(&path).unwrap().set_len(8_001 << 20).unwrap();
    let more = [("TOTAL_MB", "1000000"), ("SERVER_SIDE_ENCRYPTION", "AES256")];
    let output = import(&dump(server.market("apps", &more), path.to_str().unwrap(), ""));
    assert!(failure(&output, 5).contains("enough"), "{}", stderr(&output));
    assert_eq!(server.uploads(), 0);
    (server, output)
}

#[test]
fn an_import_that_asks_for_the_limit_on_parts_keeps_its_own_upload() {
    // What was not done may have been: other uploads of that moment are looked for.
    let (server, output) = asking_for_the_limit(|| Some(Fate::Refused(503, "SlowDown", Some(0))));
    assert!(stderr(&output).contains("the service allows 1000 parts"), "{}", stderr(&output));
    let seen = server.seen();
    let first = seen
        .iter()
        .position(|seen| seen.what() == "part" && seen.headers["content-length"] != "1")
        .unwrap();
    let id = |seen: &Seen| {
        seen.query.split('&').find(|pair| pair.starts_with("uploadId=")).unwrap().to_owned()
    };
    let own = id(&seen[first]);
    let given_up = seen.iter().position(|seen| seen.what() == "abort" && id(seen) == own).unwrap();
    assert!(given_up > first, "the upload was given up before its first part was sent");
}

#[test]
fn a_limit_on_parts_that_cannot_be_found_out_does_not_prevent_an_import() {
    let (server, output) =
        asking_for_the_limit(|| Some(said(403, "AccessDenied", "one upload at a time")));
    assert!(
        stderr(&output).contains("one upload at a time)): 10000 are assumed"),
        "{}",
        stderr(&output)
    );
    let first = asked(&server, "part").remove(0);
    assert_eq!(first.headers["content-length"], (8 << 20).to_string());
}

#[test]
fn what_a_service_says_is_shown_and_advised_on_by_its_cause() {
    for (status, code, message, exit, expected) in [
        (
            403,
            "AccessDenied",
            "Transaction cap exceeded",
            5,
            "(it says: Transaction cap exceeded); check what these keys may do with the bucket, and its limits",
        ),
        (
            403,
            "StorageCapExceeded",
            "cap",
            8,
            "403 StorageCapExceeded (it says: cap); free some space, or have the limit raised",
        ),
        (
            403,
            "InvalidAccessKeyId",
            "no",
            5,
            "the access key is unknown there (it says: no); check ACCESS_KEY_ID",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            "no",
            5,
            "(it says: no); check SECRET_ACCESS_KEY and REGION",
        ),
        (400, "ExpiredToken", "no", 5, "renew ACCESS_KEY_ID, SECRET_ACCESS_KEY and SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "no", 5, "set the clock of this machine"),
        (
            400,
            "AuthorizationHeaderMalformed",
            "expecting 'eu-north-1'</Message><Region>eu-north-1</Region><Message>",
            4,
            "the bucket is in the region eu-north-1 (it says: expecting 'eu-north-1'); set REGION=\"eu-north-1\"",
        ),
        (
            301,
            "PermanentRedirect",
            "elsewhere",
            4,
            "(it says: elsewhere); correct REGION or ENDPOINT",
        ),
        (
            400,
            "SomethingNew",
            "two\nlines &lt;b&gt; MARKETTESTKEYID00000 and market-test/hunter2+secret",
            1,
            "400 SomethingNew (it says: two lines <b> .. and ..)",
        ),
    ] {
        let refuse = server(move |_| Some(said(status, code, message)));
        let dump = dump(refuse.market("apps", &[]), "/dev/null", "");
        // A listing, and an object that is looked for.
        for output in [call("monitor", &dump.monitor()), delete(&dump, "s3://apps/marketapp-30")] {
            let line = failure(&output, exit);
            assert!(line.contains(expected) && line.contains("s3://apps/"), "{line}");
        }
    }
}

#[test]
fn an_error_that_says_200_after_white_space_is_an_error() {
    let count = AtomicUsize::new(0);
    let server = server(move |seen| {
        match seen.what() {
        "complete" if count.fetch_add(1, Ordering::SeqCst) == 0 => Some(Fate::Says(
            200,
            "  \r\n\n <?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>again</Message></Error>".into(),
        )),
        "complete" | "list" | "list parts" | "list uploads" | "create upload" => {
            Some(Fate::Rewritten("<?xml", "\n \r\n<?xml"))
        }
        _ => None,
    }
    });
    let directory = TempDir::new().unwrap();
    let dump = dump(server.market("apps", &[]), &image(directory.path(), b"bytes"), "");
    let output = import(&dump);
    assert_eq!(answer(&output, "SOURCE"), "s3://apps/marketapp-30");
    assert!(
        stderr(&output).contains("the service answered InternalError (it says: again)"),
        "{}",
        stderr(&output)
    );
    assert_eq!(server.object("apps", "marketapp-30").unwrap(), b"bytes");
}

#[test]
fn gc_of_objects_goes_on_where_uploads_cannot_be_listed_and_says_so() {
    let directory = TempDir::new().unwrap();
    let list = directory.path().join("sources");
    fs::write(&list, "s3://apps/marketapp-1\n").unwrap();
    let gc = |server: &S3Server, more: &[&str]| {
        let market = market_file(directory.path(), &server.market("apps", &[]));
        command(&[&["gc", &market], more].concat())
    };
    let apps = ["--apps", list.to_str().unwrap()];
    for (status, code) in [(501, "NotImplemented"), (403, "AccessDenied"), (404, "")] {
        let server = server(move |seen| {
            (seen.what() == "list uploads").then_some(Fate::Refused(status, code, None))
        });
        server.put("apps", "marketapp-1", b"kept");
        server.put("apps", "marketapp-77", b"orphan");
        let path = server.path("apps", "marketapp-77");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        let output = gc(&server, &apps);
        let table = succeeded(&output);
        assert!(table.contains("marketapp-77") && !table.contains("marketapp-1 "), "{table}");
        assert!(
            stderr(&output).contains("WARN: gc: unfinished imports cannot be listed"),
            "{}",
            stderr(&output)
        );
        // Alone, it has nothing else to look for.
        assert_eq!(gc(&server, &[]).status.code(), Some(11));
    }
    // One that has no uploads may say so in its own way.
    let server = server(|seen| {
        (seen.what() == "list uploads").then_some(Fate::Refused(404, "NoSuchUpload", None))
    });
    assert!(succeeded(&gc(&server, &[])).starts_with("0 object(s)"));
}

#[test]
fn a_bucket_is_made_in_its_region_or_without_one() {
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    let bodies = |server: &S3Server| {
        let made = asked(server, "create bucket");
        made.iter().map(|seen| seen.headers["content-length"] != "0").collect::<Vec<_>>()
    };
    let server = S3Server::start();
    let output = import(&dump(server.market("apps", &[("REGION", "eu-north-1")]), &path, ""));
    assert!(
        stderr(&output).contains("INFO: import: the bucket apps was made"),
        "{}",
        stderr(&output)
    );
    assert_eq!(bodies(&server), [true]);
    let server = S3Server::start();
    answer(&import(&dump(server.market("apps", &[("REGION", "us-east-1")]), &path, "")), "SOURCE");
    assert_eq!(bodies(&server), [false]);
    // As Ceph does, whose regions have other names.
    let server = S3Server::start_with(|seen, _| match seen.what() {
        "create bucket" if seen.headers["content-length"] != "0" => {
            said(400, "InvalidLocationConstraint", "not valid")
        }
        _ => Fate::Whole,
    });
    answer(&import(&dump(server.market("apps", &[]), &path, "")), "SOURCE");
    assert_eq!(bodies(&server), [true, false]);
}

#[test]
fn keys_of_others_and_lists_without_an_order_do_no_harm() {
    let entry = |key: &str, size: u32| {
        format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-11-22T16:00:00Z</LastModified></Contents>"
        )
    };
    // Directories in between, without what only objects have; in no order.
    let pages = [
        [
            entry("marketapp-9/x", 1_000_000_000),
            entry("marketapp-9-foo", 1_000_000_000),
            entry("marketapp-7", 1_000),
        ]
        .concat(),
        ["<Contents><Key>marketapp-9/</Key></Contents>".to_owned(), entry("marketapp-10", 2_000)]
            .concat(),
        entry("marketapp-2", 4_000),
    ];
    let server = HttpServer::start(move |request, _| {
        let page = ["token=one", "token=two"]
            .iter()
            .position(|token| request.path.contains(token))
            .map_or(0, |page| page + 1);
        let next = ["one", "two", ""][page];
        let more = if next.is_empty() {
            String::new()
        } else {
            format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
            )
        };
        Reply::bytes(
            format!("<ListBucketResult>{more}{}</ListBucketResult>", pages[page]).into_bytes(),
        )
    });
    let market = s3::market(&server.url(""), "here", "apps", &[("TOTAL_MB", "10")]);
    let report = succeeded(&call("monitor", &dump(market, "", "").monitor()));
    assert_eq!(report, "USED_MB=\"1\"\nFREE_MB=\"9\"\nTOTAL_MB=\"10\"\n");
}

#[test]
fn a_deletion_that_the_service_does_not_do_is_a_failure() {
    let server = server(|seen| (seen.what() == "delete").then(|| Fate::Says(204, String::new())));
    server.put("apps", "marketapp-30", b"bytes");
    let market = server.market("apps", &[]);
    let error = block_on(async {
        let market = common::open(&market, &common::impatient()).await;
        StorageBackend::delete(&market, &common::located(&market, "s3://apps/marketapp-30"))
            .await
            .unwrap_err()
    });
    assert!(
        error.cause.contains("says that it has deleted the object, and still has it"),
        "{error}"
    );
}

#[test]
fn an_object_that_is_not_found_any_more_is_deleted_although_a_list_lags_behind() {
    let deleted = AtomicUsize::new(0);
    let server = server(move |seen| match seen.what() {
        "delete" => {
            deleted.fetch_add(1, Ordering::SeqCst);
            Some(Fate::Says(204, String::new()))
        }
        "head" if deleted.load(Ordering::SeqCst) > 0 => Some(Fate::Says(404, String::new())),
        _ => None,
    });
    server.put("apps", "marketapp-30", b"bytes");
    let (market, context) = (server.market("apps", &[]), common::impatient());
    let outcome = block_on(async {
        let market = common::open(&market, &context).await;
        StorageBackend::delete(&market, &common::located(&market, "s3://apps/marketapp-30")).await
    });
    assert_eq!(outcome.unwrap(), Deleted::Removed);
    let log = context.log.lines().join("\n");
    assert!(log.contains("WARN") && log.contains("the service still lists it"), "{log}");
}

#[test]
fn an_export_is_read_from_its_start_again_where_a_service_proves_nothing() {
    type Resumed = fn(Reply) -> Reply;
    let (bytes, at) = (noise(6, 300_000), 200_000);
    let cases: [(u16, Resumed, Option<&str>); 6] = [
        (200, |whole| whole.header("ETag", "\"a\""), None),
        (206, |rest| rest, None),
        (206, |rest| rest.header("ETag", "W/\"a\""), None),
        (206, |rest| rest.header("ETag", "\"a\""), None),
        (206, |rest| rest.header("ETag", "\"b\""), Some("changed between two requests")),
        (412, |refusal| refusal, Some("changed between two requests")),
    ];
    for (nth, (status, resumed, expected)) in cases.into_iter().enumerate() {
        let body = bytes.clone();
        let server = HttpServer::start(move |request, nth| match request.range_start() {
            Some(start) if status == 206 => {
                let rest = body[usize::try_from(start).unwrap()..].to_vec();
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                resumed(Reply::bytes(rest).into_partial().header("Content-Range", range))
            }
            Some(_) if status == 412 => resumed(Reply::status(412)),
            Some(_) => resumed(Reply::bytes(body.clone())),
            None => {
                let whole = Reply::bytes(body.clone()).header("ETag", "\"a\"");
                if nth == 0 { whole.cut_after(at) } else { whole }
            }
        });
        let market = s3::market(&server.url(""), "here", "apps", &[]);
        let read = block_on(async {
            let market = common::open(&market, &common::impatient()).await;
            let key = common::located(&market, "s3://apps/marketapp-30");
            let mut source = StorageBackend::open(&market, &key).await?.unwrap();
            let mut read = Vec::new();
            while let Some(piece) = source.next().await? {
                match piece {
                    Piece::Data(data) => read.extend_from_slice(&data),
                    Piece::Hole(length) => {
                        read.resize(read.len() + usize::try_from(length).unwrap(), 0)
                    }
                }
            }
            Ok::<_, market_core::error::Error>(read)
        });
        match (read, expected) {
            (Ok(read), None) => assert!(read == bytes, "case {nth}: other bytes"),
            (Err(error), Some(expected)) => {
                assert!(error.cause.contains(expected), "case {nth}: {error}")
            }
            (read, _) => panic!("case {nth}: {:?}", read.map(|read| read.len())),
        }
    }
}

#[test]
fn an_object_that_is_shorter_than_what_was_sent_is_removed_again() {
    // A service that forgets bytes when it completes.
    let place = std::sync::Arc::new(std::sync::OnceLock::<std::path::PathBuf>::new());
    let told = std::sync::Arc::clone(&place);
    let server = server(move |seen| {
        if seen.what() == "list uploads" {
            let file = File::options().write(true).open(told.get().unwrap()).unwrap();
            file.set_len(3).unwrap();
        }
        None
    });
    place.set(server.path("apps", "marketapp-30")).unwrap();
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    let line = failure(&import(&dump(server.market("apps", &[]), &path, "")), 9);
    assert!(line.contains("made 3 bytes of 5; it was removed again"), "{line}");
    assert_eq!((server.uploads(), server.keys("apps").len()), (0, 0));
}

#[test]
fn an_object_is_read_back_where_other_imports_cannot_be_seen() {
    // The bytes of another import, with the mark of this one.
    let place = std::sync::Arc::new(std::sync::OnceLock::<std::path::PathBuf>::new());
    let told = std::sync::Arc::clone(&place);
    let server = server(move |seen| {
        (seen.what() == "list uploads").then(|| {
            fs::write(told.get().unwrap(), b"other").unwrap();
            Fate::Refused(501, "NotImplemented", None)
        })
    });
    place.set(server.path("apps", "marketapp-30")).unwrap();
    let directory = TempDir::new().unwrap();
    let path = image(directory.path(), b"bytes");
    let line = failure(&import(&dump(server.market("apps", &[]), &path, "")), 9);
    assert!(line.contains("holds other bytes than were sent; it was removed again"), "{line}");
    assert_eq!((server.uploads(), server.keys("apps").len()), (0, 0));
}

#[test]
fn a_service_that_is_silent_does_not_hold_up_the_end() {
    // It accepts and never answers, at the first request of an import that makes something.
    for (what, code, seconds) in
        [("head", 12, 2), ("create upload", 12, 3), ("list parts", 12, 20), ("complete", 12, 20)]
    {
        let server =
            S3Server::start_with(
                move |seen, _| {
                    if seen.what() == what { Fate::held() } else { Fate::Whole }
                },
            );
        server.create_bucket("apps");
        let directory = TempDir::new().unwrap();
        let child = common::started(&dump(
            server.market("apps", &[]),
            &image(directory.path(), b"bytes"),
            "",
        ));
        common::wait_until("the service is asked", || server.held() > 0);
        let begun = std::time::Instant::now();
        common::signal(&child, rustix::process::Signal::TERM);
        let output = child.wait_with_output().unwrap();
        let took = begun.elapsed();
        let line = failure(&output, code);
        assert!(line.contains("SIGTERM") || line.contains("was told to end"), "{line}");
        assert!(took < std::time::Duration::from_secs(seconds), "{what}: {took:?}");
    }
}
