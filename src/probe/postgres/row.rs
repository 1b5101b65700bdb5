//! A row of an answer, as text, which is how the simple query protocol carries every type.

/// The columns of a row with their values; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// A row of these columns.
    pub fn new<'a>(columns: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        Self(columns.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect())
    }

    /// The columns in the order of the answer.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The value of a column, `None` if it is NULL or there is no such column.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == column).and_then(|(_, value)| value.as_deref())
    }

    /// The value of a column as a number; booleans count as 1 and 0. `None` if it is none: what is not
    /// known must not become a number.
    pub fn number(&self, column: &str) -> Option<f64> {
        match self.text(column)? {
            "t" | "on" => Some(1.0),
            "f" | "off" => Some(0.0),
            text => text.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_what_is_unknown_is_no_number() {
        let check = |value: Option<&str>, expected: Option<f64>| {
            assert_eq!(Row::new([("c", value)].into_iter()).number("c"), expected, "{value:?}");
        };
        check(Some("1"), Some(1.0));
        check(Some("-0.5"), Some(-0.5));
        check(Some("1e3"), Some(1000.0));
        check(Some("t"), Some(1.0));
        check(Some("f"), Some(0.0));
        check(Some("on"), Some(1.0));
        check(Some("Infinity"), Some(f64::INFINITY));
        check(Some("text"), None);
        check(Some(""), None);
        check(None, None);
        assert_eq!(Row::default().number("absent"), None);
    }
}
