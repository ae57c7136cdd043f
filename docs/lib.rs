//! The book: its pages are compiled here so that every example in them is tried.
