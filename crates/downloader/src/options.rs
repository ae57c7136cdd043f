//! How the source is read: as the driver message and the command line say.

use crate::Arguments;
use crate::drv_action::DrvAction;
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::opennebula::Helpers;
use market_core::transfer::{Location, Options, redacted};
use market_s3::{ObjectUrl, S3Scheme};

/// The options of a download. The command line overrides the driver message.
///
/// # Errors
/// [`ErrorKind::Config`] for an attribute that is wrong, or keys for S3 that are missing;
/// [`ErrorKind::Unsupported`] for checksums of a source that has none.
pub(crate) fn options(
    arguments: &Arguments,
    action: &DrvAction,
    context: &Context,
) -> Result<Options, Error> {
    let mut options = context
        .options
        .clone()
        .with_user_agent(concat!("downloader/", env!("CARGO_PKG_VERSION")))
        .with_limit(arguments.limit);
    if !arguments.retry {
        options.retry.retries = 0;
    }
    options = action.transfer()?.apply(options, &context.log)?;
    options.max_unpacked_bytes =
        arguments.max_unpacked.map(MiB::bytes).or(options.max_unpacked_bytes);
    if let Some(message) = action.dump() {
        options = Helpers::give_message(options, message);
    }
    match Location::parse(&arguments.source)?.scheme() {
        "s3" => {
            // What names no object needs no keys.
            arguments.source.parse::<ObjectUrl>()?;
            let access = action.s3_access(&redacted(&arguments.source))?;
            options = options.with_scheme(S3Scheme::new(access));
        }
        "onebex" if !arguments.expected.is_empty() => {
            let cause = "Hash check not supported for interactive downloads";
            return Err(Error::new(ErrorKind::Unsupported, redacted(&arguments.source), cause));
        }
        _ => {}
    }
    Ok(options)
}
