//! The time of a test: groups are evaluated instant after instant, as in a running process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::compare::metric;
use super::file::{Event, Test, TestFile};
use super::histogram::format_histogram;
use super::series::{SequenceValue, SeriesLine};
use crate::clock::{Clock, FixedClock};
use crate::model::{HistogramPoint, Labels, Point, TimestampMs, format_duration_ms, stale_nan};
use crate::promql::{EvalError, EvalOptions, EvalRange, Expr, Output};
use crate::query::{Answer, LocalConfig, LocalSource, PreparedQuery, QueryOptions, QuerySource};
use crate::rulefmt::RuleGroup;
use crate::rules::{Alert, AlertSink, Config, Services, SteppedGroup};
use crate::state::MemoryStore;
use crate::storage::MemoryStorage;

/// What rules report while the source fails.
const SOURCE_ERROR: &str = "source error of the test";

/// A group with the file that it stands in.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) file: Arc<str>,
    pub(super) group: Arc<RuleGroup>,
}

/// A test in progress. Instants are in milliseconds since its start, if not said otherwise.
pub(super) struct Simulation<'t> {
    test: &'t Test,
    config: Arc<Config>,
    services: Services,
    clock: Arc<FixedClock>,
    source: Arc<TestSource>,
    sink: Arc<Recorder>,
    storage: Arc<MemoryStorage>,
    feed: Feed<'t>,
    groups: Vec<Member>,
    /// The distances of instants.
    intervals: Vec<i64>,
    /// The next instant.
    next_ms: i64,
    /// How many restarts there have been.
    restarted: usize,
}

/// A group of a simulation.
struct Member {
    definition: Definition,
    running: SteppedGroup,
    interval_ms: i64,
}

/// A rule whose evaluation failed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleFault {
    pub(super) group: String,
    pub(super) rule: String,
    pub(super) error: String,
}

/// What was handed over for Alertmanager at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Payload {
    /// When, since the epoch.
    pub(super) at: TimestampMs,
    pub(super) alerts: Vec<Alert>,
}

impl<'t> Simulation<'t> {
    /// A test before its first instant. The groups are evaluated in the order given.
    pub(super) fn new(file: &TestFile, test: &'t Test, definitions: &[Definition]) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let options =
            EvalOptions { default_subquery_step_ms: file.evaluation_interval_ms, ..EvalOptions::default() };
        let config = LocalConfig { options, ..LocalConfig::default() };
        let inner = LocalSource::new(storage.clone(), config);
        let source = Arc::new(TestSource { inner, failing: Arc::default() });
        let clock = Arc::new(FixedClock::at(test.start));
        let sink = Arc::new(Recorder { clock: clock.clone(), payloads: Mutex::default() });
        let services = Services {
            source: source.clone(),
            appender: storage.clone(),
            sink: sink.clone(),
            state: Arc::new(MemoryStore::default()),
            clock: clock.clone(),
        };
        let config = Arc::new(Config {
            evaluation_interval_ms: file.evaluation_interval_ms,
            resend_delay_ms: test.resend_delay_ms,
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            ..Config::default()
        });
        let groups = definitions.iter().map(|definition| {
            let own = definition.group.interval_ms.filter(|_| file.honour_group_interval);
            let interval_ms = own.unwrap_or(file.evaluation_interval_ms);
            // What counts as a gap in the evaluations goes by the interval that there really is.
            let group = RuleGroup { interval_ms: Some(interval_ms), ..(*definition.group).clone() };
            let definition = Definition { file: definition.file.clone(), group: Arc::new(group) };
            let running =
                SteppedGroup::new(&definition.file, &definition.group, config.clone(), services.clone());
            Member { definition, running, interval_ms }
        });
        let groups: Vec<_> = groups.collect();
        let own = groups.iter().map(|member| member.interval_ms);
        let mut intervals: Vec<_> = own.chain([file.evaluation_interval_ms]).collect();
        intervals.sort_unstable();
        intervals.dedup();
        Self {
            test,
            config,
            services,
            clock,
            source,
            sink,
            storage,
            feed: Feed::new(test),
            groups,
            intervals,
            next_ms: 0,
            restarted: 0,
        }
    }

    /// The next instant.
    pub(super) fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Goes to the next instant: loads the samples up to it and evaluates the groups that are due. Returns
    /// the rules that failed although the source did not.
    pub(super) async fn advance(&mut self) -> Vec<RuleFault> {
        let now_ms = self.next_ms;
        let following = self.intervals.iter().map(|interval| (now_ms / interval + 1) * interval);
        self.next_ms = following.min().expect("there is the evaluation interval at least");
        let at = self.test.start + now_ms;
        self.clock.set(at);
        self.feed.load_until(now_ms, &self.storage);
        if self.test.restarts().any(|window| window.contains(now_ms)) {
            return Vec::new();
        }
        self.restart(now_ms).await;
        let failing = self.test.source_errors().any(|window| window.contains(now_ms));
        self.source.failing.store(failing, Ordering::Relaxed);
        let mut faults = Vec::new();
        for member in self.groups.iter_mut().filter(|member| now_ms % member.interval_ms == 0) {
            member.running.evaluate(at).await;
            for rule in member.running.rules() {
                let injected = failing && rule.last_error.is_some_and(|error| error.contains(SOURCE_ERROR));
                let error = rule.last_error.filter(|_| !injected);
                faults.extend(error.map(|error| RuleFault {
                    group: member.definition.group.name.clone(),
                    rule: rule.name.to_owned(),
                    error: error.to_owned(),
                }));
            }
        }
        self.source.failing.store(false, Ordering::Relaxed);
        faults
    }

    /// Starts the groups anew from what is stored, if the process has ended since the last instant.
    async fn restart(&mut self, now_ms: i64) {
        let ended = self.test.restarts().filter(|window| window.from_ms <= now_ms).count();
        if ended == self.restarted {
            return;
        }
        self.restarted = ended;
        for member in &mut self.groups {
            let Definition { file, group } = &member.definition;
            member.running = SteppedGroup::new(file, group, self.config.clone(), self.services.clone());
            let restored = member.running.restore(self.test.start + now_ms).await;
            restored.expect("a store in memory can always be read");
        }
    }

    /// The groups that were evaluated at an instant, in order.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Definition, &SteppedGroup)> {
        self.groups.iter().map(|member| (&member.definition, &member.running))
    }

    /// The value of an expression at an instant; the source's faults do not concern it.
    pub(super) async fn query(&self, expr: &Expr, at_ms: i64) -> Result<Output, EvalError> {
        self.source.inner.instant(expr, self.test.start + at_ms).await
    }

    /// What was handed over for Alertmanager so far.
    pub(super) fn payloads(&self) -> Vec<Payload> {
        self.sink.payloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All series with all their samples, one a line.
    pub(super) fn dump(&self) -> String {
        let mut text = String::new();
        for series in self.storage.dump() {
            let instant = |at: TimestampMs| format_duration_ms(at - self.test.start);
            let points = series.points.iter().map(|point| (point.at, point.value.to_string()));
            let histograms = series.histograms.iter();
            let histograms = histograms.map(|point| (point.at, format_histogram(&point.histogram)));
            let mut all: Vec<_> = points.chain(histograms).collect();
            all.sort_by_key(|(at, _)| *at);
            let all: Vec<_> = all.iter().map(|(at, value)| format!("{value}@{}", instant(*at))).collect();
            text.extend([&metric(&series.labels), " ", &all.join(" "), "\n"]);
        }
        text
    }
}

/// The samples of a test that are not in the store yet.
struct Feed<'t> {
    test: &'t Test,
    /// Each series with the place of its next value. Of two with the same labels the later counts.
    series: Vec<(&'t SeriesLine, usize)>,
}

impl<'t> Feed<'t> {
    fn new(test: &'t Test) -> Self {
        let last: HashMap<&Labels, usize> =
            test.input.iter().enumerate().map(|(place, line)| (&line.labels, place)).collect();
        let counts = |(place, line): &(usize, &SeriesLine)| last[&line.labels] == *place;
        let series = test.input.iter().enumerate().filter(counts).map(|(_, line)| (line, 0)).collect();
        Self { test, series }
    }

    /// Loads what is due until an instant, and forgets series that have no more.
    fn load_until(&mut self, now_ms: i64, storage: &MemoryStorage) {
        let Test { start, interval_ms, .. } = *self.test;
        for (line, next) in &mut self.series {
            let (mut points, mut histograms) = (Vec::new(), Vec::new());
            while *next < line.values.len() && *next as i64 * interval_ms <= now_ms {
                let at_ms = *next as i64 * interval_ms;
                let at = start + at_ms;
                match (lost(self.test, &line.labels, at_ms), &line.values[*next]) {
                    (Some(Lost { stale: true }), _) => points.push(Point { at, value: stale_nan() }),
                    (Some(Lost { stale: false }), _) | (None, SequenceValue::Omitted) => {}
                    (None, SequenceValue::Float(value)) => points.push(Point { at, value: *value }),
                    (None, SequenceValue::Histogram { histogram, .. }) => {
                        histograms.push(HistogramPoint { at, histogram: histogram.clone() });
                    }
                }
                *next += 1;
            }
            if !points.is_empty() {
                storage.load(&line.labels, points);
            }
            if !histograms.is_empty() {
                storage.load_histograms(&line.labels, histograms);
            }
        }
        self.series.retain(|(line, next)| *next < line.values.len());
    }
}

/// What a sample that was not scraped leaves behind.
struct Lost {
    /// A staleness marker.
    stale: bool,
}

/// Whether the sample of an instant is lost to an event.
fn lost(test: &Test, labels: &Labels, at_ms: i64) -> Option<Lost> {
    test.events.iter().find_map(|event| match event {
        Event::Restart(window) if window.contains(at_ms) => Some(Lost { stale: false }),
        Event::ScrapeGap { window, matchers, stale }
            if window.contains(at_ms)
                && matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()))) =>
        {
            let first = at_ms - test.interval_ms < window.from_ms;
            Some(Lost { stale: *stale && first })
        }
        _ => None,
    })
}

/// Answers from the test's samples, or not at all.
struct TestSource {
    inner: LocalSource,
    failing: Arc<AtomicBool>,
}

impl QuerySource for TestSource {
    fn query<'a>(
        &'a self,
        expr: &'a Expr,
        range: &'a EvalRange,
        options: &'a QueryOptions,
    ) -> BoxFuture<'a, Result<Answer, EvalError>> {
        match fault(&self.failing) {
            Some(error) => ready(Err(error)).boxed(),
            None => self.inner.query(expr, range, options),
        }
    }

    fn prepare(&self, expr: &Arc<Expr>) -> Arc<dyn PreparedQuery> {
        Arc::new(TestQuery { inner: self.inner.prepare(expr), failing: Arc::clone(&self.failing) })
    }
}

/// An expression that a rule of the test asks for.
struct TestQuery {
    inner: Arc<dyn PreparedQuery>,
    failing: Arc<AtomicBool>,
}

impl PreparedQuery for TestQuery {
    fn instant(&self, at: TimestampMs) -> BoxFuture<'_, Result<Output, EvalError>> {
        match fault(&self.failing) {
            Some(error) => ready(Err(error)).boxed(),
            None => self.inner.instant(at),
        }
    }
}

fn fault(failing: &AtomicBool) -> Option<EvalError> {
    failing.load(Ordering::Relaxed).then(|| EvalError::Execution(SOURCE_ERROR.to_owned()))
}

/// Keeps what rules hand over.
struct Recorder {
    clock: Arc<FixedClock>,
    payloads: Mutex<Vec<Payload>>,
}

impl AlertSink for Recorder {
    fn send(&self, alerts: Vec<Alert>) {
        let payload = Payload { at: self.clock.now(), alerts };
        self.payloads.lock().unwrap_or_else(PoisonError::into_inner).push(payload);
    }
}
