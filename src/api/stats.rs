//! What a query cost, as the parameter `stats` asks for it.
//! Source: Prometheus `util/stats/query_stats.go`.

use serde::Serialize;

use super::respond::Seconds;
use crate::promql::SampleStats;
use crate::query::Answer;

#[derive(Serialize)]
struct Stats {
    timings: Timings,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<Samples>,
}

/// Seconds. Sorting is part of the evaluation here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are Prometheus' own")]
struct Timings {
    eval_total_time: f64,
    result_sort_time: f64,
    query_preparation_time: f64,
    inner_eval_time: f64,
    exec_queue_time: f64,
    exec_total_time: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are Prometheus' own")]
struct Samples {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_queryable_samples_per_step: Option<Vec<(Seconds, u64)>>,
    total_queryable_samples: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples_read_per_step: Option<Vec<(Seconds, u64)>>,
    samples_read: u64,
    peak_samples: usize,
}

/// The statistics of an answer, `per_step` for each of its instants.
pub(super) fn json(answer: &Answer, per_step: bool) -> String {
    serde_json::to_string(&Stats::new(answer, per_step)).expect("wire types are always JSON")
}

impl Stats {
    fn new(answer: &Answer, per_step: bool) -> Self {
        let crate::query::Timings { queue, preparation, evaluation } = answer.timings;
        let timings = Timings {
            eval_total_time: (preparation + evaluation).as_secs_f64(),
            result_sort_time: 0.0,
            query_preparation_time: preparation.as_secs_f64(),
            inner_eval_time: evaluation.as_secs_f64(),
            exec_queue_time: queue.as_secs_f64(),
            exec_total_time: (queue + preparation + evaluation).as_secs_f64(),
        };
        let samples = answer.output.samples.as_ref().map(|samples| Samples::new(samples, per_step));
        Self { timings, samples }
    }
}

impl Samples {
    fn new(SampleStats { steps, peak }: &SampleStats, per_step: bool) -> Self {
        let each = |count: fn(&crate::promql::StepSamples) -> u64| {
            let counts = steps.iter().map(|step| (Seconds(step.at as f64 / 1000.0), count(step)));
            per_step.then(|| counts.collect())
        };
        Self {
            total_queryable_samples_per_step: each(|step| step.total),
            total_queryable_samples: steps.iter().map(|step| step.total).sum(),
            samples_read_per_step: each(|step| step.read),
            samples_read: steps.iter().map(|step| step.read).sum(),
            peak_samples: *peak,
        }
    }
}
