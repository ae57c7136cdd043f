//! A marketplace in memory that keeps every promise of [`StorageBackend`], or breaks the one that a
//! test chooses.

use crate::md5;
use market_core::backend::{
    Capabilities, Context, Create, Deleted, Length, MarketBackend, ObjectState, Proof, ProofKind,
    Published, Staging, StorageBackend, StoredObject,
};
use market_core::error::{Error, ErrorKind};
use market_core::model::{AppId, MiB, SourceUrl};
use market_core::report::MonitorReport;
use market_core::transfer::{Digests, Options, Piece, Source};
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// What every SOURCE begins with.
const SCHEME: &str = "memory://";

/// The one promise that is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// None.
    #[default]
    None,
    /// `available_bytes` has that many left.
    Room(u64),
    /// `stage` fails.
    Stage,
    /// `copy_range` fails.
    Copy,
    /// `write` fails once so many bytes are stored.
    WriteAfter(u64),
    /// One byte is stored wrongly; the proof tells.
    Corrupt(u64),
    /// One byte is copied wrongly by `copy_range`, and stored so.
    CorruptCopy(u64),
    /// One byte less is stored; the proof tells.
    Short,
    /// `seal` fails.
    Seal,
    /// `publish` finds the name taken.
    Exists,
    /// `publish` is refused.
    NotPublished,
    /// `publish` is done, and its answer is lost.
    LostAnswer,
    /// `publish` is not done, and its answer is lost.
    LostRequest,
    /// What became of `publish` can never be found out.
    NeverKnown,
    /// `discard` fails.
    Discard,
    /// `discard` forgets what a write has stored that was dropped in the middle.
    LeavesParts,
    /// An app can be read from the moment of `seal`.
    Early,
    /// `list` names nothing.
    ListsNothing,
    /// Two uploads of an app have one name.
    OneName,
    /// `publish` does not look whether its upload was removed.
    PublishesRemoved,
    /// `locate` takes any SOURCE, and `delete` says that it has removed it.
    TakesAnySource,
    /// `monitor` says that nothing is stored.
    NothingUsed,
    /// `monitor` reports no space.
    NoSpace,
}

/// The store. With `VISIBLE`, what is staged could be seen by readers.
#[derive(Default)]
pub struct MemoryMarket<const VISIBLE: bool = false> {
    /// What is broken.
    pub fault: Cell<Fault>,
    /// How old all objects are.
    pub age: Cell<Duration>,
    /// Whether what is stored can be read back, and local sources are taken by `copy_range`.
    pub copies: Cell<bool>,
    /// Whether every `write` waits once, with a part stored.
    pub waits: Cell<bool>,
    /// The calls so far, by name.
    pub calls: RefCell<Vec<&'static str>>,
    /// Unfinished imports by their names.
    pub staged: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Apps by their SOURCE.
    pub published: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Runs at every call, with its name.
    pub on_call: RefCell<Option<Box<OnCall>>>,
}

/// What [`MemoryMarket::on_call`] runs.
pub type OnCall = dyn Fn(&'static str);

/// It has no attributes.
#[derive(Debug, Deserialize)]
pub struct NoConfig {}

/// An unfinished import.
#[derive(Debug)]
pub struct MemoryUpload {
    name: String,
    bytes: Vec<u8>,
    /// What is read back: what is stored, not what was sent.
    copy: Option<File>,
}

impl<const VISIBLE: bool> MemoryMarket<VISIBLE> {
    /// A store with a fault.
    pub fn with(fault: Fault) -> Self {
        let market = Self::default();
        market.fault.set(fault);
        market
    }

    fn called(&self, name: &'static str) {
        self.calls.borrow_mut().push(name);
        if let Some(on_call) = &*self.on_call.borrow() {
            on_call(name);
        }
    }

    fn broken(&self, fault: Fault) -> Result<(), Error> {
        if self.fault.get() == fault { Err(fault_error()) } else { Ok(()) }
    }

    /// What was appended from an offset on is there now.
    fn store(&self, upload: &MemoryUpload, start: usize) -> Result<(), Error> {
        self.staged.borrow_mut().insert(upload.name.clone(), upload.bytes.clone());
        let Some(copy) = &upload.copy else { return Ok(()) };
        copy.write_all_at(&upload.bytes[start..], start as u64)
            .map_err(|error| Error::io("the copy", &error))
    }

    fn source_of(upload: &MemoryUpload) -> String {
        format!("{SCHEME}{}", upload.name)
    }
}

impl<const VISIBLE: bool> fmt::Debug for MemoryMarket<VISIBLE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMarket").field("fault", &self.fault).finish_non_exhaustive()
    }
}

fn fault_error() -> Error {
    Error::new(ErrorKind::Failed, "the memory market", "the fault that the test asked for")
}

impl<const VISIBLE: bool> MarketBackend for MemoryMarket<VISIBLE> {
    type Config = NoConfig;

    const MAD: &'static str = "memory";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "A marketplace in memory, for tests.";

    async fn connect(_: NoConfig, _: &Context) -> Result<Self, Error> {
        Ok(Self::default())
    }

    async fn monitor(&self) -> Result<MonitorReport, Error> {
        match self.fault.get() {
            Fault::NoSpace => return Ok(MonitorReport::default()),
            Fault::NothingUsed => return Ok(MonitorReport::of_space(MiB(0), MiB(1), MiB(1))),
            _ => {}
        }
        let used = self.published.borrow().values().map(|bytes| bytes.len() as u64).sum();
        Ok(MonitorReport::of_space(
            MiB::containing(used),
            MiB(1),
            MiB::containing(used + MiB::BYTES),
        ))
    }
}

impl<const VISIBLE: bool> StorageBackend for MemoryMarket<VISIBLE> {
    type Upload = MemoryUpload;
    /// The SOURCE of an app, the name of an unfinished import.
    type Key = String;

    fn capabilities(&self) -> Capabilities {
        let staging = if VISIBLE { Staging::Visible } else { Staging::Invisible };
        Capabilities::new(staging, Create::Atomic, ProofKind::Digest)
            .with_largest_object(64 << 20)
            .with_staged_listed()
    }

    async fn available_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(match self.fault.get() {
            Fault::Room(bytes) => Some(bytes),
            _ => None,
        })
    }

    async fn stage(&self, app: AppId, _: Length, _: Option<u64>) -> Result<MemoryUpload, Error> {
        self.called("stage");
        self.broken(Fault::Stage)?;
        let number = match self.fault.get() {
            Fault::OneName => 0,
            _ => self.calls.borrow().len(),
        };
        let name = format!("{app}-{number}");
        self.staged.borrow_mut().insert(name.clone(), Vec::new());
        let copy = self.copies.get().then(tempfile::tempfile).transpose();
        Ok(MemoryUpload {
            name,
            bytes: Vec::new(),
            copy: copy.map_err(|error| Error::io("the copy", &error))?,
        })
    }

    fn read_back(&self, upload: &MemoryUpload) -> Result<Option<File>, Error> {
        let handle = upload.copy.as_ref().map(File::try_clone).transpose();
        handle.map_err(|error| Error::io("the copy", &error))
    }

    async fn copy_range(
        &self,
        upload: &mut MemoryUpload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        self.called("copy_range");
        self.broken(Fault::Copy)?;
        let start = upload.bytes.len();
        upload
            .bytes
            .resize(start + usize::try_from(range.end - range.start).unwrap_or_default(), 0);
        let copied = source.read_exact_at(&mut upload.bytes[start..], range.start);
        copied.map_err(|error| Error::io("the copy", &error))?;
        if let Fault::CorruptCopy(byte) = self.fault.get() {
            upload.bytes[usize::try_from(byte).unwrap_or_default()] ^= 1;
        }
        self.store(upload, start)
    }

    async fn write(&self, upload: &mut MemoryUpload, piece: Piece) -> Result<(), Error> {
        self.called("write");
        if self.waits.get() {
            let part = format!("{}.part", upload.name);
            self.staged.borrow_mut().insert(part.clone(), Vec::new());
            tokio::task::yield_now().await;
            self.staged.borrow_mut().remove(&part);
        }
        let start = upload.bytes.len();
        match piece {
            Piece::Data(data) => upload.bytes.extend_from_slice(&data),
            Piece::Hole(length) => upload
                .bytes
                .resize(upload.bytes.len() + usize::try_from(length).unwrap_or_default(), 0),
        }
        self.store(upload, start)?;
        match self.fault.get() {
            Fault::WriteAfter(bytes) if upload.bytes.len() as u64 >= bytes => Err(fault_error()),
            _ => Ok(()),
        }
    }

    async fn seal(&self, upload: &mut MemoryUpload, _: &Digests) -> Result<Proof, Error> {
        self.called("seal");
        self.broken(Fault::Seal)?;
        match self.fault.get() {
            Fault::Corrupt(at) => upload.bytes[usize::try_from(at).unwrap_or_default()] ^= 1,
            Fault::Short => {
                upload.bytes.pop();
                return Ok(Proof::Bytes(upload.bytes.len() as u64));
            }
            Fault::Early => {
                let source = Self::source_of(upload);
                self.published.borrow_mut().insert(source, upload.bytes.clone());
            }
            _ => {}
        }
        Ok(Proof::Md5(md5(&upload.bytes)))
    }

    async fn publish(&self, upload: &mut MemoryUpload) -> Published {
        self.called("publish");
        let source = Self::source_of(upload);
        match self.fault.get() {
            Fault::Exists => return Published::Exists(SourceUrl::new(source)),
            Fault::NotPublished => return Published::NotPublished(fault_error()),
            Fault::LostRequest | Fault::NeverKnown => return Published::Unknown(fault_error()),
            _ => {}
        }
        let was_there = self.staged.borrow_mut().remove(&upload.name).is_some();
        if !was_there && self.fault.get() != Fault::PublishesRemoved {
            let error =
                Error::new(ErrorKind::Absent, &upload.name, "was removed while it was imported");
            return Published::NotPublished(error);
        }
        self.published.borrow_mut().insert(source.clone(), upload.bytes.clone());
        if self.fault.get() == Fault::LostAnswer {
            Published::Unknown(fault_error())
        } else {
            Published::At(SourceUrl::new(source))
        }
    }

    async fn resolve(&self, upload: &mut MemoryUpload) -> Published {
        self.called("resolve");
        let source = Self::source_of(upload);
        if self.fault.get() == Fault::NeverKnown {
            return Published::Unknown(fault_error());
        }
        if self.published.borrow().contains_key(&source) {
            Published::At(SourceUrl::new(source))
        } else {
            Published::NotPublished(fault_error())
        }
    }

    async fn discard(&self, upload: MemoryUpload) -> Result<(), Error> {
        self.called("discard");
        self.broken(Fault::Discard)?;
        let mut stored = self.staged.borrow_mut();
        stored.remove(&upload.name);
        if self.fault.get() != Fault::LeavesParts {
            stored.remove(&format!("{}.part", upload.name));
        }
        Ok(())
    }

    fn locate(&self, source: &SourceUrl, _: Option<AppId>) -> Result<String, Error> {
        let source = source.as_str();
        let refused = || Error::new(ErrorKind::Denied, source, "is no SOURCE of a memory market");
        let taken = source.starts_with(SCHEME) || self.fault.get() == Fault::TakesAnySource;
        taken.then(|| source.to_owned()).ok_or_else(refused)
    }

    async fn delete(&self, key: &String) -> Result<Deleted, Error> {
        let removed = self.published.borrow_mut().remove(key).is_some();
        Ok(Deleted::from_existed(removed || self.fault.get() == Fault::TakesAnySource))
    }

    async fn open(&self, key: &String) -> Result<Option<Source>, Error> {
        let fail = |error| Error::io("the copy", &error);
        let Some(bytes) = self.published.borrow().get(key).cloned() else { return Ok(None) };
        let copy = tempfile::tempfile().map_err(fail)?;
        copy.write_all_at(&bytes, 0).map_err(fail)?;
        Ok(Some(Source::from_file(copy, key, &Options::default())?))
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<String>)) -> Result<(), Error> {
        if self.fault.get() == Fault::ListsNothing {
            return Ok(());
        }
        let mut tell = |object: StoredObject<String>| {
            let name = object.key.trim_start_matches(SCHEME);
            let app = name.split('-').next().and_then(|id| id.parse().ok()).map(AppId);
            sink(match app {
                Some(app) => object.of_app(app),
                None => object,
            });
        };
        let age = self.age.get();
        for (name, bytes) in &*self.staged.borrow() {
            tell(StoredObject::staged(name.clone(), bytes.len() as u64, age));
        }
        for (source, bytes) in &*self.published.borrow() {
            tell(StoredObject::published(source.clone(), bytes.len() as u64, age));
        }
        Ok(())
    }

    async fn remove(&self, object: &StoredObject<String>) -> Result<Deleted, Error> {
        let stored =
            if object.state == ObjectState::Staged { &self.staged } else { &self.published };
        Ok(Deleted::from_existed(stored.borrow_mut().remove(&object.key).is_some()))
    }
}
