//! What drivers share that discover apps in a catalogue which somebody else publishes.
//!
//! A catalogue is hostile input until it has been checked. A driver reads it in these steps:
//!
//! 1. [`Server`] takes the endpoint from the marketplace's template and makes the URLs below it.
//! 2. [`Json`] reads the document leniently: what is missing or of another type is `None`, and
//!    there are limits to the number of items and the size of entries.
//! 3. [`valid_name`], [`NamePrefix`] and [`unique_names`] make names that `oned` takes, each only
//!    once; [`template_value`] makes texts that a template can hold.
//! 4. [`Warnings`] logs what is wrong with single entries, up to a limit.
//!
//! The apps go to the sink of [`DiscoveryBackend::discover`](crate::discovery::DiscoveryBackend).

mod json;
mod names;
mod server;
mod value;
mod warnings;

pub use json::{Json, JsonError, Object};
pub use names::{Entry, NamePrefix, NamePrefixError, unique_names, valid_name};
pub use server::{Server, ServerError};
pub use value::template_value;
pub use warnings::Warnings;
