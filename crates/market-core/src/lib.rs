//! x
pub mod template;
