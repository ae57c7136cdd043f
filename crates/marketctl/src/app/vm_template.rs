//! A VM template in OpenNebula's syntax.

use super::attributes::{Attributes, Value};
use super::meaning::{Meaning, Meant};
use market_core::error::{Error, ErrorKind};
use market_core::template::{self, Rules, Template, WriteError, Writer};

impl Attributes {
    /// The template in OpenNebula's syntax, read back and compared.
    ///
    /// # Errors
    /// Names the attribute that no template can hold.
    pub(super) fn write(&self) -> Result<Vec<u8>, Error> {
        let refused =
            |error: WriteError| Error::new(ErrorKind::Config, "the template", error.to_string());
        let mut writer = Writer::new(Rules::Oned);
        for (name, value) in &self.0 {
            match value {
                Value::Single(text) => writer.single(name, text).map_err(refused)?,
                Value::Vector(pairs) => vector(&mut writer, name, pairs).map_err(refused)?,
                Value::Vectors(all) => {
                    for pairs in all {
                        vector(&mut writer, name, pairs).map_err(refused)?;
                    }
                }
            }
        }
        let text = writer.finish();
        self.same_as(Self::read_template(&text), "a template")?;
        Ok(text)
    }

    /// What a template's text means to OpenNebula; `None` when it is no template.
    pub(super) fn read_template(text: &[u8]) -> Option<Meaning> {
        let template = Template::parse(text).ok()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mut found = Meaning::new();
        for attribute in template.iter() {
            let meant = match attribute.value() {
                template::Value::Single(value) => Meant::Single(text(value)?),
                template::Value::Vector(vector) => Meant::Vector(
                    vector
                        .iter()
                        .map(|(key, value)| Some((key.to_owned(), text(value)?)))
                        .collect::<Option<_>>()?,
                ),
            };
            found.entry(attribute.name().to_owned()).or_default().push(meant);
        }
        Some(found)
    }
}

fn vector(writer: &mut Writer, name: &str, pairs: &[(String, String)]) -> Result<(), WriteError> {
    writer.vector(name, pairs.iter().map(|(key, value)| (key.to_ascii_uppercase(), value)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let attributes = Attributes(vec![("A".to_owned(), Value::Single("x".to_owned()))]);
        for other in
            ["A=\"y\"\n", "A=[B=\"x\"]\n", "B=\"x\"\n", "A=\"x\"\nA=\"x\"\n", "A=\"x\"\nB=\"\"\n"]
        {
            let error = attributes
                .same_as(Attributes::read_template(other.as_bytes()), "a template")
                .unwrap_err();
            assert!(error.to_string().starts_with("template."), "{error}");
        }
        assert!(attributes.same_as(Attributes::read_template(b"A=\"x\"\n"), "a template").is_ok());
    }
}
