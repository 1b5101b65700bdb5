//! How names with characters beyond `[a-zA-Z0-9_:]` reach a reader that may not know such names.

use std::borrow::Cow;
use std::fmt::Write;

/// What is done with such names. Source: Prometheus, "Escaping schemes" of the content negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Escaping {
    /// They are written as they are, in quotes.
    AllowUtf8,
    /// Every other character becomes `_`.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, every other character `__`.
    Dots,
    /// `U__` and then `_` as `__` and every other character as `_<hexadecimal code point>_`.
    Values,
}

impl Escaping {
    /// The name in the `escaping` parameter of `Accept` and `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The scheme of that name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
    }

    /// The name as this scheme has it. A colon counts as legal, as in metric names.
    pub(super) fn apply(self, name: &str) -> Cow<'_, str> {
        let plain = is_plain(name, true);
        match self {
            Self::AllowUtf8 => Cow::Borrowed(name),
            Self::Underscores | Self::Values if plain => Cow::Borrowed(name),
            Self::Underscores => {
                Cow::Owned(name.char_indices().map(|(at, c)| if is_legal(at, c) { c } else { '_' }).collect())
            }
            Self::Dots => {
                let mut escaped = String::with_capacity(name.len());
                for (at, character) in name.char_indices() {
                    match character {
                        '_' => escaped.push_str("__"),
                        '.' => escaped.push_str("_dot_"),
                        legal if is_legal(at, legal) => escaped.push(legal),
                        _ => escaped.push_str("__"),
                    }
                }
                Cow::Owned(escaped)
            }
            Self::Values => {
                let mut escaped = "U__".to_owned();
                for (at, character) in name.char_indices() {
                    match character {
                        '_' => escaped.push_str("__"),
                        legal if is_legal(at, legal) => escaped.push(legal),
                        other => {
                            let _ = write!(escaped, "_{:x}_", u32::from(other)); // a String takes all
                        }
                    }
                }
                Cow::Owned(escaped)
            }
        }
    }
}

fn is_legal(at: usize, character: char) -> bool {
    character.is_ascii_alphabetic()
        || matches!(character, '_' | ':')
        || (at > 0 && character.is_ascii_digit())
}

/// Whether a name needs no quotes: `[a-zA-Z_][a-zA-Z0-9_]*`, with colons in metric names only.
pub(super) fn is_plain(name: &str, colons: bool) -> bool {
    let mut bytes = name.bytes().map(char::from).enumerate();
    !name.is_empty() && bytes.all(|(at, c)| is_legal(at, c) && (colons || c != ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_prometheus_does() {
        let check = |name, underscores, dots, values| {
            assert_eq!(Escaping::AllowUtf8.apply(name), name);
            assert_eq!(Escaping::Underscores.apply(name), underscores);
            assert_eq!(Escaping::Dots.apply(name), dots);
            assert_eq!(Escaping::Values.apply(name), values);
        };
        // Source: prometheus/common `model/metric_test.go`, TestEscapeName.
        check(
            "no:escaping_required",
            "no:escaping_required",
            "no:escaping__required",
            "no:escaping_required",
        );
        check(
            "mysystem.prod.west.cpu.load",
            "mysystem_prod_west_cpu_load",
            "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
            "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
        );
        check("http.status:sum", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum");
        check("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_");
    }
}
