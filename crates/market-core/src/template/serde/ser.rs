//! Writing a type into a template.

use super::Error;
use crate::template::Template;
use serde::ser::{self, Impossible, Serialize};
use std::fmt::Display;

/// Writes a struct or a map into a template: names in upper case, `None` left out, sequences as
/// repeated attributes, structs and maps inside as vectors, booleans as `YES` and `NO`.
///
/// # Errors
/// [`Error`] names the attribute that the syntax has no form for.
pub fn to_template<T: Serialize + ?Sized>(value: &T) -> Result<Template, Error> {
    let mut template = Template::new();
    for (name, shape) in value.serialize(ToShape)?.into_pairs()? {
        add(&mut template, &name, shape)?;
    }
    Ok(template)
}

fn add(template: &mut Template, name: &str, shape: Shape) -> Result<(), Error> {
    let stored = match shape {
        Shape::Nothing => return Ok(()),
        Shape::Text(value) => template.push(name, value),
        Shape::Many(shapes) => {
            return shapes.into_iter().try_for_each(|shape| add(template, name, shape));
        }
        Shape::Pairs(pairs) => {
            let mut texts = Vec::with_capacity(pairs.len());
            for (key, shape) in pairs {
                match shape {
                    Shape::Nothing => {}
                    Shape::Text(value) => texts.push((key, value)),
                    _ => {
                        return Err(Error::new("a vector holds single values only")
                            .at(&key)
                            .at(name));
                    }
                }
            }
            template.push_vector(name, texts)
        }
    };
    stored.map_err(|error| Error {
        attribute: Some(error.attribute),
        reason: error.reason.to_string(),
    })
}

/// A value on its way into a template.
enum Shape {
    Nothing,
    Text(Vec<u8>),
    Many(Vec<Shape>),
    Pairs(Vec<(String, Shape)>),
}

impl Shape {
    fn into_pairs(self) -> Result<Vec<(String, Self)>, Error> {
        match self {
            Self::Pairs(pairs) => Ok(pairs),
            _ => Err(Error::new("only a struct or a map can become a template")),
        }
    }
}

fn display(value: impl Display) -> Result<Shape, Error> {
    Ok(Shape::Text(value.to_string().into_bytes()))
}

fn no_form<T>(what: &str) -> Result<T, Error> {
    Err(Error::new(format_args!("the template syntax has no form for {what}")))
}

struct ToShape;

macro_rules! displayed {
    ($($method:ident $type:ty),* $(,)?) => {$(
        fn $method(self, value: $type) -> Result<Shape, Error> {
            display(value)
        }
    )*};
}

impl ser::Serializer for ToShape {
    type Ok = Shape;
    type Error = Error;
    type SerializeSeq = Sequence;
    type SerializeTuple = Impossible<Shape, Error>;
    type SerializeTupleStruct = Impossible<Shape, Error>;
    type SerializeTupleVariant = Impossible<Shape, Error>;
    type SerializeMap = Pairs;
    type SerializeStruct = Pairs;
    type SerializeStructVariant = Impossible<Shape, Error>;

    displayed! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_u8 u8, serialize_u16 u16,
        serialize_u32 u32, serialize_u64 u64, serialize_f32 f32, serialize_f64 f64, serialize_char char, serialize_str &str,
    }

    fn serialize_bool(self, value: bool) -> Result<Shape, Error> {
        display(if value { "YES" } else { "NO" })
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Shape, Error> {
        Ok(Shape::Text(value.to_vec()))
    }

    fn serialize_none(self) -> Result<Shape, Error> {
        Ok(Shape::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Shape, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Shape, Error> {
        Ok(Shape::Nothing)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Shape, Error> {
        Ok(Shape::Nothing)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Shape, Error> {
        display(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Shape, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Shape, Error> {
        no_form("an enum with values")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Sequence, Error> {
        Ok(Sequence(Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        no_form("a tuple")
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        no_form("a tuple")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        no_form("an enum with values")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Pairs, Error> {
        Ok(Pairs(Vec::new()))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Pairs, Error> {
        Ok(Pairs(Vec::new()))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        no_form("an enum with values")
    }
}

struct Sequence(Vec<Shape>);

impl ser::SerializeSeq for Sequence {
    type Ok = Shape;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match value.serialize(ToShape)? {
            Shape::Many(_) => no_form("a sequence of sequences"),
            shape => {
                self.0.push(shape);
                Ok(())
            }
        }
    }

    fn end(self) -> Result<Shape, Error> {
        Ok(Shape::Many(self.0))
    }
}

struct Pairs(Vec<(String, Shape)>);

impl Pairs {
    fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let name = name.to_ascii_uppercase();
        let shape = value.serialize(ToShape).map_err(|error| error.at(&name))?;
        self.0.push((name, shape));
        Ok(())
    }
}

impl ser::SerializeStruct for Pairs {
    type Ok = Shape;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.add(name, value)
    }

    fn end(self) -> Result<Shape, Error> {
        Ok(Shape::Pairs(self.0))
    }
}

impl ser::SerializeMap for Pairs {
    type Ok = Shape;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let name = match key.serialize(ToShape)? {
            Shape::Text(text) => {
                String::from_utf8(text).map_err(|_| Error::new("a key is not UTF-8"))?
            }
            _ => return no_form("a key that is no text"),
        };
        self.0.push((name.to_ascii_uppercase(), Shape::Nothing));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let Some((name, slot)) = self.0.last_mut() else { return no_form("a value without a key") };
        *slot = value.serialize(ToShape).map_err(|error| error.at(name))?;
        Ok(())
    }

    fn end(self) -> Result<Shape, Error> {
        Ok(Shape::Pairs(self.0))
    }
}
