//! Reading a type from a template.

use super::Error;
use crate::template::{Template, Value, Vector};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// Reads a type from a template's attributes.
///
/// # Errors
/// [`Error`] names the attribute that is missing or does not fit.
pub fn from_template<T: DeserializeOwned>(template: &Template) -> Result<T, Error> {
    T::deserialize(Attributes::of_template(template))
}

/// A name with everything that stands under it: all attributes of that name, or one pair of a
/// vector.
struct Named<'a> {
    name: &'a str,
    values: Vec<Value<'a>>,
}

/// A template or a vector, as the map that serde sees.
struct Attributes<'a> {
    named: Vec<Named<'a>>,
}

impl<'a> Attributes<'a> {
    fn of_template(template: &'a Template) -> Self {
        let mut named: Vec<Named<'a>> = Vec::new();
        for attribute in template.iter() {
            match named.last_mut() {
                Some(last) if last.name == attribute.name() => last.values.push(attribute.value()),
                _ => named.push(Named { name: attribute.name(), values: vec![attribute.value()] }),
            }
        }
        Self { named }
    }

    fn of_vector(vector: Vector<'a>) -> Self {
        let pair = |(name, value)| Named { name, values: vec![Value::Single(value)] };
        Self { named: vector.iter().map(pair).collect() }
    }
}

impl<'de> de::Deserializer<'de> for Attributes<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Entries { rest: self.named.into_iter(), fields: &[], value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Entries { rest: self.named.into_iter(), fields, value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'a> {
    rest: std::vec::IntoIter<Named<'a>>,
    fields: &'static [&'static str],
    value: Option<Named<'a>>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(named) = self.rest.next() else { return Ok(None) };
        // A struct's field is given in its own spelling, a map's key as the template has it.
        let field = self.fields.iter().find(|field| field.eq_ignore_ascii_case(named.name));
        let key = field.copied().unwrap_or(named.name).to_owned();
        self.value = Some(named);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some(named) = self.value.take() else {
            return Err(Error::new("a value was asked for before its name"));
        };
        let name = named.name;
        seed.deserialize(Values(named.values)).map_err(|error| error.at(name))
    }
}

/// All values of one name; anything but a sequence takes the first, as the core does.
struct Values<'a>(Vec<Value<'a>>);

impl<'a> Values<'a> {
    fn bytes(&self) -> Result<&'a [u8], Error> {
        match self.0.first() {
            Some(Value::Single(value)) => Ok(value),
            _ => Err(Error::new("a vector stands where a single value is needed")),
        }
    }

    fn text(&self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::new("the value is not UTF-8"))
    }

    fn number<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Error> {
        let wrong = |_| Error::new(format_args!("expected {expected}, found something else"));
        self.text()?.trim().parse().map_err(wrong)
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $expected:literal),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number($expected)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Values<'_> {
    type Error = Error;

    numbers! {
        deserialize_i8 visit_i8 "a whole number", deserialize_i16 visit_i16 "a whole number",
        deserialize_i32 visit_i32 "a whole number", deserialize_i64 visit_i64 "a whole number",
        deserialize_i128 visit_i128 "a whole number", deserialize_u8 visit_u8 "a whole number, zero or more",
        deserialize_u16 visit_u16 "a whole number, zero or more", deserialize_u32 visit_u32 "a whole number, zero or more",
        deserialize_u64 visit_u64 "a whole number, zero or more", deserialize_u128 visit_u128 "a whole number, zero or more",
        deserialize_f32 visit_f32 "a number", deserialize_f64 visit_f64 "a number",
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.0.as_slice(), &self.0.first()) {
            ([Value::Single(_)], _) => self.deserialize_str(visitor),
            ([Value::Vector(vector)], _) => Attributes::of_vector(*vector).deserialize_any(visitor),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match boolean(self.text()?) {
            Some(value) => visitor.visit_bool(value),
            None => Err(de::Error::invalid_value(Unexpected::Other("other"), &"yes or no")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.first() {
            None | Some(Value::Single([])) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements(self.0.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.first() {
            Some(Value::Vector(vector)) => Attributes::of_vector(*vector).deserialize_any(visitor),
            _ => Err(Error::new("a single value stands where a vector is needed")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0.first() {
            Some(Value::Vector(vector)) => {
                Attributes::of_vector(*vector).deserialize_struct(name, fields, visitor)
            }
            _ => Err(Error::new("a single value stands where a vector is needed")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.text()?.trim();
        let variant = variants.iter().find(|variant| variant.eq_ignore_ascii_case(text));
        visitor.visit_enum(variant.copied().unwrap_or(text).into_deserializer())
    }

    forward_to_deserialize_any! { unit_struct tuple tuple_struct identifier ignored_any }
}

struct Elements<'a>(std::vec::IntoIter<Value<'a>>);

impl<'de> de::SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Values(vec![value]))).transpose()
    }
}

/// OpenNebula's booleans: yes/no/true/false/1/0 in any letter case.
fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    }
}
