//! Where series ended. Range selectors do not yield staleness markers, so the server is asked at which
//! instants it still has a value, wherever samples are missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Labels, Matcher, Point, Series, TimestampMs, stale_nan};

/// How long a series has a value after its last sample. Source: Prometheus' default `--query.lookback-delta`.
pub(super) const LOOKBACK_MS: i64 = 300_000;

/// What is known about a series of which samples were fetched.
#[derive(Debug, Clone, Copy)]
struct Known {
    last: TimestampMs,
    /// The usual distance of its samples.
    usual_ms: Option<i64>,
    /// Whether a marker stands after its last sample.
    ended: bool,
}

/// The series of a selector as they were when samples were last fetched.
#[derive(Debug, Clone, Default)]
pub(super) struct Tails(HashMap<Labels, Known>);

/// A time between two samples of a series that is longer than usual.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gap {
    pub(super) labels: Labels,
    /// The sample before; the gap is after it.
    pub(super) after: TimestampMs,
    /// The sample after it, or the end of what was fetched or of the time for which the sample before
    /// counts; the gap is before it.
    pub(super) before: TimestampMs,
}

impl Gap {
    /// The instants at which it matters whether there is a value, if there are any; `step_ms` apart.
    pub(super) fn instants(&self, step_ms: i64) -> Option<(TimestampMs, TimestampMs)> {
        let first = self.after.div_euclid(step_ms) * step_ms + step_ms;
        let last = (self.before - 1).div_euclid(step_ms) * step_ms;
        (first <= last).then_some((first, last))
    }

    /// The matchers of this series alone.
    pub(super) fn matchers(&self) -> Vec<Matcher> {
        self.labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect()
    }
}

/// The instants of a series' samples in order.
fn instants(series: &Series) -> Vec<TimestampMs> {
    let mut all: Vec<_> = series.points.iter().map(|point| point.at).collect();
    all.extend(series.histograms.iter().map(|point| point.at));
    all.sort_unstable();
    all
}

fn usual(instants: &[TimestampMs]) -> Option<i64> {
    let mut distances: Vec<_> = instants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    distances.sort_unstable();
    // One distance may be the gap itself.
    (distances.len() >= 2).then(|| distances[distances.len() / 2])
}

impl Tails {
    /// Takes note of the samples of a span that ends at `to`, inclusive, and returns where samples are
    /// missing.
    pub(super) fn gaps(
        &mut self,
        fetched: &BTreeMap<Labels, Series>,
        to: TimestampMs,
        step_ms: i64,
    ) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut gap = |labels: &Labels, after: TimestampMs, before: TimestampMs, usual: i64| {
            if before - after > usual + usual / 2 {
                let before = before.min(after + LOOKBACK_MS);
                gaps.push(Gap { labels: labels.clone(), after, before });
            }
        };
        for series in fetched.values() {
            let all = instants(series);
            let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
            let known = self.0.get(&series.labels).copied();
            let usual_ms = usual(&all).or(known.and_then(|known| known.usual_ms));
            let expected = usual_ms.unwrap_or(step_ms);
            if let Some(known) = known.filter(|known| !known.ended) {
                gap(&series.labels, known.last, *first, expected);
            }
            for pair in all.windows(2) {
                gap(&series.labels, pair[0], pair[1], expected);
            }
            gap(&series.labels, *last, to + 1, expected);
            self.0.insert(series.labels.clone(), Known { last: *last, usual_ms, ended: false });
        }
        // The order does not matter: each gap is looked at by itself.
        let mut silent: Vec<_> = self
            .0
            .iter()
            .filter(|(labels, known)| !known.ended && !fetched.contains_key(*labels) && known.last < to)
            .map(|(labels, known)| (labels.clone(), *known))
            .collect();
        silent.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (labels, known) in silent {
            gap(&labels, known.last, to + 1, known.usual_ms.unwrap_or(step_ms));
        }
        // What counts no more can be forgotten: it would begin anew.
        self.0.retain(|_, known| known.last + LOOKBACK_MS > to);
        gaps
    }

    /// Puts a marker where the server has no value for a series any more. `present` are the instants at
    /// which it has one.
    pub(super) fn mark(
        &mut self,
        fetched: &mut BTreeMap<Labels, Series>,
        gap: &Gap,
        present: &BTreeSet<TimestampMs>,
        step_ms: i64,
    ) {
        let Some((first, last)) = gap.instants(step_ms) else { return };
        let mut at = first;
        while present.contains(&at) {
            at += step_ms;
        }
        if at > last {
            return;
        }
        let marker = Point { at, value: stale_nan() };
        let series = fetched
            .entry(gap.labels.clone())
            .or_insert_with(|| Series::floats(gap.labels.clone(), Vec::new()));
        let place = series.points.partition_point(|point| point.at < at);
        series.points.insert(place, marker);
        if let Some(known) = self.0.get_mut(&gap.labels).filter(|known| known.last == gap.after) {
            known.ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_stale;

    const STEP_MS: i64 = 15_000;

    fn labels() -> Labels {
        Labels::from_pairs([("__name__", "up")])
    }

    fn fetched(seconds: &[i64]) -> BTreeMap<Labels, Series> {
        let points = seconds.iter().map(|at| Point { at: at * 1000, value: 1.0 }).collect();
        BTreeMap::from([(labels(), Series::floats(labels(), points))])
    }

    fn seconds(gaps: &[Gap]) -> Vec<(i64, i64)> {
        gaps.iter().map(|gap| (gap.after / 1000, gap.before / 1000)).collect()
    }

    #[test]
    fn gaps_are_where_samples_are_missing() {
        let mut tails = Tails::default();
        let gaps = tails.gaps(&fetched(&[0, 15, 30, 75, 90, 105]), 120_000, STEP_MS);
        assert_eq!(seconds(&gaps), [(30, 75)]);
        // It went on at once, then came to an end that counts for five minutes.
        let gaps = tails.gaps(&fetched(&[120, 135, 150]), 300_000, STEP_MS);
        assert_eq!(seconds(&gaps), [(150, 300)]);
        let gaps = tails.gaps(&BTreeMap::new(), 600_000, STEP_MS);
        assert_eq!(seconds(&gaps), [(150, 450)]);
        assert_eq!(seconds(&tails.gaps(&BTreeMap::new(), 900_000, STEP_MS)), []);
    }

    #[test]
    fn a_marker_stands_at_the_first_instant_without_a_value() {
        let check = |present: &[i64], expected: Option<i64>| {
            let mut tails = Tails::default();
            let mut fetched = fetched(&[0, 15, 30, 90]);
            let gaps = tails.gaps(&fetched, 100_000, STEP_MS);
            assert_eq!(seconds(&gaps), [(30, 90)]);
            let present = present.iter().map(|at| at * 1000).collect();
            tails.mark(&mut fetched, &gaps[0], &present, STEP_MS);
            let points = &fetched[&labels()].points;
            let marker = points.iter().find(|point| is_stale(point.value)).map(|point| point.at / 1000);
            assert_eq!(marker, expected, "{present:?}");
            assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        };
        check(&[], Some(45));
        check(&[45, 60], Some(75));
        check(&[45, 60, 75], None);
    }

    #[test]
    fn what_has_ended_is_not_looked_at_again() {
        let mut tails = Tails::default();
        let mut fetched = fetched(&[0, 15, 30]);
        let gaps = tails.gaps(&fetched, 100_000, STEP_MS);
        tails.mark(&mut fetched, &gaps[0], &BTreeSet::new(), STEP_MS);
        assert_eq!(tails.gaps(&BTreeMap::new(), 200_000, STEP_MS), []);
    }
}
