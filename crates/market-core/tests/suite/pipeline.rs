//! What the import pipeline promises, whatever the source and the backend do: after a success the
//! app is there, whole and right; after anything else nothing is visible and nothing is left
//! staged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![cfg(feature = "driver")]

use market_core::action::{DeleteAction, ImportAction};
use market_core::backend::{Context, StorageBackend};
use market_core::error::{Error, ErrorKind};
use market_core::log::Log;
use market_core::pipeline;
use market_core::report::ImportedApp;
use market_core::stop::{StopReason, StopSwitch};
use market_core::transfer::Options;
use market_testkit::dump::Dump;
use market_testkit::http::{HttpServer, Reply};
use market_testkit::image::{qcow2_with_backing, sparse_raw};
use market_testkit::memory::{Fault, MemoryMarket};
use market_testkit::{block_on, md5_hex, noise};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

struct Scene {
    directory: TempDir,
    switch: StopSwitch,
    context: Context,
}

fn scene() -> Scene {
    let switch = StopSwitch::new();
    let options = Options::default()
        .with_first_pause(Duration::ZERO)
        .with_idle_timeout(Duration::from_millis(300));
    let context = Context::new(Log::memory("import"), switch.listen(), options);
    Scene { directory: TempDir::new().unwrap(), switch, context }
}

impl Scene {
    fn file(&self, bytes: &[u8]) -> String {
        let path = self.directory.path().join("image");
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn import<B: StorageBackend>(&self, market: &B, dump: &Dump) -> Result<ImportedApp, Error> {
        let action = ImportAction::decode(dump.import().as_bytes()).unwrap();
        block_on(pipeline::import(market, &action, &self.context))
    }
}

fn dump_of(source: &str, md5: &str) -> Dump {
    Dump {
        import_source: source.to_owned(),
        md5: md5.to_owned(),
        format: String::new(),
        ..Dump::default()
    }
}

fn assert_nothing<const V: bool>(market: &MemoryMarket<V>) {
    assert!(market.published.borrow().is_empty(), "something is visible");
    assert!(market.staged.borrow().is_empty(), "something is left staged");
}

#[test]
fn a_local_image_is_published_whole_and_described() {
    let scene = scene();
    let bytes = noise(1, 3_000_001);
    let market: MemoryMarket = MemoryMarket::default();
    let app = scene.import(&market, &dump_of(&scene.file(&bytes), &md5_hex(&bytes))).unwrap();
    assert_eq!(market.published.borrow()[app.source.as_str()], bytes);
    assert!(market.staged.borrow().is_empty());
    assert_eq!((app.md5, app.format.as_str(), app.size.0), (market_testkit::md5(&bytes), "raw", 1));
}

#[test]
fn holes_arrive_as_zeros_and_are_hashed_as_zeros() {
    let scene = scene();
    let path = scene.directory.path().join("sparse");
    sparse_raw(&path, 8 << 20, 5_000).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let market: MemoryMarket = MemoryMarket::default();
    let app = scene.import(&market, &dump_of(path.to_str().unwrap(), &md5_hex(&bytes))).unwrap();
    assert_eq!(market.published.borrow()[app.source.as_str()], bytes);
}

#[test]
fn a_range_that_the_store_copies_itself_is_hashed_from_the_copy() {
    let scene = scene();
    let bytes = noise(2, 700_000);
    let market: MemoryMarket = MemoryMarket::default();
    market.copies.set(true);
    let app = scene.import(&market, &dump_of(&scene.file(&bytes), &md5_hex(&bytes))).unwrap();
    assert_eq!(market.published.borrow()[app.source.as_str()], bytes);
    assert_eq!(*market.calls.borrow(), ["stage", "copy_range", "seal", "publish"]);
}

#[test]
fn a_declared_md5_that_differs_publishes_nothing() {
    for copies in [false, true] {
        let scene = scene();
        let market: MemoryMarket = MemoryMarket::default();
        market.copies.set(copies);
        let error = scene
            .import(&market, &dump_of(&scene.file(b"bytes"), &md5_hex(b"others")))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Mismatch);
        assert!(error.to_string().contains(&md5_hex(b"others")), "{error}");
        assert_nothing(&market);
    }
}

#[test]
fn every_broken_promise_of_a_backend_leaves_nothing_visible_and_is_one_clear_error() {
    let cases = [
        (Fault::Room(10), ErrorKind::Full),
        (Fault::Stage, ErrorKind::Failed),
        (Fault::WriteAfter(1), ErrorKind::Failed),
        (Fault::WriteAfter(600_000), ErrorKind::Failed),
        (Fault::Corrupt(0), ErrorKind::Mismatch),
        (Fault::Corrupt(699_999), ErrorKind::Mismatch),
        (Fault::Short, ErrorKind::Mismatch),
        (Fault::Seal, ErrorKind::Failed),
        (Fault::Exists, ErrorKind::Exists),
        (Fault::NotPublished, ErrorKind::Failed),
        (Fault::LostRequest, ErrorKind::Failed),
    ];
    let bytes = noise(3, 700_000);
    for (fault, kind) in cases {
        let scene = scene();
        let dump = dump_of(&scene.file(&bytes), &md5_hex(&bytes));
        let market: MemoryMarket = MemoryMarket::with(fault);
        let error = scene.import(&market, &dump).unwrap_err();
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        assert_nothing(&market);
        let visible: MemoryMarket<true> = MemoryMarket::with(fault);
        assert_eq!(scene.import(&visible, &dump).unwrap_err().kind, kind, "{fault:?}");
        assert_nothing(&visible);
    }
    let scene = scene();
    for (fault, kind) in
        [(Fault::Copy, ErrorKind::Failed), (Fault::CorruptCopy(7), ErrorKind::Mismatch)]
    {
        let market: MemoryMarket = MemoryMarket::with(fault);
        market.copies.set(true);
        let error =
            scene.import(&market, &dump_of(&scene.file(&bytes), &md5_hex(&bytes))).unwrap_err();
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        assert_nothing(&market);
    }
}

#[test]
fn a_lost_answer_to_publish_is_resolved_and_one_that_stays_unknown_is_never_a_success() {
    let scene = scene();
    let bytes = noise(4, 1_000);
    let dump = dump_of(&scene.file(&bytes), "");
    let market: MemoryMarket = MemoryMarket::with(Fault::LostAnswer);
    let app = scene.import(&market, &dump).unwrap();
    assert_eq!(market.published.borrow()[app.source.as_str()], bytes);
    let market: MemoryMarket = MemoryMarket::with(Fault::NeverKnown);
    let paused = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let action = ImportAction::decode(dump.import().as_bytes()).unwrap();
    let error = paused.block_on(pipeline::import(&market, &action, &scene.context)).unwrap_err();
    assert!(error.to_string().contains("could not be found out"), "{error}");
    assert_eq!(market.calls.borrow().iter().filter(|call| **call == "resolve").count(), 5);
    assert_nothing(&market);
}

#[test]
fn a_discard_that_fails_is_logged_and_the_first_error_stays() {
    let scene = scene();
    let market: MemoryMarket = MemoryMarket::with(Fault::Discard);
    let error =
        scene.import(&market, &dump_of(&scene.file(b"bytes"), &md5_hex(b"others"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Mismatch);
    assert!(
        scene.context.log.lines()[0]
            .starts_with("WARN: import: what was staged could not be discarded")
    );
}

#[test]
fn a_store_whose_stage_can_be_seen_gets_only_verified_bytes() {
    let scene = scene();
    let bytes = noise(5, 900_000);
    let market: MemoryMarket<true> = MemoryMarket::default();
    assert!(scene.import(&market, &dump_of(&scene.file(&bytes), &md5_hex(b"others"))).is_err());
    assert!(market.calls.borrow().is_empty(), "nothing was even staged");
    let app = scene.import(&market, &dump_of(&scene.file(&bytes), &md5_hex(&bytes))).unwrap();
    assert_eq!(market.published.borrow()[app.source.as_str()], bytes);
}

#[test]
fn a_stop_at_any_call_before_the_seal_discards_and_one_after_it_waits() {
    for call in ["stage", "write", "seal", "publish"] {
        let scene = scene();
        let market = Rc::new(<MemoryMarket>::default());
        let switch = scene.switch.clone();
        *market.on_call.borrow_mut() = Some(Box::new(move |name| {
            if name == call {
                switch.stop(StopReason::Signal("SIGTERM"));
            }
        }));
        let outcome = scene.import(&*market, &dump_of(&scene.file(&noise(6, 900_000)), ""));
        if call == "publish" {
            assert_eq!(market.published.borrow().len(), 1);
            outcome.unwrap();
        } else {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Cancelled, "{call}");
            assert!(error.to_string().contains("SIGTERM"), "{error}");
            assert_nothing(&market);
        }
    }
}

#[test]
fn a_stop_ends_the_wait_for_a_silent_source() {
    let mut scene = scene();
    scene.context.options.idle_timeout = Duration::from_secs(3_600);
    let switch = scene.switch.clone();
    let server =
        HttpServer::start(move |_, _| Reply::bytes(noise(7, 1_000_000)).stall_after(500_000));
    let market: MemoryMarket = MemoryMarket::default();
    *market.on_call.borrow_mut() = Some(Box::new(move |name| {
        if name == "write" {
            switch.stop(StopReason::CallerGone);
        }
    }));
    let error = scene.import(&market, &dump_of(&server.url("/i"), "")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert_nothing(&market);
}

#[test]
fn sources_that_die_lie_or_change_publish_nothing() {
    let good = noise(8, 400_000);
    let other = noise(9, 400_000);
    let reply = |bytes: &[u8]| Reply::bytes(bytes.to_vec());
    let cases: Vec<(&str, HttpServer, ErrorKind)> = vec![
        ("404", HttpServer::start(|_, _| Reply::status(404)), ErrorKind::Absent),
        ("403", HttpServer::start(|_, _| Reply::status(403)), ErrorKind::Denied),
        ("500 for ever", HttpServer::start(|_, _| Reply::status(500)), ErrorKind::Unreachable),
        (
            "redirect loop",
            HttpServer::start(|_, _| Reply::status(302).header("Location", "/again")),
            ErrorKind::Unreachable,
        ),
        (
            "always cut",
            {
                let g = good.clone();
                HttpServer::start(move |_, _| reply(&g).cut_after(100_000))
            },
            ErrorKind::Unreachable,
        ),
        (
            "always silent",
            {
                let g = good.clone();
                HttpServer::start(move |_, _| reply(&g).stall_after(100_000))
            },
            ErrorKind::Unreachable,
        ),
        (
            "announces more",
            {
                let g = good.clone();
                HttpServer::start(move |_, _| reply(&g).announcing(500_000))
            },
            ErrorKind::Unreachable,
        ),
        (
            "cut chunks",
            {
                let g = good.clone();
                HttpServer::start(move |_, _| reply(&g).chunked().cut_after(100_000))
            },
            ErrorKind::Unreachable,
        ),
        (
            "changes after the cut",
            {
                let (g, o) = (good.clone(), other.clone());
                HttpServer::start(
                    move |_, nth| if nth == 0 { reply(&g).cut_after(200_000) } else { reply(&o) },
                )
            },
            ErrorKind::Mismatch,
        ),
        (
            "shrinks after the cut",
            {
                let g = good.clone();
                HttpServer::start(move |_, nth| {
                    if nth == 0 { reply(&g).cut_after(200_000) } else { reply(&g[..300_000]) }
                })
            },
            ErrorKind::Mismatch,
        ),
        ("empty", HttpServer::start(|_, _| Reply::bytes([])), ErrorKind::Mismatch),
    ];
    for (name, server, kind) in cases {
        let scene = scene();
        let market: MemoryMarket = MemoryMarket::default();
        let error =
            scene.import(&market, &dump_of(&server.url("/i?token=hunter2"), "")).unwrap_err();
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_nothing(&market);
    }
}

#[test]
fn an_unannounced_length_is_fine_when_the_digest_agrees_and_a_lie_is_told_by_it() {
    let bytes = noise(10, 300_000);
    let served = bytes.clone();
    let server = HttpServer::start(move |_, _| Reply::bytes(served.clone()).unannounced());
    let scene = scene();
    let market: MemoryMarket = MemoryMarket::default();
    let app = scene.import(&market, &dump_of(&server.url("/i"), &md5_hex(&bytes))).unwrap();
    assert_eq!(market.published.borrow()[app.source.as_str()], bytes);
    let served = bytes.clone();
    let short =
        HttpServer::start(move |_, _| Reply::bytes(served.clone()).unannounced().cut_after(1_000));
    let market: MemoryMarket = MemoryMarket::default();
    assert_eq!(
        scene.import(&market, &dump_of(&short.url("/i"), &md5_hex(&bytes))).unwrap_err().kind,
        ErrorKind::Mismatch
    );
    assert_nothing(&market);
}

#[test]
fn images_that_need_another_file_are_refused_whatever_they_are_declared_as() {
    let qed = {
        let mut image = vec![0; 4_096];
        image[..4].copy_from_slice(b"QED\0");
        image[16] = 1;
        image
    };
    let sparse_vmdk = |fields: &[(usize, &[u8])]| {
        let mut image = vec![0; 64 << 10];
        image[..4].copy_from_slice(b"KDMV");
        image[12] = 1;
        for (at, bytes) in fields {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    };
    let hidden_parent = sparse_vmdk(&[(0x200 + 700, b"# parentFileNameHint=\"/etc/shadow\"\n")]);
    let descriptor_only = sparse_vmdk(&[(12, &[0]), (28, &[1])]);
    let mut old_parent = hidden_parent.clone();
    old_parent[..4].copy_from_slice(b"COWD");
    let late_extent = [
        b"version=1\n".to_vec(),
        b"#\n".repeat(64 << 10),
        b"RW 1 FLAT \"/etc/shadow\" 0\n".to_vec(),
    ]
    .concat();
    let vmdk = b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW 100 FLAT \"/etc/shadow\" 0\n".to_vec();
    let child = b"#\nversion=1\nparentCID=12345678\nparentFileNameHint=\"/etc/shadow\"\n".to_vec();
    let external = {
        let mut image = vec![0; 4_096];
        image[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        image[79] = 4;
        image[100..104].copy_from_slice(&104_u32.to_be_bytes());
        image[104..112].copy_from_slice(b"DATA\0\0\0\x0b");
        image[112..123].copy_from_slice(b"/etc/shadow");
        image
    };
    let cases = [
        (qcow2_with_backing("/etc/shadow"), true),
        (qed, false),
        (vmdk, true),
        (child, false),
        (external, true),
        (hidden_parent, true),
        (old_parent, true),
        (descriptor_only, false),
        (late_extent, false),
    ];
    for (image, named) in cases {
        let scene = scene();
        let market: MemoryMarket = MemoryMarket::default();
        let error = scene.import(&market, &dump_of(&scene.file(&image), "")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert_eq!(error.to_string().contains("/etc/shadow"), named, "{error}");
        assert!(market.calls.borrow().is_empty());
    }
}

#[test]
fn a_text_that_is_declared_as_vmdk_is_refused_and_a_self_contained_vmdk_is_not() {
    let scene = scene();
    let market: MemoryMarket = MemoryMarket::default();
    let text = b"createType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/shadow\" 0\n";
    let dump = Dump { format: "vmdk".into(), ..dump_of(&scene.file(text), "") };
    assert_eq!(scene.import(&market, &dump).unwrap_err().kind, ErrorKind::Unsupported);
    let mut image = vec![0; 64 << 10];
    image[..4].copy_from_slice(b"KDMV");
    image[12] = 1;
    let dump = Dump { format: "vmdk".into(), ..dump_of(&scene.file(&image), "") };
    scene.import(&market, &dump).unwrap();
}

#[test]
fn an_answer_that_could_not_be_written_stops_the_import_before_the_first_byte() {
    let scene = scene();
    let market: MemoryMarket = MemoryMarket::default();
    let path = scene.file(b"bytes");
    for (format, size, md5) in
        [("]]>", "1", ""), ("raw", "-1", ""), ("raw", "4.7", ""), ("raw", "1", "nonsense")]
    {
        let dump = Dump { format: format.into(), size: size.into(), ..dump_of(&path, md5) };
        assert!(scene.import(&market, &dump).is_err(), "{format} {size} {md5}");
    }
    assert!(market.calls.borrow().is_empty());
}

#[test]
fn a_source_of_no_known_kind_is_refused_by_name() {
    let scene = scene();
    let market: MemoryMarket = MemoryMarket::default();
    for (source, kind) in [
        ("none://host/pool/image?CEPH_KEY=hunter2", ErrorKind::Unsupported),
        ("relative/path", ErrorKind::Config),
        ("", ErrorKind::Dump),
        ("/nonexistent/image", ErrorKind::Absent),
        ("/dev/null", ErrorKind::Unsupported),
        ("/tmp", ErrorKind::Unsupported),
    ] {
        let error = scene.import(&market, &dump_of(source, "")).unwrap_err();
        assert_eq!(error.kind, kind, "{source}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert!(market.calls.borrow().is_empty());
}

#[test]
fn a_source_that_changes_while_it_is_read_is_noticed() {
    let scene = scene();
    let path = scene.file(&noise(11, 4 << 20));
    let market: MemoryMarket = MemoryMarket::default();
    let changed = path.clone();
    *market.on_call.borrow_mut() = Some(Box::new(move |name| {
        if name == "write" {
            let file = std::fs::OpenOptions::new().write(true).open(Path::new(&changed)).unwrap();
            file.set_len(3 << 20).unwrap();
        }
    }));
    let error = scene.import(&market, &dump_of(&path, "")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Mismatch, "{error}");
    assert!(error.to_string().contains("changed"), "{error}");
    assert_nothing(&market);
}

#[test]
fn an_object_beyond_the_stores_limit_fails_before_the_first_byte() {
    let scene = scene();
    let path = scene.directory.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(65 << 20).unwrap();
    let market: MemoryMarket = MemoryMarket::default();
    let error = scene.import(&market, &dump_of(path.to_str().unwrap(), "")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full, "{error}");
    assert!(market.calls.borrow().is_empty());
}

#[test]
fn delete_is_calm_about_what_is_gone_and_discards_what_an_import_has_staged() {
    let scene = scene();
    let delete = |market: &MemoryMarket, dump: &Dump| {
        let action = DeleteAction::decode(dump.delete().as_bytes()).unwrap();
        block_on(pipeline::delete(market, &action, &scene.context))
    };
    let market: MemoryMarket = MemoryMarket::default();
    market.published.borrow_mut().insert("memory://30-1".into(), vec![1]);
    let dump = Dump { app_source: "memory://30-1".into(), ..Dump::default() };
    delete(&market, &dump).unwrap();
    assert!(market.published.borrow().is_empty());
    delete(&market, &dump).unwrap();
    assert!(
        scene.context.log.lines().last().unwrap().starts_with("WARN: import: app 30"),
        "{:?}",
        scene.context.log.lines()
    );
    market.staged.borrow_mut().insert("30-7".into(), vec![1]);
    market.staged.borrow_mut().insert("31-8".into(), vec![1]);
    delete(&market, &Dump::default()).unwrap();
    assert_eq!(
        market.staged.borrow().keys().collect::<Vec<_>>(),
        ["31-8"],
        "only its own import was discarded"
    );
}
