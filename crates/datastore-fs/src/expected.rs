//! The checksums that an image must have.

use crate::FsConfig;
use market_core::action::{ChecksumError, CopyAction};
use market_core::backend::Context;
use market_core::checksum::{Expected, Malformed, Md5, Sha1, Sha256};
use market_core::error::{Error, ErrorKind};
use market_core::transfer::Transferred;
use std::str::FromStr;

/// What an operator can do when the bytes of an app are others than its MD5 says.
const CHECK_APP: &str = "nothing was kept; check the app, or set VERIFY_APP_MD5=\"no\" in the \
    datastore if it is known to be good";

/// The same for its SHA-256, which an image of an app has from the app.
const CHECK_SHA256: &str = "nothing was kept; check the source; where an app has it in its \
    APPTEMPLATE64 and is known to be good, set VERIFY_APP_MD5=\"no\" in the datastore";

/// The checksums that the image must have. `built`: the bytes are made while they are read, and no
/// app was recorded with them.
///
/// # Errors
/// When an attribute that should hold one holds something else.
pub(crate) fn expected(
    action: &CopyAction,
    config: &FsConfig,
    built: bool,
    context: &Context,
) -> Result<Expected, Error> {
    let mut expected = Expected::new().and_maybe("MD5", declared::<Md5>(action, "MD5")?);
    let (of_app, mut sha256) =
        (declared::<Md5>(action, "FROM_APP_MD5")?, declared::<Sha256>(action, "SHA256")?);
    if built {
        context.log.debug("the image is built on the fly: FROM_APP_MD5 does not count");
    } else if config.verify_app_md5.unwrap_or(true) {
        if let Some(of_app) = of_app {
            expected = expected.and_with_remedy("FROM_APP_MD5", of_app, CHECK_APP);
        }
    } else {
        context.log.warn(
            "VERIFY_APP_MD5 is off: what comes is not compared with the app's MD5 and SHA256",
        );
        // An image of an app has it from the app.
        sha256 = sha256.filter(|_| of_app.is_none());
    }
    expected = expected.and_maybe("SHA1", declared::<Sha1>(action, "SHA1")?);
    if let Some(sha256) = sha256 {
        expected = expected.and_with_remedy("SHA256", sha256, CHECK_SHA256);
    }
    Ok(expected)
}

fn declared<C>(action: &CopyAction, name: &str) -> Result<Option<C>, Error>
where
    C: FromStr<Err = Malformed>,
{
    action.checksum(name).map_err(|error| match error {
        ChecksumError::Malformed(malformed) => Error::config(name, format!("is {malformed}")),
        error => Error::new(ErrorKind::Config, "the image", error.to_string()),
    })
}

/// Compares what came with what was declared.
///
/// # Errors
/// [`ErrorKind::Mismatch`] when it is something else, or nothing at all.
pub(crate) fn verify(
    expected: &Expected,
    subject: &str,
    transferred: &Transferred,
) -> Result<(), Error> {
    if let Err(mismatch) = expected.verify(&transferred.digests) {
        let error = Error::mismatch(subject, mismatch);
        return match error.remedy {
            Some(_) => Err(error),
            None => Err(error.remedy("nothing was kept; check the source")),
        };
    }
    if transferred.bytes == 0 {
        return Err(Error::new(ErrorKind::Mismatch, subject, "holds no bytes: that is no image"));
    }
    Ok(())
}
