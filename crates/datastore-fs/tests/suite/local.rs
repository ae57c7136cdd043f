//! `datastore-fs` as one_datastore and one_market call it.

use crate::{EXECUTABLE, paths_in};
use market_core::action::ImportInfo;
use market_testkit::driver::{failure, run};
use market_testkit::dump::{Dump, owned};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::{qcow2, qcow2_with_backing, sparse_raw};
use market_testkit::require::program;
use market_testkit::shell::Shell;
use market_testkit::{md5, md5_hex, noise};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

struct Datastore {
    directory: TempDir,
}

impl Datastore {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("images")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path("images").join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn dump(&self, source: &str) -> Dump {
        let base = self.path("datastore").to_str().unwrap().to_owned();
        let safe = self.path("images").to_str().unwrap().to_owned();
        let datastore = owned(&[("RESTRICTED_DIRS", "/"), ("SAFE_DIRS", &safe)]);
        Dump { image_path: source.to_owned(), base_path: base, datastore, ..Dump::default() }
    }

    /// What stands in the datastore, staged copies included.
    fn stored(&self) -> Vec<PathBuf> {
        paths_in(&self.path("datastore"))
    }
}

fn call(arguments: &[&str], dump: &str) -> Output {
    run(Command::new(EXECUTABLE).args(arguments), dump)
}

fn copied(output: &Output) -> (PathBuf, String) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8(output.stdout.clone()).unwrap();
    let (path, format) = line.trim_end().split_once(' ').unwrap();
    (PathBuf::from(path), format.to_owned())
}

#[test]
fn export_describes_the_image() {
    let datastore = Datastore::new();
    let path = datastore.path("image");
    qcow2(&path, 64 << 20, 10).unwrap();
    let dump =
        Dump { image_source: path.to_str().unwrap().to_owned(), image_size: 64, ..Dump::default() };
    let output = call(&["export", "30"], &dump.export());
    assert!(output.status.success(), "{output:?}");
    let info = ImportInfo::read(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!((info.source.as_str(), info.format.as_str()), (path.to_str().unwrap(), "qcow2"));
    assert_eq!(
        (info.md5, info.size.unwrap().0, info.dispose),
        (Some(md5(&fs::read(&path).unwrap())), 64, None)
    );
    let gone = Dump { image_source: "/nonexistent/image".into(), ..dump.clone() };
    assert_eq!(
        failure(&call(&["export", "30"], &gone.export()), 6),
        "/nonexistent/image: No such file or directory"
    );
    let remote = Dump { image_source: "rbd/image".into(), ..dump };
    failure(&call(&["export", "30"], &remote.export()), 4);
}

#[test]
fn a_local_image_is_copied_holes_kept_and_its_line_is_what_the_core_reads() {
    let datastore = Datastore::new();
    let path = datastore.path("images").join("sparse");
    sparse_raw(&path, 128 << 20, 1 << 20).unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut dump = datastore.dump(path.to_str().unwrap());
    dump.image = owned(&[("MD5", &md5_hex(&bytes).to_uppercase())]);
    dump.base_path.push('/');
    let (copy, format) = copied(&call(&["cp", "7"], &dump.copy()));
    assert_eq!(
        (copy.parent().unwrap(), format.as_str()),
        (datastore.path("datastore").as_path(), "raw")
    );
    assert!(fs::read(&copy).unwrap() == bytes);
    assert!(copy.metadata().unwrap().blocks() <= path.metadata().unwrap().blocks() + 64);
    dump.datastore.push(("SPARSE".into(), "no".into()));
    let (full, _) = copied(&call(&["cp", "7"], &dump.copy()));
    assert!(full.metadata().unwrap().blocks() * 512 >= 128 << 20, "SPARSE=no allocates everything");
    assert_eq!(datastore.stored().len(), 2);
}

#[test]
fn an_app_is_fetched_over_http_and_verified_against_its_md5() {
    let datastore = Datastore::new();
    let bytes = noise(1, 2_000_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |request, nth| {
        let reply = Reply::bytes(served.clone()).ranged(request, "\"1\"");
        if nth == 0 { reply.cut_after(700_000) } else { reply }
    });
    let mut dump = datastore.dump(&server.url("/app"));
    dump.image = owned(&[("FROM_APP", "30"), ("FROM_APP_MD5", &md5_hex(&bytes))]);
    let (copy, format) = copied(&call(&["cp", "7"], &dump.copy()));
    assert!(fs::read(&copy).unwrap() == bytes);
    assert_eq!(format, "raw");
    fs::remove_file(copy).unwrap();
    dump.image = owned(&[("FROM_APP_MD5", &md5_hex(b"other"))]);
    let line = failure(&call(&["cp", "7"], &dump.copy()), 9);
    assert!(line.contains("FROM_APP_MD5 declared"), "{line}");
    assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
    dump.datastore.push(("VERIFY_APP_MD5".into(), "no".into()));
    let output = call(&["cp", "7"], &dump.copy());
    copied(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("WARN: cp: VERIFY_APP_MD5 is off"));
}

#[test]
fn every_given_checksum_is_checked_and_a_malformed_one_is_no_none() {
    let datastore = Datastore::new();
    let source = datastore.file("image", b"hello");
    let good_sha1 = "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D";
    let good_sha256 = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    for (attributes, code) in [
        (vec![("MD5", md5_hex(b"hello")), ("SHA1", good_sha1.to_owned())], None),
        (vec![("MD5", md5_hex(b"hello")), ("SHA1", "0".repeat(40))], Some(9)),
        (vec![("MD5", md5_hex(b"other")), ("SHA1", good_sha1.to_owned())], Some(9)),
        (vec![("MD5", "nonsense".to_owned())], Some(4)),
        (vec![("MD5", md5_hex(b"hello")), ("SHA256", good_sha256.to_owned())], None),
        (vec![("MD5", md5_hex(b"hello")), ("SHA256", "0".repeat(64))], Some(9)),
        (vec![("SHA256", "0".repeat(40))], Some(4)),
        (vec![("MD5", String::new())], None),
    ] {
        let mut dump = Dump { datastore_type: 2, ..datastore.dump(&source) };
        dump.image =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let output = call(&["cp", "7"], &dump.copy());
        assert_eq!(output.status.code(), Some(code.unwrap_or(0)), "{attributes:?}: {output:?}");
    }
    assert_eq!(datastore.stored().len(), 3);
}

#[test]
fn restricted_directories_hold_through_links_and_prefixes_and_safe_ones_open() {
    let datastore = Datastore::new();
    let images = datastore.path("images");
    let inside = datastore.file("image", b"\0bytes");
    fs::create_dir(datastore.path("imagesecret")).unwrap();
    let beside = datastore.path("imagesecret").join("file");
    fs::write(&beside, b"\0secret").unwrap();
    let link = images.join("link");
    symlink(&beside, &link).unwrap();
    let directory_link = images.join("directory");
    symlink(datastore.path("imagesecret"), &directory_link).unwrap();
    let dots = images.join("../imagesecret/file");
    copied(&call(&["cp", "7"], &datastore.dump(&inside).copy()));
    copied(&call(&["cp", "7"], &datastore.dump(&format!("file://{inside}")).copy()));
    for hidden in [&beside, &link, &directory_link.join("file"), &dots] {
        for form in [hidden.display().to_string(), format!("file://{}", hidden.display())] {
            let line = failure(&call(&["cp", "7"], &datastore.dump(&form).copy()), 5);
            assert!(
                line.contains("restricted") && line.contains(beside.to_str().unwrap()),
                "{line}"
            );
        }
    }
    assert_eq!(datastore.stored().len(), 2);
}

#[test]
fn a_safe_directory_that_became_a_link_opens_nothing() {
    let datastore = Datastore::new();
    fs::create_dir(datastore.path("secret")).unwrap();
    fs::write(datastore.path("secret/one_auth"), b"oneadmin:secret").unwrap();
    let upload = datastore.path("images/upload");
    fs::create_dir(&upload).unwrap();
    fs::write(upload.join("image"), b"\0bytes").unwrap();
    let mut dump = datastore.dump(upload.join("image").to_str().unwrap());
    dump.datastore = owned(&[("RESTRICTED_DIRS", "/"), ("SAFE_DIRS", upload.to_str().unwrap())]);
    copied(&call(&["cp", "7"], &dump.copy()));
    // Whoever may write to the directory above it.
    fs::remove_dir_all(&upload).unwrap();
    symlink(datastore.path("secret"), &upload).unwrap();
    dump.image_path = upload.join("one_auth").to_str().unwrap().to_owned();
    let line = failure(&call(&["cp", "7"], &dump.copy()), 5);
    assert!(line.contains("of SAFE_DIRS leads there through a link"), "{line}");
    // And by the links of the kernel, which lead past every name.
    dump.image_path = format!("/proc/self/root{}", datastore.path("secret/one_auth").display());
    failure(&call(&["cp", "7"], &dump.copy()), 5);
}

#[test]
fn a_second_name_of_a_file_that_is_not_for_everybody_is_not_read() {
    let datastore = Datastore::new();
    let image = datastore.file("image", b"\0bytes");
    fs::hard_link(&image, datastore.path("elsewhere")).unwrap();
    let dump = datastore.dump(&image);
    copied(&call(&["cp", "7"], &dump.copy()));
    fs::set_permissions(&image, fs::Permissions::from_mode(0o640)).unwrap();
    let line = failure(&call(&["cp", "7"], &dump.copy()), 5);
    assert!(line.contains("has another name"), "{line}");
    // Where nothing is restricted, it does not matter.
    let free = Dump { datastore: Vec::new(), ..dump };
    copied(&run(Command::new(EXECUTABLE).args(["cp", "7"]).env("HOME", "/"), free.copy()));
}

#[test]
fn a_list_of_directories_that_cannot_be_meant_so_restricts_nothing_in_silence() {
    let datastore = Datastore::new();
    let image = datastore.file("image", b"\0bytes");
    for list in [
        "/var/lib/one,/etc",
        "/a;/b",
        "/a:/b",
        "/home/.*",
        "etc",
        "/(a|b)",
        "/a/../etc",
        "\"/etc\"",
    ] {
        for name in ["RESTRICTED_DIRS", "SAFE_DIRS"] {
            let dump = Dump { datastore: owned(&[(name, list)]), ..datastore.dump(&image) };
            let line = failure(&call(&["cp", "7"], &dump.copy()), 4);
            assert!(
                line.contains(&format!("attribute {name}")) && line.contains("blanks"),
                "{line}"
            );
        }
    }
}

#[test]
fn ssh_to_this_machine_is_no_way_around_the_restricted_directories() {
    let datastore = Datastore::new();
    fs::write(datastore.path("secret"), b"\0secret").unwrap();
    let shell = Shell::new(&[]);
    for host in ["localhost", "one@127.0.0.1", "any.other.name"] {
        let dump = datastore.dump(&format!("ssh://{host}:{}", datastore.path("secret").display()));
        let output =
            run(Command::new(EXECUTABLE).args(["cp", "7"]).env("SSH", shell.ssh()), dump.copy());
        let line = failure(&output, 5);
        assert!(line.contains("this machine itself"), "{line}");
    }
    // Another machine: one whose kernel was started at another time.
    let elsewhere = Shell::new(&[]).with_program(
        "cat",
        "[ \"$1\" = /proc/sys/kernel/random/boot_id ] || exec /bin/cat \"$@\"",
    );
    let dump = datastore.dump(&format!("ssh://other:{}", datastore.file("image", b"\0bytes")));
    copied(&run(
        Command::new(EXECUTABLE).args(["cp", "7"]).env("SSH", elsewhere.ssh()),
        dump.copy(),
    ));
}

#[test]
fn a_driver_message_may_be_wrapped_anywhere_and_end_in_a_nul() {
    let datastore = Datastore::new();
    let dump = datastore.dump(&datastore.file("image", b"\0bytes")).copy();
    let lines: Vec<_> =
        dump.as_bytes().chunks(40).map(|line| std::str::from_utf8(line).unwrap()).collect();
    copied(&call(&["cp", "7"], &(lines.join("\n") + "\n\0")));
}

#[test]
fn a_packed_image_may_not_become_much_larger_than_its_declared_size() {
    let Some(gzip) = program("gzip", "gzip") else { return };
    let datastore = Datastore::new();
    let image = datastore.file("image", &vec![0; 64 << 20]);
    assert!(Command::new(gzip).arg(&image).status().unwrap().success());
    for (size, attribute, code) in
        [(64, "", 0), (10, "", 9), (0, "", 0), (10, "64", 0), (64, "63", 9)]
    {
        let mut dump = Dump { image_size: size, ..datastore.dump(&format!("{image}.gz")) };
        dump.datastore.extend(
            owned(&[("MAX_UNPACKED_MB", attribute)]).into_iter().filter(|_| !attribute.is_empty()),
        );
        let output = call(&["cp", "7"], &dump.copy());
        assert_eq!(output.status.code(), Some(code), "{size} {attribute}: {output:?}");
    }
    assert_eq!(datastore.stored().len(), 3);
}

#[test]
fn what_is_no_file_is_not_even_opened() {
    let datastore = Datastore::new();
    let pipe = datastore.path("images/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let line = failure(&call(&["cp", "7"], &datastore.dump(pipe.to_str().unwrap()).copy()), 11);
    assert!(line.contains("is neither a file nor a block device"), "{line}");
}

#[test]
fn an_image_is_never_open_to_others_whatever_the_umask_is() {
    let datastore = Datastore::new();
    let dump = datastore.dump(&datastore.file("image", b"\0bytes"));
    for (mask, mode) in [("0", 0o644), ("022", 0o644), ("027", 0o640)] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {mask}; exec \"$0\" cp 7"), EXECUTABLE]);
        let (copy, _) = copied(&run(&mut command, dump.copy()));
        assert_eq!(copy.metadata().unwrap().mode() & 0o777, mode, "umask {mask}");
        assert_eq!(copy.parent().unwrap().metadata().unwrap().mode() & 0o022, 0);
    }
}

#[test]
fn limits_of_the_caller_are_errors_and_leave_nothing() {
    let datastore = Datastore::new();
    let server = HttpServer::start(|_, _| Reply::bytes(noise(4, 3_000_000)));
    for source in [datastore.file("image", &noise(4, 3_000_000)), server.url("/image")] {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 1000; exec \"$0\" cp 7", EXECUTABLE]);
        let output = run(&mut command, datastore.dump(&source).copy());
        let line = failure(&output, 8);
        assert!(line.contains("too large"), "{line}");
        assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
    }
}

#[test]
fn opennebulas_own_directories_and_the_home_are_restricted_and_an_unset_home_restricts_nothing() {
    let datastore = Datastore::new();
    let location = datastore.path("one");
    let home = datastore.path("home");
    for directory in ["one/var", "one/etc", "home", "free"] {
        fs::create_dir_all(datastore.path(directory)).unwrap();
        fs::write(datastore.path(directory).join("file"), b"\0bytes").unwrap();
    }
    let copy = |directory: &str, home: Option<&Path>| {
        let source = datastore.path(directory).join("file");
        let dump = Dump { datastore: Vec::new(), ..datastore.dump(source.to_str().unwrap()) };
        let mut command = Command::new(EXECUTABLE);
        command.args(["cp", "7"]).env("ONE_LOCATION", &location).env_remove("HOME");
        if let Some(home) = home {
            command.env("HOME", home);
        }
        run(&mut command, dump.copy()).status.code()
    };
    assert_eq!(copy("one/var", None), Some(5));
    assert_eq!(copy("one/etc", None), Some(5));
    assert_eq!(copy("home", Some(&home)), Some(5));
    assert_eq!(copy("home", None), Some(0));
    assert_eq!(copy("free", Some(&home)), Some(0));
    assert_eq!(copy("free", Some(Path::new("/"))), Some(0));
}

#[test]
fn a_packed_app_is_unpacked_and_verified_as_it_was_stored() {
    let Some(gzip) = market_testkit::require::program("gzip", "gzip") else { return };
    let datastore = Datastore::new();
    let image = datastore.file("image", &[noise(5, 100_000), vec![0; 1 << 20]].concat());
    for (name, content) in [
        ("image", image.clone()),
        (
            "tar",
            datastore.file("tar", &{
                let mut tar = noise(3, 600);
                tar[257..262].copy_from_slice(b"ustar");
                tar
            }),
        ),
        ("backing", datastore.file("backing", &qcow2_with_backing("/etc/shadow"))),
    ] {
        assert!(Command::new(&gzip).args(["-k", "-f", &content]).status().unwrap().success());
        let packed = format!("{content}.gz");
        let mut dump = datastore.dump(&packed);
        dump.image.push(("FROM_APP_MD5".into(), md5_hex(&std::fs::read(&packed).unwrap())));
        dump.datastore.push(("LIMIT_TRANSFER_BW".into(), "100M".into()));
        let output = call(&["cp", "7"], &dump.copy());
        match name {
            "image" => {
                let (path, format) = copied(&output);
                assert_eq!(
                    (
                        std::fs::read(path).unwrap() == std::fs::read(&content).unwrap(),
                        format.as_str()
                    ),
                    (true, "raw")
                );
            }
            "tar" => assert!(failure(&output, 11).contains("is a tar archive")),
            _ => assert!(failure(&output, 11).contains("needs the backing file \"/etc/shadow\"")),
        }
    }
    assert_eq!(datastore.stored().len(), 1);
}

#[test]
fn what_cannot_become_an_image_is_refused_by_name() {
    let datastore = Datastore::new();
    let raw = datastore.file("raw", b"\0bytes");
    let gzip = datastore.file("gzip", b"\x1f\x8b\x08 bytes");
    let mut tar = noise(3, 600);
    tar[257..262].copy_from_slice(b"ustar");
    let tar = datastore.file("tar", &tar);
    let backing = datastore.file("backing", &qcow2_with_backing("/etc/shadow"));
    let page = datastore.file("page", b"<!DOCTYPE html><title>Log in</title>");
    let text = datastore.file("text", b"no such image\n");
    let lz4 = datastore.file("lz4", b"\x04\x22\x4d\x18 and more");
    let parallels = datastore.file("parallels", b"WithoutFreeSpace\x02\0\0\0");
    let long = "a".repeat(300);
    for (source, attribute, value, code, expected) in [
        (raw.as_str(), "BRIDGE_LIST", "-host", 4, "attribute BRIDGE_LIST"),
        (&raw, "LIMIT_TRANSFER_BW", "fast", 4, "attribute LIMIT_TRANSFER_BW: is no rate"),
        (&raw, "NFS_AUTO_ENABLE", "yes", 11, "attribute NFS_AUTO_ENABLE"),
        (&raw, "SPARSE", "perhaps", 4, "attribute SPARSE: expected yes or no"),
        (&gzip, "X", "", 9, "is no whole gzip stream"),
        (&tar, "X", "", 11, "is a tar archive"),
        (&page, "X", "", 9, "is an HTML or XML document, not an image"),
        (&text, "X", "", 9, "is a text, not an image"),
        (&lz4, "X", "", 11, "not unpacked here: lz4"),
        (&parallels, "X", "", 11, "in the format of Parallels"),
        (&backing, "X", "", 11, "needs the backing file \"/etc/shadow\""),
        ("s3://bucket/key", "X", "", 4, "ACCESS_KEY_ID: missing"),
        ("s3://bucket", "X", "", 4, "is not s3://bucket/key"),
        ("rbd://host?CEPH_KEY=hunter2", "X", "", 4, "is not rbd://host/pool/image"),
        ("/nonexistent", "X", "", 6, "No such file or directory"),
        (&long, "X", "", 4, "neither an absolute path nor a URL"),
        ("", "X", "", 4, "is empty"),
    ] {
        let mut dump = datastore.dump(source);
        dump.datastore.push((attribute.to_owned(), value.to_owned()));
        let line = failure(&call(&["cp", "7"], &dump.copy()), code);
        assert!(line.contains(expected) && !line.contains("hunter2"), "{line}");
    }
    assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
}

#[test]
fn images_are_converted_to_the_format_that_the_datastore_wants() {
    let Some(_) = program("qemu-img", "qemu-utils") else { return };
    let datastore = Datastore::new();
    let raw = datastore.file("raw", &noise(5, 3 << 20));
    let qcow2 = |from: &str, name: &str| {
        let path = datastore.path("images").join(name);
        let made = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", name, from])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path.to_str().unwrap().to_owned()
    };
    let (qcow2, vdi) = (qcow2(&raw, "qcow2"), qcow2(&raw, "vdi"));
    for (source, driver, expected) in [
        (&raw, "qcow2", "qcow2"),
        (&qcow2, "raw", "raw"),
        (&vdi, "qcow2", "qcow2"),
        (&raw, "raw", "raw"),
        (&vdi, "other", "vdi"),
    ] {
        let mut dump = datastore.dump(source);
        dump.image = owned(&[("MD5", &md5_hex(&fs::read(source).unwrap()))]);
        dump.datastore.push(("DRIVER".into(), driver.into()));
        let (copy, format) = copied(&call(&["cp", "7"], &dump.copy()));
        assert_eq!(format, expected);
        let same = Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", expected, &raw])
            .arg(&copy)
            .output();
        assert!(same.unwrap().status.success());
        dump.datastore.push(("CONVERT".into(), "NO".into()));
        assert!(
            fs::read(copied(&call(&["cp", "7"], &dump.copy())).0).unwrap()
                == fs::read(source).unwrap()
        );
    }
    for stored in datastore.stored() {
        fs::remove_file(stored).unwrap();
    }
    // What only begins like an image, and no qemu-img.
    let mut broken = datastore.dump(&datastore.file("broken", b"vhdxfile bytes"));
    broken.datastore.push(("DRIVER".into(), "raw".into()));
    let line = failure(&call(&["cp", "7"], &broken.copy()), 1);
    assert!(line.starts_with("qemu-img convert -f vhdx -O raw: "), "{line}");
    let output =
        run(Command::new(EXECUTABLE).args(["cp", "7"]).env("PATH", "/nonexistent"), broken.copy());
    let line = failure(&output, 11);
    assert!(line.contains("qemu-img is not installed") && line.contains("CONVERT"), "{line}");
    assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
}

#[test]
fn zeros_of_a_local_image_become_holes() {
    let datastore = Datastore::new();
    let mut bytes = vec![0; 8 << 20];
    bytes[5 << 20] = 1;
    let (copy, _) =
        copied(&call(&["cp", "7"], &datastore.dump(&datastore.file("zeros", &bytes)).copy()));
    assert!(fs::read(&copy).unwrap() == bytes);
    assert!(copy.metadata().unwrap().blocks() * 512 <= 1 << 20);
}

#[test]
fn a_file_datastore_stores_packed_files_as_they_are_and_a_cdrom_is_not_converted() {
    let datastore = Datastore::new();
    let gzip = datastore.file("gzip", b"\x1f\x8b\x08 bytes");
    let files = Dump { datastore_type: 2, ..datastore.dump(&gzip) };
    assert_eq!(copied(&call(&["cp", "7"], &files.copy())).1, "raw");
    let mut packed = datastore.dump(&gzip);
    packed.datastore.push(("NO_DECOMPRESS".into(), "YES".into()));
    copied(&call(&["cp", "7"], &packed.copy()));
    let mut cdrom = Dump { image_type: 1, ..datastore.dump(&datastore.file("iso", b"\0bytes")) };
    cdrom.datastore.push(("DRIVER".into(), "qcow2".into()));
    copied(&call(&["cp", "7"], &cdrom.copy()));
    let luks = datastore.dump(&datastore.file("luks", b"LUKS\xba\xbe bytes"));
    assert_eq!(copied(&call(&["cp", "7"], &luks.copy())).1, "raw");
}

#[test]
fn a_copy_whose_answer_is_lost_or_whose_id_is_wrong_leaves_nothing() {
    let datastore = Datastore::new();
    let dump = datastore.dump(&datastore.file("image", b"\0bytes")).copy();
    let line = failure(&call(&["cp", "8"], &dump), 3);
    assert!(line.contains("is about id 7, the call about id 8"), "{line}");
    let line = failure(&call(&["cp", "7", "8"], &dump), 2);
    assert!(line.contains("too many arguments"), "{line}");
    // Standard output that is closed, or only open for reading.
    for stdout in [">&-", "1</dev/null"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" cp 7 {stdout}"), EXECUTABLE]);
        let line = failure(&run(&mut command, &dump), 1);
        assert!(line.contains("standard output"), "{line}");
        assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(EXECUTABLE);
    let mut child = command
        .args(["cp", "7"])
        .stdin(Stdio::piped())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
    assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_copy_has_left_goes_with_the_next_one() {
    let datastore = Datastore::new();
    let server = HttpServer::start(|_, _| Reply::bytes(noise(4, 3_000_000)).stall_after(1_000_000));
    let mut command = Command::new(EXECUTABLE);
    let mut child = command
        .args(["cp", "7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(datastore.dump(&server.url("/i")).copy().as_bytes())
        .unwrap();
    let staged = || {
        datastore
            .stored()
            .iter()
            .any(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0))
    };
    let start = std::time::Instant::now();
    while !staged() {
        assert!(start.elapsed().as_secs() < 60, "nothing was staged");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(datastore.stored().len(), 2, "the copy and its lock");
    let output = call(&["cp", "7"], &datastore.dump(&datastore.file("image", b"\0bytes")).copy());
    let (copy, _) = copied(&output);
    assert_eq!(datastore.stored(), [copy]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 unfinished copies"), "{output:?}");
}

#[test]
fn a_stopped_copy_leaves_nothing() {
    let datastore = Datastore::new();
    let server = HttpServer::start(|_, _| Reply::bytes(noise(4, 3_000_000)).stall_after(1_000_000));
    let mut command = Command::new(EXECUTABLE);
    let mut child = command
        .args(["cp", "7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(datastore.dump(&server.url("/i")).copy().as_bytes())
        .unwrap();
    let start = std::time::Instant::now();
    while !datastore.stored().iter().any(|path| path.to_str().unwrap().ends_with(".part")) {
        assert!(start.elapsed().as_secs() < 30, "nothing was staged");
        std::thread::yield_now();
    }
    let another = datastore.dump(&datastore.file("image", b"\0bytes"));
    copied(&call(&["cp", "7"], &another.copy()));
    assert_eq!(datastore.stored().len(), 3, "a copy at work is not touched by others");
    let image =
        datastore.stored().into_iter().find(|path| !path.to_str().unwrap().contains("/.market-"));
    fs::remove_file(image.unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let line = failure(&child.wait_with_output().unwrap(), 12);
    assert!(line.contains("SIGTERM"), "{line}");
    assert_eq!(datastore.stored(), Vec::<PathBuf>::new());
}
