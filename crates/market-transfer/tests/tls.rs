//! https servers are verified: against the machine's authorities and those that are named, or not
//! at all when that is asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::http::{HttpServer, Reply};
use market_testkit::{block_on, noise, read_to_end, require};
use market_transfer::{Distrust, Document, Error, ErrorKind, Options, Source};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Certificates in a directory of their own.
struct Certificates(PathBuf, TempDir);

impl Certificates {
    fn new() -> Option<Self> {
        Some(Self(require::program("openssl", "openssl")?, TempDir::new().unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.1.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split(' ');
        let output =
            Command::new(&self.0).args(arguments).current_dir(self.1.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// As everybody makes one: `NAME.pem` and `NAME.key`.
    fn self_signed(&self, name: &str, further: &str) {
        let files = format!("-keyout {name}.key -out {name}.pem");
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes {files} {further}"
        ));
    }

    fn trusting(&self, name: &str) -> Options {
        Options::default().with_tls_ca(self.path(name))
    }
}

struct Nginx(Child, u16);

impl Nginx {
    /// Serves a directory with a certificate, and sends `/away` somewhere else.
    fn start(certificates: &Certificates, name: &str, away: &str) -> Option<Self> {
        let nginx = require::program("nginx", "nginx-light")?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (home, at) = (certificates.1.path().display(), certificates.1.path());
        fs::create_dir_all(at.join("root")).unwrap();
        let text = format!(
            "daemon off; master_process off; pid {home}/{name}.pid; error_log {home}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;\n\
             uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {home}/{name}.pem; ssl_certificate_key {home}/{name}.key;\n\
             root {home}/root; location = /away {{ return 302 {away}; }} }} }}\n"
        );
        fs::write(at.join("nginx.conf"), text).unwrap();
        let log = format!("{home}/error.log");
        let child = Command::new(nginx)
            .arg("-c")
            .arg(at.join("nginx.conf"))
            .args(["-e", &log])
            .spawn()
            .unwrap();
        let mut server = Self(child, port);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                server.0.try_wait().unwrap().is_none(),
                "nginx: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::yield_now();
        }
        Some(server)
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://me:hunter2@{host}:{}{path}", self.1)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It runs as one process, without workers that could outlive it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(url: &str, options: Options) -> Result<Vec<u8>, Error> {
    let options = options.with_retries(0);
    block_on(async { read_to_end(&mut Source::open(url, &options).await?).await })
}

#[test]
fn a_server_is_trusted_by_its_authority_or_by_nobody() {
    let Some(certificates) = Certificates::new() else { return };
    for name in ["ca", "other"] {
        certificates.self_signed(name, &format!("-subj /CN={name} -days 2"));
    }
    certificates
        .openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server");
    fs::write(certificates.path("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let by = "-CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -extfile ext";
    certificates.openssl(&format!("x509 -req -days 2 -in server.csr {by}"));
    let Some(server) = Nginx::start(&certificates, "server", "/") else { return };
    let bytes = noise(1, 700_000);
    fs::write(certificates.path("root/image"), &bytes).unwrap();
    let url = server.url("127.0.0.1", "/image");
    assert!(read(&url, certificates.trusting("ca.pem")).unwrap() == bytes);
    // The certificate itself will do, although it is signed by somebody else.
    assert!(read(&url, certificates.trusting("server.pem")).unwrap() == bytes);
    assert!(read(&url, Options::default().with_tls_insecure(true)).unwrap() == bytes);
    for options in [Options::default(), certificates.trusting("other.pem")] {
        let error = read(&url, options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Untrusted, "{error}");
        assert_eq!(error.cause, "the server's certificate is signed by nobody who is trusted here");
        assert_eq!(error.caused_by(), Some(&Distrust::UnknownIssuer));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(
        read(&url, certificates.trusting("server.key")).unwrap_err().kind,
        ErrorKind::Malformed
    );
    let error =
        read(&server.url("localhost", "/image"), certificates.trusting("ca.pem")).unwrap_err();
    assert_eq!(error.cause, "the server's certificate is one for another name");
    assert_eq!(error.caused_by(), Some(&Distrust::OtherName));
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_for_its_names_and_its_time() {
    let Some(certificates) = Certificates::new() else { return };
    let cases = [
        (
            "named",
            "-subj /CN=x -days 2 -addext subjectAltName=DNS:localhost,IP:127.0.0.1",
            [None, None],
        ),
        ("common", "-subj /CN=localhost -days 2", [None, Some("another name")]),
        ("address", "-subj /CN=127.0.0.1 -days 2", [Some("another name"), None]),
        (
            "other",
            "-subj /CN=localhost -days 2 -addext subjectAltName=DNS:example.com",
            [Some("another name"); 2],
        ),
        (
            "leaf",
            "-subj /CN=localhost -days 2 -addext basicConstraints=critical,CA:FALSE",
            [None, Some("another name")],
        ),
        (
            "old",
            "-subj /CN=localhost -not_before 20200101000000Z -not_after 20210101000000Z",
            [Some("expired"); 2],
        ),
    ];
    for (name, further, refusals) in cases {
        let dated = further.contains("-not_before");
        if dated {
            // Older versions of openssl know no dates: an authority of its own sets them.
            certificates.self_signed("tmp", "-subj /CN=localhost -days 2");
            fs::write(certificates.path("index"), "").unwrap();
            fs::write(certificates.path("ca.conf"), "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n").unwrap();
            certificates.openssl("req -new -key tmp.key -out old.csr -subj /CN=localhost");
            let dates = "-startdate 20200101000000Z -enddate 20210101000000Z";
            certificates.openssl(&format!(
                "ca -batch -config ca.conf -selfsign -keyfile tmp.key -in old.csr -out old.pem -notext {dates}"
            ));
            fs::copy(certificates.path("tmp.key"), certificates.path("old.key")).unwrap();
        } else {
            certificates.self_signed(name, further);
        }
        let Some(server) = Nginx::start(&certificates, name, "/") else { return };
        fs::write(certificates.path("root/image"), b"bytes").unwrap();
        for (host, refusal) in ["localhost", "127.0.0.1"].into_iter().zip(refusals) {
            let outcome =
                read(&server.url(host, "/image"), certificates.trusting(&format!("{name}.pem")));
            match refusal {
                None => assert_eq!(outcome.unwrap(), b"bytes", "{name} {host}"),
                Some(cause) => {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.kind, ErrorKind::Untrusted, "{name} {host}: {error}");
                    assert!(error.cause.contains(cause), "{name} {host}: {error}");
                }
            }
        }
        let error = read(&server.url("localhost", "/image"), Options::default()).unwrap_err();
        assert!(
            error.kind == ErrorKind::Untrusted && !error.cause.contains("Other"),
            "{name}: {error}"
        );
        // Another one of the same name proves nothing.
        certificates.self_signed(
            "rival",
            "-subj /CN=localhost -days 2 -addext subjectAltName=DNS:localhost",
        );
        let error = read(&server.url("localhost", "/image"), certificates.trusting("rival.pem"))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Untrusted, "{name}: {error}");
    }
}

#[test]
fn a_redirect_from_https_to_http_is_only_followed_when_that_is_allowed() {
    let Some(certificates) = Certificates::new() else { return };
    certificates.self_signed("server", "-subj /CN=localhost -days 2");
    let plain = HttpServer::start(|_, _| Reply::bytes(b"bytes".to_vec()));
    let target = plain.url("/i").replace("http://", "http://you:hunter3@");
    let Some(server) = Nginx::start(&certificates, "server", &target) else { return };
    let url = server.url("localhost", "/away");
    let trusting = certificates.trusting("server.pem");
    let error = read(&url, trusting.clone()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Untrusted, "{error}");
    assert!(
        error.cause.contains("REDIRECT_TO_HTTP") && !format!("{error:?}").contains("hunter"),
        "{error:?}"
    );
    let fetched = block_on(Document::fetch(&url, 100, &trusting.clone().with_retries(0)));
    assert_eq!(fetched.map(drop).unwrap_err().kind, ErrorKind::Untrusted);
    assert!(plain.requests().is_empty());
    assert_eq!(read(&url, trusting.clone().with_redirect_to_http(true)).unwrap(), b"bytes");
    // From http to https and back is no better.
    let there = HttpServer::start(move |_, _| Reply::status(302).header("Location", url.clone()));
    assert_eq!(read(&there.url("/"), trusting).unwrap_err().kind, ErrorKind::Untrusted);
}

#[test]
fn a_file_of_certificates_is_a_small_regular_file() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let made = Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
    fs::File::create(at("large")).unwrap().set_len(1 << 40).unwrap();
    let cases: [(&Path, ErrorKind); 6] = [
        ("/dev/zero".as_ref(), ErrorKind::Malformed),
        (&at("link"), ErrorKind::Malformed),
        (&at("fifo"), ErrorKind::Malformed),
        (directory.path(), ErrorKind::Malformed),
        (&at("missing"), ErrorKind::Absent),
        (&at("large"), ErrorKind::Malformed),
    ];
    for (path, kind) in cases {
        let start = Instant::now();
        let error = read("https://localhost:1/", Options::default().with_tls_ca(path)).unwrap_err();
        assert_eq!((error.kind, error.subject), (kind, path.display().to_string()));
        assert!(start.elapsed() < Duration::from_secs(1), "{}", path.display());
    }
}
