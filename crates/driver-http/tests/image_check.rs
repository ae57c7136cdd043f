//! A marketplace that wants images looked at before they are published: `IMAGE_CHECK`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod market;

use market::{EXECUTABLE, files};
use market_testkit::driver::{answer, failure, run, stderr};
use market_testkit::dump::{Dump, owned};
use market_testkit::guest::{Division, Guest, ImageFactory};
use market_testkit::http::{HttpServer, Reply};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Scene {
    place: ImageFactory,
}

impl Scene {
    fn new() -> Option<Self> {
        let scene = Self { place: ImageFactory::open(64)? };
        fs::create_dir(scene.public()).unwrap();
        Some(scene)
    }

    fn public(&self) -> PathBuf {
        self.place.path("public")
    }

    fn image(&self, guest: &Guest) -> String {
        self.place.qcow2(guest, Division::Gpt, &[]).to_str().unwrap().to_owned()
    }

    fn dump(&self, source: &str, check: &[(&str, &str)]) -> Dump {
        let public = self.public();
        let place =
            [("BASE_URL", "http://market.example/"), ("PUBLIC_DIR", public.to_str().unwrap())];
        let market = owned(&[&place[..], check].concat());
        Dump {
            market,
            import_source: source.to_owned(),
            format: "qcow2".to_owned(),
            size: "64".to_owned(),
            image_size: 64,
            ..Dump::default()
        }
    }

    fn import(&self, source: &str, check: &[(&str, &str)]) -> Output {
        run(Command::new(EXECUTABLE).args(["import", "-"]), self.dump(source, check).import())
    }

    /// How many files a web server would show. Nothing may be staged.
    fn published(&self) -> usize {
        let staging = self.public().join(".market-staging");
        // The first import that stores something makes the directory.
        if staging.exists() {
            assert_eq!(files(&staging), Vec::<PathBuf>::new(), "something is left staged");
        }
        files(&self.public()).len()
    }
}

fn with_keys() -> Guest {
    let guest = Guest::debian();
    guest.write("/etc/ssh/ssh_host_rsa_key", b"key").write("/root/.bash_history", b"ls\n");
    guest
}

#[test]
fn what_is_not_ready_is_refused_where_that_is_enforced() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image(&with_keys());
    let output = scene.import(&image, &[("IMAGE_CHECK", "enforce")]);
    let line = failure(&output, 11);
    assert!(line.contains("no-ssh-host-keys (/etc/ssh/ssh_host_rsa_key)"), "{line}");
    assert!(line.contains("marketctl image check") && !line.contains("bash_history"), "{line}");
    assert!(stderr(&output).contains("WARN no-shell-history"), "{}", stderr(&output));
    assert_eq!(scene.published(), 0);

    let ready = scene.import(&scene.image(&Guest::debian()), &[("IMAGE_CHECK", "Enforce")]);
    assert_eq!(answer(&ready, "FORMAT"), "qcow2");
    assert_eq!(scene.published(), 1);
}

#[test]
fn what_is_not_ready_is_published_with_a_warning_or_without() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image(&with_keys());
    let warned = scene.import(&image, &[("IMAGE_CHECK", "warn")]);
    assert_eq!(answer(&warned, "FORMAT"), "qcow2");
    assert!(stderr(&warned).contains("IMAGE_CHECK: FAIL no-ssh-host-keys"), "{}", stderr(&warned));
    for check in [&[][..], &[("IMAGE_CHECK", "off")], &[("IMAGE_CHECK", "")]] {
        let silent = scene.import(&image, check);
        assert!(!stderr(&silent).contains("IMAGE_CHECK"), "{}", stderr(&silent));
        assert_eq!(answer(&silent, "FORMAT"), "qcow2");
    }
    let minimal =
        scene.import(&image, &[("IMAGE_CHECK", "enforce"), ("IMAGE_CHECK_POLICY", "minimal")]);
    assert!(stderr(&minimal).contains("4 of 4 checks passed"), "{}", stderr(&minimal));
    assert_eq!(answer(&minimal, "FORMAT"), "qcow2");
}

#[test]
fn of_a_stream_the_beginning_is_looked_at() {
    let Some(scene) = Scene::new() else { return };
    let image = fs::read(scene.image(&with_keys())).unwrap();
    let mut marked = image.clone();
    // The bit by which the image says that it is corrupt.
    marked[79] |= 2;
    let server = HttpServer::start(move |_, _| Reply::bytes(image.clone()));
    let output = scene.import(&server.url("/image"), &[("IMAGE_CHECK", "enforce")]);
    assert_eq!(answer(&output, "FORMAT"), "qcow2");
    assert!(
        stderr(&output).contains("of a stream the first 64 KiB are looked at"),
        "{}",
        stderr(&output)
    );
    let server = HttpServer::start(move |_, _| Reply::bytes(marked.clone()));
    let output = scene.import(&server.url("/image"), &[("IMAGE_CHECK", "enforce")]);
    assert!(
        failure(&output, 11).contains("not-corrupt (the image is marked as corrupt)"),
        "{}",
        stderr(&output)
    );
    assert_eq!(scene.published(), 1);
}

#[test]
fn what_is_no_system_is_judged_by_its_container_alone() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.place.path("data.qcow2");
    scene.place.tools.qemu_img(&["create", "-q", "-f", "qcow2", image.to_str().unwrap(), "64M"]);
    const DATABLOCK: i64 = 2;
    let check = [("IMAGE_CHECK", "enforce")];
    let dump = Dump { image_type: DATABLOCK, ..scene.dump(image.to_str().unwrap(), &check) };
    let output = run(Command::new(EXECUTABLE).args(["import", "-"]), dump.import());
    assert_eq!(answer(&output, "FORMAT"), "qcow2", "{}", stderr(&output));
    let wrong = Dump { size: "65".to_owned(), ..dump };
    let output = run(Command::new(EXECUTABLE).args(["import", "-"]), wrong.import());
    assert!(failure(&output, 11).contains("size-as-declared"), "{}", stderr(&output));
}

#[test]
fn a_word_that_means_nothing_is_refused_by_name() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image(&Guest::debian());
    let line = failure(&scene.import(&image, &[("IMAGE_CHECK", "yes")]), 4);
    assert!(line.contains("IMAGE_CHECK") && line.contains("warn, enforce or off"), "{line}");
    let policy = [("IMAGE_CHECK", "warn"), ("IMAGE_CHECK_POLICY", "/nonexistent")];
    assert!(failure(&scene.import(&image, &policy), 4).contains("IMAGE_CHECK_POLICY"));
    assert_eq!(scene.published(), 0);
}

#[test]
fn a_wrong_attribute_is_told_when_the_marketplace_is_monitored() {
    let public = tempfile::tempdir().unwrap();
    let policy = public.path().join("policy.toml");
    fs::write(&policy, "hunter2 = \"hunter3\"\n").unwrap();
    let market = [("BASE_URL", "http://market/"), ("PUBLIC_DIR", public.path().to_str().unwrap())];
    for (wrong, attribute) in [
        ([("IMAGE_CHECK", "hunter2"), ("X", "")], "attribute IMAGE_CHECK"),
        (
            [("IMAGE_CHECK", "warn"), ("IMAGE_CHECK_POLICY", "/dev/zero")],
            "attribute IMAGE_CHECK_POLICY",
        ),
        (
            [("IMAGE_CHECK", "enforce"), ("IMAGE_CHECK_POLICY", policy.to_str().unwrap())],
            "attribute IMAGE_CHECK_POLICY",
        ),
    ] {
        let dump = Dump::of_market(&[market, wrong].concat());
        let line =
            failure(&run(Command::new(EXECUTABLE).args(["monitor", "-"]), dump.monitor()), 4);
        assert!(line.starts_with("marketplace 107 (") && line.contains(attribute), "{line}");
        assert!(!line.contains("hunter3") && line.contains("onemarket update 107"), "{line}");
    }
}
