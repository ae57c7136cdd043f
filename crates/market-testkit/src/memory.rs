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
    fn store(&self, staged: &MemoryUpload, start: usize) -> Result<(), Error> {
        self.staged.borrow_mut().insert(staged.name.clone(), staged.bytes.clone());
        let Some(copy) = &staged.copy else { return Ok(()) };
        copy.write_all_at(&staged.bytes[start..], start as u64)
            .map_err(|error| Error::io("the copy", &error))
    }

    fn source_of(staged: &MemoryUpload) -> String {
        format!("{SCHEME}{}", staged.name)
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
        let name = format!("{app}-{}", self.calls.borrow().len());
        self.staged.borrow_mut().insert(name.clone(), Vec::new());
        let copy = self.copies.get().then(tempfile::tempfile).transpose();
        Ok(MemoryUpload {
            name,
            bytes: Vec::new(),
            copy: copy.map_err(|error| Error::io("the copy", &error))?,
        })
    }

    fn read_back(&self, staged: &MemoryUpload) -> Result<Option<File>, Error> {
        let handle = staged.copy.as_ref().map(File::try_clone).transpose();
        handle.map_err(|error| Error::io("the copy", &error))
    }

    async fn copy_range(
        &self,
        staged: &mut MemoryUpload,
        source: &File,
        range: Range<u64>,
    ) -> Result<(), Error> {
        self.called("copy_range");
        self.broken(Fault::Copy)?;
        let start = staged.bytes.len();
        staged
            .bytes
            .resize(start + usize::try_from(range.end - range.start).unwrap_or_default(), 0);
        let copied = source.read_exact_at(&mut staged.bytes[start..], range.start);
        copied.map_err(|error| Error::io("the copy", &error))?;
        if let Fault::CorruptCopy(byte) = self.fault.get() {
            staged.bytes[usize::try_from(byte).unwrap_or_default()] ^= 1;
        }
        self.store(staged, start)
    }

    async fn write(&self, staged: &mut MemoryUpload, piece: Piece) -> Result<(), Error> {
        self.called("write");
        let start = staged.bytes.len();
        match piece {
            Piece::Data(data) => staged.bytes.extend_from_slice(&data),
            Piece::Hole(length) => staged
                .bytes
                .resize(staged.bytes.len() + usize::try_from(length).unwrap_or_default(), 0),
        }
        self.store(staged, start)?;
        match self.fault.get() {
            Fault::WriteAfter(bytes) if staged.bytes.len() as u64 >= bytes => Err(fault_error()),
            _ => Ok(()),
        }
    }

    async fn seal(&self, staged: &mut MemoryUpload, _: &Digests) -> Result<Proof, Error> {
        self.called("seal");
        self.broken(Fault::Seal)?;
        match self.fault.get() {
            Fault::Corrupt(at) => staged.bytes[usize::try_from(at).unwrap_or_default()] ^= 1,
            Fault::Short => {
                staged.bytes.pop();
                return Ok(Proof::Bytes(staged.bytes.len() as u64));
            }
            _ => {}
        }
        Ok(Proof::Md5(md5(&staged.bytes)))
    }

    async fn publish(&self, staged: &mut MemoryUpload) -> Published {
        self.called("publish");
        let source = Self::source_of(staged);
        match self.fault.get() {
            Fault::Exists => return Published::Exists(SourceUrl::new(source)),
            Fault::NotPublished => return Published::NotPublished(fault_error()),
            Fault::LostRequest | Fault::NeverKnown => return Published::Unknown(fault_error()),
            _ => {}
        }
        if self.staged.borrow_mut().remove(&staged.name).is_none() {
            let error =
                Error::new(ErrorKind::Absent, &staged.name, "was removed while it was imported");
            return Published::NotPublished(error);
        }
        self.published.borrow_mut().insert(source.clone(), staged.bytes.clone());
        if self.fault.get() == Fault::LostAnswer {
            Published::Unknown(fault_error())
        } else {
            Published::At(SourceUrl::new(source))
        }
    }

    async fn resolve(&self, staged: &mut MemoryUpload) -> Published {
        self.called("resolve");
        let source = Self::source_of(staged);
        if self.fault.get() == Fault::NeverKnown {
            return Published::Unknown(fault_error());
        }
        if self.published.borrow().contains_key(&source) {
            Published::At(SourceUrl::new(source))
        } else {
            Published::NotPublished(fault_error())
        }
    }

    async fn discard(&self, staged: MemoryUpload) -> Result<(), Error> {
        self.called("discard");
        self.broken(Fault::Discard)?;
        self.staged.borrow_mut().remove(&staged.name);
        Ok(())
    }

    fn locate(&self, source: &SourceUrl, _: Option<AppId>) -> Result<String, Error> {
        let source = source.as_str();
        let refused = || Error::new(ErrorKind::Denied, source, "is no SOURCE of a memory market");
        source.starts_with(SCHEME).then(|| source.to_owned()).ok_or_else(refused)
    }

    async fn delete(&self, key: &String) -> Result<Deleted, Error> {
        Ok(Deleted::from_existed(self.published.borrow_mut().remove(key).is_some()))
    }

    async fn open(&self, key: &String) -> Result<Option<Source>, Error> {
        let fail = |error| Error::io("the copy", &error);
        let Some(bytes) = self.published.borrow().get(key).cloned() else { return Ok(None) };
        let copy = tempfile::tempfile().map_err(fail)?;
        copy.write_all_at(&bytes, 0).map_err(fail)?;
        Ok(Some(Source::from_file(copy, key, &Options::default())?))
    }

    async fn list(&self, sink: &mut dyn FnMut(StoredObject<String>)) -> Result<(), Error> {
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
