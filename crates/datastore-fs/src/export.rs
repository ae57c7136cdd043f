//! `export`: where an image's bytes are, and what they are.

use crate::config::refuse_bridges;
use market_core::action::{ExportAction, ImportInfo};
use market_core::backend::Context;
use market_core::container::{Container, HEAD_BYTES};
use market_core::error::{Error, ErrorKind};
use market_core::model::SourceUrl;
use market_core::transfer::{Digester, Location, Source, Wanted, shown};

/// Describes an image for an import.
///
/// # Errors
/// When the image is not where the datastore says, or cannot be read.
pub async fn export(action: &ExportAction, context: &Context) -> Result<ImportInfo, Error> {
    refuse_bridges(&action.datastore)?;
    let location = action.image.source.as_str();
    if !matches!(Location::parse(location)?, Location::Path(_)) {
        return Err(Error::new(ErrorKind::Unsupported, format!("SOURCE {}", shown(location)), "is no local path"));
    }
    let mut source = Source::open(location, &context.options).await?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let container = Container::sniff(&head);
    if let Err(error) = container.refuse_references(source.subject(), "") {
        context.log.warn(format_args!("no marketplace of ours will take it: {error}"));
    }
    let mut digester = Digester::start(Wanted::MD5);
    while let Some(piece) = context.stop.or(source.next()).await? {
        digester.update(piece).await;
    }
    let digests = digester.finish().await.map_err(|error| Error::io(source.subject(), &error))?;
    Ok(ImportInfo {
        source: SourceUrl::new(location),
        md5: digests.md5.unwrap_or_default(),
        size: Some(action.image.size),
        format: container.format.to_owned(),
        dispose: None,
    })
}
