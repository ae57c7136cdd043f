//! What every storage backend must do, case by case, over the trait alone.
//!
//! A case that fails panics and says which promise was broken. [`all`] runs every case on an empty
//! marketplace of your own; with [`cases`] each can be a test with a marketplace of its own, so that
//! the others go on after a failure (see `crates/driver-http/tests/conformance.rs`).
//!
//! ```
//! use market_testkit::{block_on, conformance, memory::MemoryMarket};
//!
//! let context = market_testkit::context();
//! block_on(conformance::all(&<MemoryMarket>::default(), &context));
//! ```

use crate::{md5, noise, read_to_end, require};
use bytes::Bytes;
use market_core::backend::{
    Context, Deleted, Length, ObjectState, Proof, ProofKind, Published, StorageBackend,
    StoredObject,
};
use market_core::error::ErrorKind;
use market_core::model::{AppId, MiB, SourceUrl};
use market_core::transfer::{Digests, PIECE_BYTES, Piece};
use market_core::upkeep::gc::{self, Rules};
use std::fmt;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// A promise, and what tests it.
pub struct Case<B> {
    name: &'static str,
    run: Run<B>,
}

type Run<B> = for<'a> fn(&'a B, &'a Context) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// How a case ended that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend keeps the promise.
    Kept,
    /// The backend does not make the promise, for this reason.
    NotPromised(&'static str),
}

impl<B> Case<B> {
    /// The promise, as an identifier: `two_imports_never_meet`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tests the promise on an empty marketplace, which is empty again afterwards.
    ///
    /// # Panics
    /// When the promise is broken; what was staged and published stays then.
    pub async fn run(&self, backend: &B, context: &Context) -> Outcome {
        (self.run)(backend, context).await
    }
}

impl<B> fmt::Debug for Case<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Cases by the names of their functions.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        vec![$(Case {
            name: stringify!($name),
            run: |backend, context| Box::pin($name(backend, context)),
        }),*]
    };
}

/// Every case.
pub fn cases<B: StorageBackend>() -> Vec<Case<B>> {
    cases![
        what_is_published_is_what_was_written,
        nothing_is_visible_before_it_is_published,
        a_discarded_upload_is_gone,
        an_upload_can_be_given_up_in_the_middle_of_a_write,
        two_imports_never_meet,
        an_abandoned_upload_is_found_and_removed,
        a_removed_upload_is_never_published,
        sources_that_point_elsewhere_are_refused,
        monitor_reports_the_space_that_apps_take,
    ]
}

/// Every case, one after the other; the ones that are not promised are named on standard error.
///
/// # Panics
/// When the marketplace is not empty, and with the first case that fails.
pub async fn all<B: StorageBackend>(backend: &B, context: &Context) {
    assert_empty(backend, "the marketplace must be empty at the start").await;
    for case in cases() {
        if let Outcome::NotPromised(why) = case.run(backend, context).await {
            require::say(&format!("SKIPPED: {}: {why}", case.name));
        }
    }
}

const LISTS_NOTHING_STAGED: Outcome =
    Outcome::NotPromised("what is staged is not listed (Capabilities::lists_staged)");

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
    upload: &mut B::Upload,
    pieces: Vec<Piece>,
    bytes: &[u8],
) {
    for piece in pieces {
        backend.write(upload, piece).await.expect("write");
    }
    backend.finish(upload).await.expect("finish");
    let digests = Digests::new(bytes.len() as u64).with(md5(bytes));
    match backend.seal(upload, &digests).await.expect("seal") {
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

async fn publish<B: StorageBackend>(backend: &B, upload: &mut B::Upload) -> SourceUrl {
    match backend.publish(upload).await {
        Published::At(source) => source,
        other => panic!("publish: {other:?}"),
    }
}

async fn import<B: StorageBackend>(app: AppId, backend: &B, seed: u64) -> (SourceUrl, Vec<u8>) {
    let bytes = noise(seed, 100_000);
    let mut upload = stage_for(app, backend, bytes.len()).await;
    seal(backend, &mut upload, vec![Piece::Data(bytes.clone().into())], &bytes).await;
    (publish(backend, &mut upload).await, bytes)
}

/// Everything that is listed.
pub async fn objects<B: StorageBackend>(backend: &B) -> Vec<StoredObject<B::Key>> {
    let mut objects = Vec::new();
    backend.list(&mut |object| objects.push(object)).await.expect("list");
    objects
}

async fn assert_empty<B: StorageBackend>(backend: &B, why: &str) {
    let objects = objects(backend).await;
    assert!(objects.is_empty(), "{why}: {objects:?}");
}

/// The bytes of an app, by its SOURCE; `None` when it is not there.
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
async fn what_is_published_is_what_was_written<B: StorageBackend>(
    backend: &B,
    _: &Context,
) -> Outcome {
    let (pieces, bytes) = pieces();
    let mut upload = stage(backend, bytes.len()).await;
    seal(backend, &mut upload, pieces, &bytes).await;
    let source = publish(backend, &mut upload).await;
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
    Outcome::Kept
}

/// Until `publish` nothing is listed as an app, and what is staged cannot be opened as one. After
/// it there is the app, and nothing staged.
async fn nothing_is_visible_before_it_is_published<B: StorageBackend>(
    backend: &B,
    _: &Context,
) -> Outcome {
    let (pieces, bytes) = pieces();
    let mut upload = stage(backend, bytes.len()).await;
    assert_only_staged(backend, "after stage").await;
    seal(backend, &mut upload, pieces, &bytes).await;
    let staged = assert_only_staged(backend, "after seal").await;
    if backend.capabilities().lists_staged {
        let apps: Vec<_> = staged.iter().map(|object| object.app).collect();
        assert_eq!(apps, [Some(APP)], "one upload is listed, and names its app");
    }
    let source = publish(backend, &mut upload).await;
    let key = backend.locate(&source, Some(APP)).expect("locate: the app's own SOURCE");
    assert!(
        staged.iter().all(|object| object.key != key),
        "the app was listed under its SOURCE before it was published"
    );
    let listed = objects(backend).await;
    assert_eq!(
        listed.iter().map(|object| (object.state, &object.key)).collect::<Vec<_>>(),
        [(ObjectState::Published, &key)],
        "after publish there is the app and nothing else"
    );
    delete(APP, backend, &source).await;
    Outcome::Kept
}

/// What is listed, all of it staged and none of it readable as an app.
async fn assert_only_staged<B: StorageBackend>(
    backend: &B,
    when: &str,
) -> Vec<StoredObject<B::Key>> {
    let listed = objects(backend).await;
    for object in &listed {
        assert_eq!(object.state, ObjectState::Staged, "{when}: visible before publish: {object:?}");
        assert!(
            !matches!(backend.open(&object.key).await, Ok(Some(_))),
            "{when}: what is staged can be read as an app: {object:?}"
        );
    }
    listed
}

/// Before and after its first byte.
async fn a_discarded_upload_is_gone<B: StorageBackend>(backend: &B, _: &Context) -> Outcome {
    for pieces in [0, 1] {
        let mut upload = stage(backend, 1_000).await;
        for _ in 0..pieces {
            backend.write(&mut upload, Piece::Data(noise(3, 1_000).into())).await.expect("write");
        }
        backend.discard(upload).await.expect("discard");
        assert_empty(backend, "a discarded upload leaves nothing").await;
    }
    Outcome::Kept
}

/// The pipeline drops the future of a write where it waits, and discards the upload.
async fn an_upload_can_be_given_up_in_the_middle_of_a_write<B: StorageBackend>(
    backend: &B,
    _: &Context,
) -> Outcome {
    let mut upload = stage(backend, 64 * PIECE_BYTES).await;
    let mut waited = false;
    // The same bytes again and again: they come faster than any store that waits takes them.
    let data = Bytes::from(noise(7, PIECE_BYTES));
    for _ in 0..64 {
        let write = pin!(backend.write(&mut upload, Piece::Data(data.clone())));
        match once(write).await {
            Some(outcome) => outcome.expect("write"),
            None => {
                waited = true;
                break;
            }
        }
    }
    backend.discard(upload).await.expect("discard");
    assert_empty(backend, "an upload that was given up leaves nothing").await;
    if waited { Outcome::Kept } else { Outcome::NotPromised("no write of this store ever waits") }
}

/// Polls a future once; `None` when it waits.
async fn once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Of one app, at one time: each has bytes of its own, or the second one is told that the name is
/// taken.
async fn two_imports_never_meet<B: StorageBackend>(backend: &B, _: &Context) -> Outcome {
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
    Outcome::Kept
}

/// A process that was killed discards nothing: what it leaves is listed, with its app, and can be
/// removed.
async fn an_abandoned_upload_is_found_and_removed<B: StorageBackend>(
    backend: &B,
    context: &Context,
) -> Outcome {
    if !backend.capabilities().lists_staged {
        return LISTS_NOTHING_STAGED;
    }
    let (source, bytes) = import(OTHER, backend, 6).await;
    let mut upload = stage(backend, 1_000).await;
    backend.write(&mut upload, Piece::Data(noise(7, 1_000).into())).await.expect("write");
    let all = Rules::default().with_older_than(Duration::ZERO).with_running();
    let found = gc::find(backend, &Rules::default(), context).await.expect("gc");
    assert!(found.garbage.is_empty(), "gc takes an upload of this minute: {:?}", found.garbage);
    let found = gc::find(backend, &all, context).await.expect("gc").garbage;
    let [(object, _)] = &found[..] else { panic!("gc finds one upload: {found:?}") };
    assert_eq!(object.app, Some(APP));
    drop(upload);
    assert_eq!(gc::remove(backend, object, context).await, Ok(Deleted::Removed));
    assert_eq!(
        gc::remove(backend, object, context).await,
        Ok(Deleted::Absent),
        "remove of what is gone is no error"
    );
    assert!(stored(backend, OTHER, &source).await.expect("gc took an app") == bytes);
    delete(OTHER, backend, &source).await;
    Outcome::Kept
}

/// The app was deleted while it was imported.
async fn a_removed_upload_is_never_published<B: StorageBackend>(
    backend: &B,
    _: &Context,
) -> Outcome {
    if !backend.capabilities().lists_staged {
        return LISTS_NOTHING_STAGED;
    }
    let bytes = noise(8, 100_000);
    let mut upload = stage(backend, bytes.len()).await;
    seal(backend, &mut upload, vec![Piece::Data(bytes.clone().into())], &bytes).await;
    for object in objects(backend).await {
        assert_eq!(backend.remove(&object).await, Ok(Deleted::Removed), "remove of what is there");
    }
    match backend.publish(&mut upload).await {
        Published::At(source) => panic!("publish: {source:?} was removed before"),
        Published::Unknown(_) => {
            let resolved = backend.resolve(&mut upload).await;
            assert!(!matches!(resolved, Published::At(_)), "resolve: it was removed before");
        }
        Published::Exists(_) | Published::NotPublished(_) => {}
        other => panic!("publish: an outcome that this kit does not know: {other:?}"),
    }
    // A store that cannot tell whether the lost publish still goes on may say so here; what counts is
    // what it holds.
    drop(backend.discard(upload).await);
    assert_empty(backend, "an app that was removed while it was imported leaves nothing").await;
    Outcome::Kept
}

/// `locate` confines what is deleted and read to the marketplace.
async fn sources_that_point_elsewhere_are_refused<B: StorageBackend>(
    backend: &B,
    _: &Context,
) -> Outcome {
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
    Outcome::Kept
}

/// A report of space that `oned` can read, with an app and without; it lists no apps, and changes
/// nothing.
async fn monitor_reports_the_space_that_apps_take<B: StorageBackend>(
    backend: &B,
    _: &Context,
) -> Outcome {
    space(backend).await;
    assert_empty(backend, "monitor creates nothing").await;
    let (source, bytes) = import(APP, backend, 10).await;
    let used = space(backend).await;
    assert!(
        used >= MiB::containing(bytes.len() as u64),
        "monitor: an app of {} bytes is there, and {used} are used",
        bytes.len()
    );
    assert!(stored(backend, APP, &source).await.as_ref() == Some(&bytes), "monitor took an app");
    delete(APP, backend, &source).await;
    Outcome::Kept
}

/// The space in use, of a report that makes sense.
async fn space<B: StorageBackend>(backend: &B) -> MiB {
    let report = backend.monitor().await.expect("monitor");
    report.write().expect("a report that oned can read");
    assert!(report.apps.is_empty(), "monitor: a marketplace that holds images discovers no apps");
    let space = report.space.expect("monitor: a marketplace that holds images reports its space");
    assert!(
        space.total > MiB(0) && space.used <= space.total && space.free <= space.total,
        "monitor: {space:?}"
    );
    space.used
}
