//! The functions that templates call: Go's own and Prometheus'.
//! Sources: Go `text/template/funcs.go`, Prometheus `template/template.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{GoRegex, TimestampMs, parse_duration_ms, parse_float, quote};

use super::value::{Sample, Value};
use super::{Context, compare, humanize, printf, text};

/// What a function takes for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Any,
    String,
    Int,
    Samples,
    Sample,
    Time,
    Duration,
}

impl Param {
    /// The name of the type in Go.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::String => "string",
            Self::Int => "int",
            Self::Samples => "template.queryResult",
            Self::Sample => "*template.sample",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
        }
    }

    /// Whether a value is of the type.
    pub(super) fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::String => matches!(value, Value::String(_)),
            Self::Int => matches!(value, Value::Int(_)),
            Self::Samples => matches!(value, Value::Samples(_)),
            Self::Sample => matches!(value, Value::Sample(_)),
            Self::Time => matches!(value, Value::Time(_)),
            Self::Duration => matches!(value, Value::Duration(_)),
        }
    }
}

/// What a function takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    pub(super) params: &'static [Param],
    /// Whether any number of further arguments may follow.
    pub(super) variadic: bool,
}

const fn takes(params: &'static [Param]) -> Signature {
    Signature { params, variadic: false }
}

const fn takes_many(params: &'static [Param]) -> Signature {
    Signature { params, variadic: true }
}

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    signature(name).is_some()
}

/// What the function of that name takes.
pub(super) fn signature(name: &str) -> Option<Signature> {
    use Param::{Any, Sample, Samples, String};
    Some(match name {
        "query" | "safeHtml" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink" | "stripPort"
        | "stripDomain" | "parseDuration" | "urlQueryEscape" => takes(&[String]),
        "first" => takes(&[Samples]),
        "label" => takes(&[String, Sample]),
        "value" | "strvalue" => takes(&[Sample]),
        "sortByLabel" => takes(&[String, Samples]),
        "match" => takes(&[String, String]),
        "reReplaceAll" => takes(&[String, String, String]),
        "now" | "pathPrefix" | "externalURL" => takes(&[]),
        "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp"
        | "toTime" | "toDuration" | "not" | "len" => takes(&[Any]),
        "ne" | "lt" | "le" | "gt" | "ge" => takes(&[Any, Any]),
        "and" | "or" | "eq" | "index" | "slice" | "call" => takes_many(&[Any]),
        "printf" => takes_many(&[String]),
        "args" | "print" | "println" | "html" | "js" | "urlquery" => takes_many(&[]),
        _ => return None,
    })
}

type Called = Result<Value, String>;

/// Calls a function with arguments that fit its signature. `and` and `or` are not called: they do not
/// evaluate all of their arguments.
pub(super) fn call(name: &str, mut args: Vec<Value>, context: &Context<'_>) -> Called {
    // The signature has been checked, so that an argument that is used here exists and fits.
    let nth = |index: usize| args.get(index).unwrap_or(&Value::Nil);
    let string = |index: usize| match nth(index) {
        Value::String(text) => text.as_str(),
        _ => "",
    };
    Ok(match name {
        "query" => query(string(0), context)?,
        "first" => match nth(0) {
            Value::Samples(samples) => match samples.first() {
                Some(sample) => Value::Sample(Arc::clone(sample)),
                None => return Err("first() called on vector with no elements".to_owned()),
            },
            _ => Value::Nil,
        },
        "label" => label(nth(1), string(0)),
        "strvalue" => label(nth(0), "__value__"),
        "value" => match nth(0) {
            Value::Sample(sample) => Value::Float(sample.value),
            _ => Value::Nil,
        },
        "sortByLabel" => sort_by_label(nth(1), string(0)),
        "args" => {
            let named = args.into_iter().enumerate().map(|(index, arg)| (format!("arg{index}"), arg));
            Value::Args(Arc::new(named.collect::<BTreeMap<_, _>>()))
        }
        "safeHtml" => string(0).into(),
        "match" => GoRegex::new(string(0)).map_err(|e| e.to_string())?.is_match(string(1)).into(),
        "reReplaceAll" => {
            let (pattern, template, text) = (string(0), string(1), string(2));
            let shown =
                if pattern.contains('`') { quote(pattern).to_string() } else { format!("`{pattern}`") };
            let regex = GoRegex::new(pattern).map_err(|e| format!("regexp: Compile({shown}): {e}"))?;
            regex.replace_all(text, template).into()
        }
        "title" => text::title(string(0)).into(),
        "toUpper" => string(0).to_uppercase().into(),
        "toLower" => string(0).to_lowercase().into(),
        "graphLink" => format!("/graph?g0.expr={}&g0.tab=0", text::query_escape(string(0))).into(),
        "tableLink" => format!("/graph?g0.expr={}&g0.tab=1", text::query_escape(string(0))).into(),
        "stripPort" => text::strip_port(string(0)).into(),
        "stripDomain" => text::strip_domain(string(0)).into(),
        "urlQueryEscape" => text::query_escape(string(0)).into(),
        "humanize" => humanize::humanize(number(nth(0))?).into(),
        "humanize1024" => humanize::humanize_1024(number(nth(0))?).into(),
        "humanizeDuration" => humanize::duration(number(nth(0))?).into(),
        "humanizePercentage" => humanize::percentage(number(nth(0))?).into(),
        "humanizeTimestamp" => {
            let seconds = number(nth(0))?;
            if seconds.is_finite() {
                printf::default_form(&instant(seconds)?).into()
            } else {
                super::float::format(seconds, 'g', Some(4)).into()
            }
        }
        "toTime" => instant(number(nth(0))?)?,
        "toDuration" => Value::Duration((number(nth(0))? * 1e9) as i64),
        "now" => Value::Float(context.at as f64 / 1000.0),
        "pathPrefix" => text::url_path(context.external_url).into(),
        "externalURL" => context.external_url.into(),
        "parseDuration" => Value::Float(parse_duration(string(0))?),
        "not" => (!nth(0).is_true()).into(),
        "len" => length(nth(0))?,
        "index" => index(args)?,
        "slice" => slice(&args)?,
        "print" => printf::print(&args).into(),
        "println" => printf::println(&args).into(),
        "printf" => {
            let values = args.split_off(1);
            match &args[0] {
                Value::String(format) => printf::printf(format, &values).into(),
                _ => Value::Nil,
            }
        }
        "html" => text::html_escape(&joined(args)).into(),
        "js" => text::js_escape(&joined(args)).into(),
        "urlquery" => text::query_escape(&joined(args)).into(),
        "eq" => compare::equal_to_any(&args)?.into(),
        "ne" => (!compare::equal(nth(0), nth(1))?).into(),
        "lt" => compare::less(nth(0), nth(1))?.into(),
        "le" => compare::less_or_equal(nth(0), nth(1))?.into(),
        "gt" => (!compare::less_or_equal(nth(0), nth(1))?).into(),
        "ge" => (!compare::less(nth(0), nth(1))?).into(),
        "call" => match nth(0) {
            Value::Nil => return Err("call of nil".to_owned()),
            other => return Err(format!("non-function of type {}", other.type_name())),
        },
        _ => return Err(format!("function {} not defined", quote(name))),
    })
}

fn query(expression: &str, context: &Context<'_>) -> Called {
    let rows = context.query.query(expression, context.at)?;
    let samples: Vec<_> =
        rows.into_iter().map(|(labels, value)| Arc::new(Sample { labels, value })).collect();
    Ok(Value::Samples(samples.into()))
}

fn label(sample: &Value, name: &str) -> Value {
    match sample {
        Value::Sample(sample) => sample.labels.get(name).into(),
        _ => Value::Nil,
    }
}

/// The sort is stable.
fn sort_by_label(samples: &Value, name: &str) -> Value {
    let Value::Samples(samples) = samples else {
        return Value::Nil;
    };
    let mut sorted = samples.to_vec();
    sorted.sort_by(|one, other| one.labels.get(name).cmp(other.labels.get(name)));
    Value::Samples(sorted.into())
}

/// What the `humanize` family takes for a number.
fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::String(text) => parse_float(text).ok_or_else(|| {
            let digits = text.trim_start_matches(['+', '-']);
            let too_large = digits.parse::<f64>().is_ok_and(f64::is_infinite);
            let why = if too_large { "value out of range" } else { "invalid syntax" };
            format!("strconv.ParseFloat: parsing {}: {why}", quote(text))
        }),
        Value::Nil => Err("can't convert <nil> to float".to_owned()),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Seconds since the Unix epoch as an instant, to the millisecond.
fn instant(seconds: f64) -> Called {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanos = seconds * 1e9;
    if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
        let shown = super::float::format(seconds, 'g', None);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    let ms: TimestampMs = nanos as i64 / 1_000_000;
    Ok(Value::Time(ms * 1_000_000))
}

/// A duration, which may be negative, in seconds.
fn parse_duration(text: &str) -> Result<f64, String> {
    let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let ms = parse_duration_ms(magnitude).map_err(|e| e.to_string())?;
    let seconds = ms as f64 / 1000.0;
    Ok(if negative { -seconds } else { seconds })
}

fn length(value: &Value) -> Called {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Labels(labels) => labels.len(),
        Value::Args(args) => args.len(),
        Value::Samples(samples) => samples.len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// The entry of a map, list or text under one key after the other.
fn index(args: Vec<Value>) -> Called {
    let mut args = args.into_iter();
    let mut item = args.next().unwrap_or(Value::Nil);
    for key in args {
        item = match (&item, &key) {
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (Value::Labels(labels), Value::String(name)) => labels.get(name).into(),
            (Value::Args(args), Value::String(name)) => args.get(name).cloned().unwrap_or(Value::Nil),
            (Value::Labels(_) | Value::Args(_), Value::Nil) => {
                return Err("value is nil; should be of type string".to_owned());
            }
            (Value::Labels(_) | Value::Args(_), key) => {
                return Err(format!("value has type {}; should be string", key.type_name()));
            }
            (Value::Samples(samples), key) => {
                Value::Sample(Arc::clone(&samples[position(key, samples.len(), false)?]))
            }
            (Value::String(text), key) => {
                Value::Int(i64::from(text.as_bytes()[position(key, text.len(), false)?]))
            }
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// A key as a place in a list; the place after the last entry only if so allowed.
fn position(key: &Value, length: usize, end_allowed: bool) -> Result<usize, String> {
    match key {
        Value::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at < length || (end_allowed && *at == length))
            .ok_or_else(|| format!("index out of range: {at}")),
        Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

/// A part of a text or list: `slice x 1 2` is Go's `x[1:2]`.
fn slice(args: &[Value]) -> Called {
    let (item, bounds) = args.split_first().ok_or_else(|| "slice of untyped nil".to_owned())?;
    let length = match item {
        Value::String(text) if bounds.len() <= 2 => text.len(),
        Value::String(_) => return Err("cannot 3-index slice a string".to_owned()),
        Value::Samples(samples) => samples.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let places: Vec<usize> =
        bounds.iter().map(|bound| position(bound, length, true)).collect::<Result<_, _>>()?;
    let (start, end) = (places.first().copied().unwrap_or(0), places.get(1).copied().unwrap_or(length));
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match item {
        Value::Samples(samples) => Value::Samples(samples[start..end].into()),
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned().into(),
        _ => Value::Nil,
    })
}

/// What the escaping functions work on.
fn joined(mut args: Vec<Value>) -> String {
    if let [Value::String(text)] = &mut args[..] {
        return std::mem::take(text);
    }
    printf::print(&args)
}
