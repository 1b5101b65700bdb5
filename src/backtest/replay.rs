//! One set of rules over samples that come span after span.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::incident::Incidents;
use super::journal::{Journal, Nobody};
use super::plan::OwnSeries;
use super::run::{BacktestError, Settings};
use crate::clock::FixedClock;
use crate::model::{Labels, Series, TimestampMs};
use crate::promql::EvalOptions;
use crate::query::{LocalConfig, LocalSource};
use crate::rulefmt::{RuleFile, RuleGroup};
use crate::rules::{Config, Services, SteppedGroup};
use crate::storage::{AppendError, Appender, RefHistogram, RefSample};
use crate::tsdb::{self, Tsdb};

/// A set of rules in the middle of the past.
pub(super) struct Replay {
    storage: Arc<Tsdb>,
    clock: Arc<FixedClock>,
    journal: Arc<Journal>,
    groups: Vec<Member>,
    /// The series that the rules make themselves.
    own: OwnSeries,
    /// The newest sample of each series.
    newest: HashMap<Labels, TimestampMs>,
    /// The next instant at which a group is due.
    next: TimestampMs,
    pub(super) evaluations: u64,
    /// Rules whose evaluation failed, by group and name.
    pub(super) failures: BTreeMap<(String, String), Failure>,
}

struct Member {
    name: String,
    running: SteppedGroup,
    interval_ms: i64,
    rules: u64,
}

/// What went wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) count: u64,
    /// What was said the first time.
    pub(super) first: String,
}

impl Replay {
    /// Rules before their first evaluation, which is the first slot from `from` on. `keep_ms` is how far
    /// they look back.
    pub(super) fn new(
        files: &[RuleFile],
        own: OwnSeries,
        settings: &Settings,
        from: TimestampMs,
        keep_ms: i64,
    ) -> Result<Self, BacktestError> {
        let clock = Arc::new(FixedClock::at(from));
        let storage = tsdb::Config {
            retention: Duration::from_millis(keep_ms.unsigned_abs()),
            max_memory: settings.max_memory,
            // Samples of a span are there before its first instant is evaluated.
            acceptance_window: Duration::from_millis(keep_ms.unsigned_abs()),
            ..tsdb::Config::new(clock.clone())
        };
        let (storage, _) = Tsdb::open(storage).map_err(|error| BacktestError::Store(error.to_string()))?;
        let options = EvalOptions {
            default_subquery_step_ms: settings.evaluation_interval_ms,
            ..EvalOptions::default()
        };
        let source = LocalSource::new(storage.clone(), LocalConfig { options, ..LocalConfig::default() });
        let journal = Arc::new(Journal::new(Incidents::new(settings.flap_within_ms)));
        let services = Services {
            source: Arc::new(source),
            appender: storage.clone(),
            sink: Arc::new(Nobody),
            state: journal.clone(),
            clock: clock.clone(),
        };
        let config = Arc::new(Config {
            evaluation_interval_ms: settings.evaluation_interval_ms,
            features: settings.features,
            external_labels: settings.external_labels.clone(),
            external_url: settings.external_url.clone(),
            ..Config::default()
        });
        let member = |file: &RuleFile, group: &RuleGroup| Member {
            name: group.name.clone(),
            running: SteppedGroup::new(&file.name, group, config.clone(), services.clone()),
            interval_ms: group.interval_ms.unwrap_or(settings.evaluation_interval_ms).max(1),
            rules: group.rules.len() as u64,
        };
        let groups = files.iter().flat_map(|file| file.groups.iter().map(move |group| (file, group)));
        let groups: Vec<_> = groups.map(|(file, group)| member(file, group)).collect();
        let rules = groups.iter().flat_map(|group| group.running.rules()).filter(|rule| rule.is_alerting);
        rules.for_each(|rule| journal.incidents().know(rule.key));
        let mut replay = Self {
            storage,
            clock,
            journal,
            groups,
            own,
            newest: HashMap::new(),
            next: from,
            evaluations: 0,
            failures: BTreeMap::new(),
        };
        replay.next = replay.following(from - 1);
        Ok(replay)
    }

    /// The first instant after `at` at which a group is due: a multiple of its interval.
    fn following(&self, at: TimestampMs) -> TimestampMs {
        let next = self.groups.iter().map(|group| (at.div_euclid(group.interval_ms) + 1) * group.interval_ms);
        next.min().unwrap_or(TimestampMs::MAX)
    }

    /// Takes samples of the past. What is there already, and what the rules make themselves, is left out.
    pub(super) fn load(&mut self, samples: &[Series]) -> Result<(), BacktestError> {
        for series in samples.iter().filter(|series| !self.own.contains(&series.labels)) {
            let newest = self.newest.get(&series.labels).copied().unwrap_or(TimestampMs::MIN);
            let floats = &series.points[series.points.partition_point(|point| point.at <= newest)..];
            let histograms =
                &series.histograms[series.histograms.partition_point(|point| point.at <= newest)..];
            let last = floats.last().map(|point| point.at).max(histograms.last().map(|point| point.at));
            let Some(last) = last else { continue };
            let reference = self.storage.reference(&series.labels).map_err(|error| self.refused(error))?;
            let floats: Vec<_> = floats
                .iter()
                .map(|point| RefSample { series: reference, at: point.at, value: point.value })
                .collect();
            let histograms: Vec<_> = histograms
                .iter()
                .map(|point| RefHistogram {
                    series: reference,
                    at: point.at,
                    histogram: Arc::clone(&point.histogram),
                })
                .collect();
            // A series that is now this, now that is rare: its floats go first, and of the histograms what
            // is later than they are.
            let refused = self.storage.append(&floats).into_iter().next();
            let refused = refused.or_else(|| self.storage.append_histograms(&histograms).into_iter().next());
            if let Some((_, error)) = refused.filter(|(_, error)| *error != AppendError::OutOfOrder) {
                return Err(self.refused(error));
            }
            self.newest.insert(series.labels.clone(), last);
        }
        Ok(())
    }

    fn refused(&self, error: AppendError) -> BacktestError {
        match error {
            AppendError::SeriesLimit => {
                BacktestError::Memory { limit: self.storage.stats().memory_limit_bytes }
            }
            other => BacktestError::Store(other.to_string()),
        }
    }

    /// Evaluates whatever is due up to `until`, inclusive.
    pub(super) async fn advance(&mut self, until: TimestampMs) -> Result<(), BacktestError> {
        while self.next <= until {
            let at = self.next;
            self.clock.set(at);
            for group in self.groups.iter_mut().filter(|group| at % group.interval_ms == 0) {
                group.running.evaluate(at).await;
                self.evaluations += group.rules;
                let failed = group.running.rules().filter_map(|rule| Some((rule.name, rule.last_error?)));
                for (name, error) in failed {
                    let key = (group.name.clone(), name.to_owned());
                    let failure = self.failures.entry(key);
                    failure.or_insert_with(|| Failure { count: 0, first: error.to_owned() }).count += 1;
                }
            }
            self.next = self.following(at);
        }
        self.clock.set(until);
        self.storage.maintain(until);
        let stats = self.storage.stats();
        if stats.chunks_evicted > 0 || stats.series_refused > 0 {
            return Err(BacktestError::Memory { limit: stats.memory_limit_bytes });
        }
        // Series that are gone from the store are new when they come back.
        let retention = self.storage.stats().min_time.unwrap_or(until);
        self.newest.retain(|_, newest| *newest >= retention);
        Ok(())
    }

    /// What became of the alerts, up to `end`.
    pub(super) fn finish(&self, end: TimestampMs) -> Incidents {
        let mut incidents = self.journal.incidents();
        incidents.finish(end);
        std::mem::replace(&mut *incidents, Incidents::new(0))
    }
}
