//! The queries: those of Prometheus' own `BenchmarkRangeQuery` and `BenchmarkJoinQuery`.

use crate::data::INTERVAL_MS;
use crate::templates::{JOINS, RANGE};

/// A query and over how many steps it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) query: String,
    /// 1 is an instant query.
    pub(crate) steps: i64,
}

/// Over how many steps series are joined: Prometheus' own benchmark has 5,000, where an answer has 150 MB.
const JOIN_STEPS: i64 = 1_000;

/// All cases whose query, followed by ` @` and the number of steps, contains the filter.
pub(crate) fn all(filter: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let joins = JOINS.iter().map(|query| (*query, Some(JOIN_STEPS)));
    // Without steps of its own a template is asked over 1 and over 1,000.
    for (template, steps) in RANGE.iter().copied().chain(joins) {
        let sizes: &[&str] = if template.contains('X') { &["one", "hundred"] } else { &[""] };
        for size in sizes {
            for steps in steps.map_or(vec![1, 1_000], |steps| vec![steps]) {
                cases.push(Case { query: template.replace('X', size), steps });
            }
        }
    }
    cases.retain(|case| format!("{} @{}", case.query, case.steps).contains(filter));
    cases
}

impl Case {
    /// Path and query of the request, for data that end an interval before `end`.
    pub(crate) fn target(&self, end: i64) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        text.append_pair("query", &self.query);
        let seconds = |ms: i64| (ms / 1000).to_string();
        if self.steps == 1 {
            text.append_pair("time", &seconds(end));
            return format!("/api/v1/query?{}", text.finish());
        }
        text.append_pair("start", &seconds(end - self.steps * INTERVAL_MS));
        text.append_pair("end", &seconds(end));
        text.append_pair("step", &seconds(INTERVAL_MS));
        format!("/api/v1/query_range?{}", text.finish())
    }
}
