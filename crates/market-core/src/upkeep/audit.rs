//! Reads stored apps again and compares them with the checksums of their records.

use crate::backend::{Context, StorageBackend};
use crate::error::{Error, ErrorKind};
use crate::model::{AppType, Marketplace, MarketplaceApp};
use market_transfer::{DigestSet, Digests, Piece, Sink, Source, Transfer, Transferred};

/// The outcome of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Its bytes have the recorded checksums.
    Intact,
    /// Its bytes have another checksum than its record, or the record holds none that could be one.
    Corrupt,
    /// It was read, and no checksum was recorded to compare with.
    Unrecorded,
    /// The store does not have it.
    Missing,
    /// It cannot be read, or its SOURCE is none of this marketplace.
    Unreadable(Error),
}

impl Verdict {
    /// One word for it, in capitals when it [is bad](Self::is_bad).
    pub fn word(&self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Corrupt => "CORRUPT",
            Self::Unrecorded => "unrecorded",
            Self::Missing => "MISSING",
            Self::Unreadable(_) => "UNREADABLE",
        }
    }

    /// Whether the app is not what its record says.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Corrupt | Self::Missing | Self::Unreadable(_))
    }
}

/// An app that was read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Audited {
    /// The outcome.
    pub verdict: Verdict,
    /// How many bytes were read.
    pub bytes: u64,
    /// Their checksums; none when not all of them could be read.
    pub digests: Digests,
}

/// The apps of a list that belong to a marketplace and hold an image.
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
/// [`ErrorKind::Cancelled`] when told to stop. Everything else that is wrong is the [`Verdict`].
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
    source.transfer(&mut Discard, Transfer::hashed(RECORDED)).await
}

/// The checksums that records may hold.
const RECORDED: DigestSet = DigestSet::MD5.and(DigestSet::SHA256);

/// Takes bytes and keeps none of them: only their checksums count.
struct Discard;

impl Sink for Discard {
    type Error = Error;

    async fn write(&mut self, _: Piece) -> Result<(), Error> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
