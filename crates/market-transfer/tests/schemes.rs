//! Schemes and streams that a program brings itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::{block_on, md5, noise, read_to_end};
use market_transfer::{
    Bytes, CommandOutput, CommandSpec, DigestSet, Error, ErrorKind, FileSink, Location, Opened,
    Options, Origin, RetryableError, Scheme, Schemes, Source, SparseFile, Transfer,
};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn options() -> Options {
    Options::default().with_first_pause(Duration::ZERO)
}

/// An object in memory whose connections break.
struct Memory {
    /// What the object is at each opening; the last one stays.
    versions: Vec<Vec<u8>>,
    /// How many bytes each connection delivers before it breaks; the ones after that deliver all.
    breaks: Vec<usize>,
    /// Whether it continues where it is asked to.
    continues: bool,
    calls: Rc<RefCell<Calls>>,
    data: Vec<u8>,
    left: usize,
}

/// What an origin was asked for.
#[derive(Default)]
struct Calls {
    offsets: Vec<u64>,
    closed: bool,
}

impl Memory {
    fn new(versions: &[&[u8]], breaks: &[usize], continues: bool) -> (Self, Rc<RefCell<Calls>>) {
        let versions = versions.iter().map(|version| version.to_vec()).collect();
        let calls = Rc::<RefCell<Calls>>::default();
        let (breaks, told) = (breaks.to_vec(), Rc::clone(&calls));
        (Self { versions, breaks, continues, calls, data: Vec::new(), left: 0 }, told)
    }
}

impl Origin for Memory {
    async fn open(&mut self, offset: u64) -> Result<Opened, RetryableError> {
        let nth = self.calls.borrow().offsets.len();
        self.calls.borrow_mut().offsets.push(offset);
        let version = &self.versions[nth.min(self.versions.len() - 1)];
        let start = if self.continues { offset } else { 0 };
        self.data = version[usize::try_from(start).unwrap()..].to_vec();
        self.left = self.breaks.get(nth).copied().unwrap_or(usize::MAX);
        Ok(Opened::new(start, version.len() as u64))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, RetryableError> {
        if self.data.is_empty() {
            return Ok(None);
        }
        if self.left == 0 {
            let error = Error::new(ErrorKind::Unreachable, "memory", "the connection broke");
            return Err(RetryableError::temporary(error));
        }
        let length = self.data.len().min(self.left).min(10_000);
        self.left -= length;
        Ok(Some(self.data.drain(..length).collect::<Vec<_>>().into()))
    }

    async fn close(&mut self) {
        self.calls.borrow_mut().closed = true;
    }
}

fn read(origin: Memory, options: &Options) -> Result<Vec<u8>, Error> {
    block_on(async {
        read_to_end(&mut Source::from_origin(origin, "the object", options).await?).await
    })
}

#[test]
fn an_origin_is_resumed_where_it_continues() {
    let bytes = noise(1, 300_000);
    let (origin, calls) = Memory::new(&[&bytes], &[100_000, 50_000], true);
    assert!(read(origin, &options()).unwrap() == bytes);
    assert_eq!(calls.borrow().offsets, [0, 100_000, 150_000]);
}

#[test]
fn an_origin_that_begins_again_is_compared() {
    let (one, two) = (noise(1, 300_000), noise(2, 300_000));
    let (origin, calls) = Memory::new(&[&one], &[100_000, 200_000], false);
    assert!(read(origin, &options()).unwrap() == one);
    assert_eq!(calls.borrow().offsets, [0, 100_000, 200_000]);
    let (origin, _) = Memory::new(&[&one, &two], &[100_000], false);
    assert_eq!(read(origin, &options()).map(drop).unwrap_err().kind, ErrorKind::Changed);
    // Another length is seen without reading it.
    let (origin, calls) = Memory::new(&[&one, &one[1..]], &[100_000], true);
    assert_eq!(read(origin, &options()).map(drop).unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(calls.borrow().offsets.len(), 2);
}

#[test]
fn an_origin_that_breaks_too_often_fails_with_its_own_error() {
    let bytes = noise(1, 300_000);
    let (origin, calls) = Memory::new(&[&bytes], &[1_000; 9], true);
    let error = read(origin, &options().with_retries(2)).unwrap_err();
    let cause = "the connection broke after 3000 bytes (2 retries did not help)";
    assert_eq!((error.kind, error.cause.as_str()), (ErrorKind::Unreachable, cause));
    assert_eq!(calls.borrow().offsets, [0, 1_000, 2_000]);
}

#[test]
fn an_origin_is_told_when_no_more_is_read() {
    let (origin, calls) = Memory::new(&[&noise(1, 300_000)], &[], true);
    block_on(async {
        let mut source = Source::from_origin(origin, "the object", &options()).await.unwrap();
        source.next().await.unwrap();
        source.close().await;
    });
    assert!(calls.borrow().closed);
}

/// A stream of chunks, and how it ends.
fn stream(
    bytes: &[u8],
    end: Option<io::Error>,
) -> impl AsyncFnMut() -> io::Result<Option<Bytes>> + 'static {
    let mut chunks: Vec<_> = bytes.chunks(7_000).map(Bytes::copy_from_slice).rev().collect();
    let mut end = end;
    async move || match chunks.pop() {
        Some(chunk) => Ok(Some(chunk)),
        None => end.take().map_or(Ok(None), Err),
    }
}

#[test]
fn a_stream_of_a_program_is_copied_hashed_and_keeps_runs_of_zeros_as_holes() {
    let mut bytes = noise(3, 1 << 20);
    bytes[200_000..900_000].fill(0);
    for length in [None, Some(1 << 20)] {
        let mut file = SparseFile::new(tempfile::tempfile().unwrap(), true);
        let transferred = block_on(async {
            let mut source =
                Source::from_stream(stream(&bytes, None), length, "the stream", &options());
            assert_eq!(source.length(), length);
            let mut sink = FileSink::temporary(&mut file, "the copy");
            source.transfer(&mut sink, Transfer::hashed(DigestSet::MD5)).await.unwrap()
        });
        file.finish().unwrap();
        assert_eq!(transferred.digests.md5, Some(md5(&bytes)));
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.file().metadata().unwrap());
        assert!(blocks * 512 < 700_000, "{blocks} blocks");
    }
}

#[test]
fn a_stream_that_cannot_be_opened_again_fails_at_once() {
    let bytes = noise(4, 100_000);
    let read = |length: Option<u64>, end: Option<io::Error>| {
        // A retry would wait for an hour first.
        let options = Options::default().with_first_pause(Duration::from_secs(3_600));
        let mut source = Source::from_stream(stream(&bytes, end), length, "the stream", &options);
        let start = Instant::now();
        let error = block_on(read_to_end(&mut source)).map(drop).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(600), "{:?}", start.elapsed());
        error
    };
    let short = read(Some(100_001), None);
    assert_eq!(
        short.to_string(),
        "the stream: ended before the 100001 bytes that it has, after 100000 bytes"
    );
    assert_eq!(read(Some(99_999), None).kind, ErrorKind::Changed);
    let secret = io::Error::other("GET http://me:hunter2@host/x?key=hunter2 failed");
    let broken = read(None, Some(secret)).to_string();
    assert!(broken.contains("GET http://") && broken.contains("host/x"), "{broken}");
    assert!(!broken.contains("hunter2"), "{broken}");
}

/// A scheme that answers with its own name.
struct Named(&'static [&'static str], &'static str);

impl Scheme for Named {
    fn names(&self) -> &[&str] {
        self.0
    }

    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
        let answer = format!("{} of {}", self.1, location.scheme());
        Ok(Source::from_stream(stream(answer.as_bytes(), None), None, "the answer", options))
    }
}

#[test]
fn the_last_registered_scheme_of_a_name_opens_it_and_the_fallback_all_others() {
    let options = options()
        .with_scheme(Named(&["one", "two"], "first"))
        .with_scheme(Named(&["two", "file"], "second"))
        .with_fallback(Named(&["three"], "fallback"));
    let open = |location: &str| {
        block_on(async {
            let mut source = Source::open(location, &options).await.unwrap();
            String::from_utf8(source.peek(100).await.unwrap()).unwrap()
        })
    };
    for (location, answer) in [
        ("ONE://x", "first of one"),
        ("two://x", "second of two"),
        ("three://x", "fallback of three"),
        ("four://x", "fallback of four"),
        ("/etc/passwd", "second of file"),
    ] {
        assert_eq!(open(location), answer);
    }
    assert_eq!(options.schemes.names(), ["file", "http", "https", "one", "rbd", "ssh", "two"]);
}

#[test]
fn nothing_is_opened_that_no_scheme_is_registered_for() {
    let mut options = options();
    options.schemes = Schemes::none().with(Named(&["one"], "first"));
    for location in ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "tape://7"] {
        let error = block_on(Source::open(location, &options)).map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{location}");
        assert!(error.cause.contains("it knows one"), "{error}");
    }
}

#[test]
fn a_location_of_another_form_is_refused_by_its_scheme() {
    for location in [
        "ssh://h",
        "ssh://h:",
        "ssh://-oX=y:/a",
        "ssh://a b:/a",
        "ssh://:/a",
        "rbd://h",
        "rbd://h/",
        "rbd://h/-x",
        "rbd://-x/a/b",
        "rbd:///a/b",
    ] {
        let error = block_on(Source::open(location, &options())).map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Malformed, "{location}: {error}");
    }
}

#[test]
fn a_command_is_run_again_when_it_fails_and_its_exit_status_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let location = Location::parse("tape://me:hunter2@host/7").unwrap();
    let run = |script: &str, adjust: fn(CommandOutput) -> CommandOutput| {
        std::fs::write(&log, "").unwrap();
        let script = format!("echo run >>'{}'; {script}", log.display());
        let command = CommandSpec::new("sh").args(["-c", &script]);
        let output = adjust(CommandOutput::new(command, &location, &options()));
        let read = block_on(async {
            let mut source = Source::from_origin(output, &location.to_string(), &options()).await?;
            read_to_end(&mut source).await
        });
        (read, std::fs::read_to_string(&log).unwrap().lines().count())
    };
    let (failed, runs) = run("echo half; echo 'no hunter2' >&2; exit 1", |output| output);
    let failed = failed.unwrap_err();
    assert_eq!((failed.kind, runs), (ErrorKind::Failed, 4), "{failed}");
    assert!(!failed.to_string().contains("hunter2"), "{failed}");
    let (failed, runs) = run("echo half; exit 1", CommandOutput::once);
    assert_eq!((failed.unwrap_err().kind, runs), (ErrorKind::Failed, 1));
    let (failed, runs) = run("exit 66", |output| output.exit_status(66, ErrorKind::Absent));
    assert_eq!((failed.unwrap_err().kind, runs), (ErrorKind::Absent, 1));
    let (silent, runs) =
        run("exec sleep 60", |output| output.once().idle_timeout(Duration::from_millis(200)));
    // A slow machine may not even have begun to run it.
    assert_eq!((silent.unwrap_err().kind, runs.max(1)), (ErrorKind::Unreachable, 1));
}
