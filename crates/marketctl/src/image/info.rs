//! `marketctl image info`.

use super::{LOOK_LIMIT, json, table};
use crate::cli::{Format, Info};
use crate::fetch::{fetch, inspect};
use image_check::Summary;
use market_core::backend::Context;
use market_core::error::Error;
use market_core::runtime::print;
use serde::Serialize;

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    image: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
    md5: Option<String>,
    sha256: Option<String>,
}

pub(super) async fn info(arguments: Info, context: &Context) -> Result<(), Error> {
    let fetched = fetch(&arguments.image, !arguments.no_checksums, context).await?;
    let summary = inspect(fetched.image, context, |image| image.summary(LOOK_LIMIT)).await?;
    let digests = fetched.digests.as_ref().filter(|_| !arguments.no_checksums);
    let text = match arguments.format {
        Format::Table => table::summary(&fetched.name, &summary, digests),
        Format::Json => json(&Answer {
            image: &fetched.name,
            summary: &summary,
            md5: digests.and_then(|digests| digests.md5).map(|md5| md5.to_string()),
            sha256: digests.and_then(|digests| digests.sha256).map(|sha256| sha256.to_string()),
        })?,
    };
    print(text.as_bytes())
}
