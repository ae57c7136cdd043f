//! What every storage backend must do, case by case, as plain functions over the trait.
//!
//! Call [`all`] with an empty marketplace of your own; a case that fails panics and says which
//! promise was broken.
//!
//! ```
//! use market_core::backend::Context;
//! use market_testkit::{conformance, memory::MemoryMarket};
//!
//! let context = market_testkit::context();
//! market_testkit::block_on(conformance::all(&<MemoryMarket>::default(), &context));
//! ```

use crate::{md5, noise, read_to_end};
use bytes::Bytes;
use market_core::backend::{
    Context, Deleted, Length, ObjectState, Proof, ProofKind, Published, StorageBackend,
    StoredObject,
};
use market_core::error::ErrorKind;
use market_core::model::{AppId, SourceUrl};
use market_core::transfer::{Digests, PIECE_BYTES, Piece};
use market_core::upkeep::gc::{self, Rules};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Every case, one after the other. The marketplace is empty again after each.
pub async fn all<B: StorageBackend>(backend: &B, context: &Context) {
    assert_empty(backend, "the marketplace must be empty at the start").await;
    what_is_published_is_what_was_written(backend).await;
    nothing_is_visible_before_it_is_published(backend).await;
    a_discarded_stage_is_gone(backend).await;
    a_stage_can_be_given_up_in_the_middle_of_a_write(backend).await;
    two_imports_never_meet(backend).await;
    an_abandoned_stage_is_found_and_removed(backend, context).await;
    a_removed_stage_is_never_published(backend).await;
    sources_that_point_elsewhere_are_refused(backend).await;
    monitor_reports(backend).await;
}

const APP: AppId = AppId(4_711);
/// Another app that is there already: in some stores an app has one name only.
const OTHER: AppId = AppId(4_712);

/// Data, zeros, data, an odd length.
fn pieces() -> (Vec<Piece>, Vec<u8>) {
    let (start, end) = (noise(1, PIECE_BYTES), noise(2, 70_001));
    let hole = 3 * PIECE_BYTES;
    let bytes = [&start[..], &vec![0; hole], &end].concat();
    (
        vec![
            Piece::Data(Bytes::from(start)),
            Piece::Hole(hole as u64),
            Piece::Data(Bytes::from(end)),
        ],
        bytes,
    )
}

async fn stage<B: StorageBackend>(backend: &B, bytes: usize) -> B::Upload {
    stage_for(APP, backend, bytes).await
}

async fn stage_for<B: StorageBackend>(app: AppId, backend: &B, bytes: usize) -> B::Upload {
    let length = bytes as u64;
    backend
        .stage(app, Length::Exact(length), Some(length))
        .await
        .expect("stage: an empty marketplace takes an app")
}

/// Writes and seals; the proof is checked as the pipeline does it.
async fn seal<B: StorageBackend>(
    backend: &B,
    staged: &mut B::Upload,
    pieces: Vec<Piece>,
    bytes: &[u8],
) {
    for piece in pieces {
        backend.write(staged, piece).await.expect("write");
    }
    backend.finish(staged).await.expect("written");
    let digests = Digests::new(bytes.len() as u64).with(md5(bytes));
    match backend.seal(staged, &digests).await.expect("seal") {
        Proof::Md5(held) => assert_eq!(held, md5(bytes), "seal: the digest of what is held"),
        Proof::Bytes(count) => {
            assert_eq!(
                backend.capabilities().proof,
                ProofKind::Size,
                "seal: a digest was promised"
            );
            assert_eq!(count, bytes.len() as u64, "seal: the size of what is held");
        }
        other => panic!("seal: a proof that this kit does not know: {other:?}"),
    }
}

async fn publish<B: StorageBackend>(backend: &B, staged: &mut B::Upload) -> SourceUrl {
    match backend.publish(staged).await {
        Published::At(source) => source,
        other => panic!("publish: {other:?}"),
    }
}

async fn import<B: StorageBackend>(app: AppId, backend: &B, seed: u64) -> (SourceUrl, Vec<u8>) {
    let bytes = noise(seed, 100_000);
    let mut staged = stage_for(app, backend, bytes.len()).await;
    seal(backend, &mut staged, vec![Piece::Data(bytes.clone().into())], &bytes).await;
    (publish(backend, &mut staged).await, bytes)
}

/// Everything in the store.
pub async fn objects<B: StorageBackend>(backend: &B) -> Vec<StoredObject<B::Key>> {
    let mut objects = Vec::new();
    backend.list(&mut |object| objects.push(object)).await.expect("objects");
    objects
}

async fn assert_empty<B: StorageBackend>(backend: &B, why: &str) {
    let objects = objects(backend).await;
    assert!(objects.is_empty(), "{why}: {objects:?}");
}

/// The bytes of an app; `None` when it is not there.
pub async fn stored<B: StorageBackend>(
    backend: &B,
    app: AppId,
    source: &SourceUrl,
) -> Option<Vec<u8>> {
    let key = backend.locate(source, Some(app)).expect("locate: the app's own SOURCE");
    let mut source = backend.open(&key).await.expect("open")?;
    Some(read_to_end(&mut source).await.expect("an app can be read"))
}

async fn delete<B: StorageBackend>(app: AppId, backend: &B, source: &SourceUrl) {
    let key = backend.locate(source, Some(app)).expect("locate: the app's own SOURCE");
    assert_eq!(backend.delete(&key).await, Ok(Deleted::Removed), "delete of what is there");
    assert_eq!(
        backend.delete(&key).await,
        Ok(Deleted::Absent),
        "delete of what is gone is no error"
    );
    assert_eq!(stored(backend, app, source).await, None, "what was deleted can still be read");
    assert_empty(backend, "a deleted app leaves nothing").await;
}

/// Holes are zeros, the last byte is there, and the object is found by its SOURCE.
pub async fn what_is_published_is_what_was_written<B: StorageBackend>(backend: &B) {
    let (pieces, bytes) = pieces();
    let mut staged = stage(backend, bytes.len()).await;
    seal(backend, &mut staged, pieces, &bytes).await;
    let source = publish(backend, &mut staged).await;
    assert!(
        stored(backend, APP, &source).await.expect("a published app can be read") == bytes,
        "other bytes are stored"
    );
    let objects = objects(backend).await;
    let [object] = &objects[..] else { panic!("one app is one object: {objects:?}") };
    assert_eq!((object.state, object.bytes), (ObjectState::Published, bytes.len() as u64));
    for app in [None, Some(APP)] {
        assert_eq!(
            backend.locate(&source, app).as_ref(),
            Ok(&object.key),
            "locate: gc would take the app for garbage"
        );
    }
    delete(APP, backend, &source).await;
}

/// Until `publish`, there is a stage of the app and nothing else.
pub async fn nothing_is_visible_before_it_is_published<B: StorageBackend>(backend: &B) {
    let (pieces, bytes) = pieces();
    let mut staged = stage(backend, bytes.len()).await;
    seal(backend, &mut staged, pieces, &bytes).await;
    let listed = objects(backend).await;
    assert!(
        listed.iter().all(|object| object.state == ObjectState::Staged),
        "visible before publish: {listed:?}"
    );
    if backend.capabilities().lists_staged {
        assert_eq!(
            listed.iter().map(|object| object.app).collect::<Vec<_>>(),
            [Some(APP)],
            "the stage names its app"
        );
    }
    backend.discard(staged).await.expect("discard");
    assert_empty(backend, "a discarded stage leaves nothing").await;
}

/// Before and after its first byte.
pub async fn a_discarded_stage_is_gone<B: StorageBackend>(backend: &B) {
    for pieces in [0, 1] {
        let mut staged = stage(backend, 1_000).await;
        for _ in 0..pieces {
            backend.write(&mut staged, Piece::Data(noise(3, 1_000).into())).await.expect("write");
        }
        backend.discard(staged).await.expect("discard");
        assert_empty(backend, "a discarded stage leaves nothing").await;
    }
}

/// The pipeline drops a future where it waits.
pub async fn a_stage_can_be_given_up_in_the_middle_of_a_write<B: StorageBackend>(backend: &B) {
    let mut staged = stage(backend, 64 * PIECE_BYTES).await;
    for seed in 0..64 {
        let mut write =
            pin!(backend.write(&mut staged, Piece::Data(noise(seed, PIECE_BYTES).into())));
        let once = std::future::poll_fn(|cx| match write.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => Poll::Ready(None),
        });
        match once.await {
            Some(outcome) => outcome.expect("write"),
            None => break,
        }
    }
    backend.discard(staged).await.expect("discard");
    assert_empty(backend, "a stage that was given up leaves nothing").await;
}

/// Of one app, at one time: each has bytes of its own, or the second one is told that the name is
/// taken.
pub async fn two_imports_never_meet<B: StorageBackend>(backend: &B) {
    let (one, other) = (noise(4, 50_000), noise(5, 60_000));
    let mut first = stage(backend, one.len()).await;
    let mut second = stage(backend, other.len()).await;
    seal(backend, &mut second, vec![Piece::Data(other.clone().into())], &other).await;
    seal(backend, &mut first, vec![Piece::Data(one.clone().into())], &one).await;
    let source = publish(backend, &mut first).await;
    let mut sources = vec![(source, one)];
    match backend.publish(&mut second).await {
        Published::At(source) => sources.push((source, other)),
        Published::Exists(_) => backend.discard(second).await.expect("discard"),
        outcome => panic!("publish: {outcome:?}"),
    }
    for (source, bytes) in &sources {
        assert!(
            stored(backend, APP, source).await.as_ref() == Some(bytes),
            "one import has the bytes of the other"
        );
    }
    for (source, _) in sources {
        let key = backend.locate(&source, Some(APP)).expect("locate: the app's own SOURCE");
        assert_eq!(backend.delete(&key).await, Ok(Deleted::Removed));
    }
    assert_empty(backend, "two deleted apps leave nothing").await;
}

/// A process that was killed discards nothing: what it leaves is listed, with its app, and can be
/// removed.
pub async fn an_abandoned_stage_is_found_and_removed<B: StorageBackend>(
    backend: &B,
    context: &Context,
) {
    if !backend.capabilities().lists_staged {
        return;
    }
    let (source, bytes) = import(OTHER, backend, 6).await;
    let mut staged = stage(backend, 1_000).await;
    backend.write(&mut staged, Piece::Data(noise(7, 1_000).into())).await.expect("write");
    let all = Rules { older_than: Duration::ZERO, running: true, ..Rules::default() };
    let found = gc::find(backend, &Rules::default(), context).await.expect("gc");
    assert!(found.garbage.is_empty(), "gc takes a stage of this minute: {:?}", found.garbage);
    let found = gc::find(backend, &all, context).await.expect("gc").garbage;
    let [(object, _)] = &found[..] else { panic!("gc finds one stage: {found:?}") };
    assert_eq!(object.app, Some(APP));
    drop(staged);
    assert_eq!(gc::remove(backend, object, context).await, Ok(Deleted::Removed));
    assert_eq!(
        gc::remove(backend, object, context).await,
        Ok(Deleted::Absent),
        "remove of what is gone is no error"
    );
    assert!(stored(backend, OTHER, &source).await.expect("gc took an app") == bytes);
    delete(OTHER, backend, &source).await;
}

/// The app was deleted while it was imported.
pub async fn a_removed_stage_is_never_published<B: StorageBackend>(backend: &B) {
    if !backend.capabilities().lists_staged {
        return;
    }
    let bytes = noise(8, 100_000);
    let mut staged = stage(backend, bytes.len()).await;
    seal(backend, &mut staged, vec![Piece::Data(bytes.clone().into())], &bytes).await;
    for object in objects(backend).await {
        backend.remove(&object).await.expect("remove");
    }
    match backend.publish(&mut staged).await {
        Published::At(source) => panic!("publish: {source:?} was removed before"),
        Published::Unknown(_) => {
            let resolved = backend.resolve(&mut staged).await;
            assert!(!matches!(resolved, Published::At(_)), "resolve: it was removed before");
        }
        Published::Exists(_) | Published::NotPublished(_) => {}
        other => panic!("publish: an outcome that this kit does not know: {other:?}"),
    }
    let _ = backend.discard(staged).await;
    assert_empty(backend, "an app that was removed while it was imported leaves nothing").await;
}

/// `locate` confines what is deleted and read to the marketplace.
pub async fn sources_that_point_elsewhere_are_refused<B: StorageBackend>(backend: &B) {
    let (source, bytes) = import(APP, backend, 9).await;
    let long = format!("{}/{}", source.as_str(), "a".repeat(10_000));
    for foreign in [
        "",
        "/etc/passwd",
        "../../etc/passwd",
        "file:///etc/passwd",
        "http://elsewhere/../../etc/passwd",
        "s3://x/../y",
        "*",
        "-rf",
        "$(true)",
        "a\nb",
        "\0",
        &long,
    ] {
        let key = match backend.locate(&SourceUrl::new(foreign), Some(APP)) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Denied, "{foreign:?}: {error}");
                continue;
            }
        };
        // A name that the marketplace could have given, of something that is not there.
        match backend.delete(&key).await {
            Ok(Deleted::Absent) => {}
            outcome => panic!("delete of {foreign:?}: {outcome:?}"),
        }
        assert!(!matches!(backend.open(&key).await, Ok(Some(_))), "open opens {foreign:?}");
    }
    assert!(
        stored(backend, APP, &source).await.expect("a foreign SOURCE removed the app") == bytes
    );
    delete(APP, backend, &source).await;
}

/// A report that can be printed.
pub async fn monitor_reports<B: StorageBackend>(backend: &B) {
    let report = backend.monitor().await.expect("monitor");
    report.write().expect("a report that oned can read");
}
