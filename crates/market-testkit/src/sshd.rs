//! A real `sshd` on loopback that plays several hosts, and the configuration of a client that logs
//! in with a key.
//!
//! Each host has a port of its own. A host can have a directory of its own at a path that all hosts
//! use, or a small file system there; both are private mounts, which need `unshare`.

use crate::require;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// What a host is like.
#[derive(Clone, Debug)]
pub enum Kind {
    /// This machine.
    Plain,
    /// This machine, with the first directory at the path of the second one.
    Holding(PathBuf, PathBuf),
    /// This machine, with a file system of 1 MiB at this path.
    Small(PathBuf),
    /// This machine, with this executable as the login shell.
    Shell(PathBuf),
    /// Connections are refused.
    Down,
    /// This machine, reached by this port of a proxy.
    Through(u16),
}

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Sshd {
    directory: TempDir,
    child: Child,
    ports: Vec<u16>,
}

impl Sshd {
    /// Starts a server for hosts of these names. `None` when a program is missing: then SKIPPED was
    /// printed (see [`require`]).
    ///
    /// # Panics
    /// When the server does not start.
    pub fn start(hosts: &[(&str, Kind)]) -> Option<Self> {
        let sshd = require::program("sshd", "openssh-server")?;
        require::program("ssh", "openssh-client")?;
        let keygen = require::program("ssh-keygen", "openssh-client")?;
        if hosts.iter().any(|(_, kind)| matches!(kind, Kind::Holding(..) | Kind::Small(_))) {
            require::program("unshare", "util-linux")?;
        }
        if geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("the directory that sshd wants");
        }
        let directory = TempDir::new().expect("a directory");
        for key in ["host", "client"] {
            let made = Command::new(&keygen)
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.path().join(key))
                .status();
            assert!(made.expect("ssh-keygen").success());
        }
        // A port may be taken between the look and the start.
        (0..5)
            .find_map(|_| Self::try_start(&sshd, directory.path(), hosts))
            .map(|(child, ports)| Self { directory, child, ports })
    }

    fn try_start(
        sshd: &Path,
        directory: &Path,
        hosts: &[(&str, Kind)],
    ) -> Option<(Child, Vec<u16>)> {
        let ports: Vec<u16> = free_ports(hosts.len());
        fs::write(directory.join("sshd_config"), server_config(directory, hosts, &ports))
            .expect("a file");
        fs::write(directory.join("ssh_config"), client_config(directory, hosts, &ports))
            .expect("a file");
        let mut child = Command::new(sshd)
            .args(["-D", "-e", "-f"])
            .arg(directory.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sshd");
        let mut lines = BufReader::new(child.stderr.take().expect("its messages")).lines();
        let listening = hosts.iter().filter(|(_, kind)| !matches!(kind, Kind::Down)).count();
        let mut heard = 0;
        let mut said = String::new();
        for line in lines.by_ref().map_while(Result::ok) {
            heard += usize::from(line.contains("Server listening on"));
            said.push_str(&line);
            if heard == listening {
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Some((child, ports));
            }
        }
        let _ = child.wait();
        assert!(said.contains("Address already in use"), "sshd: {said}");
        None
    }

    /// The ssh command that reaches the hosts by their names, for the environment variable `SSH`.
    pub fn ssh(&self) -> String {
        format!("ssh -F {}", self.directory.path().join("ssh_config").display())
    }

    /// Kills every open session, as a host that loses its power would.
    pub fn kill_sessions(&self) {
        let mut parents = vec![self.child.id()];
        let mut killed = 0;
        let children = children();
        while let Some(parent) = parents.get(killed) {
            let of_parent: Vec<u32> =
                children.iter().filter(|(_, of)| of == parent).map(|(child, _)| *child).collect();
            parents.extend(of_parent);
            killed += 1;
        }
        for pid in &parents[1..] {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// The port of a host, by its index in the list that the server was started with.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn port(&self, host: usize) -> u16 {
        self.ports[host]
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every process and its parent.
fn children() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before it may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    entries.filter_map(of).collect()
}

/// Held all at once, so that they differ.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}

/// `SHLVL` keeps the start-up files of whoever runs the test out of it: bash reads them for ssh
/// only in a first shell.
fn server_config(directory: &Path, hosts: &[(&str, Kind)], ports: &[u16]) -> String {
    let at = directory.display();
    let mut config = format!(
        "ListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\n\
         AuthorizedKeysFile {at}/client.pub\nStrictModes no\nUsePAM no\nUseDNS no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         MaxStartups 200\nMaxSessions 200\nPermitRootLogin prohibit-password\nSetEnv SHLVL=9\n"
    );
    let up = || hosts.iter().zip(ports).filter(|((_, kind), _)| !matches!(kind, Kind::Down));
    for (_, port) in up() {
        config.push_str(&format!("Port {port}\n"));
    }
    for ((name, kind), port) in up() {
        if let Kind::Shell(shell) = kind {
            let script = executable(
                directory,
                name,
                &format!("exec '{}' -c \"$SSH_ORIGINAL_COMMAND\"", shell.display()),
            );
            config
                .push_str(&format!("Match LocalPort {port}\nForceCommand {}\n", script.display()));
            continue;
        }
        let mount = match kind {
            Kind::Holding(own, path) => {
                format!("mount --bind '{}' '{}'", own.display(), path.display())
            }
            Kind::Small(path) => {
                format!("mount -t tmpfs -o size=1m,mode=0777 none '{}'", path.display())
            }
            _ => continue,
        };
        let text = format!(
            "export inner=\"$SSH_ORIGINAL_COMMAND\"\n\
             exec unshare --mount {} sh -c \"{mount} && exec sh -c \\\"\\$inner\\\"\"",
            if geteuid().is_root() { "" } else { "--map-root-user" }
        );
        let script = executable(directory, name, &text);
        config.push_str(&format!("Match LocalPort {port}\nForceCommand {}\n", script.display()));
    }
    config
}

/// A script that the server runs for whoever logs in.
fn executable(directory: &Path, name: &str, text: &str) -> PathBuf {
    let script = directory.join(format!("enter-{name}"));
    let mut file = fs::File::create(&script).expect("a file");
    file.write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).expect("a file");
    file.set_permissions(fs::Permissions::from_mode(0o755)).expect("its mode");
    script
}

fn client_config(directory: &Path, hosts: &[(&str, Kind)], ports: &[u16]) -> String {
    let mut config = String::new();
    for ((name, kind), port) in hosts.iter().zip(ports) {
        let port = if let Kind::Through(proxy) = kind { proxy } else { port };
        config.push_str(&format!("Host {name}\nPort {port}\n"));
    }
    let at = directory.display();
    config.push_str(&format!(
        "Host *\nHostName 127.0.0.1\nIdentityFile {at}/client\nIdentitiesOnly yes\n\
         StrictHostKeyChecking no\n\
         UserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\nLogLevel ERROR\n"
    ));
    config
}
