//! https servers are verified: against the machine's authorities and those that are named, or not at all when that is asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use market_testkit::{block_on, noise, read_to_end, require};
use market_transfer::{Error, ErrorKind, Options, Source};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;
use tempfile::TempDir;

fn openssl(openssl: &Path, directory: &Path, arguments: &[&str]) {
    let output = Command::new(openssl).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // It runs as one process, without workers that could outlive it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(url: &str, options: Options) -> Result<Vec<u8>, Error> {
    let options = Options { backoff: Duration::ZERO, retries: 0, ..options };
    block_on(async { read_to_end(&mut Source::open(url, &options).await?).await })
}

#[test]
fn a_server_is_trusted_by_its_authority_or_by_nobody() {
    let Some(tool) = require::program("openssl", "openssl") else { return };
    let Some(nginx) = require::program("nginx", "nginx-light") else { return };
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    for (name, extra) in [("ca", "CA:TRUE"), ("other", "CA:TRUE")] {
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let constraint = format!("basicConstraints=critical,{extra}");
        openssl(
            &tool,
            at,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-keyout",
                &key,
                "-out",
                &pem,
                "-subj",
                &subject,
                "-addext",
                &constraint,
            ],
        );
    }
    openssl(
        &tool,
        at,
        &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"],
    );
    fs::write(at.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        &tool,
        at,
        &[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "server.pem",
            "-extfile",
            "ext",
        ],
    );
    let bytes = noise(1, 700_000);
    fs::create_dir(at.join("root")).unwrap();
    fs::write(at.join("root/image"), &bytes).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = at.display();
    let text = format!(
        "daemon off; master_process off; pid {home}/pid; error_log {home}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;\n\
         uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {home}/server.pem; ssl_certificate_key {home}/server.key;\n\
         root {home}/root; }} }}\n"
    );
    fs::write(at.join("nginx.conf"), text).unwrap();
    let log = format!("{home}/error.log");
    let mut server =
        Nginx(Command::new(nginx).arg("-c").arg(at.join("nginx.conf")).args(["-e", &log]).spawn().unwrap());
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(server.0.try_wait().unwrap().is_none(), "nginx: {}", fs::read_to_string(&log).unwrap_or_default());
        std::thread::yield_now();
    }
    let url = format!("https://me:hunter2@127.0.0.1:{port}/image");
    let trusting = |pem: &str| Options { tls_ca: Some(at.join(pem)), ..Options::default() };
    assert!(read(&url, trusting("ca.pem")).unwrap() == bytes);
    assert!(read(&url, Options { tls_insecure: true, ..Options::default() }).unwrap() == bytes);
    for options in [Options::default(), trusting("other.pem")] {
        let error = read(&url, options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Untrusted, "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(read(&url, trusting("server.key")).unwrap_err().kind, ErrorKind::Malformed);
}
