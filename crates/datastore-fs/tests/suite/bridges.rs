//! A datastore on bridges, with a stand-in for `ssh` and with a real `sshd`.

use crate::{EXECUTABLE, paths_in};
use market_core::action::ImportInfo;
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::{Dump, owned};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::qcow2_with_backing;
use market_testkit::require::program;
use market_testkit::shell::{Fate, Shell};
use market_testkit::sshd::{Kind, Sshd};
use market_testkit::{md5, md5_hex, noise, wait_until};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

struct Datastore {
    directory: TempDir,
}

impl Datastore {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("staging dir")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The names in a directory.
    fn names(&self, name: &str) -> Vec<String> {
        let name_of = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        paths_in(&self.path(name)).into_iter().map(name_of).collect()
    }

    fn stored(&self) -> Vec<String> {
        self.names("base")
    }

    fn staged(&self) -> Vec<String> {
        self.names("staging dir/.market-staging")
    }

    fn dump(&self, source: &str, more: &[(&str, &str)]) -> Dump {
        let staging = self.path("staging dir");
        let datastore = [
            &[("BRIDGE_LIST", "bridge-1 one@bridge-2"), ("STAGING_DIR", staging.to_str().unwrap())],
            more,
        ]
        .concat();
        Dump {
            image_path: source.to_owned(),
            base_path: self.path("base").to_str().unwrap().to_owned(),
            datastore: owned(&datastore),
            ..Dump::default()
        }
    }

    fn copied(&self, output: &Output, format: &str) -> Vec<u8> {
        assert!(output.status.success(), "{}", stderr(output));
        let line = String::from_utf8(output.stdout.clone()).unwrap();
        let path = line.strip_suffix(&format!(" {format}\n")).expect(&line);
        let bytes = fs::read(path).unwrap();
        assert_eq!((self.stored().len(), self.staged().len()), (1, 0));
        fs::remove_file(path).unwrap();
        bytes
    }
}

fn call(arguments: &[&str], dump: &str, ssh: &str) -> Output {
    run(Command::new(EXECUTABLE).args(arguments).env("SSH", ssh), dump)
}

fn copy(dump: &Dump, shell: &Shell) -> Output {
    call(&["cp", "7"], &dump.copy(), &shell.ssh())
}

#[test]
fn an_image_goes_through_the_staging_directory_into_place() {
    let datastore = Datastore::new();
    let bytes = noise(1, 2_000_000);
    let server = HttpServer::start({
        let bytes = bytes.clone();
        move |_, nth| {
            let reply = Reply::bytes(bytes.clone());
            if nth == 0 { reply.cut_after(700_000) } else { reply }
        }
    });
    let mut dump = datastore.dump(&server.url("/app"), &[]);
    dump.image = owned(&[("FROM_APP_MD5", &md5_hex(&bytes))]);
    assert!(datastore.copied(&copy(&dump, &Shell::new(&[])), "raw") == bytes);
    dump.image = owned(&[("FROM_APP_MD5", &md5_hex(b"other"))]);
    failure(&copy(&dump, &Shell::new(&[])), 9);
    assert_eq!((datastore.stored().len(), datastore.staged().len()), (0, 0));
}

#[test]
fn a_packed_image_is_unpacked_on_its_way_and_still_verified() {
    let datastore = Datastore::new();
    let bytes = noise(2, 1_000_000);
    let Some(gzip) = program("gzip", "gzip") else { return };
    fs::write(datastore.path("bytes"), &bytes).unwrap();
    let packed = Command::new(gzip).arg("-c").arg(datastore.path("bytes")).output().unwrap().stdout;
    let path = datastore.path("image");
    fs::write(&path, &packed).unwrap();
    let mut dump = datastore.dump(path.to_str().unwrap(), &[]);
    dump.image = owned(&[("MD5", &md5_hex(&packed))]);
    assert!(datastore.copied(&copy(&dump, &Shell::new(&[])), "raw") == bytes);
    // A staged file that is not what was sent.
    let broken = Shell::new(&[])
        .with_program("md5sum", "cat >/dev/null; echo 0123456789abcdef0123456789abcdef -");
    assert!(failure(&copy(&dump, &broken), 9).contains("holds MD5 0123456789abcdef"));
    assert_eq!((datastore.stored().len(), datastore.staged().len()), (0, 0));
}

#[test]
fn the_next_bridge_is_taken_when_one_does_not_answer_or_is_off() {
    let datastore = Datastore::new();
    let path = datastore.path("image");
    fs::write(&path, b"\0bytes").unwrap();
    let dump = datastore.dump(path.to_str().unwrap(), &[]);
    let output = copy(&dump, &Shell::new(&[Fate::Refused]));
    assert_eq!(datastore.copied(&output, "raw"), b"\0bytes");
    assert!(
        stderr(&output).contains("WARN: cp: ssh to one@bridge-2: "),
        "id 7 falls to the second: {}",
        stderr(&output)
    );
    let line = failure(&copy(&dump, &Shell::new(&[Fate::Refused; 4])), 10);
    assert!(line.contains("no bridge takes the image") && line.contains("bridge-1"), "{line}");
    let wrong = datastore.dump(path.to_str().unwrap(), &[("STAGING_DIR", "/nonexistent/x")]);
    let mut only = wrong.clone();
    only.datastore.retain(|(_, value)| !value.contains("staging dir"));
    let line = failure(&copy(&only, &Shell::new(&[])), 4);
    assert!(
        line.contains("STAGING_DIR /nonexistent/x on") && line.contains("does not exist"),
        "{line}"
    );
}

#[test]
fn a_connection_that_breaks_anywhere_leaves_nothing() {
    let datastore = Datastore::new();
    let path = datastore.path("image");
    fs::write(&path, noise(3, 500_000)).unwrap();
    let dump = datastore.dump(path.to_str().unwrap(), &[("IDLE_TIMEOUT", "2")]);
    let fates =
        [Fate::Input(0), Fate::Input(200_000), Fate::Output(0), Fate::Output(8), Fate::Lost];
    let uploads = fates.map(|fate| vec![fate]);
    let placings = fates.map(|fate| vec![Fate::Whole, fate]);
    let publishings = fates.map(|fate| vec![Fate::Whole, Fate::Whole, fate]);
    for plan in uploads.into_iter().chain(placings).chain(publishings) {
        let output = copy(&dump, &Shell::new(&plan));
        if output.status.success() {
            // The next bridge took it.
            datastore.copied(&output, "raw");
        } else {
            assert_eq!(
                stderr(&output).lines().filter(|line| !line.contains(": cp: ")).count(),
                1,
                "{}",
                stderr(&output)
            );
        }
        assert_eq!((datastore.stored(), datastore.staged()), (Vec::new(), Vec::new()), "{plan:?}");
    }
}

#[test]
fn what_is_wanted_in_another_format_is_converted_over_there() {
    let Some(_) = program("qemu-img", "qemu-utils") else { return };
    let datastore = Datastore::new();
    let path = datastore.path("image");
    fs::write(&path, noise(4, 1 << 20)).unwrap();
    let dump = datastore.dump(path.to_str().unwrap(), &[("DRIVER", "qcow2")]);
    assert!(datastore.copied(&copy(&dump, &Shell::new(&[])), "qcow2").starts_with(b"QFI\xfb"));
    let broken = Shell::new(&[])
        .with_program("qemu-img", "echo 'qemu-img: No space left on device' >&2; exit 1");
    let line = failure(&copy(&dump, &broken), 8);
    assert!(line.contains("BASE_PATH") && line.contains("No space left on device"), "{line}");
    fs::write(&path, qcow2_with_backing("/etc/shadow")).unwrap();
    failure(&copy(&dump, &Shell::new(&[])), 11);
    assert_eq!((datastore.stored().len(), datastore.staged().len()), (0, 0));
}

#[test]
fn export_asks_a_bridge_where_the_image_is() {
    let datastore = Datastore::new();
    let path = datastore.path("an 'image'; touch ran");
    let bytes = [&b"QFI\xfb\0\0\0\x03"[..], &[0; 96], &noise(5, 100_000)].concat();
    fs::write(&path, &bytes).unwrap();
    let dump = Dump {
        image_source: path.to_str().unwrap().into(),
        image_size: 5,
        ..datastore.dump("", &[])
    };
    let export = |shell: &Shell| call(&["export", "30"], &dump.export(), &shell.ssh());
    let output = export(&Shell::new(&[Fate::Refused, Fate::Refused]));
    assert!(output.status.success(), "{}", stderr(&output));
    let info = ImportInfo::read(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(info.source.as_str(), format!("ssh://bridge-1:{}", path.display()));
    assert_eq!(
        (info.md5, info.format.as_str(), info.size.unwrap().0),
        (Some(md5(&bytes)), "qcow2", 5)
    );
    fs::remove_file(&path).unwrap();
    assert!(
        failure(&export(&Shell::new(&[])), 6).contains("No such file"),
        "of a file, not of a bridge"
    );
}

#[test]
fn a_real_sshd_serves_the_pair() {
    let datastore = Datastore::new();
    let Some(sshd) = Sshd::start(&[("bridge-1", Kind::Plain), ("bridge-2", Kind::Down)]) else {
        return;
    };
    let path = datastore.path("image");
    let bytes = noise(6, 3_000_000);
    fs::write(&path, &bytes).unwrap();
    let mut dump = datastore.dump(path.to_str().unwrap(), &[]);
    dump.image = owned(&[("MD5", &md5_hex(&bytes))]);
    assert!(datastore.copied(&call(&["cp", "7"], &dump.copy(), &sshd.ssh()), "raw") == bytes);
    dump.image_source = path.to_str().unwrap().into();
    let output = call(&["export", "30"], &dump.export(), &sshd.ssh());
    let info = ImportInfo::read(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(info.md5, Some(md5(&bytes)));
}

#[test]
fn a_stranger_who_has_taken_the_name_of_the_staging_directory_is_not_in_the_way() {
    if !rustix::process::geteuid().is_root() {
        return market_testkit::require::missing(
            "a directory of another user can only be made by root",
        );
    }
    let datastore = Datastore::new();
    let (taken, stranger) = (datastore.path("staging dir/.market-staging"), Some(65_534));
    fs::create_dir(&taken).unwrap();
    fs::create_dir(datastore.path("staging dir/.market-staging-guessed")).unwrap();
    std::os::unix::fs::symlink("/etc", datastore.path("staging dir/.market-staging-link")).unwrap();
    for name in ["", "-guessed", "-link"] {
        let path = datastore.path(&format!("staging dir/.market-staging{name}"));
        std::os::unix::fs::lchown(path, stranger, stranger).unwrap();
    }
    let path = datastore.path("image");
    fs::write(&path, noise(7, 100_000)).unwrap();
    let dump = datastore.dump(path.to_str().unwrap(), &[("DRIVER", "raw")]);
    assert!(datastore.copied(&copy(&dump, &Shell::new(&[])), "raw") == noise(7, 100_000));
    // What fails later leaves nothing there either.
    let broken = Shell::new(&[])
        .with_program("md5sum", "cat >/dev/null; echo 0123456789abcdef0123456789abcdef -");
    failure(&copy(&dump, &broken), 9);
    let names = datastore.names("staging dir");
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        let directory = datastore.path("staging dir").join(&name);
        if directory.is_dir() && !directory.is_symlink() {
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "{name}");
        }
    }
}

#[test]
fn a_bridge_that_answers_without_end_is_not_listened_to() {
    let datastore = Datastore::new();
    let path = datastore.path("image");
    fs::write(&path, noise(8, 1_000)).unwrap();
    let dump = datastore.dump(path.to_str().unwrap(), &[]);
    let ssh = |name: &str, script: &str| {
        let path = datastore.path(name);
        fs::write(&path, script).unwrap();
        format!("sh {}", path.display())
    };
    // With room for no more than half a gigabyte.
    let call = |action: &str, dump: &str, ssh: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 500000; exec \"$0\" \"$@\"", EXECUTABLE, action]);
        run(command.env("SSH", ssh), dump)
    };
    for words in ["working", "x", "ready"] {
        let ssh = ssh("ssh", &format!("[ \"$1\" != -G ] || exit 0; exec yes {words}"));
        let line = failure(&call("cp", &dump.copy(), &ssh), 1);
        assert!(line.contains("the bridge"), "{line}");
    }
    // After it has taken the image.
    let late = "[ \"$1\" != -G ] || exit 0; cat >/dev/null & echo 'ready .market-staging'\n\
                echo 'hashed 0 0'; exec yes working";
    failure(&call("cp", &dump.copy(), &ssh("ssh", late)), 1);
    let mut export = dump.clone();
    export.image_source = path.to_str().unwrap().into();
    let read = "[ \"$1\" != -G ] || exit 0; case \"$*\" in *md5sum*) exec yes x ;;\n\
                *) exec yes 'market-transfer 5 1 1 1' ;; esac";
    failure(&call("export", &export.export(), &ssh("ssh", read)), 9);
}

#[test]
fn a_bridge_that_is_at_work_for_ever_does_not_hold_up_a_signal() {
    let datastore = Datastore::new();
    let (path, asked, ssh) =
        (datastore.path("image"), datastore.path("asked"), datastore.path("ssh"));
    fs::write(&path, noise(9, 1_000)).unwrap();
    let script = format!(
        "[ \"$1\" != -G ] || exit 0; : >{}; while sleep 0.01; do echo working; done",
        asked.display()
    );
    fs::write(&ssh, script).unwrap();
    let dump = datastore.dump(path.to_str().unwrap(), &[]).copy();
    let mut command = Command::new(EXECUTABLE);
    let slow = format!("sh {}", ssh.display());
    let mut child = command
        .args(["cp", "7"])
        .env("SSH", slow)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    wait_until("the bridge is asked", || asked.exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert_eq!(output.status.code(), Some(12), "{}", stderr(&output));
}
