//! The book: its pages are compiled here so that every example in them is tried.

#[doc = include_str!("write-a-driver.md")]
pub mod write_a_driver {}

#[doc = include_str!("template-grammar.md")]
pub mod template_grammar {}
