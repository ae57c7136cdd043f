//! The checksums that an image must have.

use crate::FsConfig;
use market_core::action::CopyAction;
use market_core::backend::Context;
use market_core::error::{Error, ErrorKind};
use market_core::transfer::{DigestSet, Transferred};

/// The checksums that the image must have.
pub(crate) struct Expected {
    md5: Vec<(&'static str, String)>,
    sha1: Option<String>,
    sha256: Option<String>,
}

impl Expected {
    /// `built`: the bytes are made while they are read, and no app was recorded with them.
    pub(crate) fn of(
        action: &CopyAction,
        config: &FsConfig,
        built: bool,
        context: &Context,
    ) -> Result<Self, Error> {
        let checksum = |name: &'static str, digits: usize| {
            let value = action
                .checksum(name)
                .map_err(|error| Error::new(ErrorKind::Config, "the image", error.to_string()))?;
            match value {
                Some(value)
                    if value.len() != digits || !value.bytes().all(|b| b.is_ascii_hexdigit()) =>
                {
                    Err(Error::config(name, format!("is not {digits} hexadecimal digits")))
                }
                value => Ok(value),
            }
        };
        let (mut md5, mut sha256) = (Vec::new(), checksum("SHA256", 64)?);
        md5.extend(checksum("MD5", 32)?.map(|value| ("MD5", value)));
        let of_app = checksum("FROM_APP_MD5", 32)?;
        if built {
            context.log.debug("the image is built on the fly: FROM_APP_MD5 does not count");
        } else if config.verify_app_md5.unwrap_or(true) {
            md5.extend(of_app.map(|value| ("FROM_APP_MD5", value)));
        } else {
            context.log.warn(
                "VERIFY_APP_MD5 is off: what comes is not compared with the app's MD5 and SHA256",
            );
            // An image of an app has it from the app.
            sha256 = sha256.filter(|_| of_app.is_none());
        }
        Ok(Self { md5, sha1: checksum("SHA1", 40)?, sha256 })
    }

    pub(crate) fn wanted(&self) -> DigestSet {
        DigestSet {
            md5: !self.md5.is_empty(),
            sha1: self.sha1.is_some(),
            sha256: self.sha256.is_some(),
        }
    }

    pub(crate) fn compare(&self, subject: &str, transferred: &Transferred) -> Result<(), Error> {
        let digests = &transferred.digests;
        let md5 = self.md5.iter().map(|(name, declared)| (*name, declared, &digests.md5));
        let sha1 = self.sha1.iter().map(|declared| ("SHA1", declared, &digests.sha1));
        let sha256 = self.sha256.iter().map(|declared| ("SHA256", declared, &digests.sha256));
        for (name, declared, computed) in md5.chain(sha1).chain(sha256) {
            if computed.as_ref() != Some(declared) {
                let computed = computed.as_deref().unwrap_or_default();
                let cause =
                    format!("what came has the checksum {computed}, {name} says {declared}");
                let error = Error::new(ErrorKind::Mismatch, subject, cause);
                return Err(error.remedy(match name {
                    "FROM_APP_MD5" => "nothing was kept; check the app, or set VERIFY_APP_MD5=\"no\" in the datastore if it is known to be good",
                    "SHA256" => "nothing was kept; check the source; where an app has it in its APPTEMPLATE64 and is known to be good, set VERIFY_APP_MD5=\"no\" in the datastore",
                    _ => "nothing was kept; check the source",
                }));
            }
        }
        if transferred.bytes == 0 {
            return Err(Error::new(
                ErrorKind::Mismatch,
                subject,
                "holds no bytes: that is no image",
            ));
        }
        Ok(())
    }
}
