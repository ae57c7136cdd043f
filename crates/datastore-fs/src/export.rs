//! `export`: tells where the bytes of an image are, and what they are.

use crate::bridge;
use crate::config::{bridges_of, options_of};
use market_core::action::{ExportAction, ImportInfo};
use market_core::backend::Context;
use market_core::checksum::Md5;
use market_core::container::{Container, HEAD_BYTES, refuse_references};
use market_core::error::{Error, ErrorKind};
use market_core::model::SourceUrl;
use market_core::transfer::{DigestSet, Digester, Location, Options, Source, redacted};

/// Describes an image for an import into a marketplace: its path, MD5, size and format. `id` is the
/// app's, by which one of several bridges is chosen; without it the image's is used.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when SOURCE is no local path, [`ErrorKind::Absent`] and others when
/// it cannot be read, [`ErrorKind::Unreachable`] when no bridge can be reached.
pub async fn export(
    action: &ExportAction,
    id: Option<i64>,
    context: &Context,
) -> Result<ImportInfo, Error> {
    let path = action.image.source.as_str();
    if Location::parse(path)?.path().is_none() || path.contains("://") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("SOURCE {}", redacted(path)),
            "is no local path",
        ));
    }
    let bridges = bridges_of(&action.datastore)?;
    let options = options_of(&action.datastore, &context.options, &context.log)?;
    let (location, md5, head) = if bridges.is_empty() {
        let (md5, head) = describe(path, &options, context).await?;
        (path.to_owned(), md5, head)
    } else {
        let id = id.unwrap_or(action.image.id);
        let (location, md5, head) = bridge::describe(path, id, bridges, &options, context).await?;
        (location, Some(md5), head)
    };
    let container = Container::sniff(&head);
    if let Err(error) = refuse_references(&container, &redacted(&location), "") {
        context.log.warn(format_args!("no marketplace of ours will take it: {error}"));
    }
    Ok(ImportInfo {
        source: SourceUrl::new(location),
        md5,
        size: Some(action.image.size),
        format: container.format.to_string(),
        dispose: None,
    })
}

/// The MD5 and the first bytes of a file of this host.
async fn describe(
    path: &str,
    options: &Options,
    context: &Context,
) -> Result<(Option<Md5>, Vec<u8>), Error> {
    let mut source = Source::open(path, options).await?;
    let head = context.stop.or(source.peek(HEAD_BYTES)).await?;
    let mut digester = Digester::start(DigestSet::MD5);
    while let Some(piece) = context.stop.or(source.next()).await? {
        digester.update(piece).await;
    }
    let digests = digester.finish().await.map_err(|error| Error::io(source.subject(), &error))?;
    Ok((digests.md5, head))
}
