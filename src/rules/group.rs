//! A running group: its rules are evaluated one after the other, once for each slot.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::active::ActiveAlerts;
use super::ahead::{self, Ahead};
use super::alert::{Alert, AlertSink};
use super::alerting::{AlertingRule, Candidate};
use super::catch_up::{Backlog, Pace};
use super::config::Config;
use super::error::RuleError;
use super::evidence::Asked;
use super::expand::{Queries, Texts, as_vector};
use super::ledger;
use super::metrics::{Durations, GroupCounters, add};
use super::pulse::{Caution, Pulse};
use super::recording::Recorded;
use super::remember::{Sources, remember};
use super::rule::{Definition, GroupSettings, RunningRule};
use super::snapshot::{GroupSnapshot, Health};
use crate::clock::SharedClock;
use crate::model::{Labels, Sample, TimestampMs, stale_nan};
use crate::promql::{EvalError, InstantSample, Output};
use crate::query::QuerySource;
use crate::rulefmt::RuleGroup;
use crate::schedule::{Schedule, Ticker};
use crate::state::{Changes, RuleKey, StateError, StateStore};
use crate::storage::{AppendError, Appender};

/// How long alerts wait for a slow rule of their group before they are sent without it.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// What rules are evaluated with.
#[derive(Clone)]
pub struct Services {
    /// Answers the rules' expressions.
    pub source: Arc<dyn QuerySource>,
    /// Takes the rules' samples.
    pub appender: Arc<dyn Appender>,
    /// Takes the alerts.
    pub sink: Arc<dyn AlertSink>,
    /// Keeps the alerts' states.
    pub state: Arc<dyn StateStore>,
    /// Says what time it is.
    pub clock: SharedClock,
}

/// What a group shares with its manager, and with the group that replaces it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) snapshot: ArcSwap<GroupSnapshot>,
    pub(super) counters: Arc<GroupCounters>,
}

/// A group with its state. It belongs to one task at a time.
pub(super) struct Group {
    file: String,
    name: String,
    interval_ms: i64,
    query_offset_ms: i64,
    limit: usize,
    rules: Vec<RunningRule>,
    /// How many of the rules before each it has to wait for.
    needs: Vec<usize>,
    ahead: Ahead,
    /// Series of rules that are gone, to be marked stale.
    orphans: Vec<Labels>,
    /// Who may remember alerts of which there is no state.
    memories: Sources,
    /// Alerts that wait for their state to be stored.
    outgoing: Vec<Alert>,
    /// When they are sent at the latest.
    flush_at: Instant,
    evaluation_time: Duration,
    last_evaluation: Option<TimestampMs>,
    begun_at: TimestampMs,
    /// When it last came to a slot, or was made.
    turned: Instant,
    /// The last slot that was evaluated, if slots since then can be made up for.
    last_slot: Option<TimestampMs>,
    last_samples: usize,
    pace: Pace,
    config: Arc<Config>,
    services: Services,
    durations: Arc<Durations>,
    counters: Arc<GroupCounters>,
}

impl Group {
    /// A group without state.
    pub(super) fn new(
        file: &str,
        group: &RuleGroup,
        config: Arc<Config>,
        services: Services,
        durations: Arc<Durations>,
        counters: Arc<GroupCounters>,
    ) -> Self {
        let settings = GroupSettings {
            file,
            group: &group.name,
            id: identity(file, &group.name),
            interval_ms: group.interval_ms.unwrap_or(config.evaluation_interval_ms).max(1),
            query_offset_ms: group.query_offset_ms.unwrap_or(config.query_offset_ms),
            limit: group.limit,
        };
        let mut ordinals: HashMap<_, u32> = HashMap::new();
        let rules = group.rules.iter().map(|rule| {
            let ordinal = ordinals.entry((rule.name(), &rule.labels)).or_default();
            let running = RunningRule::new(rule, *ordinal, &settings, &config, &*services.source);
            *ordinal += 1;
            running
        });
        Self {
            file: file.to_owned(),
            name: group.name.clone(),
            interval_ms: settings.interval_ms,
            query_offset_ms: settings.query_offset_ms,
            limit: settings.limit,
            rules: rules.collect(),
            needs: ahead::needs(&group.rules),
            ahead: Ahead::default(),
            orphans: Vec::new(),
            memories: Sources::new(),
            outgoing: Vec::new(),
            flush_at: Instant::now(),
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
            begun_at: services.clock.now(),
            turned: Instant::now(),
            last_slot: None,
            last_samples: 0,
            pace: Pace::default(),
            config,
            services,
            durations,
            counters,
        }
    }

    /// Alerts without state go on with what these remember of them.
    pub(super) fn remember_from(&mut self, memories: Sources) {
        self.memories = memories;
    }

    /// Goes on with what was stored before the start.
    pub(super) fn restore(&mut self, mut stored: impl FnMut(&RuleKey) -> Option<ActiveAlerts>) {
        for rule in &mut self.rules {
            if let Some(active) = stored(&rule.key) {
                // Where samples came in meanwhile, what was missed can be made up for.
                if self.services.source.goes_on_alone() {
                    self.last_slot = self.last_slot.max(active.evaluated_at);
                }
                rule.restore(active);
            }
        }
    }

    /// Goes on with the state of the group that this one replaces: rules with the same name and labels
    /// keep theirs, the first of several that of the first, and so on. Returns the rules that are gone.
    pub(super) fn take_over(&mut self, old: Self) -> Vec<Arc<RuleKey>> {
        self.evaluation_time = old.evaluation_time;
        self.last_evaluation = old.last_evaluation;
        self.last_slot = old.last_slot;
        self.pace = old.pace;
        self.orphans = old.orphans;
        let kind = |rule: &RunningRule| (rule.info.alerting.is_some(), rule.key.clone());
        let mut olds: HashMap<_, VecDeque<RunningRule>> = HashMap::new();
        for rule in old.rules {
            olds.entry(kind(&rule)).or_default().push_back(rule);
        }
        for rule in &mut self.rules {
            if let Some(old) = olds.get_mut(&kind(rule)).and_then(VecDeque::pop_front) {
                rule.take_over(old);
            }
        }
        let mut gone: Vec<_> = olds.into_values().flatten().collect();
        gone.sort_by(|one, other| one.key.cmp(&other.key));
        self.orphans.extend(gone.iter().flat_map(|rule| rule.previous.iter().cloned()));
        gone.into_iter().map(|rule| rule.key).collect()
    }

    /// Where the alerts' states are kept.
    pub(super) fn state(&self) -> &dyn StateStore {
        &*self.services.state
    }

    /// What answers the rules' expressions.
    pub(super) fn source(&self) -> Arc<dyn QuerySource> {
        self.services.source.clone()
    }

    /// The alerts of a rule.
    pub(super) fn active(&self, index: usize) -> &ActiveAlerts {
        &self.rules[index].active
    }

    /// How far in the past queries look, in milliseconds.
    pub(super) fn query_offset_ms(&self) -> i64 {
        self.query_offset_ms
    }

    /// The rules in order.
    pub(super) fn rules(&self) -> &[RunningRule] {
        &self.rules
    }

    /// The keys of all rules.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<RuleKey>> {
        self.rules.iter().map(|rule| &rule.key)
    }

    pub(super) fn snapshot(&self) -> GroupSnapshot {
        GroupSnapshot {
            file: self.file.clone(),
            name: self.name.clone(),
            interval_ms: self.interval_ms,
            limit: self.limit,
            query_offset_ms: self.query_offset_ms,
            evaluation_time: self.evaluation_time,
            last_evaluation: self.last_evaluation,
            begun_at: self.begun_at,
            turned: self.turned,
            last_samples: self.last_samples,
            rules: self.rules.iter().map(RunningRule::snapshot).collect(),
        }
    }

    /// Evaluates slot after slot, from the next one on, until cancelled; returns the group with its
    /// state.
    pub(super) async fn run(
        mut self,
        shown: Arc<Shown>,
        pulse: Arc<Pulse>,
        token: CancellationToken,
    ) -> Self {
        let interval = Duration::from_millis(self.interval_ms.unsigned_abs());
        let schedule = Schedule::spread(interval, identity(&self.file, &self.name));
        let mut ticker = Ticker::new(schedule, self.services.clock.clone());
        while let Some(slot) = ticker.tick(&token).await {
            pulse.beat();
            self.turned = Instant::now();
            if slot.missed > 0 {
                tracing::warn!(
                    group = %self.name, file = %self.file, missed = slot.missed,
                    "Rule group `{}` missed {} evaluations", self.name, slot.missed
                );
            }
            add(&self.counters.iterations, slot.missed + 1);
            add(&self.counters.missed, slot.missed);
            self.slot(slot.at, &pulse, &token).await;
            shown.snapshot.store(Arc::new(self.snapshot()));
        }
        self
    }

    /// Evaluates a slot that is due, after those before it that went by and about which something is
    /// known. If nothing is known about the slot itself, whatever fires goes on firing.
    async fn slot(&mut self, at: TimestampMs, pulse: &Pulse, token: &CancellationToken) {
        let alone = self.services.source.goes_on_alone();
        let Config { settle_ms, error_hold_ms: wait_ms, .. } = *self.config;
        let unknown = |at: TimestampMs| {
            let of_own = !alone;
            of_own.then(|| pulse.unknown(at - self.query_offset_ms, Caution { settle_ms, wait_ms })).flatten()
        };
        let backlog = Backlog {
            at,
            last: self.last_slot,
            interval_ms: self.interval_ms,
            window_ms: self.config.catch_up_ms,
            takes: self.pace.usual(),
        };
        let passed = backlog.slots().into_iter();
        let missed: Vec<_> =
            passed.filter(|slot| unknown(*slot).is_none() && !pulse.jumped_over(*slot)).collect();
        let unknown = unknown(at);
        let began = Instant::now();
        let interval = Duration::from_millis(self.interval_ms.unsigned_abs());
        for missed in missed {
            if token.is_cancelled() || began.elapsed() > interval {
                break;
            }
            self.make_up_for(missed, token).await;
        }
        match unknown {
            Some(error) => self.hold(at, pulse.behind_ms(), &error).await,
            None => self.evaluate(at, token).await,
        }
    }

    /// Evaluates a slot that went by. Nobody is told what it has led to before the present is known: it may
    /// be over by now.
    async fn make_up_for(&mut self, at: TimestampMs, token: &CancellationToken) {
        for index in 0..self.rules.len() {
            if self.evaluate_rule(index, at, token).await.is_none() {
                return;
            }
            self.outgoing.clear();
            self.rules[index].active.unsent(at);
        }
        self.last_slot = Some(at);
        add(&self.counters.caught_up, 1);
    }

    /// Goes on sending what fires, without an evaluation. A clock that is `behind_ms` may be wrong now or may
    /// have been wrong before; by neither time must alerts be over for who gets them.
    async fn hold(&mut self, at: TimestampMs, behind_ms: i64, error: &RuleError) {
        tracing::info!(group = %self.name, file = %self.file, %error, "Rule group `{}` waits", self.name);
        for rule in &mut self.rules {
            if let Definition::Alerting(definition, ..) = &*rule.definition {
                let mut held = definition.hold(&mut rule.active, at, error);
                held.iter_mut().filter(|alert| !alert.resolved).for_each(|alert| alert.ends_at += behind_ms);
                // They are flushed below.
                self.outgoing.extend(held);
            }
        }
        self.flush().await;
    }

    /// Evaluates all rules at `at`. When cancelled it stops before the next rule, and what the rules
    /// before have led to is stored and sent.
    pub(super) async fn evaluate(&mut self, at: TimestampMs, token: &CancellationToken) {
        let began = Instant::now();
        let now = self.services.clock.now();
        let mut samples = 0;
        for index in 0..self.rules.len() {
            let Some(written) = self.evaluate_rule(index, at, token).await else { break };
            samples += written;
        }
        self.flush().await;
        self.mark_orphans(at);
        self.evaluation_time = began.elapsed();
        self.pace.note(self.evaluation_time);
        self.durations.observe_group(self.evaluation_time);
        self.last_evaluation = Some(now);
        self.last_slot = Some(at);
        self.last_samples = samples;
    }

    /// Evaluates one rule; returns how many samples it yielded, or `None` if cancelled.
    async fn evaluate_rule(
        &mut self,
        index: usize,
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Option<usize> {
        let now = self.services.clock.now();
        let definition = self.rules[index].definition.clone();
        let (result, query_time) = self.result(index, at, token).await?;
        let began = Instant::now();
        add(&self.counters.evaluations, 1);
        let evaluated = match (&*definition, result) {
            (Definition::Recording(rule), result) => {
                result.and_then(|result| rule.samples(at, &result)).map(|samples| (samples, None))
            }
            (Definition::Alerting(rule, texts, questions), result) => {
                let candidates = match result {
                    Ok(result) => self.expand(index, rule, texts, result, at, token).await?,
                    Err(error) => Err(error),
                };
                let known = match candidates {
                    Ok(candidates) => {
                        self.go_on_from_memories(index, rule, at, &candidates, token).await?;
                        let asked = Asked { index, rule, texts, questions };
                        let evidence = self.evidence(&asked, &candidates, at, token).await?;
                        evidence.map(|evidence| (candidates, evidence))
                    }
                    Err(error) => Err(error),
                };
                let active = &mut self.rules[index].active;
                match known {
                    Ok((candidates, evidence)) => {
                        let step = aside(candidates.len(), || rule.step(active, at, &candidates, &evidence));
                        let noted = active.note(at, None);
                        if self.config.ledger_evidence && noted > 0 {
                            self.explain(index, rule, noted, at, token).await;
                        }
                        self.hand_over(step.alerts);
                        Ok((step.samples.into(), step.error))
                    }
                    Err(error) => {
                        let held = rule.hold(active, at, &error);
                        active.note(at, Some(&error.to_string()));
                        self.hand_over(held);
                        Err(error)
                    }
                }
            }
        };
        let (samples, error) = match evaluated {
            Ok((samples, error)) => (Some(samples), error),
            Err(error) => (None, Some(error)),
        };
        let rule = &mut self.rules[index];
        if let Some(error) = &error {
            add(&self.counters.failures, 1);
            tracing::warn!(
                rule = %rule.info.name, group = %self.name, file = %self.file, %error,
                "Evaluating rule `{}` failed", rule.info.name
            );
        }
        let written = samples.as_ref().map_or(0, Recorded::len);
        let append_error = samples.and_then(|samples| aside(written, || self.write(index, at, &samples)));
        let error = append_error.map(RuleError::Append).or(error);
        let rule = &mut self.rules[index];
        rule.health = if error.is_some() { Health::Err } else { Health::Ok };
        rule.last_error = error.map(|error| error.to_string());
        rule.last_evaluation = Some(now);
        rule.evaluation_time = query_time + began.elapsed();
        self.durations.observe(rule.evaluation_time);
        Some(written)
    }

    /// The value of a rule's expression and how long finding it took; `None` if cancelled. Rules after it
    /// that need not wait are asked for as well.
    async fn result(
        &mut self,
        index: usize,
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Option<(Result<Vec<InstantSample>, RuleError>, Duration)> {
        if index == 0 {
            self.ahead.clear();
        }
        let (rules, limit) = (&self.rules, self.config.query_timeout);
        let query = |index: usize| ahead::timed(&rules[index].query, at - self.query_offset_ms, limit);
        let asked = self.ahead.ask(index, &self.needs, self.config.concurrency, query);
        let (answer, took) = self.wait(asked, token).await?;
        Some((as_vector(answer), took))
    }

    /// Before the first evaluation of a rule without state: asks what is remembered of its alerts; `None` if
    /// cancelled.
    async fn go_on_from_memories(
        &mut self,
        index: usize,
        rule: &AlertingRule,
        at: TimestampMs,
        candidates: &[Candidate],
        token: &CancellationToken,
    ) -> Option<()> {
        let may_remember = !candidates.is_empty() && rule.may_remember() && !self.memories.is_empty();
        if self.rules[index].is_new && may_remember {
            let sources = self.memories.clone();
            let (memories, took) = self.wait(remember(&sources, rule, at), token).await?;
            self.counters.restored(took);
            rule.go_on_from(&mut self.rules[index].active, at, candidates, &memories);
        }
        self.rules[index].is_new = false;
        Some(())
    }

    /// Adds to the latest `count` transitions of a rule what they were decided by. Meanwhile they are not
    /// stored: nothing is added to what is.
    async fn explain(
        &mut self,
        index: usize,
        rule: &AlertingRule,
        count: usize,
        at: TimestampMs,
        token: &CancellationToken,
    ) {
        let source = self.source();
        let RunningRule { active, info, .. } = &mut self.rules[index];
        let (mut transitions, info) = (active.take_latest(count), info.clone());
        let at = at - self.query_offset_ms;
        let asked = ledger::add_evidence(&mut transitions, &rule.expr, &info.labels, &*source, at);
        self.wait(asked, token).await;
        self.rules[index].active.put_back(transitions);
    }

    /// The value of an expression as a vector; `None` if cancelled.
    pub(super) async fn query(
        &mut self,
        query: BoxFuture<'_, Result<Output, EvalError>>,
        token: &CancellationToken,
    ) -> Option<Result<Vec<InstantSample>, RuleError>> {
        let answer = self.wait(timeout(self.config.query_timeout, query), token).await?;
        Some(as_vector(answer.unwrap_or(Err(EvalError::Timeout("expression evaluation")))))
    }

    /// What comes of something that ends by itself; `None` if cancelled. Alerts of the rules before do not
    /// wait for it.
    async fn wait<T>(&mut self, asked: impl Future<Output = T>, token: &CancellationToken) -> Option<T> {
        if token.is_cancelled() {
            return None;
        }
        tokio::pin!(asked);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.flush_at), if !self.outgoing.is_empty() => self.flush().await,
                answer = &mut asked => return Some(answer),
                () = token.cancelled() => return None,
            }
        }
    }

    /// The alerts that a result stands for. Templates wait for the answers to their queries where they
    /// stand; those that ask any are expanded on a thread where waiting is allowed. `None` if cancelled.
    async fn expand(
        &mut self,
        index: usize,
        rule: &AlertingRule,
        texts: &Arc<Texts>,
        result: Vec<InstantSample>,
        at: TimestampMs,
        token: &CancellationToken,
    ) -> Option<Result<Vec<Candidate>, RuleError>> {
        let active = &self.rules[index].active;
        let active = if texts.tell_standing() { rule.active_since(active, at) } else { HashMap::new() };
        let count = result.len();
        let expand = move |texts: &Texts, config: &Config, queries: &Queries| {
            texts.candidates(&result, &active, at, config, queries)
        };
        Some(self.expanded(texts, count, expand, token).await?.and_then(|candidates| candidates))
    }

    /// Lets the templates of `count` alerts be expanded where they may wait for the answers to their queries;
    /// `None` if cancelled.
    pub(super) async fn expanded<T: Send + 'static>(
        &mut self,
        texts: &Arc<Texts>,
        count: usize,
        expand: impl FnOnce(&Texts, &Config, &Queries) -> T + Send + 'static,
        token: &CancellationToken,
    ) -> Option<Result<T, RuleError>> {
        let (config, texts) = (self.config.clone(), texts.clone());
        let queries = Queries::new(self.services.source.clone(), config.query_timeout, config.features);
        if !texts.may_query() {
            return Some(Ok(aside(count, || expand(&texts, &config, &queries))));
        }
        let expanding = spawn_blocking(move || expand(&texts, &config, &queries));
        let expanded = self.wait(expanding, token).await?;
        // A panic has been reported when it happened.
        Some(expanded.map_err(|_| EvalError::Canceled("template expansion").into()))
    }

    /// Stores a rule's samples, and a staleness marker for each series that it wrote last time and not
    /// now. Returns the first error.
    fn write(&mut self, index: usize, at: TimestampMs, recorded: &Recorded) -> Option<AppendError> {
        let rule = &mut self.rules[index];
        let refused = recorded.store(&*self.services.appender);
        let lost = refused.iter().map(|(index, _)| *index).collect::<BTreeSet<_>>();
        let series: Vec<&Labels> = recorded.series().collect();
        let written = series.iter().enumerate().filter(|(index, _)| !lost.contains(index));
        let returned: BTreeSet<Labels> = written.map(|(_, labels)| Labels::clone(labels)).collect();
        let ended: Vec<_> = rule.previous.difference(&returned).cloned().collect();
        if let Some((index, error)) = refused.first() {
            tracing::warn!(
                rule = %rule.info.name, group = %self.name, file = %self.file, %error,
                refused = refused.len(), sample = %series[*index],
                "Samples of rule `{}` were not stored", rule.info.name
            );
        }
        rule.previous = returned;
        self.mark_stale(&ended, at);
        refused.first().map(|(_, error)| *error)
    }

    fn mark_orphans(&mut self, at: TimestampMs) {
        let orphans = std::mem::take(&mut self.orphans);
        self.mark_stale(&orphans, at);
    }

    fn mark_stale(&self, series: &[Labels], at: TimestampMs) {
        let at = at - self.query_offset_ms;
        let markers: Vec<_> =
            series.iter().map(|labels| Sample::new(labels.clone(), at, stale_nan())).collect();
        for (index, error) in self.services.appender.append_samples(&markers) {
            // Another rule may have taken the series over.
            let expected =
                matches!(error, AppendError::OutOfOrder | AppendError::Duplicate | AppendError::OutOfBounds);
            if !expected {
                tracing::warn!(series = %series[index], %error, "A series could not be marked stale");
            }
        }
    }

    /// Takes alerts that are to be sent when their states are stored, after [`FLUSH_AFTER`] at the latest.
    fn hand_over(&mut self, alerts: Vec<Alert>) {
        if self.outgoing.is_empty() {
            self.flush_at = Instant::now() + FLUSH_AFTER;
        }
        self.outgoing.extend(alerts);
    }

    /// Stores what changed about alerts, then hands the alerts over. They are handed over also if they
    /// could not be stored; then that is tried again with the next evaluation.
    async fn flush(&mut self) {
        let rules = self.rules.iter().filter_map(RunningRule::unsaved).collect();
        let changes = Changes { rules, ..Changes::default() };
        if !changes.is_empty() {
            match self.services.state.commit(changes).await {
                Ok(()) => self.rules.iter_mut().for_each(|rule| rule.active.saved()),
                Err(error) => self.not_stored(&error),
            }
        }
        if !self.outgoing.is_empty() {
            let alerts = std::mem::take(&mut self.outgoing);
            aside(alerts.len(), || self.services.sink.send(alerts));
        }
    }

    fn not_stored(&self, error: &StateError) {
        tracing::error!(
            group = %self.name, file = %self.file, %error,
            "The alert states of rule group `{}` are not stored: a restart would lose them", self.name
        );
    }

    /// Marks all series of a group that was removed as stale, two intervals later: a group under
    /// another name may go on with them. `at` is when it was removed.
    pub(super) async fn retire(mut self, at: TimestampMs, token: CancellationToken) {
        let previous = self.rules.iter().flat_map(|rule| rule.previous.iter().cloned());
        self.orphans.extend(previous);
        let pause = Duration::from_millis(self.interval_ms.unsigned_abs() * 2);
        tokio::select! {
            () = token.cancelled() => {}
            () = sleep(pause) => self.mark_orphans(at),
        }
    }
}

/// So many alerts take about a millisecond.
const MANY: usize = 500;

/// Does work on this many alerts. If they are many the other tasks of this thread go on elsewhere in the
/// meantime, where the runtime has other threads.
fn aside<T>(alerts: usize, work: impl FnOnce() -> T) -> T {
    let elsewhere = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if alerts >= MANY && elsewhere { block_in_place(work) } else { work() }
}

/// What decides how far a group's slots are from the multiples of its interval: differs from group to
/// group, so that they do not all evaluate at once, and stays the same from one start to the next.
/// Source: Prometheus 3.14 `rules/group.go`, `EvalTimestamp`; the hash is this project's.
pub(super) fn identity(file: &str, group: &str) -> u64 {
    Labels::from_pairs([("name", group), ("file", file)]).hash64()
}
