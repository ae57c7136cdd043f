//! A conversion that fails, and does not say so by its exit code, on this host and on a bridge.

use crate::{EXECUTABLE, paths_in};
use market_testkit::driver::{failure, run, stderr};
use market_testkit::dump::{Dump, owned};
use market_testkit::noise;
use market_testkit::require::program;
use market_testkit::shell::Shell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Datastore {
    directory: TempDir,
    qemu_img: PathBuf,
}

impl Datastore {
    /// With an image that has data, holes and zeros; none where images cannot be converted.
    fn open() -> Option<Self> {
        let datastore = Self {
            directory: TempDir::new().unwrap(),
            qemu_img: program("qemu-img", "qemu-utils")?,
        };
        fs::create_dir(datastore.path("staging")).unwrap();
        let image = [noise(1, 1 << 20), vec![0; 1 << 20], noise(2, 300_000)].concat();
        fs::write(datastore.path("raw"), image).unwrap();
        let (raw, qcow2) = (datastore.path("raw"), datastore.path("qcow2"));
        let made = Command::new(&datastore.qemu_img)
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .args([raw, qcow2])
            .status();
        assert!(made.unwrap().success());
        Some(datastore)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn stored(&self) -> Vec<PathBuf> {
        paths_in(&self.path("base"))
    }

    /// A directory with a `qemu-img` of this script, in which `$real` is the real one and `$last`
    /// the last argument.
    fn stand_in(&self, script: &str) -> PathBuf {
        let directory = self.path("bin");
        fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "#!/bin/sh\nreal={}\nfor last; do :; done\n{script}\n",
            self.qemu_img.display()
        );
        fs::write(directory.join("qemu-img"), text).unwrap();
        fs::set_permissions(directory.join("qemu-img"), fs::Permissions::from_mode(0o755)).unwrap();
        directory
    }

    /// Copies an image into a datastore that wants another format; the search path begins with
    /// `bin`.
    fn copy(&self, source: &str, wanted: &str, on_bridge: bool, bin: &Path) -> Output {
        let staging = self.path("staging");
        let bridges = [("BRIDGE_LIST", "bridge"), ("STAGING_DIR", staging.to_str().unwrap())];
        let datastore =
            [&[("DRIVER", wanted)][..], if on_bridge { &bridges[..] } else { &[] }].concat();
        let dump = Dump {
            image_path: self.path(source).to_str().unwrap().to_owned(),
            base_path: self.path("base").to_str().unwrap().to_owned(),
            datastore: owned(&datastore),
            ..Dump::default()
        };
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(EXECUTABLE);
        command.args(["cp", "7"]).env("PATH", path);
        let shell = Shell::new(&[]);
        run(command.env("SSH", shell.ssh()), dump.copy())
    }

    /// Whether an image holds what the first one does, and its tables are whole.
    fn is_whole(&self, image: &Path, format: &str) -> bool {
        let good = |arguments: &[&str]| {
            Command::new(&self.qemu_img).args(arguments).output().unwrap().status.success()
        };
        let (raw, image) = (self.path("raw"), image.to_str().unwrap());
        good(&["compare", "-q", "-f", "raw", "-F", format, raw.to_str().unwrap(), image])
            && (format == "raw" || good(&["check", "-q", "-f", "qcow2", image]))
    }
}

#[test]
fn a_conversion_that_did_damage_or_complained_is_no_image_although_it_ended_well() {
    let Some(datastore) = Datastore::open() else { return };
    let damage = |what: &str| {
        format!("[ \"$1\" = convert ] || exec $real \"$@\"\n$real \"$@\" || exit 1\n{what}\nexit 0")
    };
    let byte = "printf x | dd of=\"$last\" bs=1 seek=70000 conv=notrunc 2>/dev/null";
    for (source, wanted, script, told) in [
        ("qcow2", "raw", damage(byte), "is not what it read"),
        (
            "raw",
            "qcow2",
            damage("printf x | dd of=\"$last\" bs=1 seek=400000 conv=notrunc 2>/dev/null"),
            "is not what it read",
        ),
        // Zeros at the end count too.
        ("qcow2", "raw", damage("truncate -s +1M \"$last\""), "is not what it read"),
        ("qcow2", "raw", damage("truncate -s 0 \"$last\""), "is not what it read"),
        ("raw", "qcow2", damage("truncate -s 0 \"$last\""), "qemu-img"),
        // A table that no guest sees: the reference counts, in the third cluster or the second.
        (
            "raw",
            "qcow2",
            damage("dd if=/dev/zero of=\"$last\" bs=65536 seek=1 count=2 conv=notrunc 2>/dev/null"),
            "qemu-img check",
        ),
        (
            "raw",
            "qcow2",
            damage("echo 'Failed to flush the L2 table cache' >&2"),
            "Failed to flush the L2 table cache",
        ),
        ("qcow2", "raw", damage("echo odd >&2"), "complained: odd"),
        ("raw", "qcow2", "exit 0".to_owned(), "qemu-img"),
    ] {
        for on_bridge in [false, true] {
            let bin = datastore.stand_in(&script);
            let output = datastore.copy(source, wanted, on_bridge, &bin);
            assert_ne!(output.status.code(), Some(0), "{script}, on a bridge: {on_bridge}");
            let line = failure(&output, output.status.code().unwrap());
            assert!(line.contains(told), "{script}: {line}");
            assert_eq!(datastore.stored(), Vec::<PathBuf>::new(), "{line}");
        }
    }
}

/// Fails the write or flush whose turn it is, counted in the file that `EIO_COUNT` names;
/// `EIO_TURN` is its number.
const FAILING_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>
static int turn = -1;
static int fails(void) {
    static int count;
    if (turn < 0) turn = atoi(getenv("EIO_TURN"));
    if (__sync_add_and_fetch(&count, 1) != turn) return 0;
    FILE *told = fopen(getenv("EIO_TOLD"), "w");
    if (told) fclose(told);
    errno = EIO;
    return 1;
}
#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return fails() ? -1 : REAL(pwrite64)(fd, data, size, at); }
ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t at) { return fails() ? -1 : REAL(pwritev64)(fd, data, count, at); }
int fdatasync(int fd) { return fails() ? -1 : REAL(fdatasync)(fd); }
int fallocate64(int fd, int mode, off64_t at, off64_t size) { return fails() ? -1 : REAL(fallocate64)(fd, mode, at, size); }
int ftruncate64(int fd, off64_t size) { return fails() ? -1 : REAL(ftruncate64)(fd, size); }
"#;

#[test]
fn a_disk_that_fails_at_any_write_or_flush_never_leaves_a_wrong_image() {
    let Some(datastore) = Datastore::open() else { return };
    let Some(compiler) = program("cc", "gcc") else { return };
    let (source, library, told) =
        (datastore.path("eio.c"), datastore.path("eio.so"), datastore.path("told"));
    fs::write(&source, FAILING_DISK).unwrap();
    let made = Command::new(compiler)
        .args(["-shared", "-fPIC", "-D_GNU_SOURCE", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let mut failed = 0;
    for (source, wanted) in [("raw", "qcow2"), ("qcow2", "raw")] {
        for turn in 1.. {
            assert!(turn < 500, "it never ends");
            let _ = fs::remove_file(&told);
            let preload = format!(
                "[ \"$1\" = convert ] || exec $real \"$@\"\nLD_PRELOAD={} EIO_TURN={turn} EIO_TOLD={} exec $real \"$@\"",
                library.display(),
                told.display()
            );
            let bin = datastore.stand_in(&preload);
            let output = datastore.copy(source, wanted, false, &bin);
            for image in datastore.stored() {
                assert!(
                    datastore.is_whole(&image, wanted),
                    "write {turn} from {source} to {wanted}: {}",
                    stderr(&output)
                );
                assert!(output.status.success(), "{}", stderr(&output));
                fs::remove_file(image).unwrap();
            }
            failed += usize::from(!output.status.success());
            if !told.exists() {
                assert!(output.status.success(), "{}", stderr(&output));
                break;
            }
        }
    }
    assert!(failed > 3, "the disk did fail: {failed}");
}
