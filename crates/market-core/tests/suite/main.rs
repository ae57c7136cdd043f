//! The tests of market-core, in one executable: linking takes longer than running them.

mod conformance;
mod exit_codes;
mod helpers;
mod messages;
mod pipeline;
mod template_document;
mod template_properties;
mod template_serde;
mod template_vectors;
