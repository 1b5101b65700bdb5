//! Start timestamps as `metric@st` lines have them, beside the notation of series that rule tests share.

use valmis::model::parse_duration_ms;

/// Durations in milliseconds as `metric@st` lines have them: `-30s`, `-1mx15`, `-30s-1mx2`, `_`.
pub(crate) fn parse_offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in text.split_whitespace() {
        let wrong = || format!("not a duration: `{item}`");
        let (expression, times) = match item.split_once('x') {
            Some((expression, times)) => (expression, times.parse::<i64>().map_err(|_| wrong())?),
            None => (item, i64::from(item == "_")),
        };
        if expression == "_" {
            offsets.extend((0..times).map(|_| None));
            continue;
        }
        let sign = expression.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
        let (first, delta) = expression.split_at(sign.map_or(expression.len(), |(at, _)| at));
        let first = signed_duration(first).ok_or_else(wrong)?;
        let delta = if delta.is_empty() { 0 } else { signed_duration(delta).ok_or_else(wrong)? };
        offsets.extend((0..=times).map(|n| Some(first + n * delta)));
    }
    Ok(offsets)
}

fn signed_duration(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    parse_duration_ms(text).ok().map(|ms| sign * ms)
}

#[test]
fn offsets_expand() {
    let check = |text: &str, expected: &[Option<i64>]| {
        assert_eq!(parse_offsets(text).as_deref(), Ok(expected), "{text}");
    };
    check("_ _x2 -30s", &[None, None, None, Some(-30_000)]);
    check("-1mx1 +1ms", &[Some(-60_000), Some(-60_000), Some(1)]);
    check("1s-1mx1 0", &[Some(1_000), Some(-59_000), Some(0)]);
    assert!(parse_offsets("1").is_err());
}
