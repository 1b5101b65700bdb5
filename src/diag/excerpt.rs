//! The part of a text that a finding is about, marked.

use crate::model::{LineColumn, Span};

/// The line in which `span` begins, and below it a mark under the span's part of that line:
///
/// ```text
///   sum by (job) rate(up[5m])
///                ^^^^
/// ```
///
/// An empty span, or one past the end, is marked at the place where something is missing.
pub fn excerpt(text: &str, span: Span) -> String {
    let place = LineColumn::of(text, span.start);
    let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
    // A span that does not begin or end between characters is no reason to show nothing.
    let start = floor_char_boundary(line, place.column - 1);
    let end = floor_char_boundary(line, start + span.end.saturating_sub(span.start));
    // Tabs stay, so that the mark stands below what it marks however wide they are.
    let indent: String = line[..start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let width = line[start..end].chars().count().max(1);
    format!("  {line}\n  {indent}{}", "^".repeat(width))
}

/// The last boundary between characters that is not after `offset`.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_the_span() {
        let check = |text: &str, start, end, expected: &str| {
            assert_eq!(excerpt(text, Span::new(start, end)), expected, "{text:?} {start}..{end}");
        };
        check("rate(up)", 5, 7, "  rate(up)\n       ^^");
        check("", 0, 0, "  \n  ^");
        check("up ==", 5, 5, "  up ==\n       ^");
        check("up\n  == bool\n1", 5, 14, "    == bool\n    ^^^^^^^");
        check("\"é\" + x", 7, 8, "  \"é\" + x\n        ^");
        check("\tup +", 1, 3, "  \tup +\n  \t^^");
        check("up", 9, 12, "  up\n    ^");
    }
}
