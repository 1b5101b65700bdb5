//! What a file of rule tests says.

use std::collections::BTreeMap;
use std::fmt;

use super::series::SeriesLine;
use crate::diag::Diagnostic;
use crate::model::{Labels, LineColumn, Matcher, TimestampMs};
use crate::promql::Expr;

/// A file of rule tests: promtool's format, and more. Spans are in milliseconds; instants of a test count
/// from its start.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// The file as the user named it.
    pub name: String,
    /// The rule files as written: paths and patterns, relative to the file's folder.
    pub rule_files: Vec<String>,
    /// How often groups are evaluated.
    pub evaluation_interval_ms: i64,
    /// Whether a group that has an interval of its own is evaluated as often as that says. promtool
    /// ignores it.
    pub honour_group_interval: bool,
    /// The names of groups in the order in which they are evaluated.
    pub group_eval_order: Vec<String>,
    /// Whether numbers may differ by their last bit.
    pub fuzzy_compare: bool,
    /// The tests in order.
    pub tests: Vec<Test>,
}

/// Series, and what rules are to make of them.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name; may be empty.
    pub name: String,
    /// Where it begins in its file.
    pub place: LineColumn,
    /// When it begins.
    pub start: TimestampMs,
    /// The distance of the values of its series.
    pub interval_ms: i64,
    /// The series.
    pub input: Vec<SeriesLine>,
    /// Labels that templates see as `$externalLabels`.
    pub external_labels: Labels,
    /// The address that templates see as `$externalURL`.
    pub external_url: String,
    /// How long before an unchanged alert is sent again.
    pub resend_delay_ms: i64,
    /// How long it lasts at least; otherwise until the last instant that it asks about.
    pub until_ms: i64,
    /// What goes wrong meanwhile.
    pub events: Vec<Event>,
    /// What is expected of alerts.
    pub alert_tests: Vec<AlertTest>,
    /// What is expected of expressions.
    pub expr_tests: Vec<ExprTest>,
    /// What is expected to be sent.
    pub notifications: Option<NotificationTest>,
    /// What is wrong with it; with an error it cannot be run.
    pub findings: Vec<Diagnostic>,
}

/// A span of a test: from its first instant up to but not including its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first instant.
    pub from_ms: i64,
    /// The first instant after it.
    pub to_ms: i64,
}

impl Window {
    /// Whether an instant lies within.
    pub fn contains(self, at_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
    }
}

/// Something that happens during a test.
#[derive(Debug, Clone)]
pub enum Event {
    /// The process ends and starts again; meanwhile nothing is scraped or evaluated.
    Restart(Window),
    /// Every query fails.
    SourceError(Window),
    /// Scrapes fail, of the series that all matchers select.
    ScrapeGap {
        /// When.
        window: Window,
        /// Which series; none: all.
        matchers: Vec<Matcher>,
        /// Whether the first scrape that fails leaves staleness markers, as it does if the target is
        /// gone and the scraper is not.
        stale: bool,
    },
}

/// What is expected of the alerts of one name at an instant.
#[derive(Debug, Clone)]
pub struct AlertTest {
    /// Where it begins in its file.
    pub place: LineColumn,
    /// When.
    pub eval_ms: i64,
    /// The alerts' name.
    pub alertname: String,
    /// In these states there are no alerts but the expected ones.
    pub states: Vec<State>,
    /// The alerts.
    pub expected: Vec<ExpectedAlert>,
}

/// The state of an alert as tests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Neither pending nor firing.
    Inactive,
    /// Its condition holds, but not yet for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It fired and was resolved less than 15 minutes ago.
    Resolved,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Inactive, Self::Pending, Self::Firing, Self::Resolved];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An alert that is expected.
#[derive(Debug, Clone)]
pub struct ExpectedAlert {
    /// Its state.
    pub state: State,
    /// All its labels, `alertname` included. An empty one is that of no alert.
    pub labels: BTreeMap<String, String>,
    /// All its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The expression's value.
    pub value: Option<f64>,
    /// Since when its condition holds.
    pub active_ms: Option<i64>,
}

/// What is expected of an expression at an instant.
#[derive(Debug, Clone)]
pub struct ExprTest {
    /// Where it begins in its file.
    pub place: LineColumn,
    /// As written.
    pub text: String,
    /// The expression.
    pub expr: Expr,
    /// When.
    pub eval_ms: i64,
    /// The elements of the result.
    pub expected: Vec<ExpectedSample>,
}

/// An element of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSample {
    /// What identifies it.
    pub labels: Labels,
    /// Its value; 0 for a histogram.
    pub value: f64,
    /// The literal of a native histogram.
    pub histogram: Option<String>,
}

/// What is expected to be handed over for Alertmanager, from the beginning to the end of a test.
#[derive(Debug, Clone)]
pub struct NotificationTest {
    /// Where it begins in its file.
    pub place: LineColumn,
    /// The names of the alerts that this is about; none: all.
    pub alertnames: Vec<String>,
    /// Whether alerts that are sent again without a change count.
    pub resends: bool,
    /// The payloads in order.
    pub payloads: Vec<ExpectedPayload>,
}

/// Alerts that are handed over at once.
#[derive(Debug, Clone)]
pub struct ExpectedPayload {
    /// When.
    pub at_ms: i64,
    /// The alerts, in any order.
    pub alerts: Vec<ExpectedNotification>,
}

/// An alert of a payload.
#[derive(Debug, Clone)]
pub struct ExpectedNotification {
    /// Whether it is resolved.
    pub resolved: bool,
    /// All its labels, `alertname` included.
    pub labels: BTreeMap<String, String>,
    /// All its annotations, if they matter.
    pub annotations: Option<BTreeMap<String, String>>,
    /// When it began to fire, if that matters.
    pub starts_ms: Option<i64>,
    /// When it ended or expires, if that matters.
    pub ends_ms: Option<i64>,
}

impl Test {
    /// How long it lasts: until the last instant that it asks about.
    pub fn length_ms(&self) -> i64 {
        let alerts = self.alert_tests.iter().map(|test| test.eval_ms);
        let exprs = self.expr_tests.iter().map(|test| test.eval_ms);
        let payloads = self.notifications.iter().flat_map(|test| &test.payloads).map(|payload| payload.at_ms);
        alerts.chain(exprs).chain(payloads).chain([self.until_ms]).max().unwrap_or(0)
    }

    /// The instants between which the process does not run.
    pub fn restarts(&self) -> impl Iterator<Item = Window> {
        self.events.iter().filter_map(|event| match event {
            Event::Restart(window) => Some(*window),
            Event::SourceError(_) | Event::ScrapeGap { .. } => None,
        })
    }

    /// The instants between which queries fail.
    pub fn source_errors(&self) -> impl Iterator<Item = Window> {
        self.events.iter().filter_map(|event| match event {
            Event::SourceError(window) => Some(*window),
            Event::Restart(_) | Event::ScrapeGap { .. } => None,
        })
    }
}
