//! Sources on other hosts: every byte once, or an error.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use market_testkit::proxy::{Break, Proxy};
use market_testkit::shell::{Fate, Shell};
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{block_on, noise, read_to_end};
use market_transfer::{Error, ErrorKind, Options, Source};
use std::fs;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn options(ssh: String) -> Options {
    Options::default()
        .with_first_pause(Duration::ZERO)
        .with_idle_timeout(Duration::from_secs(5))
        .with_ssh(ssh)
}

fn read(location: &str, options: &Options) -> Result<Vec<u8>, Error> {
    block_on(async { read_to_end(&mut Source::open(location, options).await?).await })
}

/// Names that a shell would make something of.
const NASTY: [&str; 10] =
    ["plain", "a b", "it's", "$(touch pwned)", "; touch pwned", "`x`", "a\nb", "-n", "*", "\"\\"];

#[test]
fn files_of_a_real_host_arrive_whatever_their_names() {
    let Some(sshd) = Sshd::start(&[("host", Kind::Plain)]) else { return };
    let directory = TempDir::new().unwrap();
    let bytes = noise(1, 1_500_000);
    let options = options(sshd.ssh());
    for name in NASTY {
        let path = directory.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let url = format!("ssh://host:{}", path.display());
        block_on(async {
            let mut source = Source::open(&url, &options).await.unwrap();
            assert_eq!(source.length(), Some(1_500_000), "{name:?}");
            assert!(read_to_end(&mut source).await.unwrap() == bytes, "{name:?}");
        });
    }
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        NASTY.len(),
        "something was executed"
    );
    let missing =
        read(&format!("ssh://host:{}/missing", directory.path().display()), &options).unwrap_err();
    assert_eq!(
        (missing.kind, missing.cause.as_str()),
        (ErrorKind::Absent, "No such file or directory")
    );
    let no_file =
        read(&format!("ssh://host:{}", directory.path().display()), &options).unwrap_err();
    assert_eq!(no_file.kind, ErrorKind::Unsupported);
}

#[test]
fn a_real_connection_that_breaks_is_taken_up_where_it_was() {
    let Some(sshd) = Sshd::start(&[("real", Kind::Plain)]) else { return };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    let bytes = noise(2, 6_000_000);
    fs::write(&path, &bytes).unwrap();
    let target = ([127, 0, 0, 1], sshd.port(0)).into();
    for fate in [Break::Reset(2_000_000), Break::Close(3_000_000), Break::Stall(1_000_000)] {
        let proxy = Proxy::start(target, move |nth| if nth < 2 { fate } else { Break::Never });
        let options = options(format!("{} -o Port={}", sshd.ssh(), proxy.port()))
            .with_idle_timeout(Duration::from_secs(2));
        assert!(
            read(&format!("ssh://real:{}", path.display()), &options).unwrap() == bytes,
            "{fate:?}"
        );
    }
}

#[test]
fn a_file_that_changes_between_two_connections_or_while_it_is_read_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image");
    fs::write(&path, noise(3, 2_000_000)).unwrap();
    let url = format!("ssh://host:{}", path.display());
    let shell = Shell::new(&[Fate::Output(900_000)]);
    let options = options(shell.ssh());
    let outcome = block_on(async {
        let mut source = Source::open(&url, &options).await?;
        source.next().await?;
        fs::write(&path, noise(4, 2_000_000)).unwrap();
        read_to_end(&mut source).await
    });
    assert_eq!(outcome.map(drop).unwrap_err().kind, ErrorKind::Changed);
    for growth in [1_usize, 1_000_000] {
        fs::write(&path, noise(3, 8_000_000)).unwrap();
        let outcome = block_on(async {
            let mut source = Source::open(&url, &options).await?;
            source.next().await?;
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, &vec![1; growth]).unwrap();
            read_to_end(&mut source).await
        });
        assert_eq!(outcome.map(drop).unwrap_err().kind, ErrorKind::Changed, "{growth}");
    }
}

#[test]
fn a_host_that_stays_away_or_talks_first_is_one_clear_error() {
    let refused = Shell::new(&[Fate::Refused; 8]);
    let error = read("ssh://u@host:/x", &options(refused.ssh())).unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (
            ErrorKind::Unreachable,
            "ssh://host:/x: ssh to u@host: connect to host h port 22: Connection refused (3 retries did not help)"
        )
    );
    assert_eq!(refused.connections(), 4);
    let directory = TempDir::new().unwrap();
    let talking = directory.path().join("ssh");
    fs::write(&talking, "echo Welcome").unwrap();
    let error = read("ssh://host:/x", &options(format!("sh {}", talking.display()))).unwrap_err();
    assert!(error.cause.contains("prints text of its own"), "{error}");
    let error = read("ssh://host:/x", &options("/nonexistent/ssh".into())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Absent);
}

#[test]
fn an_image_of_ceph_is_exported_with_its_credentials_and_read_again_when_that_breaks() {
    let directory = TempDir::new().unwrap();
    let bytes = noise(5, 700_000);
    fs::write(directory.path().join("image"), &bytes).unwrap();
    let rbd = format!(
        "printf '%s\\n' \"$@\" >'{0}/arguments'; cat '{0}/image'",
        directory.path().display()
    );
    let shell = Shell::new(&[Fate::Output(300_000), Fate::Refused]).with_program("rbd", &rbd);
    let url = "rbd://host/one/one-7@snap?CEPH_USER=libvirt&CEPH_KEY=/etc/k'%20x&CEPH_CONF=/c";
    assert!(read(url, &options(shell.ssh())).unwrap() == bytes);
    assert_eq!(shell.connections(), 3);
    assert_eq!(
        fs::read_to_string(directory.path().join("arguments")).unwrap(),
        "--id\nlibvirt\n--keyfile\n/etc/k' x\n--conf\n/c\nexport\none/one-7@snap\n-\n"
    );
    let missing =
        Shell::new(&[]).with_program("rbd", "echo 'rbd: error opening image' >&2; exit 2");
    let error = read("rbd://host/one/x", &options(missing.ssh())).unwrap_err();
    assert_eq!((error.kind, error.cause.as_str()), (ErrorKind::Absent, "rbd: error opening image"));
    let failing = Shell::new(&[]).with_program("rbd", "echo half; exit 1");
    assert_eq!(
        read("rbd://host/one/x", &options(failing.ssh())).unwrap_err().kind,
        ErrorKind::Failed
    );
    let changing =
        Shell::new(&[Fate::Output(200_000)]).with_program("rbd", "head -c 400000 /dev/urandom");
    assert_eq!(
        read("rbd://host/one/x", &options(changing.ssh())).unwrap_err().kind,
        ErrorKind::Changed
    );
}

#[test]
fn messages_of_other_hosts_are_shown_without_the_secrets_of_the_url() {
    let shell =
        Shell::new(&[]).with_program("rbd", "echo \"rbd: no key in $4 for $2\" >&2; exit 1");
    let error =
        read("rbd://host/one/x?CEPH_USER=hunter1&CEPH_KEY=/etc/hunter2", &options(shell.ssh()))
            .unwrap_err();
    assert!(error.cause.starts_with("rbd: no key in <hidden> for <hidden>"), "{error}");
    let refused = Shell::new(&[Fate::Refused; 4]);
    for url in ["ssh://me:hunter2@host:/x", "ssh://me:hunter2@host/x"] {
        let error = read(url, &options(refused.ssh())).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_host_that_prints_without_end_is_given_up() {
    let directory = TempDir::new().unwrap();
    let talking = directory.path().join("ssh");
    fs::write(&talking, "exec yes").unwrap();
    let start = Instant::now();
    let error = read("ssh://host:/x", &options(format!("sh {}", talking.display()))).unwrap_err();
    assert!(error.cause.contains("prints text of its own"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn a_login_shell_of_another_kind_carries_scripts_and_names() {
    for (shell, package) in [("tcsh", "tcsh"), ("fish", "fish")] {
        let Some(shell) = market_testkit::require::program(shell, package) else { continue };
        let Some(sshd) = Sshd::start(&[("host", Kind::Shell(shell))]) else { return };
        let directory = TempDir::new().unwrap();
        let bytes = noise(6, 300_000);
        for name in NASTY.into_iter().chain(["!!", "a!b", "\\'"]) {
            let path = directory.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let url = format!("ssh://host:{}", path.display());
            assert!(read(&url, &options(sshd.ssh())).unwrap() == bytes, "{name:?}");
        }
    }
}
