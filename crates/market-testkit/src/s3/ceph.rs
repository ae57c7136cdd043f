//! A gateway of Ceph: a real service that is none of ours.

use super::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, market};
use crate::require;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running gateway, with the keys of [`super`]; it ends when it is dropped, and when this process
/// does.
#[derive(Debug)]
pub struct CephGateway {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl CephGateway {
    /// Starts one; `None` where Ceph is not installed, which has been said then.
    ///
    /// # Panics
    /// When it does not start, or is missing and required.
    pub fn start() -> Option<Self> {
        for (program, package) in [
            ("ceph", "ceph-common"),
            ("ceph-mon", "ceph-mon"),
            ("ceph-osd", "ceph-osd"),
            ("radosgw", "radosgw"),
        ] {
            require::program(program, package)?;
        }
        let directory = tempfile::Builder::new().prefix("ceph-").tempdir().expect("a directory");
        let (port, monitor) = (free_port(), free_port());
        let mut process = Command::new("bash")
            .arg("-c")
            .arg(include_str!("../../scripts/ceph-gateway.sh"))
            .arg("ceph-gateway.sh")
            .arg(directory.path())
            .args([port.to_string(), monitor.to_string()])
            .args([ACCESS_KEY_ID, SECRET_ACCESS_KEY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        if line.trim() != "ready" {
            let log =
                std::fs::read_to_string(directory.path().join("log/output")).unwrap_or_default();
            let _ = process.wait();
            panic!(
                "Ceph does not start: {}",
                log.lines().rev().take(20).collect::<Vec<_>>().join(" | ")
            );
        }
        Some(Self { process, port, _directory: directory })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The template of a marketplace in a bucket, and more attributes.
    pub fn market(&self, bucket: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        market(&self.endpoint(), "default", bucket, more)
    }
}

impl Drop for CephGateway {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
    listener.local_addr().expect("its address").port()
}
