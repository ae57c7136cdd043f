//! Sources on other hosts and behind helpers: every byte once, or an error.
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
use market_transfer::{Error, ErrorKind, Helpers, Options, Source};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn options(ssh: String) -> Options {
    Options {
        backoff: Duration::ZERO,
        idle_timeout: Duration::from_secs(5),
        ssh,
        ..Options::default()
    }
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
        let options = Options {
            idle_timeout: Duration::from_secs(2),
            ..options(format!("{} -o Port={}", sshd.ssh(), proxy.port()))
        };
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

/// A directory of helpers.
struct Remotes(TempDir);

impl Remotes {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("downloader.d")).unwrap();
        Self(directory)
    }

    fn helper(&self, name: &str, script: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", self.0.path().display()))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn read(&self, url: &str) -> Result<Vec<u8>, Error> {
        let helpers =
            Helpers { directory: self.0.path().into(), dump: Some(b"the dump".as_slice().into()) };
        read(url, &Options { helpers: Some(helpers), ..options("ssh".into()) })
    }

    fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.0.path().join(name))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

#[test]
fn a_scheme_can_be_added_from_outside() {
    let remotes = Remotes::new();
    remotes.helper("downloader.d/tape", "cat >dump; printf '%s\\n' \"$@\" >arguments; echo bytes");
    assert_eq!(remotes.read("tape://a b/$(touch pwned)'").unwrap(), b"bytes\n");
    assert_eq!(
        (remotes.lines("dump"), remotes.lines("arguments")),
        (vec!["the dump".into()], vec!["tape://a b/$(touch pwned)'".into()])
    );
    assert!(!remotes.0.path().join("pwned").exists());
    remotes.helper("downloader.d/deaf", "echo bytes");
    assert_eq!(remotes.read("deaf://x").unwrap(), b"bytes\n");
    remotes.helper("downloader.d/half", "echo bytes; echo 'the tape is torn' >&2; exit 3");
    let error = remotes.read("half://x?key=hunter2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "half://x: the tape is torn after 6 bytes (3 retries did not help)"
    );
    let error = remotes.read("other://x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.cause.ends_with("downloader.d/other, which is not there"), "{error}");
    remotes.helper("downloader.d/dead", "kill -9 $$");
    assert!(remotes.read("dead://x").unwrap_err().cause.contains("signal: 9"));
}

#[test]
fn helpers_that_tell_commands_are_run_and_cleaned_up_after_success_only() {
    let remotes = Remotes::new();
    let at = remotes.0.path().display().to_string();
    let tell = |command: &str| {
        format!(
            "echo noise\necho \"command=\\\"{command}\\\"\"\necho \"clean_command=\\\"echo cleaned >>'{at}/log'\\\"\""
        )
    };
    remotes.helper("restic_downloader.rb", &tell("printf '%s' restored"));
    assert_eq!(remotes.read("restic://100/7/0").unwrap(), b"restored");
    assert_eq!(remotes.read("restic+rbd://100/7/0").unwrap(), b"restored");
    assert_eq!(remotes.lines("log").len(), 2);
    remotes.helper("rsync_downloader.rb", &tell("printf half; exit 1"));
    assert_eq!(remotes.read("rsync://100/7/0").unwrap_err().kind, ErrorKind::Failed);
    assert_eq!(remotes.lines("log").len(), 2, "cleaned after a failure");
    remotes.helper("netapp_downloader.rb", "echo 'no such volume' >&2; exit 255");
    assert_eq!(remotes.read("netapp:///vol").unwrap_err().cause, "no such volume");
    remotes.helper("purefa_downloader.rb", "echo nothing");
    assert_eq!(remotes.read("purefa:///x").unwrap_err().cause, "its helper told no command");
}

#[test]
fn helpers_that_build_an_image_run_once() {
    let remotes = Remotes::new();
    remotes.helper("lxd_downloader.sh", "echo x >>runs; echo half; exit 1");
    assert!(remotes.read("lxd://x").is_err());
    assert_eq!(remotes.lines("runs").len(), 1);
    remotes.helper("lxd_downloader.sh", "echo image");
    assert_eq!(remotes.read("lxd://x").unwrap(), b"image\n");
    let tell =
        "test \"$2\" = - && printf '%s\\n' \"command='exit 143'\" \"clean_command='echo image'\"";
    remotes.helper("onebex_downloader.rb", tell);
    assert_eq!(remotes.read("onebex://1:2").unwrap(), b"image\n");
    remotes.helper(
        "onebex_downloader.rb",
        "printf '%s\\n' \"command='exit 1'\" \"clean_command='echo image'\"",
    );
    assert_eq!(remotes.read("onebex://1:2").unwrap_err().kind, ErrorKind::Failed);
}

#[test]
fn whoever_reads_a_part_leaves_no_process_behind() {
    let remotes = Remotes::new();
    remotes.helper("downloader.d/endless", "echo $$ >pid; cat /dev/zero");
    let helpers = Helpers { directory: remotes.0.path().into(), dump: None };
    let options = Options { helpers: Some(helpers), ..options("ssh".into()) };
    block_on(async {
        let mut source = Source::open("endless://x", &options).await.unwrap();
        source.next().await.unwrap();
    });
    let pid = remotes.lines("pid")[0].clone();
    let deadline = Instant::now() + Duration::from_secs(30);
    let gone = std::iter::repeat_with(|| {
        std::thread::yield_now();
        let state =
            fs::read_to_string(Path::new("/proc").join(&pid).join("stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z")
    })
    .take_while(|_| Instant::now() < deadline)
    .any(|gone| gone);
    assert!(gone, "process {pid} is still there");
}

#[test]
fn what_a_command_says_is_shown_without_what_it_was_told() {
    let remotes = Remotes::new();
    remotes.helper(
        "downloader.d/tape",
        "read dump; echo \"GET $1 with $dump: hunter2 refused\" >&2; exit 1",
    );
    let error = remotes.read("tape://me:hunter2@host/7?token=hunter2").unwrap_err();
    assert_eq!(
        error.cause,
        "GET tape://host/7 with the dump: <hidden> refused (3 retries did not help)"
    );
    remotes.helper(
        "restic_downloader.rb",
        "echo \"command='RESTIC_PASSWORD=hunter2 sh -c \\\"echo hunter2 is wrong >&2; exit 1\\\"'\"",
    );
    assert!(!remotes.read("restic://100/7/0").unwrap_err().to_string().contains("hunter2"));
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
fn a_helper_that_tells_without_end_is_given_up() {
    let remotes = Remotes::new();
    remotes.helper("restic_downloader.rb", "exec yes");
    assert_eq!(remotes.read("restic://100/7/0").unwrap_err().kind, ErrorKind::TooLarge);
    let talking = remotes.helper("ssh", "exec yes");
    let start = Instant::now();
    let error = read("ssh://host:/x", &options(talking.display().to_string())).unwrap_err();
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
