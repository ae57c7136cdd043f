//! The downloader as datastore drivers call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use flate2::Compression;
use flate2::write::GzEncoder;
use market_testkit::driver::{failure, stderr};
use market_testkit::dump::{Dump, owned};
use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::sparse_raw;
use market_testkit::oned::OneLocation;
use market_testkit::s3::S3Server;
use market_testkit::shell::{Fate, Shell};
use market_testkit::{md5_hex, noise};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_downloader");

fn downloader(arguments: &[&str]) -> Command {
    let mut command = Command::new(EXECUTABLE);
    command.args(arguments).env_remove("DRV_ACTION");
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

fn call(arguments: &[&str]) -> Output {
    downloader(arguments).output().unwrap()
}

fn good(output: &Output) -> &[u8] {
    assert!(output.status.success(), "{}", stderr(output));
    &output.stdout
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn bytes_go_to_standard_output_or_into_a_file() {
    let scratch = TempDir::new().unwrap();
    let bytes = noise(1, 3_000_000);
    let server = HttpServer::start({
        let bytes = bytes.clone();
        move |_, _| Reply::bytes(bytes.clone())
    });
    let (url, to) = (server.url("/app"), scratch.path().join("image"));
    assert!(good(&call(&["-m", &md5_hex(&bytes), &url, "-"])) == bytes);
    assert!(
        good(&call(&["--md5", &md5_hex(&bytes).to_uppercase(), &url, to.to_str().unwrap()]))
            .is_empty()
    );
    assert!(fs::read(&to).unwrap() == bytes);
    assert!(good(&call(&[to.to_str().unwrap(), "-"])) == bytes);
    // As a relative path, and with file://.
    assert!(
        good(&downloader(&["image", "-"]).current_dir(scratch.path()).output().unwrap()) == bytes
    );
    assert!(good(&call(&[&format!("file://{}", to.display()), "-"])) == bytes);
    assert_eq!(server.requests().len(), 2, "one request each");
}

#[test]
fn a_file_that_is_there_stays_until_the_new_one_is_whole() {
    let scratch = TempDir::new().unwrap();
    let (to, link) = (scratch.path().join("image"), scratch.path().join("link"));
    fs::write(&to, "old").unwrap();
    fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).unwrap();
    symlink(&to, &link).unwrap();
    let bytes = noise(2, 100_000);
    let server = HttpServer::start({
        let bytes = bytes.clone();
        move |request, _| match request.path.as_str() {
            "/whole" => Reply::bytes(bytes.clone()),
            "/cut" => Reply::bytes(bytes.clone()).cut_after(50_000),
            _ => Reply::status(404),
        }
    });
    let wrong = md5_hex(b"other");
    for arguments in [&["-o"][..], &["-o", "-m", &wrong]] {
        for path in if arguments.len() > 1 { &["/whole"][..] } else { &["/cut", "/gone"] } {
            let url = server.url(path);
            let arguments: Vec<_> =
                arguments.iter().copied().chain([url.as_str(), link.to_str().unwrap()]).collect();
            failure(&call(&arguments), 255);
            assert_eq!(fs::read(&to).unwrap(), b"old");
        }
    }
    good(&call(&[&server.url("/whole"), link.to_str().unwrap()]));
    assert!(fs::read(&to).unwrap() == bytes && fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o600);
    assert_eq!(names(scratch.path()), ["image", "link"]);
}

#[test]
fn both_checksums_count() {
    let scratch = TempDir::new().unwrap();
    let from = scratch.path().join("image");
    fs::write(&from, "hello").unwrap();
    let from = from.to_str().unwrap();
    let (md5, sha1) =
        ("5d41402abc4b2a76b9719d911017c592", "AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D");
    assert_eq!(good(&call(&["-m", md5, "-s", sha1, from, "-"])), b"hello");
    let other = "0".repeat(40);
    for arguments in [["-m", md5, "-s", &other], ["-m", &other[..32], "-s", sha1]] {
        let output = call(&[&arguments[..], &[from, "-"]].concat());
        assert_eq!(output.status.code(), Some(255));
        assert!(stderr(&output).contains("Hash does not match"), "{}", stderr(&output));
    }
    let failure = failure(&call(&["-m", md5, "-c", "3", from, "-"]), 255);
    assert!(failure.contains("Hash check not supported for partial downloads"), "{failure}");
}

#[test]
fn compressed_streams_are_told_by_their_bytes_and_hashed_as_fetched() {
    let scratch = TempDir::new().unwrap();
    let bytes = noise(3, 400_000);
    let packed = gzip(&bytes);
    let from = scratch.path().join("image.raw");
    fs::write(&from, &packed).unwrap();
    let from = from.to_str().unwrap();
    assert!(good(&call(&["-m", &md5_hex(&packed), from, "-"])) == bytes);
    assert!(good(&call(&["-n", "-m", &md5_hex(&packed), from, "-"])) == packed);
    // How the stock stat looks at images: the first bytes, unpacked, of a stream that is not read
    // on.
    assert!(good(&call(&["-c", "65536", from, "-"])) == &bytes[..65_536]);
    assert!(good(&call(&["--nodecomp", "--max-size", "100", from, "-"])) == &packed[..100]);
    let to = scratch.path().join("head");
    good(&call(&["-c", "1000", from, to.to_str().unwrap()]));
    assert!(fs::read(to).unwrap() == bytes[..1_000], "a file too");
    fs::write(from, &packed[..packed.len() - 5]).unwrap();
    assert_eq!(call(&[from, "-"]).status.code(), Some(255), "the end is missing");
}

#[test]
fn a_broken_transfer_goes_on_where_it_was_unless_that_is_not_wanted() {
    let bytes = noise(4, 500_000);
    let server = HttpServer::start({
        let bytes = bytes.clone();
        move |request, count| {
            let reply = Reply::bytes(bytes.clone()).ranged(request, "\"1\"");
            if count == 0 { reply.cut_after(200_000) } else { reply }
        }
    });
    assert!(good(&call(&["-m", &md5_hex(&bytes), &server.url("/a"), "-"])) == bytes);
    let server = HttpServer::start(move |_, _| Reply::bytes(bytes.clone()).cut_after(200_000));
    assert_eq!(call(&["--noretry", &server.url("/a"), "-"]).status.code(), Some(255));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn holes_stay_holes() {
    let scratch = TempDir::new().unwrap();
    let (from, to) = (scratch.path().join("sparse"), scratch.path().join("image"));
    sparse_raw(&from, 64 << 20, 1 << 20).unwrap();
    good(&call(&[from.to_str().unwrap(), to.to_str().unwrap()]));
    let (from, to) = (fs::metadata(from).unwrap(), fs::metadata(to).unwrap());
    assert!(from.len() == to.len() && to.blocks() < from.blocks() + 64, "{from:?} {to:?}");
}

#[test]
fn a_path_over_ssh_is_one_word_there() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("a b'; touch ran; '$(x)");
    fs::write(&path, "over ssh").unwrap();
    let shell = Shell::new(&[Fate::Whole]);
    let url = format!("ssh://one@bridge:{}", path.display());
    let output = downloader(&[&url, "-"])
        .env("SSH", shell.ssh())
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert_eq!(good(&output), b"over ssh");
    assert!(!scratch.path().join("ran").exists());
}

#[test]
fn objects_of_s3_need_the_keys_in_drv_action() {
    let server = S3Server::start();
    server.create_bucket("apps");
    let bytes = noise(5, 300_000);
    server.put("apps", "marketapp-30", &bytes);
    let dump = Dump { market: server.market("apps", &[]), ..Dump::default() };
    let url = "s3://apps/marketapp-30";
    let with = |dump: &str| downloader(&[url, "-"]).env("DRV_ACTION", dump).output().unwrap();
    assert!(good(&with(&dump.copy())) == bytes);
    // As the web interface makes it: a marketplace and nothing else.
    assert!(good(&with(&dump.marketplace_only())) == bytes);
    let missing = failure(&call(&[url, "-"]), 255);
    assert!(missing.contains("DRV_ACTION is missing"), "{missing}");
    let other = failure(&with(&dump.export()), 255);
    assert!(other.contains("holds no keys for S3"), "{other}");
    for dump in ["garbage!", &dump.import()] {
        assert_eq!(with(dump).status.code(), Some(255));
    }
    let mut wrong = dump.clone();
    wrong.market.retain(|(name, _)| name != "SECRET_ACCESS_KEY");
    wrong.market.push(("SECRET_ACCESS_KEY".into(), "hunter2".into()));
    let output = with(&wrong.copy());
    assert_eq!(output.status.code(), Some(255));
    assert!(!stderr(&output).contains("hunter2"));
}

#[test]
fn attributes_of_the_action_count_for_other_sources_too() {
    let server = HttpServer::start(|_, _| Reply::bytes(vec![0; 1_000]).stall_after(10));
    let dump = Dump { datastore: owned(&[("IDLE_TIMEOUT", "1")]), ..Dump::default() };
    let output = downloader(&["-o", &server.url("/a"), "-"])
        .env("DRV_ACTION", dump.copy())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("silent"), "{}", stderr(&output));
}

#[test]
fn schemes_come_from_downloader_d_and_from_the_helpers_of_opennebula() {
    let location = OneLocation::new();
    location.script("datastore/downloader.d/mine", "cat >&2; printf %s \"$1\"");
    location.script("datastore/lxd_downloader.sh", "printf '\\037\\213 a container'");
    location.script(
        "datastore/restic_downloader.rb",
        "echo noise; echo 'command=\"printf backup\"'; echo 'clean_command=\"touch cleaned\"'",
    );
    let call = |arguments: &[&str]| {
        let mut command = downloader(arguments);
        command
            .env("ONE_LOCATION", location.path())
            .env("DRV_ACTION", "dump")
            .current_dir(location.path());
        command.output().unwrap()
    };
    let mine = call(&["mine://place/x?y", "-"]);
    assert_eq!((good(&mine), stderr(&mine).as_str()), (&b"mine://place/x?y"[..], ""));
    assert_eq!(good(&call(&["lxd://place", "-"])), b"\x1f\x8b a container", "never unpacked");
    assert_eq!(good(&call(&["restic://1/2", "-"])), b"backup");
    assert!(location.path().join("cleaned").exists());
    fs::remove_file(location.path().join("cleaned")).unwrap();
    assert_eq!(good(&call(&["-c", "3", "restic://1/2", "-"])), b"bac");
    assert!(location.path().join("cleaned").exists(), "also when not all of it was wanted");
    let md5 = md5_hex(b"");
    assert!(
        failure(&call(&["-m", &md5, "onebex://1:2", "-"]), 255).contains("interactive downloads")
    );
    assert!(failure(&call(&["unknown://x", "-"]), 255).contains("downloader.d/unknown"));
}

#[test]
fn archives_become_directories_and_nothing_leaves_them() {
    let scratch = TempDir::new().unwrap();
    let to = scratch.path().join("image");
    let archive = |build: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    };
    let add =
        |builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o4755);
            header.set_size(if kind.is_file() { 5 } else { 0 });
            header.set_cksum();
            builder.append(&header, if kind.is_file() { &b"hello"[..] } else { b"" }).unwrap();
        };
    let file = tar::EntryType::Regular;
    let good_tar = archive(&|builder| {
        add(builder, "disks/", tar::EntryType::Directory, "");
        add(builder, "disks/one", file, "");
        // Of two entries of one name the later one counts.
        add(builder, "/disks/one", file, "");
    });
    let fetch = |bytes: &[u8], more: &[&str]| {
        let from = scratch.path().join("from");
        fs::write(&from, bytes).unwrap();
        call(&[more, &[from.to_str().unwrap(), to.to_str().unwrap()]].concat())
    };
    fs::write(&to, "a file before").unwrap();
    for bytes in [good_tar.clone(), gzip(&good_tar)] {
        good(&fetch(&bytes, &[]));
        assert_eq!(fs::read(to.join("disks/one")).unwrap(), b"hello");
        assert_eq!(fs::metadata(to.join("disks/one")).unwrap().mode() & 0o7000, 0);
        fs::remove_dir_all(&to).unwrap();
    }
    good(&fetch(&good_tar, &["-n"]));
    assert!(fs::read(&to).unwrap() == good_tar, "not to be unpacked");
    fs::remove_file(&to).unwrap();

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default();
    zip.start_file("disks/two", plain).unwrap();
    zip.write_all(b"zipped").unwrap();
    good(&fetch(&zip.finish().unwrap().into_inner(), &[]));
    assert_eq!(fs::read(to.join("disks/two")).unwrap(), b"zipped");
    fs::remove_dir_all(&to).unwrap();

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("../escaped", plain).unwrap();
    zip.write_all(b"zipped").unwrap();
    let escaping_zip = zip.finish().unwrap().into_inner();
    let escaping = archive(&|builder| add(builder, "../escaped", file, ""));
    let link = archive(&|builder| add(builder, "link", tar::EntryType::Symlink, "/etc"));
    let device = archive(&|builder| add(builder, "device", tar::EntryType::Char, ""));
    let cut = &good_tar[..700];
    for bytes in [&escaping_zip[..], &escaping, &link, &device, cut, &b"PK\x03\x04 no archive"[..]]
    {
        failure(&fetch(bytes, &[]), 255);
        assert_eq!(names(scratch.path()), ["from"]);
    }
}

#[test]
fn a_reader_who_goes_and_a_signal_end_it_and_nothing_stays() {
    let scratch = TempDir::new().unwrap();
    let server = HttpServer::start(|_, _| Reply::bytes(noise(6, 8 << 20)).stall_after(4 << 20));
    let mut child = downloader(&[&server.url("/a"), "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1_000]).unwrap();
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(255));

    for signal in ["-TERM", "-KILL"] {
        let to = scratch.path().join("image");
        let mut child = downloader(&[&server.url("/a"), to.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let staged = || -> Option<PathBuf> {
            let name = names(scratch.path()).into_iter().find(|name| name.ends_with(".part"))?;
            let path = scratch.path().join(name);
            (path.metadata().ok()?.len() >= 3 << 20).then_some(path)
        };
        let start = Instant::now();
        while staged().is_none() {
            assert!(start.elapsed().as_secs() < 60, "nothing was staged");
            std::thread::yield_now();
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        child.wait().unwrap();
        assert!(!to.exists());
        // The next download removes what a killed one has left.
        fs::write(scratch.path().join("other"), "x").unwrap();
        good(&call(&[
            scratch.path().join("other").to_str().unwrap(),
            scratch.path().join("copy").to_str().unwrap(),
        ]));
        assert_eq!(names(scratch.path()), ["copy", "other"], "{signal}");
    }
}

#[test]
fn a_device_is_written_and_not_replaced() {
    let scratch = TempDir::new().unwrap();
    let from = scratch.path().join("image");
    fs::write(&from, "bytes").unwrap();
    good(&call(&[from.to_str().unwrap(), "/dev/null"]));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let full = failure(&call(&[from.to_str().unwrap(), "/dev/full"]), 255);
    assert!(full.contains("No space left"), "{full}");
    assert!(
        failure(&call(&[from.to_str().unwrap(), scratch.path().to_str().unwrap()]), 255)
            .contains("is a directory")
    );
}

/// A tar of files that are all zeros and take no room in it: GNU tar's way to keep holes.
fn sparse_tar(files: usize, length: u64) -> Vec<u8> {
    let mut tar = Vec::new();
    for file in 0..files {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("disk{file}")).unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        // One piece of nothing at the end says how long the file is.
        gnu.sparse[0].set_offset(length);
        gnu.sparse[0].set_length(0);
        gnu.set_real_size(length);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
    }
    tar.extend_from_slice(&[0; 1024]);
    tar
}

#[test]
fn what_an_archive_may_become_has_a_limit() {
    let scratch = TempDir::new().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("image"));
    let fetch = |bytes: &[u8], more: &[&str]| {
        fs::write(&from, bytes).unwrap();
        let start = Instant::now();
        let output = call(&[more, &[from.to_str().unwrap(), to.to_str().unwrap()]].concat());
        assert!(start.elapsed().as_secs() < 60);
        output
    };
    let line = failure(&fetch(&sparse_tar(1, 8 << 40), &[]), 255);
    assert!(line.contains("disk0") && line.contains("1048576 MiB that may be unpacked"), "{line}");
    // All files together count.
    let limited = ["--unpacked-limit", "8"];
    let line = failure(&fetch(&sparse_tar(3, 3 << 20), &limited), 255);
    assert!(line.contains("--unpacked-limit"), "the option that it names is one: {line}");
    assert_eq!(names(scratch.path()), ["from"]);
    good(&fetch(&sparse_tar(2, 3 << 20), &limited));
    assert_eq!(fs::metadata(to.join("disk1")).unwrap().len(), 3 << 20);
    fs::remove_dir_all(&to).unwrap();
    // So do the bytes of a zip and of a stream.
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("disk", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&vec![0; 9 << 20]).unwrap();
    failure(&fetch(&zip.finish().unwrap().into_inner(), &limited), 255);
    failure(&fetch(&gzip(&vec![1; 9 << 20]), &limited), 255);
    assert_eq!(names(scratch.path()), ["from"]);
    // What was declared, and what the datastore says.
    for (size, attribute, code) in [
        (1, &[][..], 255),
        (20, &[], 0),
        (1, &[("MAX_UNPACKED_MB", "20")], 0),
        (20, &[("MAX_UNPACKED_MB", "5")], 255),
    ] {
        let dump = Dump { image_size: size, datastore: owned(attribute), ..Dump::default() };
        fs::write(&from, gzip(&vec![1; 15 << 20])).unwrap();
        let arguments = [from.to_str().unwrap(), to.to_str().unwrap()];
        let output = downloader(&arguments).env("DRV_ACTION", dump.copy()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{size} {attribute:?}: {}", stderr(&output));
    }
}

#[test]
fn an_archive_whose_headers_or_directories_have_no_end_is_refused() {
    let scratch = TempDir::new().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("image"));
    let fetch = |bytes: &[u8]| {
        fs::write(&from, gzip(bytes)).unwrap();
        let limited = "ulimit -v 500000; exec \"$0\" \"$@\"";
        Command::new("sh").args(["-c", limited, EXECUTABLE]).args([&from, &to]).output().unwrap()
    };
    // A name of 512 MiB.
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(512 << 20);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.resize(512 << 20, b'x');
    let line = failure(&fetch(&tar), 255);
    assert!(line.contains("its headers are too long"), "{line}");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Regular);
    builder.append_data(&mut header, "a/".repeat(1_000) + "b", &b""[..]).unwrap();
    let line = failure(&fetch(&builder.into_inner().unwrap()), 255);
    assert!(line.contains("directories"), "{line}");
    assert_eq!(names(scratch.path()), ["from"]);
}

#[test]
fn an_archive_is_on_the_disk_before_it_has_its_name() {
    let Some(strace) = market_testkit::require::program("strace", "strace") else { return };
    let scratch = TempDir::new().unwrap();
    let (from, to, trace) =
        (scratch.path().join("from"), scratch.path().join("image"), scratch.path().join("trace"));
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["one", "inner/two", "inner/deep/three"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &b"hello"[..]).unwrap();
    }
    fs::write(&from, builder.into_inner().unwrap()).unwrap();
    let calls = "trace=fsync,fdatasync,rename,renameat,renameat2";
    let output = Command::new(strace)
        .args(["-f", "-y", "-e", calls, "-o"])
        .arg(&trace)
        .arg(EXECUTABLE)
        .args([&from, &to])
        .output()
        .unwrap();
    if stderr(&output).contains("PTRACE") {
        return market_testkit::require::missing("strace may not trace here");
    }
    good(&output);
    let text = fs::read_to_string(&trace).unwrap();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.ends_with("= 0") || line.ends_with("<unfinished ...>"))
        .collect();
    let synced = |end: &str| {
        lines
            .iter()
            .rposition(|line| line.contains("sync(") && line.contains(&format!("{end}>")))
            .unwrap_or_else(|| panic!("{end} was not synced: {text}"))
    };
    let renamed = lines.iter().position(|line| line.contains("rename")).unwrap();
    let order = [
        synced("/inner/deep/three"),
        synced("/inner/deep"),
        synced("/inner"),
        synced(".part"),
        renamed,
    ];
    assert!(order.is_sorted(), "{text}");
    assert!(synced("/one") < renamed && synced("/inner/two") < renamed, "{text}");
    let place = format!("{}>", scratch.path().display());
    assert!(
        lines[renamed..].iter().any(|line| line.contains("sync(") && line.contains(&place)),
        "{text}"
    );
}

#[test]
fn a_standard_output_that_is_closed_or_only_read_is_a_failure() {
    let scratch = TempDir::new().unwrap();
    let from = scratch.path().join("image");
    fs::write(&from, "hello").unwrap();
    for stdout in [">&-", "1</dev/null"] {
        let script = format!("exec \"$0\" \"$1\" - {stdout}");
        let output =
            Command::new("sh").args(["-c", &script, EXECUTABLE]).arg(&from).output().unwrap();
        let line = failure(&output, 255);
        assert!(line.contains("output"), "{line}");
    }
}

#[test]
fn sha256_counts_as_well() {
    let scratch = TempDir::new().unwrap();
    let from = scratch.path().join("image");
    fs::write(&from, "hello").unwrap();
    let from = from.to_str().unwrap();
    let sha256 = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    assert_eq!(good(&call(&["--sha256", sha256, from, "-"])), b"hello");
    let told = stderr(&call(&["--sha256", &"0".repeat(64), from, "-"]));
    assert!(told.contains(&format!("its SHA-256 is {}", sha256.to_lowercase())), "{told}");
}

#[test]
fn a_file_in_a_directory_that_is_closed_is_written_where_it_is() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path().join("closed");
    let (from, to) = (scratch.path().join("from"), directory.join("image"));
    fs::create_dir(&directory).unwrap();
    fs::write(&from, noise(9, 100_000)).unwrap();
    fs::write(&to, noise(10, 200_000)).unwrap();
    for (path, mode) in [(scratch.path(), 0o755), (&directory, 0o555), (&to, 0o666), (&from, 0o644)]
    {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    // For root, no directory is closed.
    let fetch = |arguments: &[&str]| {
        if !rustix::process::geteuid().is_root() {
            return call(arguments);
        }
        let copy = scratch.path().join("downloader");
        fs::copy(EXECUTABLE, &copy).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy)
            .args(arguments);
        command.env_remove("DRV_ACTION").output().unwrap()
    };
    let Some(_) = market_testkit::require::program("setpriv", "util-linux") else { return };
    let (from, place) = (from.to_str().unwrap(), to.to_str().unwrap());
    good(&fetch(&[from, place]));
    assert!(fs::read(&to).unwrap() == noise(9, 100_000));
    // What fails leaves nothing that looks like something.
    let line = failure(&fetch(&["-m", &md5_hex(b"other"), from, place]), 255);
    assert!(line.contains("Hash does not match"), "{line}");
    assert_eq!(fs::metadata(&to).unwrap().len(), 0);
    let line = failure(&fetch(&[from, directory.join("new").to_str().unwrap()]), 255);
    assert!(line.contains("the directory must be writable"), "{line}");
}

#[test]
fn what_is_recognised_as_no_image_is_not_stored_as_one() {
    let scratch = TempDir::new().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("image"));
    let lz4 = [&[4, 0x22, 0x4d, 0x18][..], &noise(11, 1_000)].concat();
    let html = b"<!DOCTYPE html><title>Log in</title>".to_vec();
    let fetch = |bytes: &[u8], more: &[&str], dump: &str| {
        fs::write(&from, bytes).unwrap();
        let arguments = [more, &[from.to_str().unwrap(), to.to_str().unwrap()]].concat();
        downloader(&arguments).env("DRV_ACTION", dump).output().unwrap()
    };
    let image = Dump::default().copy();
    let file = Dump { datastore_type: 2, ..Dump::default() }.copy();
    let line = failure(&fetch(&lz4, &[], ""), 255);
    assert!(line.contains("lz4") && line.contains("--nodecomp"), "{line}");
    for bytes in [html.clone(), gzip(&html)] {
        let line = failure(&fetch(&bytes, &[], &image), 255);
        assert!(line.contains("HTML"), "{line}");
    }
    assert!(failure(&fetch(b"WithoutFreeSpace\x02\0\0\0", &[], &image), 255).contains("Parallels"));
    assert_eq!(names(scratch.path()), ["from"]);
    // What nobody has called an image may be anything.
    good(&fetch(&lz4, &["-n"], &image));
    good(&fetch(&html, &[], &file));
    good(&fetch(&html, &[], ""));
}

#[test]
fn a_driver_message_may_be_wrapped_anywhere_and_end_in_a_nul() {
    let server = S3Server::start();
    server.create_bucket("apps");
    server.put("apps", "marketapp-30", b"\0bytes");
    let dump = Dump { market: server.market("apps", &[]), ..Dump::default() };
    let mut xml = market_core::encoding::decode(dump.copy().as_bytes()).unwrap();
    xml.extend_from_slice(b"\n\0");
    let text = market_core::encoding::encode(&xml);
    let wrapped: Vec<_> =
        text.as_bytes().chunks(40).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let output = downloader(&["s3://apps/marketapp-30", "-"])
        .env("DRV_ACTION", wrapped.join("\n") + "\n")
        .output()
        .unwrap();
    assert_eq!(good(&output), b"\0bytes");
}
