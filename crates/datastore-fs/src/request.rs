//! One copy into the datastore: what a copy on this host and one on a bridge both need.

use crate::FsConfig;
use crate::expected::verify;
use market_bridge::Bridge;
use market_core::action::CopyAction;
use market_core::backend::Context;
use market_core::checksum::Expected;
use market_core::container::{Container, Format, refuse_other_content, refuse_references};
use market_core::error::Error;
use market_core::model::DatastoreType;
use market_core::transfer::{
    Compression, Content, DigestSet, Options, Packing, Transfer, Transferred,
};
use std::path::PathBuf;

/// An image that is to be copied.
pub(crate) struct CopyRequest<'a> {
    pub(crate) action: &'a CopyAction,
    pub(crate) config: &'a FsConfig,
    pub(crate) context: &'a Context,
    pub(crate) options: Options,
    pub(crate) expected: Expected,
    /// The compression from which it is unpacked while it is copied.
    pub(crate) compression: Option<Compression>,
    /// BASE_PATH, the datastore's directory.
    pub(crate) directory: PathBuf,
    /// The name of the image in that directory.
    pub(crate) name: String,
}

/// The result of a copy.
pub(crate) struct Copied {
    /// The bytes of the image as they were stored first, before a conversion.
    pub(crate) bytes: u64,
    /// The format of the stored image.
    pub(crate) format: Format,
    /// The datastore's directory on the bridge that took it.
    pub(crate) bridge: Option<Bridge>,
}

impl CopyRequest<'_> {
    /// Whether holes of the image stay holes.
    pub(crate) fn is_sparse(&self) -> bool {
        self.config.sparse.unwrap_or(true)
    }

    /// How the image is transferred, with these checksums computed.
    pub(crate) fn transfer(&self, wanted: DigestSet) -> Transfer {
        Transfer::hashed(wanted).unpacking(self.compression)
    }

    /// Refuses content that cannot become an image of this datastore; its format otherwise.
    pub(crate) fn check_format(&self, head: &[u8], subject: &str) -> Result<Format, Error> {
        let container = Container::sniff(head);
        // A file datastore holds files of any kind. A packed image that is not to be unpacked may
        // be packed in any way.
        let is_packed = matches!(Content::sniff(head), Content::Packed(Packing::Foreign(_)));
        let is_kept_as_it_is = self.action.datastore.datastore_type == DatastoreType::File
            || is_packed && !self.config.decompresses(self.action);
        if !is_kept_as_it_is {
            refuse_other_content(head, subject)?;
        }
        refuse_references(&container, subject, "")?;
        Ok(container.format)
    }

    /// Checks the transferred bytes as a whole: the format that they have, and the format that they
    /// must be converted to.
    pub(crate) fn check(
        &self,
        subject: &str,
        transferred: &Transferred,
    ) -> Result<(Format, Option<Format>), Error> {
        verify(&self.expected, subject, transferred)?;
        // The format of an unpacked image is known only now.
        let format = self.check_format(&transferred.head, subject)?;
        Ok((format, self.config.converts_to(self.action, format)))
    }
}
