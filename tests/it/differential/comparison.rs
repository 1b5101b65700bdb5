//! What two answers to the same query have in common, and what not.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// How far values may lie apart, relative to their size, and still count as equal: results that are
/// computed by adding up depend on the order and on how errors are compensated.
const TOLERANCE: f64 = 1e-12;

/// An answer to a query.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The HTTP status.
    status: u16,
    body: String,
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn new(status: u16, body: String) -> Self {
        let json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        Self { status, body, json }
    }

    /// Whether there is a result, and something in it.
    pub(super) fn has_data(&self) -> bool {
        let data = &self.json["data"];
        match data["resultType"].as_str() {
            Some("vector" | "matrix") => data["result"].as_array().is_some_and(|series| !series.is_empty()),
            other => other.is_some(),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.json["status"] == "success"
    }

    fn result(&self) -> &Value {
        &self.json["data"]["result"]
    }

    /// The texts of a list, sorted: Prometheus has them in no order.
    fn texts(&self, list: &str) -> Vec<String> {
        let texts = self.json[list].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut texts: Vec<_> = texts.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        texts.sort();
        texts
    }
}

/// Something that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Difference {
    /// Status, error type or the text of an error.
    Outcome { prometheus: String, valmis: String },
    /// The type of the result.
    Type { prometheus: String, valmis: String },
    /// A series that only one has.
    Series { only_in: &'static str, labels: String, values: String },
    /// Values of a series, with how many there are and how far, relative to their size, the farthest two lie
    /// apart.
    Values { labels: String, prometheus: String, valmis: String, count: usize, worst: f64 },
    /// The order of what was sorted.
    Order { prometheus: String, valmis: String },
    /// Warnings and infos that only one has.
    Remarks { prometheus: Vec<String>, valmis: Vec<String> },
    /// Everything is the same, and the bodies are not.
    Bytes { prometheus: String, valmis: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pair = |what: &str, prometheus: &dyn fmt::Display, valmis: &dyn fmt::Display| {
            write!(f, "{what}\n    prometheus: {prometheus}\n    valmis:     {valmis}")
        };
        match self {
            Self::Outcome { prometheus, valmis } => pair("outcome", prometheus, valmis),
            Self::Type { prometheus, valmis } => pair("type", prometheus, valmis),
            Self::Series { only_in, labels, values } => {
                write!(f, "only {only_in} has {labels}\n    {values}")
            }
            Self::Values { labels, prometheus, valmis, count, .. } => {
                pair(&format!("{count} values of {labels}, the first being"), prometheus, valmis)
            }
            Self::Order { prometheus, valmis } => pair("order", prometheus, valmis),
            Self::Remarks { prometheus, valmis } => {
                pair("remarks", &prometheus.join("\n                "), &valmis.join("\n                "))
            }
            Self::Bytes { prometheus, valmis } => pair("bytes", prometheus, valmis),
        }
    }
}

/// How much two answers that do not differ have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    /// Whether every value is written alike.
    pub(super) exact_values: bool,
    /// Whether the bodies are the same, byte for byte.
    pub(super) same_bytes: bool,
}

/// Compares answers. `sorted` says whether both put the series of the result in order, so that the order
/// counts and, where values are exact, the bytes too.
pub(super) fn compare(
    prometheus: &Answer,
    valmis: &Answer,
    sorted: bool,
) -> Result<Agreement, Vec<Difference>> {
    let mut differences = Vec::new();
    let outcomes = (outcome(prometheus), outcome(valmis));
    if outcomes.0 != outcomes.1 {
        differences.push(Difference::Outcome { prometheus: outcomes.0, valmis: outcomes.1 });
    }
    differences.extend(remarks(prometheus, valmis));
    let mut exact_values = true;
    if prometheus.is_success() && valmis.is_success() {
        match results(prometheus, valmis, sorted) {
            Ok(exact) => exact_values = exact,
            Err(found) => differences.extend(found),
        }
    }
    let same_bytes = prometheus.body == valmis.body;
    if differences.is_empty()
        && sorted
        && exact_values
        && !same_bytes
        && prometheus.json["error"] == valmis.json["error"]
        // In an unordered list of several remarks nothing follows from the order.
        && ["warnings", "infos"].iter().all(|list| prometheus.texts(list).len() < 2)
    {
        let (one, other) = (&prometheus.body, &valmis.body);
        let at = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
        let around = |text: &str| {
            let part: Vec<u8> = text.bytes().skip(at.saturating_sub(40)).take(100).collect();
            format!("… {}", String::from_utf8_lossy(&part))
        };
        differences.push(Difference::Bytes { prometheus: around(one), valmis: around(other) });
    }
    if differences.is_empty() { Ok(Agreement { exact_values, same_bytes }) } else { Err(differences) }
}

/// Success, or the error.
fn outcome(answer: &Answer) -> String {
    let status = answer.status;
    if answer.is_success() {
        return format!("{status} success");
    }
    let text = |field: &str| answer.json[field].as_str().unwrap_or_default();
    let error = without_the_group(text("error"));
    format!("{status} {} {}: {error}", text("status"), text("errorType"))
}

/// Of several groups of series that do not match, Prometheus names any one.
fn without_the_group(error: &str) -> String {
    let parts = error.split_once("for the match group ");
    let parts =
        parts.and_then(|(head, rest)| Some((head, rest.split_once("} on the ")?.1.split_once(": [")?)));
    match parts.and_then(|(head, (side, rest))| Some((head, side, rest.split_once("];")?.1))) {
        Some((head, side, tail)) => format!("{head}for the match group … on the {side}: …;{tail}"),
        None => error.to_owned(),
    }
}

/// Prometheus shows any ten of each kind, and says how many there are besides: of more, all that can be
/// compared is that there are more.
fn remarks(prometheus: &Answer, valmis: &Answer) -> Option<Difference> {
    let too_many = |list: &str| [prometheus, valmis].iter().all(|answer| answer.texts(list).len() > 10);
    if ["warnings", "infos"].into_iter().any(too_many) {
        return None;
    }
    let all = |answer: &Answer| [answer.texts("warnings"), answer.texts("infos")].concat();
    let (one, other) = (all(prometheus), all(valmis));
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|text| !those.contains(text)).cloned().collect()
    };
    let (prometheus, valmis) = (only(&one, &other), only(&other, &one));
    (!prometheus.is_empty() || !valmis.is_empty()).then_some(Difference::Remarks { prometheus, valmis })
}

/// Whether all values are written alike, or what differs.
fn results(prometheus: &Answer, valmis: &Answer, sorted: bool) -> Result<bool, Vec<Difference>> {
    let kind = |answer: &Answer| answer.json["data"]["resultType"].as_str().unwrap_or_default().to_owned();
    let kinds = (kind(prometheus), kind(valmis));
    if kinds.0 != kinds.1 {
        return Err(vec![Difference::Type { prometheus: kinds.0, valmis: kinds.1 }]);
    }
    if !matches!(kinds.0.as_str(), "vector" | "matrix") {
        let (one, other) = (prometheus.result(), valmis.result());
        let labels = kinds.0;
        return if kinds.1 == "scalar" && points_equal(one, other) || one == other {
            Ok(one == other)
        } else {
            let (prometheus, valmis) = (one.to_string(), other.to_string());
            Err(vec![Difference::Values {
                labels,
                prometheus,
                valmis,
                count: 1,
                worst: distance(&one[1], &other[1]),
            }])
        };
    }
    let (one, other) = (series(prometheus), series(valmis));
    let mut differences = Vec::new();
    for (labels, values) in &one {
        if !other.contains_key(labels) {
            differences.push(lonely("prometheus", labels, values));
        }
    }
    let mut exact = true;
    for (labels, values) in &other {
        match one.get(labels) {
            None => differences.push(lonely("valmis", labels, values)),
            Some(expected) => {
                exact &= expected == values;
                differences.extend(values_differ(labels, expected, values));
            }
        }
    }
    if differences.is_empty() && sorted {
        let order = |answer: &Answer| -> Vec<String> {
            answer.result().as_array().into_iter().flatten().map(|one| one["metric"].to_string()).collect()
        };
        let (one, other) = (order(prometheus), order(valmis));
        if one != other {
            let (prometheus, valmis) = (one.join(" "), other.join(" "));
            differences.push(Difference::Order { prometheus, valmis });
        }
    }
    if differences.is_empty() { Ok(exact) } else { Err(differences) }
}

/// The points of each series, by its labels.
fn series(answer: &Answer) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in answer.result().as_array().into_iter().flatten() {
        let mut points = one["values"].as_array().cloned().unwrap_or_default();
        points.extend(one["histograms"].as_array().cloned().unwrap_or_default());
        points.extend(["value", "histogram"].iter().filter_map(|field| one.get(*field).cloned()));
        all.entry(one["metric"].to_string()).or_default().extend(points);
    }
    all
}

fn lonely(only_in: &'static str, labels: &str, values: &[Value]) -> Difference {
    let values: Vec<String> = values.iter().take(4).map(ToString::to_string).collect();
    Difference::Series { only_in, labels: labels.to_owned(), values: values.join(" ") }
}

fn values_differ(labels: &str, prometheus: &[Value], valmis: &[Value]) -> Option<Difference> {
    let time = |point: &Value| point[0].to_string();
    let (mut first, mut count, mut worst) = (None, 0, 0.0_f64);
    let mut found = |one: Option<&Value>, other: Option<&Value>| {
        worst = worst.max(one.zip(other).map_or(f64::INFINITY, |(one, other)| distance(&one[1], &other[1])));
        let show = |point: Option<&Value>| point.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        first.get_or_insert_with(|| (show(one), show(other)));
        count += 1;
    };
    for one in prometheus {
        match valmis.iter().find(|other| time(other) == time(one)) {
            Some(other) if points_equal(one, other) => {}
            other => found(Some(one), other),
        }
    }
    for other in valmis {
        if !prometheus.iter().any(|one| time(one) == time(other)) {
            found(None, Some(other));
        }
    }
    let (prometheus, valmis) = first?;
    Some(Difference::Values { labels: labels.to_owned(), prometheus, valmis, count, worst })
}

/// Whether `[time, value]` is the same, as nearly as floats allow.
fn points_equal(one: &Value, other: &Value) -> bool {
    one[0] == other[0] && values_equal(&one[1], &other[1])
}

/// How far two numbers lie apart, relative to their size; infinitely if one is no finite number.
fn distance(one: &Value, other: &Value) -> f64 {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    match (number(one), number(other)) {
        (Some(one), Some(other)) if one.is_finite() && other.is_finite() => {
            (one - other).abs() / one.abs().max(other.abs())
        }
        _ => f64::INFINITY,
    }
}

fn values_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(left), Value::String(right)) if left != right => distance(one, other) <= TOLERANCE,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| values_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| values_equal(value, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer::new(200, body.to_owned())
    }

    fn vector(series: &str) -> Answer {
        let head = r#"{"status":"success","data":{"resultType":"vector","result":["#;
        answer(&format!("{head}{series}]}}}}"))
    }

    #[test]
    fn answers_are_compared_by_what_they_say() {
        let check = |one: &Answer, other: &Answer, sorted, expected: &str| {
            let found = match compare(one, other, sorted) {
                Ok(agreement) => format!("{agreement:?}"),
                Err(differences) => differences.iter().map(ToString::to_string).collect(),
            };
            assert!(found.contains(expected), "{found}");
        };
        let (a, b) =
            (r#"{"metric":{"job":"a"},"value":[1,"0.1"]}"#, r#"{"metric":{"job":"b"},"value":[1,"NaN"]}"#);
        let both = vector(&format!("{a},{b}"));
        let turned = vector(&format!("{b},{a}"));
        check(&both, &both, true, "exact_values: true, same_bytes: true");
        check(&both, &turned, false, "exact_values: true, same_bytes: false");
        check(&both, &turned, true, "order");
        check(&both, &vector(a), false, r#"only prometheus has {"job":"b"}"#);
        let nearly = vector(&format!("{},{b}", a.replace("0.1", "0.10000000000000002")));
        check(&both, &nearly, true, "exact_values: false, same_bytes: false");
        let other = vector(&format!("{},{b}", a.replace("0.1", "0.2")));
        check(&both, &other, true, r#"1 values of {"job":"a"}, the first being"#);
        let blank = vector(&format!("{a}, {b}"));
        check(&both, &blank, true, "bytes");
        let failed = answer(r#"{"status":"error","errorType":"execution","error":"no"}"#);
        check(
            &both,
            &failed,
            true,
            "outcome\n    prometheus: 200 success\n    valmis:     200 error execution: no",
        );
        let warned = answer(&both.body.replace("]}}", r#"]},"warnings":["w"]}"#));
        check(&both, &warned, false, "remarks");
        let error = |group: &str, side: &str| {
            let text = format!(
                r"found duplicate series for the match group {{a={group}}} on the {side} of the operation: [{{b={group}}}];no"
            );
            answer(&format!(r#"{{"status":"error","errorType":"execution","error":"{text}"}}"#))
        };
        check(&error("1", "left"), &error("2", "left"), false, "same_bytes: false");
        check(&error("1", "left"), &error("1", "right"), false, "outcome");
    }
}
