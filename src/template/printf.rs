//! `print`, `println` and `printf` as in Go's `fmt`.

use std::fmt::Write;

use crate::model::quote;

use super::value::{Sample, Value};
use super::{float, time};

/// The widest field that a format may ask for. Source: Go `fmt/print.go`, `tooLarge`.
const MAX_WIDTH: usize = 1_000_000;

/// Values in their default form, with a space between two of which neither is a string.
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let is_string = |value: &Value| matches!(value, Value::String(_));
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_string(value) && !is_string(&values[index - 1]) {
            out.push(' ');
        }
        out.push_str(&default_form(value));
    }
    out
}

/// Values in their default form with spaces between them and a newline.
pub(super) fn println(values: &[Value]) -> String {
    let forms: Vec<String> = values.iter().map(default_form).collect();
    forms.join(" ") + "\n"
}

/// `%v`
pub(super) fn default_form(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float::format(*value, 'g', None),
        Value::String(text) => text.clone(),
        Value::Labels(labels) => map(labels.iter().map(|(name, value)| (name, value.to_owned()))),
        Value::Args(args) => map(args.iter().map(|(name, value)| (name.as_str(), default_form(value)))),
        Value::Samples(samples) => {
            let forms: Vec<String> = samples.iter().map(|sample| sample_form(sample)).collect();
            format!("[{}]", forms.join(" "))
        }
        Value::Sample(sample) => sample_form(sample),
        Value::Alert(alert) => {
            let labels = default_form(&Value::Labels(alert.labels.clone()));
            let external = default_form(&Value::Labels(alert.external_labels.clone()));
            let value = float::format(alert.value, 'g', None);
            format!("{{{labels} {external} {} {value}}}", alert.external_url)
        }
        Value::Time(nanos) => time::format(*nanos, "2006-01-02 15:04:05.999999999 -0700 MST"),
        Value::Duration(nanos) => time::duration(*nanos),
    }
}

fn sample_form(sample: &Sample) -> String {
    let labels = default_form(&Value::Labels(sample.labels.clone()));
    format!("{{{labels} {}}}", float::format(sample.value, 'g', None))
}

fn map<'n>(entries: impl Iterator<Item = (&'n str, String)>) -> String {
    let entries: Vec<String> = entries.map(|(name, value)| format!("{name}:{value}")).collect();
    format!("map[{}]", entries.join(" "))
}

/// The flags, width and precision before a verb.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one flag of the format")]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Values in the forms that a format asks for. What does not fit is said in the text, as in Go.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    let mut reordered = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        let mut bad_index = false;
        reordered |= argument_index(&mut chars, &mut next, values.len(), &mut bad_index);
        spec.width = number_or_star(&mut chars, values, &mut next, &mut out, "%!(BADWIDTH)").map(|width| {
            spec.minus |= width < 0;
            usize::try_from(width.unsigned_abs()).unwrap_or(MAX_WIDTH)
        });
        if chars.peek() == Some(&'.') {
            chars.next();
            reordered |= argument_index(&mut chars, &mut next, values.len(), &mut bad_index);
            let precision = number_or_star(&mut chars, values, &mut next, &mut out, "%!(BADPREC)");
            spec.precision = Some(precision.and_then(|digits| usize::try_from(digits).ok()).unwrap_or(0));
        }
        reordered |= argument_index(&mut chars, &mut next, values.len(), &mut bad_index);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) if bad_index => {
                let _ = write!(out, "%!{verb}(BADINDEX)"); // writing to a String cannot fail
            }
            Some(verb) => match values.get(next) {
                Some(value) => {
                    out.push_str(&formatted(value, verb, spec));
                    next += 1;
                }
                None => {
                    let _ = write!(out, "%!{verb}(MISSING)"); // writing to a String cannot fail
                }
            },
        }
    }
    if !reordered && next < values.len() {
        let extra: Vec<String> = values[next..]
            .iter()
            .map(|value| match value {
                Value::Nil => "<nil>".to_owned(),
                value => format!("{}={}", value.type_name(), default_form(value)),
            })
            .collect();
        let _ = write!(out, "%!(EXTRA {})", extra.join(", ")); // writing to a String cannot fail
    }
    out
}

type Chars<'f> = std::iter::Peekable<std::str::Chars<'f>>;

/// `[2]`: the value to go on with; whether there was one.
fn argument_index(chars: &mut Chars<'_>, next: &mut usize, count: usize, bad: &mut bool) -> bool {
    if chars.peek() != Some(&'[') {
        return false;
    }
    chars.next();
    let digits: String = chars.by_ref().take_while(|c| *c != ']').collect();
    match digits.parse::<usize>() {
        Ok(index) if (1..=count).contains(&index) => *next = index - 1,
        _ => *bad = true,
    }
    true
}

/// A number, or `*` for the next value.
fn number_or_star(
    chars: &mut Chars<'_>,
    values: &[Value],
    next: &mut usize,
    out: &mut String,
    bad: &str,
) -> Option<i64> {
    let limit = i64::try_from(MAX_WIDTH).unwrap_or(i64::MAX);
    if chars.peek() == Some(&'*') {
        chars.next();
        let value = values.get(*next);
        *next += 1;
        if let Some(Value::Int(number)) = value
            && number.abs() <= limit
        {
            return Some(*number);
        }
        out.push_str(bad);
        return None;
    }
    let mut number: Option<i64> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = Some((number.unwrap_or(0) * 10 + i64::from(digit)).min(limit));
    }
    number
}

fn formatted(value: &Value, verb: char, spec: Spec) -> String {
    if verb == 'T' {
        let name = if matches!(value, Value::Nil) { "<nil>" } else { value.type_name() };
        return padded(name, spec);
    }
    let text = match value {
        Value::Bool(value) if matches!(verb, 't' | 'v') => Some(padded(&value.to_string(), spec)),
        Value::Int(value) => integer(*value, verb, spec),
        Value::Float(value) => fraction(*value, verb, spec),
        Value::String(text) => string(text, verb, spec),
        Value::Labels(_) | Value::Args(_) | Value::Samples(_) | Value::Sample(_) | Value::Alert(_)
            if verb == 'v' || verb == 's' =>
        {
            Some(padded(&default_form(value), spec))
        }
        Value::Nil if verb == 'v' => Some(padded("<nil>", spec)),
        Value::Time(_) | Value::Duration(_) => match (value, verb) {
            (Value::Duration(nanos), 'd') => integer(*nanos, 'd', spec),
            _ => string(&default_form(value), verb, spec),
        },
        _ => None,
    };
    text.unwrap_or_else(|| match value {
        Value::Nil => format!("%!{verb}(<nil>)"),
        value => format!("%!{verb}({}={})", value.type_name(), default_form(value)),
    })
}

fn string(text: &str, verb: char, spec: Spec) -> Option<String> {
    let cut = |text: &str| match spec.precision {
        Some(length) => text.chars().take(length).collect(),
        None => text.to_owned(),
    };
    let hexadecimal = |upper: bool| {
        let separator = if spec.space { " " } else { "" };
        let bytes = &text.as_bytes()[..spec.precision.unwrap_or(text.len()).min(text.len())];
        let digits: Vec<String> = bytes
            .iter()
            .map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") })
            .collect();
        let prefix = if spec.sharp && !bytes.is_empty() { if upper { "0X" } else { "0x" } } else { "" };
        format!("{prefix}{}", digits.join(separator))
    };
    Some(match verb {
        'v' if spec.sharp => padded(&quote(text).to_string(), spec),
        'v' | 's' => padded(&cut(text), spec),
        'q' if spec.sharp && !text.contains('`') => padded(&format!("`{}`", cut(text)), spec),
        'q' => padded(&quote(&cut(text)).to_string(), spec),
        'x' => padded(&hexadecimal(false), spec),
        'X' => padded(&hexadecimal(true), spec),
        _ => return None,
    })
}

fn integer(value: i64, verb: char, spec: Spec) -> Option<String> {
    let magnitude = value.unsigned_abs();
    let (digits, prefix) = match verb {
        'v' | 'd' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), "0b"),
        'o' => (format!("{magnitude:o}"), "0"),
        'O' => return Some(padded(&format!("{}0o{magnitude:o}", sign(value < 0, spec)), spec)),
        'x' => (format!("{magnitude:x}"), "0x"),
        'X' => (format!("{magnitude:X}"), "0X"),
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => return None,
        'c' | 'q' | 'U' => {
            let code = u32::try_from(value).ok();
            let c = code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            return Some(padded(
                &match verb {
                    'c' => c.to_string(),
                    'q' => crate::model::quote_char(Some(c)),
                    _ => format!("U+{value:04X}"),
                },
                spec,
            ));
        }
        _ => return None,
    };
    let least = spec.precision.unwrap_or(0);
    let digits = format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len())));
    let prefix = if spec.sharp { prefix } else { "" };
    let head = format!("{}{prefix}", sign(value < 0, spec));
    let zeros = Spec { zero: spec.zero && spec.precision.is_none(), ..spec };
    Some(numeric(&head, &digits, zeros))
}

fn fraction(value: f64, verb: char, spec: Spec) -> Option<String> {
    let text = match verb {
        'v' => float::format(value, 'g', spec.precision),
        'e' | 'E' | 'g' | 'G' => float::format(value, verb, spec.precision),
        'f' | 'F' => float::format(value, 'f', spec.precision),
        _ => return None,
    };
    let digits = text.trim_start_matches(['+', '-']);
    let mut head = sign(text.starts_with('-'), spec).to_owned();
    if value.is_infinite() && head.is_empty() && text.starts_with('+') {
        head.push('+');
    }
    // Zeros do not stand before Inf and NaN.
    let zeros = Spec { zero: spec.zero && value.is_finite(), ..spec };
    Some(numeric(&head, digits, zeros))
}

fn sign(negative: bool, spec: Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

/// A number with its sign; zeros go between the two.
fn numeric(head: &str, digits: &str, spec: Spec) -> String {
    let width = spec.width.unwrap_or(0);
    if spec.zero && !spec.minus {
        let zeros = width.saturating_sub(head.len() + digits.len());
        return format!("{head}{}{digits}", "0".repeat(zeros));
    }
    padded(&format!("{head}{digits}"), Spec { zero: false, ..spec })
}

fn padded(text: &str, spec: Spec) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        format!("{text}{}", " ".repeat(missing))
    } else {
        format!("{}{text}", if spec.zero { "0" } else { " " }.repeat(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn formats_are_filled_in_as_in_go() {
        let check = |format: &str, values: &[Value], expected: &str| {
            assert_eq!(printf(format, values), expected, "{format}");
        };
        let text = |text: &str| Value::from(text);
        check("plain %%", &[], "plain %");
        check("%v %v %v", &[Value::Float(1e6), Value::Int(-3), Value::Bool(true)], "1e+06 -3 true");
        check("%s|%5s|%-5s|%.2s", &[text("ab"), text("ab"), text("ab"), text("abc")], "ab|   ab|ab   |ab");
        check("%q %x %X % x %#x", &[text("a\n"), text("hi"), text("hi"), text("hi"), text("hi")], {
            r#""a\n" 6869 6869 68 69 0x6869"#
        });
        check("%d|%5d|%-5d|%05d|%+d|% d", &[3, 3, 3, -3, 3, 3].map(Value::Int), "3|    3|3    |-0003|+3| 3");
        check(
            "%x %X %#x %o %b %c %U",
            &[255, 255, 255, 8, 5, 65, 0xe9].map(Value::Int),
            "ff FF 0xff 10 101 A U+00E9",
        );
        check("%.3d", &[Value::Int(5)], "005");
        check("%f %.2f %8.2f|%-8.1f|%08.3f", &[1.5, 1.005, 1.5, 1.5, -1.5].map(Value::Float), {
            "1.500000 1.00     1.50|1.5     |-001.500"
        });
        check("%e %g %G %.3g %+v", &[1.5e10, 1e-7, 1e-7, 1234.5, 2.0].map(Value::Float), {
            "1.500000e+10 1e-07 1E-07 1.23e+03 +2"
        });
        check("%6.2f|%06.1f|%+.1f", &[f64::INFINITY, f64::NAN, f64::INFINITY].map(Value::Float), {
            "  +Inf|   NaN|+Inf"
        });
        check("%t %T %T", &[Value::Bool(false), Value::Float(1.0), Value::Nil], "false float64 <nil>");
        check("%*d|%-*d", &[5, 3, 4, 3].map(Value::Int), "    3|3   ");
        check("%[2]s %[1]s", &[text("a"), text("b")], "b a");
        check("%v", &[Value::Labels(Labels::from_pairs([("b", "2"), ("a", "1")]))], "map[a:1 b:2]");
        check("%v", &[Value::Duration(90_000_000_000)], "1m30s");
        // What does not fit is said.
        check("%d", &[text("hi")], "%!d(string=hi)");
        check("%d %s", &[Value::Float(1.5), Value::Int(3)], "%!d(float64=1.5) %!s(int=3)");
        check("%s", &[Value::Nil], "%!s(<nil>)");
        check("%d %d", &[Value::Int(1)], "1 %!d(MISSING)");
        check("%d", &[Value::Int(1), Value::Int(2), text("x")], "1%!(EXTRA int=2, string=x)");
        check("%", &[], "%!(NOVERB)");
        check("%!", &[Value::Int(1)], "%!!(int=1)");
        check("%[3]d", &[Value::Int(1)], "%!d(BADINDEX)");
        check("%*d", &[text("x"), Value::Int(1)], "%!(BADWIDTH)1");
    }

    #[test]
    fn printing_puts_spaces_where_go_does() {
        let values = [Value::Int(1), Value::Int(2), Value::from("a"), Value::Float(0.5), Value::Nil];
        assert_eq!(print(&values), "1 2a0.5 <nil>");
        assert_eq!(println(&values), "1 2 a 0.5 <nil>\n");
    }
}
