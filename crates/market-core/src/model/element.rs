//! Typed access to an element of a dump.

use super::{MiB, Owner, Permissions};
use crate::template::Template;
use roxmltree::Node;
use std::collections::HashMap;
use thiserror::Error;

/// An element of a dump that is missing or has the wrong form. Its value is never part of the
/// message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {reason}")]
#[non_exhaustive]
pub struct ElementError {
    /// The element, from the root's child down, such as `MARKETPLACE/TEMPLATE`.
    pub path: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// An element with its children by name: of equal names the first counts.
pub(crate) struct Element<'a, 'd> {
    path: String,
    children: HashMap<&'a str, Node<'a, 'd>>,
}

impl<'a, 'd> Element<'a, 'd> {
    pub(crate) fn new(path: impl Into<String>, node: Node<'a, 'd>) -> Self {
        let mut children = HashMap::new();
        for child in node.children().filter(Node::is_element) {
            children.entry(child.tag_name().name()).or_insert(child);
        }
        Self { path: path.into(), children }
    }

    pub(crate) fn error(&self, name: &str, reason: &'static str) -> ElementError {
        let path =
            if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        ElementError { path, reason }
    }

    pub(crate) fn child(&self, name: &str) -> Option<Self> {
        let node = self.children.get(name)?;
        let path =
            if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        Some(Self::new(path, *node))
    }

    pub(crate) fn required(&self, name: &str) -> Result<Self, ElementError> {
        self.child(name).ok_or_else(|| self.error(name, "missing from the dump"))
    }

    /// All the text of a child (comments and elements in it apart); empty when there is no such
    /// child.
    pub(crate) fn text(&self, name: &str) -> String {
        let Some(node) = self.children.get(name) else { return String::new() };
        node.children().filter(Node::is_text).filter_map(|text| text.text()).collect()
    }

    /// The number in a child; 0 when it is missing or empty.
    pub(crate) fn number(&self, name: &str) -> Result<i64, ElementError> {
        match self.text(name).trim() {
            "" => Ok(0),
            text => text.parse().map_err(|_| self.error(name, "not a whole number")),
        }
    }

    pub(crate) fn id(&self) -> Result<i64, ElementError> {
        match self.text("ID").trim() {
            "" => Err(self.error("ID", "missing from the dump")),
            text => text.parse().map_err(|_| self.error("ID", "not a whole number")),
        }
    }

    pub(crate) fn size(&self, name: &str) -> Result<MiB, ElementError> {
        self.number(name).map(MiB)
    }

    /// The `ID`s inside a child.
    pub(crate) fn ids(&self, name: &str) -> Result<Vec<i64>, ElementError> {
        let Some(node) = self.children.get(name) else { return Ok(Vec::new()) };
        node.children()
            .filter(|child| child.is_element() && child.tag_name().name() == "ID")
            .map(|id| {
                id.text()
                    .unwrap_or_default()
                    .trim()
                    .parse()
                    .map_err(|_| self.error(name, "holds an ID that is no number"))
            })
            .collect()
    }

    pub(crate) fn template(&self) -> Result<Template, ElementError> {
        match self.children.get("TEMPLATE") {
            None => Ok(Template::new()),
            Some(node) => Template::from_element(*node)
                .map_err(|_| self.error("TEMPLATE", "larger than 4 GiB")),
        }
    }

    pub(crate) fn owner(&self) -> Result<Owner, ElementError> {
        Ok(Owner {
            uid: self.number("UID")?,
            gid: self.number("GID")?,
            uname: self.text("UNAME"),
            gname: self.text("GNAME"),
        })
    }

    pub(crate) fn permissions(&self) -> Permissions {
        let Some(element) = self.child("PERMISSIONS") else { return Permissions::default() };
        let of = |who: &str| {
            ["U", "M", "A"].map(|what| element.text(&format!("{who}_{what}")).trim() == "1")
        };
        Permissions { owner: of("OWNER"), group: of("GROUP"), other: of("OTHER") }
    }
}
