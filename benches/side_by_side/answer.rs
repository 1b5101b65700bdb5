//! Whether two answers say the same.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// An answer of the API, as far as it is compared.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
}

#[derive(Deserialize)]
struct Point(f64, String);

/// Values may differ by this part of themselves: sums in another order, another way to a quantile.
const TOLERANCE: f64 = 1e-9;

/// What two answers differ in.
#[derive(Debug)]
pub(crate) enum Difference {
    /// The query is refused.
    Refused { by: &'static str, error: String },
    /// Another number of series and points.
    Shape { one: (usize, usize), other: (usize, usize) },
    /// The first series that only one has.
    Series(String),
    /// The first point that differs.
    Point { series: String, one: String, other: String },
}

impl Answer {
    fn shape(data: &Data) -> (usize, usize) {
        let points = |series: &Series| series.values.len() + usize::from(series.value.is_some());
        (data.result.len(), data.result.iter().map(points).sum())
    }

    /// Compares with the answer of another server.
    pub(crate) fn compare(
        &self,
        name: &'static str,
        other: &Self,
        other_name: &'static str,
    ) -> Result<(), Difference> {
        let refused = |by, answer: &Self| Difference::Refused { by, error: answer.error.clone() };
        let one = self.data.as_ref().ok_or_else(|| refused(name, self))?;
        let other = other.data.as_ref().ok_or_else(|| refused(other_name, other))?;
        if Self::shape(one) != Self::shape(other) {
            return Err(Difference::Shape { one: Self::shape(one), other: Self::shape(other) });
        }
        let by_labels: BTreeMap<_, _> = other.result.iter().map(|series| (&series.metric, series)).collect();
        for series in &one.result {
            let labels = format!("{:?}", series.metric);
            let Some(same) = by_labels.get(&series.metric) else { return Err(Difference::Series(labels)) };
            let points = series.values.iter().chain(&series.value);
            let differing =
                points.zip(same.values.iter().chain(&same.value)).find(|(one, other)| !one.agrees(other));
            if let Some((one, other)) = differing {
                return Err(Difference::Point {
                    series: labels,
                    one: one.to_string(),
                    other: other.to_string(),
                });
            }
        }
        Ok(())
    }
}

impl Point {
    fn agrees(&self, other: &Self) -> bool {
        let close = || {
            let (one, other) = (self.1.parse::<f64>()?, other.1.parse::<f64>()?);
            Ok::<_, std::num::ParseFloatError>((one - other).abs() <= TOLERANCE * one.abs().max(other.abs()))
        };
        self.0 == other.0 && (self.1 == other.1 || close().unwrap_or(false))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.1, self.0)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { by, error } => write!(f, "{by} refuses it: {error}"),
            Self::Shape { one, other } => {
                write!(f, "{} series with {} points, or {} with {}", one.0, one.1, other.0, other.1)
            }
            Self::Series(labels) => write!(f, "only one has {labels}"),
            Self::Point { series, one, other } => write!(f, "{series}: {one}, or {other}"),
        }
    }
}
