//! Reading stored apps again: are they still what their record says?

use crate::backend::{Context, StorageBackend};
use crate::error::{Error, ErrorKind};
use crate::model::{AppType, Marketplace, MarketplaceApp};
use market_transfer::{Piece, Sink, Source, Transfer, Transferred, Wanted};

/// What an app was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its bytes have the recorded MD5.
    Intact,
    /// Its bytes have another MD5.
    Corrupt,
    /// It was read, and no MD5 was recorded to compare with.
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
    /// Their MD5, when all of them were.
    pub md5: Option<String>,
}

/// The apps of a marketplace that have bytes in it.
pub fn apps_of<'a>(marketplace: &Marketplace, apps: &'a [MarketplaceApp]) -> Vec<&'a MarketplaceApp> {
    let images = apps.iter().filter(|app| {
        !matches!(app.app_type, AppType::VmTemplate | AppType::ServiceTemplate) && !app.source.is_empty()
    });
    images.filter(|app| app.marketplace_id == marketplace.id).collect()
}

/// Reads the stored bytes of an app and compares them with its record.
///
/// # Errors
/// Only when it was told to stop: what is wrong with the app is its [`Verdict`].
pub async fn audit<B: StorageBackend>(backend: &B, app: &MarketplaceApp, context: &Context) -> Result<Audited, Error> {
    let nothing = |verdict| Audited { verdict, bytes: 0, md5: None };
    let read = async {
        match backend.stored(app.id, app.source.as_str()).await? {
            Some(mut source) => read(&mut source).await.map(Some),
            None => Ok(None),
        }
    };
    match context.stop.or(read).await {
        Ok(None) => Ok(nothing(Verdict::Missing)),
        Ok(Some(read)) => {
            let md5 = read.digests.md5.unwrap_or_default();
            let verdict = match app.md5.trim() {
                "" => Verdict::Unrecorded,
                recorded if recorded.eq_ignore_ascii_case(&md5) => Verdict::Intact,
                _ => Verdict::Corrupt,
            };
            Ok(Audited { verdict, bytes: read.bytes, md5: Some(md5) })
        }
        Err(error) if error.kind == ErrorKind::Cancelled => Err(error),
        Err(error) if error.kind == ErrorKind::Absent => Ok(nothing(Verdict::Missing)),
        Err(error) => Ok(nothing(Verdict::Unreadable(error))),
    }
}

async fn read(source: &mut Source) -> Result<Transferred, Error> {
    source.transfer(&mut Nowhere, Transfer::hashed(Wanted::MD5)).await
}

/// Takes bytes and keeps none.
struct Nowhere;

impl Sink for Nowhere {
    type Error = Error;

    async fn write(&mut self, _: Piece) -> Result<(), Error> {
        Ok(())
    }

    async fn written(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
