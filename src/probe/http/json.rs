//! A JSON body as conditions in CEL see it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How many values a body may hold, each in some 350 bytes at most: 16 MiB of `{}` would take far more memory
/// than the program otherwise has.
pub(super) const MAX_VALUES: usize = 100_000;

/// A body.
pub(super) struct JsonBody(Value);

/// Why a body is none.
#[derive(Debug)]
pub(super) enum JsonError {
    NotJson(serde_json::Error),
    /// More than [`MAX_VALUES`].
    TooLarge,
}

impl JsonBody {
    /// Reads JSON, at most 128 levels deep. All numbers are doubles, as in Go's `encoding/json`, which
    /// blackbox exporter uses.
    pub(super) fn parse(body: &[u8]) -> Result<Self, JsonError> {
        let mut left = MAX_VALUES + 1;
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = Values { left: &mut left }.deserialize(&mut reader);
        match read.and_then(|value| reader.end().map(|()| value)) {
            Ok(value) => Ok(Self(value)),
            Err(_) if left == 0 => Err(JsonError::TooLarge),
            Err(error) => Err(JsonError::NotJson(error)),
        }
    }

    /// It, as CEL has it; cheap.
    pub(super) fn value(&self) -> Value {
        self.0.clone()
    }
}

/// Reads a value, and what is in it, as long as there are fewer than these left.
struct Values<'a> {
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        // The first that finds none ends it all.
        *self.left -= 1;
        if *self.left == 0 {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Float(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(Arc::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Values { left: self.left })? {
            list.push(item);
        }
        Ok(Value::List(Arc::new(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = HashMap::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Values { left: self.left })?;
            map.insert(Key::String(Arc::new(name)), value);
        }
        Ok(Value::Map(Map { map: Arc::new(map) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_far_too_many_values_is_refused_as_such() {
        let list = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert!(JsonBody::parse(list(MAX_VALUES - 1).as_bytes()).is_ok());
        for count in [MAX_VALUES, 10 * MAX_VALUES] {
            assert!(matches!(JsonBody::parse(list(count).as_bytes()), Err(JsonError::TooLarge)), "{count}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_it() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["<html>", "", "{} {}", "[1,", r#"{"a"}"#, &deep] {
            assert!(matches!(JsonBody::parse(text.as_bytes()), Err(JsonError::NotJson(_))), "{text}");
        }
        for text in ["null", " 1 ", "-1", "1e3", "18446744073709551615", r#"{"a": {"a": 1}, "a": 2}"#] {
            assert!(JsonBody::parse(text.as_bytes()).is_ok(), "{text}");
        }
    }
}
