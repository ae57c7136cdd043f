//! Reading stored apps again: are they still what their record says?

use crate::backend::{Context, StorageBackend};
use crate::error::{Error, ErrorKind};
use crate::model::{AppType, Marketplace, MarketplaceApp};
use market_transfer::{DigestSet, Digests, Piece, Sink, Source, Transfer, Transferred};

/// What an app was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its bytes have the recorded checksums.
    Intact,
    /// Its bytes have another checksum than its record, or the record holds none that could be one.
    Corrupt,
    /// It was read, and no checksum was recorded to compare with.
    Unrecorded,
    /// There are no bytes.
    Missing,
    /// It cannot be read.
    Unreadable(Error),
}

impl Verdict {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Corrupt => "CORRUPT",
            Self::Unrecorded => "unrecorded",
            Self::Missing => "MISSING",
            Self::Unreadable(_) => "UNREADABLE",
        }
    }

    /// Whether the app is not what it should be.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Corrupt | Self::Missing | Self::Unreadable(_))
    }
}

/// An app that was read.
#[derive(Clone, Debug)]
pub struct Audited {
    /// What it was found to be.
    pub verdict: Verdict,
    /// The bytes that were read.
    pub bytes: u64,
    /// Their checksums, when all of them were.
    pub digests: Digests,
}

/// The apps of a marketplace that have bytes in it.
pub fn apps_of<'a>(
    marketplace: &Marketplace,
    apps: &'a [MarketplaceApp],
) -> Vec<&'a MarketplaceApp> {
    let images = apps.iter().filter(|app| {
        !matches!(app.app_type, AppType::VmTemplate | AppType::ServiceTemplate)
            && !app.source.is_empty()
    });
    images.filter(|app| app.marketplace_id == marketplace.id).collect()
}

/// Reads the stored bytes of an app and compares them with its record.
///
/// # Errors
/// Only when it was told to stop: what is wrong with the app is its [`Verdict`].
pub async fn audit<B: StorageBackend>(
    backend: &B,
    app: &MarketplaceApp,
    context: &Context,
) -> Result<Audited, Error> {
    let nothing = |verdict| Audited { verdict, bytes: 0, digests: Digests::default() };
    let read = async {
        match backend.open(&backend.locate(&app.source, Some(app.id))?).await? {
            Some(mut source) => read(&mut source).await.map(Some),
            None => Ok(None),
        }
    };
    match context.stop.or(read).await {
        Ok(None) => Ok(nothing(Verdict::Missing)),
        Ok(Some(read)) => {
            let verdict = match app.recorded() {
                Ok(recorded) if recorded.is_empty() => Verdict::Unrecorded,
                Ok(recorded) if recorded.verify(&read.digests).is_ok() => Verdict::Intact,
                _ => Verdict::Corrupt,
            };
            Ok(Audited { verdict, bytes: read.bytes, digests: read.digests })
        }
        Err(error) if error.kind == ErrorKind::Cancelled => Err(error),
        Err(error) if error.kind == ErrorKind::Absent => Ok(nothing(Verdict::Missing)),
        Err(error) => Ok(nothing(Verdict::Unreadable(error))),
    }
}

async fn read(source: &mut Source) -> Result<Transferred, Error> {
    source.transfer(&mut Nowhere, Transfer::hashed(READ)).await
}

/// What records hold.
const READ: DigestSet = DigestSet::MD5.and(DigestSet::SHA256);

/// Takes bytes and keeps none.
struct Nowhere;

impl Sink for Nowhere {
    type Error = Error;

    async fn write(&mut self, _: Piece) -> Result<(), Error> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
