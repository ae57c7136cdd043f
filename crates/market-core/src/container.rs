//! Which images are refused for their format, on every way into a marketplace or a datastore.
//!
//! An image that names a backing file or an external data file makes the host that uses it read
//! that file: an upload that names `/etc/shadow` would publish it.

use crate::error::{Error, ErrorKind};
use crate::line::one_line;
use market_transfer::{Content, Packing};

pub use image_check::{Container, Format, HEAD_BYTES, Reference, ReferenceRole};

// A transfer keeps as many bytes of the beginning as are looked at here.
const _: () = assert!(HEAD_BYTES == market_transfer::HEAD_BYTES);

/// Refuses an image that needs another file, and one that is declared as `vmdk` and is not
/// recognized as one: with the format given, a reader takes any text for its descriptor.
/// `declared_format` is empty where nothing was declared.
///
/// ```
/// use market_core::container::{Container, refuse_references};
///
/// let raw = Container::sniff(b"just bytes");
/// assert!(refuse_references(&raw, "app.img", "raw").is_ok());
/// assert!(refuse_references(&raw, "app.img", "vmdk").is_err());
/// ```
///
/// # Errors
/// [`ErrorKind::Unsupported`] about `subject`, with the name of that file.
pub fn refuse_references(
    container: &Container,
    subject: &str,
    declared_format: &str,
) -> Result<(), Error> {
    if declared_format.trim().eq_ignore_ascii_case("vmdk") && container.format != Format::Vmdk {
        let cause = format!("is declared as vmdk and begins like {}", container.format);
        return Err(
            Error::new(ErrorKind::Unsupported, subject, cause).remedy("correct the image's format")
        );
    }
    let Some(Reference { role, name, .. }) = &container.reference else { return Ok(()) };
    let name = name.as_ref().map_or_else(String::new, |name| format!(" \"{}\"", one_line(name)));
    let cause = format!(
        "the {} image needs the {role}{name}, which would be read on the host",
        container.format
    );
    let remedy = "make it self-contained (qemu-img convert) and import that";
    Err(Error::new(ErrorKind::Unsupported, subject, cause).remedy(remedy))
}

/// Refuses what is recognised as something else than the image that it would be taken for: a web
/// page or a text, an archive, an image that no hypervisor of OpenNebula takes, and what is packed
/// in a format that is not unpacked. `head` is the beginning of it, and all of it when it is
/// shorter than [`HEAD_BYTES`].
///
/// ```
/// use market_core::container::refuse_other_content;
///
/// assert!(refuse_other_content(b"\xeb\x63\x90 a boot sector", "disk.img").is_ok());
/// let error = refuse_other_content(b"<!DOCTYPE html><title>Log in</title>", "http://host/disk.img").unwrap_err();
/// assert_eq!(error.cause, "is an HTML or XML document, not an image");
/// ```
///
/// # Errors
/// [`ErrorKind::Mismatch`] of documents and texts, [`ErrorKind::Unsupported`] of the others.
pub fn refuse_other_content(head: &[u8], subject: &str) -> Result<(), Error> {
    let unsupported = |cause: String, remedy: &str| {
        Err(Error::new(ErrorKind::Unsupported, subject, cause).remedy(remedy))
    };
    let mismatch = |what: &str| {
        let error = Error::new(ErrorKind::Mismatch, subject, format!("is {what}, not an image"));
        Err(error.remedy("see what the source answers"))
    };
    match Content::sniff(head) {
        Content::Packed(Packing::Archive(name)) => {
            unsupported(format!("is a {name} archive, not an image"), "unpack it first")
        }
        Content::Packed(Packing::Foreign(name)) => unsupported(
            format!("is packed in a format that is not unpacked here: {name}"),
            "unpack it first",
        ),
        Content::ForeignImage(name) => unsupported(
            format!("is an image in the format of {name}, which is not understood"),
            "convert it to qcow2 or raw first (qemu-img convert)",
        ),
        // The description of a vmdk is a text.
        Content::Markup | Content::Text if Container::sniff(head).format != Format::Raw => Ok(()),
        Content::Markup => mismatch("an HTML or XML document"),
        Content::Text => mismatch("a text"),
        Content::Packed(Packing::Compressed(_)) | Content::Other => Ok(()),
    }
}
