//! The driver message of the calling action. Datastore drivers export it as `DRV_ACTION`, and it
//! holds the keys for S3.

use market_core::action::{DATASTORE, read_dump};
use market_core::attributes::TransferAttributes;
use market_core::error::{Error, ErrorKind};
use market_core::model::MiB;
use market_core::roxmltree::Node;
use market_core::template::Template;
use market_core::template::serde::from_template;
use market_s3::{Access, S3Attributes};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

const VARIABLE: &str = "DRV_ACTION";

/// What the message says. Without a message, all is empty.
pub(crate) struct DrvAction {
    dump: Option<Arc<[u8]>>,
    /// IMAGE/SIZE, the declared size of the disk in the image.
    pub(crate) size: Option<MiB>,
    /// Whether the message is about an image of an image datastore.
    for_image: bool,
    datastore: Option<Template>,
    marketplace: Option<Template>,
}

impl DrvAction {
    /// Reads the environment variable.
    pub(crate) fn of_environment() -> Self {
        let dump: Option<Arc<[u8]>> = std::env::var_os(VARIABLE)
            .filter(|dump| !dump.is_empty())
            .map(|dump| dump.into_vec().into());
        let read = |dump: &Arc<[u8]>| {
            read_dump(dump, DATASTORE, |root| {
                (
                    template(root, "DATASTORE"),
                    template(root, "MARKETPLACE"),
                    size(root),
                    for_image(root),
                )
            })
        };
        let (datastore, marketplace, size, for_image) = match dump.as_ref().map(read) {
            Some(Ok(templates)) => templates,
            // A message of another kind says nothing about transfers.
            Some(Err(_)) | None => (None, None, None, false),
        };
        Self { dump, size, for_image, datastore, marketplace }
    }

    /// Whether the fetched bytes become the image of a disk, not a file of a file datastore.
    pub(crate) fn is_for_image(&self) -> bool {
        self.for_image
    }

    /// The message itself, for the executables of `downloader.d`.
    pub(crate) fn dump(&self) -> Option<Arc<[u8]>> {
        self.dump.clone()
    }

    /// The attributes of transfers of the datastore; those that it does not have, of the
    /// marketplace.
    pub(crate) fn transfer(&self) -> Result<TransferAttributes, Error> {
        let read = |template: &Option<Template>, of: &str| match template {
            Some(template) => from_template(template)
                .map_err(|error| Error::new(ErrorKind::Config, of, error.to_string())),
            None => Ok(TransferAttributes::default()),
        };
        Ok(read(&self.datastore, "the datastore's template")?
            .or(read(&self.marketplace, "the marketplace's template")?))
    }

    /// The S3 service of the marketplace, and the keys for it.
    pub(crate) fn s3_access(&self, subject: &str) -> Result<Access, Error> {
        let Some(template) = &self.marketplace else {
            let cause = match self.dump {
                Some(_) => {
                    "DRV_ACTION is no message of a datastore with a marketplace, and so holds no \
                     keys for S3"
                }
                None => "DRV_ACTION is missing from the environment: the keys for S3 are in it",
            };
            let error = Error::new(ErrorKind::Config, subject, cause);
            return Err(error.remedy(
                "export DRV_ACTION with the base64 of the driver message that has the marketplace",
            ));
        };
        let wrong =
            |error: String| Error::new(ErrorKind::Config, "the marketplace's template", error);
        let attributes: S3Attributes =
            from_template(template).map_err(|error| wrong(error.to_string()))?;
        attributes.access().map_err(|error| wrong(error.to_string()))
    }
}

/// The number in an element of an element of the root.
fn number(root: Node<'_, '_>, parent: &str, name: &str) -> Option<i64> {
    let parent = root.children().find(|child| child.has_tag_name(parent))?;
    parent.children().find(|child| child.has_tag_name(name))?.text()?.trim().parse().ok()
}

/// IMAGE/SIZE.
fn size(root: Node<'_, '_>) -> Option<MiB> {
    number(root, "IMAGE", "SIZE").filter(|size| *size > 0).map(MiB)
}

/// Whether the message is about an image of an image datastore.
fn for_image(root: Node<'_, '_>) -> bool {
    number(root, "IMAGE", "ID").is_some() && number(root, "DATASTORE", "TYPE") == Some(0)
}

fn template(root: Node<'_, '_>, parent: &str) -> Option<Template> {
    let parent = root.children().find(|child| child.has_tag_name(parent))?;
    let template = parent.children().find(|child| child.has_tag_name("TEMPLATE"))?;
    Template::from_element(template).ok()
}
