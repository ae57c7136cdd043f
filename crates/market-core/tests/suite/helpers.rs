//! Sources behind the helpers of OpenNebula's downloader: every byte once, or an error.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![cfg(feature = "driver")]

use market_core::opennebula::Helpers;
use market_core::transfer::{Error, ErrorKind, Options, Source};
use market_testkit::{block_on, read_to_end};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory of helpers.
struct Remotes(TempDir);

impl Remotes {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("downloader.d")).unwrap();
        Self(directory)
    }

    fn helper(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", self.0.path().display()))
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn options(&self) -> Options {
        let helpers = Helpers::in_directory(self.0.path());
        Options::default()
            .with_first_pause(Duration::ZERO)
            .with_fallback(helpers.with_message(b"the dump".as_slice()))
    }

    fn read(&self, url: &str) -> Result<Vec<u8>, Error> {
        let options = self.options();
        block_on(async { read_to_end(&mut Source::open(url, &options).await?).await })
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
fn commands_that_helpers_print_are_run_and_cleaned_up_after_success_only() {
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
    assert_eq!(remotes.read("purefa:///x").unwrap_err().cause, "its helper printed no command");
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
    let options = remotes.options();
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
fn messages_of_helpers_are_shown_without_what_they_were_told() {
    let remotes = Remotes::new();
    remotes.helper(
        "downloader.d/tape",
        "read dump; echo \"GET $1 with $dump: hunter2 refused\" >&2; exit 1",
    );
    let error = remotes.read("tape://me:hunter2@host/7?token=hunter2").unwrap_err();
    assert_eq!(
        error.cause,
        "GET tape://<hidden>@host/7?<hidden> with the dump: <hidden> refused \
             (3 retries did not help)"
    );
    remotes.helper(
        "restic_downloader.rb",
        "echo \"command='RESTIC_PASSWORD=hunter2 sh -c \\\"echo hunter2 is wrong >&2; exit 1\\\"'\"",
    );
    assert!(!remotes.read("restic://100/7/0").unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn a_helper_that_prints_commands_without_end_is_given_up() {
    let remotes = Remotes::new();
    remotes.helper("restic_downloader.rb", "exec yes");
    assert_eq!(remotes.read("restic://100/7/0").unwrap_err().kind, ErrorKind::TooLarge);
}
