//! The course of a backtest: fetch, load, evaluate, span after span.

use std::collections::BTreeSet;

use futures_util::future::{try_join, try_join_all};

use super::compare::{Comparison, compare};
use super::demand::Demand;
use super::figures::{Verdict, figures};
use super::history::{History, Watched};
use super::incident::Incidents;
use super::plan::{Plan, merge};
use super::replay::Replay;
use crate::model::{Labels, LineColumn, Series, TimestampMs};
use crate::promql::Features;
use crate::rulefmt::RuleFile;

/// The first span that is fetched at once; how long the next ones are depends on how much came.
const FIRST_SPAN_MS: i64 = 30 * 60_000;

/// The longest span: a third of a day.
const LONGEST_SPAN_MS: i64 = 8 * 3_600_000;

/// The shortest span.
const SHORTEST_SPAN_MS: i64 = 60_000;

/// How many samples a span is to have at most: two spans are in memory beside the store, 16 bytes a sample.
const SAMPLES_PER_SPAN: usize = 1_000_000;

/// What is replayed, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The beginning of the time that is judged.
    pub since: TimestampMs,
    /// Its end.
    pub until: TimestampMs,
    /// How often a group is evaluated that does not say so itself, in milliseconds.
    pub evaluation_interval_ms: i64,
    /// How much time before `since` is replayed at most for rules that need it, in milliseconds.
    pub most_warm_up_ms: i64,
    /// An alert that fires again this soon after it was resolved flaps, in milliseconds.
    pub flap_within_ms: i64,
    /// How many of the noisiest label sets are named.
    pub top: usize,
    /// Bytes of memory that the samples of one set of rules may take.
    pub max_memory: u64,
    /// What expressions in templates may use.
    pub features: Features,
    /// Labels that templates see as `$externalLabels`.
    pub external_labels: Labels,
    /// What templates see as `$externalURL`.
    pub external_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            since: 0,
            until: 0,
            evaluation_interval_ms: 15_000,
            most_warm_up_ms: 86_400_000,
            flap_within_ms: 3_600_000,
            top: 5,
            max_memory: 512 << 20,
            features: Features::default(),
            external_labels: Labels::empty(),
            external_url: String::new(),
        }
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// A rule cannot be replayed.
    #[error("{file}:{place}: rule `{rule}` cannot be replayed: {what}")]
    Rule {
        /// The file.
        file: String,
        /// Where it begins.
        place: LineColumn,
        /// Its name.
        rule: String,
        /// Why not.
        what: String,
    },
    /// The past is not to be had.
    #[error("no samples of `{selector}` at {}: {what}", *at / 1000)]
    History {
        /// What was asked.
        selector: String,
        /// For which instant.
        at: TimestampMs,
        /// Why there is no answer.
        what: String,
    },
    /// The samples that the rules look back at do not fit.
    #[error("the samples that the rules look back at do not fit into {} MiB", limit >> 20)]
    Memory {
        /// The ceiling in bytes.
        limit: u64,
    },
    /// The store of a replay failed.
    #[error("the store of the replay: {0}")]
    Store(String),
}

/// How far a backtest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Up to where rules were evaluated.
    pub evaluated: TimestampMs,
    /// Where evaluation began.
    pub from: TimestampMs,
    /// Where it ends.
    pub until: TimestampMs,
    /// How many samples were fetched.
    pub samples: u64,
}

/// What came of a backtest.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was judged.
    pub since: TimestampMs,
    /// Its end.
    pub until: TimestampMs,
    /// How much time before was replayed, in milliseconds.
    pub warm_up_ms: i64,
    /// How much it should have been.
    pub wanted_warm_up_ms: i64,
    /// How many samples were fetched.
    pub samples: u64,
    /// What the rules would have done.
    pub new: Verdict,
    /// What the old rules would have done, and what differs.
    pub old: Option<(Verdict, Comparison)>,
}

/// Replays rules over history, and if there are `old` rules those beside them. Must be called within a
/// runtime; with several threads old and new rules are evaluated at the same time.
pub async fn run(
    history: &History,
    new: &[RuleFile],
    old: Option<&[RuleFile]>,
    settings: &Settings,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, BacktestError> {
    let sets: Vec<&[RuleFile]> = [Some(new), old].into_iter().flatten().collect();
    let plans: Vec<Plan> = sets.iter().map(|files| Plan::new(files, settings)).collect::<Result<_, _>>()?;
    let mut demands: Vec<Demand> = Vec::new();
    plans.iter().flat_map(|plan| &plan.demands).for_each(|demand| merge(&mut demands, demand));
    let back_ms = demands.iter().map(|demand| demand.back_ms).max().unwrap_or(0);
    let ahead_ms = demands.iter().map(|demand| demand.ahead_ms).max().unwrap_or(0);
    let own_back_ms = plans.iter().map(|plan| plan.warm_up_ms).max().unwrap_or(0);
    let warm_up_ms = own_back_ms.min(settings.most_warm_up_ms);
    let from = settings.since - warm_up_ms;
    let keep_ms = back_ms.max(own_back_ms) + ahead_ms + 2 * LONGEST_SPAN_MS;
    let groups = || sets.iter().flat_map(|files| files.iter()).flat_map(|file| &file.groups);
    let intervals = groups().map(|group| group.interval_ms.unwrap_or(settings.evaluation_interval_ms));
    let step_ms = intervals.min().unwrap_or(settings.evaluation_interval_ms).max(1);
    let replays = sets.iter().zip(plans);
    let mut replays: Vec<Replay> = replays
        .map(|(files, plan)| Replay::new(files, plan.own, settings, from, keep_ms))
        .collect::<Result<_, _>>()?;

    let mut watched: Vec<Watched> = demands.into_iter().map(Watched::new).collect();
    let (mut span_ms, mut fetched) = (FIRST_SPAN_MS, 0_u64);
    let mut loaded_to = from - back_ms;
    let mut next = (loaded_to + span_ms).min(settings.until + ahead_ms);
    let mut samples = history.fetch(&mut watched, loaded_to, next, step_ms).await?;
    loop {
        for replay in &mut replays {
            replay.load(&samples)?;
        }
        let count = samples.iter().map(size).sum::<usize>();
        fetched += count as u64;
        span_ms = following_span(span_ms, count);
        loaded_to = next;
        let evaluated = (loaded_to - ahead_ms).min(settings.until);
        next = (loaded_to + span_ms).min(settings.until + ahead_ms);
        let fetching = async {
            let more = next > loaded_to;
            if more { history.fetch(&mut watched, loaded_to, next, step_ms).await } else { Ok(Vec::new()) }
        };
        let evaluating = try_join_all(replays.into_iter().map(|replay| advance(replay, evaluated)));
        (samples, replays) = try_join(fetching, evaluating).await?;
        progress(Progress { evaluated, from, until: settings.until, samples: fetched });
        if evaluated >= settings.until {
            break;
        }
    }

    let mut results = replays.iter().map(|replay| (replay, replay.finish(settings.until)));
    let mut result =
        || results.next().map(|(replay, incidents)| (verdict(replay, &incidents, settings), incidents));
    let (new, new_incidents) = result().expect("there are the new rules at least");
    let old = result().map(|(old, old_incidents)| {
        let comparison = compare(&old_incidents, &new_incidents, settings.since, &set_by_rules(&sets));
        (old, comparison)
    });
    let (since, until) = (settings.since, settings.until);
    Ok(Outcome { since, until, warm_up_ms, wanted_warm_up_ms: own_back_ms, samples: fetched, new, old })
}

/// The labels that rules set, save the alert's name.
fn set_by_rules<'r>(sets: &[&'r [RuleFile]]) -> BTreeSet<&'r str> {
    let groups = sets.iter().flat_map(|files| files.iter()).flat_map(|file| &file.groups);
    groups
        .flat_map(|group| group.rules.iter())
        .flat_map(|rule| rule.labels.keys().map(String::as_str))
        .collect()
}

/// Evaluates what is due, on another thread if there is one.
async fn advance(mut replay: Replay, until: TimestampMs) -> Result<Replay, BacktestError> {
    let task = tokio::spawn(async move {
        replay.advance(until).await?;
        Ok(replay)
    });
    // A panic has been reported when it happened.
    task.await.unwrap_or_else(|_| Err(BacktestError::Store("the evaluation panicked".to_owned())))
}

fn verdict(replay: &Replay, incidents: &Incidents, settings: &Settings) -> Verdict {
    figures(incidents, &replay.failures, replay.evaluations, settings)
}

fn size(series: &Series) -> usize {
    series.points.len()
        + series.histograms.iter().map(|point| point.histogram.size_in_samples()).sum::<usize>()
}

/// How long the next span may be, if the last one had so many samples.
fn following_span(span_ms: i64, samples: usize) -> i64 {
    let next = if samples > SAMPLES_PER_SPAN {
        span_ms / 2
    } else if samples < SAMPLES_PER_SPAN / 4 {
        span_ms * 2
    } else {
        span_ms
    };
    next.clamp(SHORTEST_SPAN_MS, LONGEST_SPAN_MS)
}
