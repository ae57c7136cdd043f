//! What is refused for its container, on every way into a marketplace or a datastore.
//!
//! An image that names a backing file or an external data file reads that file on the host that uses it: an upload that names
//! `/etc/shadow` would publish it.

use crate::error::{Error, ErrorKind};
use crate::line::one_line;

pub use image_check::{Container, HEAD_BYTES, Reference};

// What a transfer keeps of a beginning is what is looked at.
const _: () = assert!(HEAD_BYTES == market_transfer::HEAD_BYTES);

/// Refuses an image that needs another file, and one that is declared as `vmdk` and is not recognized as one: with the
/// format given, a reader takes any text for its descriptor. `declared_format` is empty where nothing was declared.
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
pub fn refuse_references(container: &Container, subject: &str, declared_format: &str) -> Result<(), Error> {
    if declared_format.trim().eq_ignore_ascii_case("vmdk") && container.format != "vmdk" {
        let cause = format!("is declared as vmdk and begins like {}", container.format);
        return Err(Error::new(ErrorKind::Unsupported, subject, cause).remedy("correct the image's format"));
    }
    let Some(Reference { role, name }) = &container.reference else { return Ok(()) };
    let name = name.as_ref().map_or_else(String::new, |name| format!(" \"{}\"", one_line(name)));
    let cause = format!("the {} image needs the {role}{name}, which would be read on the host", container.format);
    let remedy = "make it self-contained (qemu-img convert) and import that";
    Err(Error::new(ErrorKind::Unsupported, subject, cause).remedy(remedy))
}
