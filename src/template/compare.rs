//! Comparison as Go's templates compare: values of different kinds do not compare at all, so that
//! `gt $value 5` is an error and `gt $value 5.0` is not.

use std::cmp::Ordering;

use super::value::Value;

const INCOMPATIBLE: &str = "incompatible types for comparison";
const NOT_ORDERED: &str = "invalid type for comparison";

/// Whether the first value equals any of the others.
pub(super) fn equal_to_any(values: &[Value]) -> Result<bool, String> {
    let Some((first, others)) = values.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two values are equal.
pub(super) fn equal(one: &Value, other: &Value) -> Result<bool, String> {
    Ok(match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one), Value::Int(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Labels(_) | Value::Args(_) | Value::Samples(_), _) => {
            return Err(format!("non-comparable type {}", one.type_name()));
        }
        (_, Value::Labels(_) | Value::Args(_) | Value::Samples(_)) => {
            return Err(format!("non-comparable type {}", other.type_name()));
        }
        (Value::Time(one), Value::Time(other)) | (Value::Duration(one), Value::Duration(other)) => {
            one == other
        }
        (Value::Sample(one), Value::Sample(other)) => std::sync::Arc::ptr_eq(one, other),
        (Value::Alert(one), Value::Alert(other)) => std::sync::Arc::ptr_eq(one, other),
        _ => return Err(INCOMPATIBLE.to_owned()),
    })
}

/// Whether the first value is less than the second.
pub(super) fn less(one: &Value, other: &Value) -> Result<bool, String> {
    Ok(order(one, other)? == Some(Ordering::Less))
}

/// Whether the first value is less than the second or equals it.
pub(super) fn less_or_equal(one: &Value, other: &Value) -> Result<bool, String> {
    Ok(matches!(order(one, other)?, Some(Ordering::Less | Ordering::Equal)))
}

/// How two values are ordered; NaN and another value are not.
fn order(one: &Value, other: &Value) -> Result<Option<Ordering>, String> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(Some(one.cmp(other))),
        (Value::Float(one), Value::Float(other)) => Ok(one.partial_cmp(other)),
        (Value::String(one), Value::String(other)) => Ok(Some(one.cmp(other))),
        (Value::Bool(_), Value::Bool(_)) => Err(NOT_ORDERED.to_owned()),
        (
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_),
        ) => Err(INCOMPATIBLE.to_owned()),
        _ => Err(NOT_ORDERED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_kind_compare() {
        let check = |one: Value, other: Value, expected: (bool, bool, bool)| {
            let found = (equal(&one, &other), less(&one, &other), less_or_equal(&one, &other));
            assert_eq!(found, (Ok(expected.0), Ok(expected.1), Ok(expected.2)), "{one:?} {other:?}");
        };
        check(Value::Int(1), Value::Int(2), (false, true, true));
        check(Value::Float(2.0), Value::Float(2.0), (true, false, true));
        check(Value::Float(f64::NAN), Value::Float(1.0), (false, false, false));
        check("a".into(), "b".into(), (false, true, true));
    }

    #[test]
    fn values_of_different_kinds_do_not() {
        let incompatible = Err(INCOMPATIBLE.to_owned());
        assert_eq!(equal(&Value::Float(1.0), &Value::Int(1)), incompatible);
        assert_eq!(less(&Value::Float(1.0), &Value::Int(1)), incompatible);
        assert_eq!(equal(&"1".into(), &Value::Int(1)), incompatible);
        assert_eq!(less(&true.into(), &false.into()), Err(NOT_ORDERED.to_owned()));
        assert_eq!(equal(&Value::Nil, &Value::Int(1)), Ok(false));
        assert_eq!(equal_to_any(&[Value::Int(1)]), Err("missing argument for comparison".to_owned()));
        assert_eq!(equal_to_any(&[1, 2, 1].map(Value::Int)), Ok(true));
    }
}
