//! What the environment of a process decides: its proxies, and whether it may have threads. Each
//! case is this executable once more, with variables of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::http::{HttpServer, Reply};
use market_testkit::proxy::Socks;
use market_testkit::{block_on, read_to_end};
use market_transfer::{
    Compression, DigestSet, Digester, Error, FileSink, Options, Piece, Source, SparseFile,
    StagedFile, Transfer, run_on_thread,
};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Says that this process is one that a test has started, and what it is to read.
const URL: &str = "MARKET_TEST_URL";

/// Says that it may fail.
const FAILS: &str = "MARKET_TEST_FAILS";

fn options() -> Options {
    let idle_timeout = Duration::from_secs(5);
    Options::default()
        .with_retries(0)
        .with_connect_timeout(idle_timeout)
        .with_idle_timeout(idle_timeout)
}

fn read(location: &str) -> Result<Vec<u8>, Error> {
    block_on(async { read_to_end(&mut Source::open(location, &options()).await?).await })
}

/// Runs a test of this executable with these variables, and no others that count here.
fn run_again(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = command
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn proxies_are_asked_as_the_environment_says() {
    if let Ok(url) = std::env::var(URL) {
        match read(&url) {
            Ok(bytes) => assert_eq!(bytes, b"bytes"),
            Err(error) => {
                assert!(
                    std::env::var(FAILS).is_ok() && !format!("{error:?}").contains("hunter2"),
                    "{error:?}"
                );
            }
        }
        return;
    }
    let server = HttpServer::start(|_, _| Reply::bytes(b"bytes".to_vec()));
    let url = server.url("/image");
    let named = url.replace("127.0.0.1", "image.invalid");
    let (local, remote) = (Socks::start(), Socks::start());
    let test = "proxies_are_asked_as_the_environment_says";
    let proxy = format!("socks5://127.0.0.1:{}", local.port());
    run_again(test, &[(URL, &url), ("http_proxy", &proxy)]);
    assert_eq!(local.asked(), ["127.0.0.1"]);
    // The proxy looks up the name.
    let proxy = format!("socks5h://127.0.0.1:{}", remote.port());
    run_again(test, &[(URL, &named), ("all_proxy", &proxy)]);
    assert_eq!(remote.asked(), ["image.invalid"]);
    for proxy in
        ["http://me:hunter2@127.0.0.1:1", "socks5h://me:hunter2@127.0.0.1:1", "http://me:hunter2@"]
    {
        run_again(test, &[(URL, &url), (FAILS, "1"), ("all_proxy", proxy)]);
    }
    // Nobody is asked for what needs no proxy.
    for none in ["*", "localhost, *", "127.0.0.1", "127.0.0.0/8"] {
        run_again(
            test,
            &[(URL, &url), ("all_proxy", "http://me:hunter2@127.0.0.1:1"), ("no_proxy", none)],
        );
    }
}

#[test]
fn a_thread_that_cannot_be_had_is_an_error() {
    if std::env::var(URL).is_err() {
        // No stack of that size is to be had.
        let size = (1_u64 << 50).to_string();
        return run_again(
            "a_thread_that_cannot_be_had_is_an_error",
            &[(URL, "none"), ("RUST_MIN_STACK", &size)],
        );
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, b"\x1f\x8bbytes").unwrap();
    let path = path.to_str().unwrap();
    assert!(read(path).is_err());
    let mut file = SparseFile::new(tempfile::tempfile().unwrap(), true);
    block_on(async {
        assert!(run_on_thread("none", || ()).await.is_err());
        let mut digester = Digester::start(DigestSet::MD5);
        digester.update(Piece::Hole(10)).await;
        assert!(digester.finish().await.is_err());
        let mut source = Source::open(path, &options()).await.unwrap();
        let how = Transfer::hashed(DigestSet::MD5).unpacking(Compression::Gzip);
        let sink = &mut FileSink::durable(&mut file, "the copy");
        assert!(source.transfer(sink, how).await.is_err());
        assert!(Source::open("http://localhost:1/", &options()).await.is_err());
    });
    file.write(&Piece::Data(b"bytes"[..].into())).unwrap();
    file.begin_sync();
    file.finish().unwrap();
}

#[test]
fn nobody_else_may_write_what_is_published_whatever_the_umask_allows() {
    if std::env::var(URL).is_err() {
        return run_again(
            "nobody_else_may_write_what_is_published_whatever_the_umask_allows",
            &[(URL, "none")],
        );
    }
    let directory = TempDir::new().unwrap();
    // This process runs nothing else.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mode = |staged: StagedFile| {
        let place = directory.path().join("published");
        staged.publish(&place).unwrap();
        let mode = place.metadata().unwrap().permissions().mode() & 0o777;
        std::fs::rename(&place, directory.path().join(format!("{mode:o}"))).unwrap();
        mode
    };
    assert_eq!(mode(StagedFile::file(directory.path()).unwrap()), 0o644);
    assert_eq!(mode(StagedFile::directory(directory.path()).unwrap()), 0o755);
}
