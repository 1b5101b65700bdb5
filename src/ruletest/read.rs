//! From the text of a test file to its types, with every fault on the way reported.

use std::collections::{BTreeMap, HashSet};

use super::file::{
    AlertTest, Event, ExpectedAlert, ExpectedNotification, ExpectedPayload, ExpectedSample, ExprTest,
    NotificationTest, State, Test, TestFile, Window,
};
use super::histogram::format_histogram;
use super::series::{SequenceValue, SeriesLine, parse_metric, parse_sequence};
use crate::diag::{Diagnostic, closest};
use crate::model::{ALERT_NAME, Labels, Matcher, TimestampMs, parse_duration_ms, parse_float};
use crate::promql::{Expr, parse, parse_selector};
use crate::yaml::{self, Fields, Node, NodeKind, Reader};

/// How often groups are evaluated if the file does not say so. Source: Prometheus 3.14
/// `cmd/promtool/unittest.go`.
const DEFAULT_INTERVAL_MS: i64 = 60_000;

/// How long before an unchanged alert is sent again if the test does not say so. Source: Prometheus'
/// flag `--rules.alert.resend-delay`.
const DEFAULT_RESEND_DELAY_MS: i64 = 60_000;

/// Reads a test file; `name` is what messages call it. With an error among the findings the file is not to
/// be used. Faults of a series or an expression are not among them but with their test: as in promtool
/// they matter only if it is run.
pub fn read(name: &str, text: &str) -> (TestFile, Vec<Diagnostic>) {
    let (root, mut findings) = yaml::parse(name, text);
    let mut decoder = Decoder { reader: Reader::new(name), contents: Reader::new(name) };
    let file = decoder.file(name, &root);
    findings.extend(decoder.reader.into_findings());
    (file, findings)
}

struct Decoder {
    /// Faults of the file.
    reader: Reader,
    /// Faults of the test that is being read.
    contents: Reader,
}

impl Decoder {
    fn file(&mut self, name: &str, root: &Node) -> TestFile {
        let mut fields = self.reader.fields("a test file", root);
        let rule_files = self.texts("rule_files", fields.take("rule_files"));
        let interval_ms = self.span("evaluation_interval", fields.take("evaluation_interval"));
        let evaluation_interval_ms = interval_ms.filter(|ms| *ms > 0).unwrap_or(DEFAULT_INTERVAL_MS);
        let order = fields.take("group_eval_order");
        let group_eval_order = self.texts("group_eval_order", order);
        let mut seen = HashSet::new();
        for group in &group_eval_order {
            if !seen.insert(group) {
                let place = order.map_or(root.place, |node| node.place);
                let message = format!("group name repeated in evaluation order: {group}");
                self.reader.error("duplicate-group", place, message);
            }
        }
        let fuzzy_compare = self.flag("fuzzy_compare", fields.take("fuzzy_compare"), false);
        let honour_group_interval =
            self.flag("honour_group_interval", fields.take("honour_group_interval"), false);
        let tests = self.items("tests", fields.take("tests"));
        let tests = tests.iter().map(|node| self.test(name, node, evaluation_interval_ms)).collect();
        fields.finish(&mut self.reader);
        TestFile {
            name: name.to_owned(),
            rule_files,
            evaluation_interval_ms,
            honour_group_interval,
            group_eval_order,
            fuzzy_compare,
            tests,
        }
    }

    fn test(&mut self, file: &str, node: &Node, evaluation_interval_ms: i64) -> Test {
        let mut fields = self.reader.fields("a test", node);
        let interval_ms = self.span("interval", fields.take("interval")).filter(|ms| *ms > 0);
        let input = self.items("input_series", fields.take("input_series"));
        let input = input.iter().filter_map(|node| self.series(node)).collect();
        let alert_tests = self.items("alert_rule_test", fields.take("alert_rule_test"));
        let alert_tests = alert_tests.iter().filter_map(|node| self.alert_test(node)).collect();
        let expr_tests = self.items("promql_expr_test", fields.take("promql_expr_test"));
        let expr_tests = expr_tests.iter().filter_map(|node| self.expr_test(node)).collect();
        let external_labels = self.labels("external_labels", fields.take("external_labels"));
        let events = self.items("events", fields.take("events"));
        let events = events.iter().filter_map(|node| self.event(node)).collect();
        let resend_delay_ms = self.span("resend_delay", fields.take("resend_delay"));
        let mut test = Test {
            name: self.text("name", fields.take("name")).unwrap_or_default(),
            place: node.place,
            start: self.start(fields.take("start_timestamp")),
            interval_ms: interval_ms.unwrap_or(evaluation_interval_ms),
            input,
            external_labels: Labels::from_pairs(external_labels),
            external_url: self.text("external_url", fields.take("external_url")).unwrap_or_default(),
            resend_delay_ms: resend_delay_ms.unwrap_or(DEFAULT_RESEND_DELAY_MS),
            until_ms: self.span("until", fields.take("until")).unwrap_or(0),
            events,
            alert_tests,
            expr_tests,
            notifications: fields.take("notifications").map(|node| self.notifications(node)),
            findings: Vec::new(),
        };
        fields.finish(&mut self.reader);
        test.findings = std::mem::replace(&mut self.contents, Reader::new(file)).into_findings();
        test
    }

    fn series(&mut self, node: &Node) -> Option<SeriesLine> {
        let mut fields = self.reader.fields("a series", node);
        let series = fields.require(&mut self.contents, "series");
        let values_node = fields.take("values");
        fields.finish(&mut self.reader);
        let labels = self.metric("series", series);
        let values = self.text("values", values_node).unwrap_or_default();
        match parse_sequence(&values) {
            Ok(values) => Some(SeriesLine { labels: series.and(labels)?, values }),
            Err(error) => {
                self.contents.error("values", values_node.unwrap_or(node).place, error.to_string());
                None
            }
        }
    }

    /// The labels of a series; without a text, none.
    fn metric(&mut self, what: &str, node: Option<&Node>) -> Option<Labels> {
        let Some(node) = node else { return Some(Labels::empty()) };
        match parse_metric(&self.text(what, Some(node))?) {
            Ok(labels) => Some(labels),
            Err(error) => {
                self.contents.error("series", node.place, error.to_string());
                None
            }
        }
    }

    fn alert_test(&mut self, node: &Node) -> Option<AlertTest> {
        let mut fields = self.reader.fields("an alert test", node);
        let eval_ms = self.span("eval_time", fields.take("eval_time")).unwrap_or(0);
        let alertname = fields.require(&mut self.contents, "alertname");
        let alertname = self.text("alertname", alertname)?;
        let states = fields.take("states");
        let expected = self.items("exp_alerts", fields.take("exp_alerts"));
        let expected: Vec<_> = expected.iter().map(|node| self.expected_alert(node, &alertname)).collect();
        let states = match states {
            Some(node) => {
                let nodes = self.items("states", Some(node));
                nodes.iter().filter_map(|node| self.state("states", node)).collect()
            }
            None => [State::Firing].into_iter().chain(expected.iter().map(|alert| alert.state)).collect(),
        };
        fields.finish(&mut self.reader);
        Some(AlertTest { place: node.place, eval_ms, alertname, states, expected })
    }

    fn expected_alert(&mut self, node: &Node, alertname: &str) -> ExpectedAlert {
        let mut fields = self.reader.fields("an expected alert", node);
        let mut labels = self.labels("exp_labels", fields.take("exp_labels"));
        labels.insert(ALERT_NAME.to_owned(), alertname.to_owned());
        let alert = ExpectedAlert {
            state: fields.take("state").and_then(|node| self.state("state", node)).unwrap_or(State::Firing),
            labels,
            annotations: self.labels("exp_annotations", fields.take("exp_annotations")),
            value: fields.take("value").and_then(|node| self.number("value", node)),
            active_ms: self.span("active_at", fields.take("active_at")),
        };
        fields.finish(&mut self.reader);
        alert
    }

    fn expr_test(&mut self, node: &Node) -> Option<ExprTest> {
        let mut fields = self.reader.fields("an expression test", node);
        let expr = fields.require(&mut self.contents, "expr");
        let eval_ms = self.span("eval_time", fields.take("eval_time")).unwrap_or(0);
        let expected = self.items("exp_samples", fields.take("exp_samples"));
        let expected = expected.iter().filter_map(|node| self.expected_sample(node)).collect();
        let text = self.text("expr", expr);
        let parsed = text.zip(expr).and_then(|(text, node)| Some((self.expr(&text, node)?, text)));
        fields.finish(&mut self.reader);
        let (expr, text) = parsed?;
        Some(ExprTest { place: node.place, text, expr, eval_ms, expected })
    }

    fn expr(&mut self, text: &str, node: &Node) -> Option<Expr> {
        let errors = match parse(text) {
            Ok(expr) => return Some(expr),
            Err(errors) => errors,
        };
        for error in errors {
            let message = format!("expression `{text}`: {error}");
            match error.hint {
                Some(hint) => self.contents.error_with_hint("promql", node.place, message, hint),
                None => self.contents.error("promql", node.place, message),
            }
        }
        None
    }

    fn expected_sample(&mut self, node: &Node) -> Option<ExpectedSample> {
        let mut fields = self.reader.fields("an expected sample", node);
        let labels = fields.take("labels");
        let value = fields.take("value").and_then(|node| self.number("value", node)).unwrap_or(0.0);
        let histogram = fields.take("histogram");
        let labels = self.metric("labels", labels);
        let histogram = histogram.and_then(|node| {
            let text = self.text("histogram", Some(node))?;
            match parse_sequence(&text).as_deref() {
                Ok([SequenceValue::Histogram { histogram, .. }]) => return Some(format_histogram(histogram)),
                Ok(_) => {
                    let message = format!("`histogram` must be one native histogram, not `{text}`");
                    self.contents.error("histogram", node.place, message);
                }
                Err(error) => self.contents.error("histogram", node.place, error.to_string()),
            }
            None
        });
        fields.finish(&mut self.reader);
        Some(ExpectedSample { labels: labels?, value, histogram })
    }

    fn event(&mut self, node: &Node) -> Option<Event> {
        let mut fields = self.reader.fields("an event", node);
        let restart_at = fields.take("restart_at");
        let down_for = self.span("down_for", fields.take("down_for"));
        let (source_error, scrape_gap) = (fields.take("source_error"), fields.take("scrape_gap"));
        fields.finish(&mut self.reader);
        match (restart_at, source_error, scrape_gap) {
            (Some(at), None, None) => {
                let from_ms = self.span("restart_at", Some(at))?;
                Some(Event::Restart(Window { from_ms, to_ms: from_ms + down_for.unwrap_or(0) }))
            }
            (None, Some(node), None) if down_for.is_none() => {
                let mut fields = self.reader.fields("a source error", node);
                let window = self.window(&mut fields);
                fields.finish(&mut self.reader);
                Some(Event::SourceError(window?))
            }
            (None, None, Some(node)) if down_for.is_none() => self.scrape_gap(node),
            _ => {
                let message =
                    "an event is one of `restart_at` (with `down_for`), `source_error` and `scrape_gap`";
                self.reader.error("event", node.place, message);
                None
            }
        }
    }

    fn scrape_gap(&mut self, node: &Node) -> Option<Event> {
        let mut fields = self.reader.fields("a scrape gap", node);
        let window = self.window(&mut fields);
        let matchers = fields.take("series").map_or(Some(Vec::new()), |node| self.matchers(node));
        let stale = self.flag("stale", fields.take("stale"), true);
        fields.finish(&mut self.reader);
        Some(Event::ScrapeGap { window: window?, matchers: matchers?, stale })
    }

    fn matchers(&mut self, node: &Node) -> Option<Vec<Matcher>> {
        let text = self.text("series", Some(node))?;
        match parse_selector(&text) {
            Ok(matchers) => Some(matchers),
            Err(errors) => {
                self.contents.error("series", node.place, format!("selector `{text}`: {}", errors[0]));
                None
            }
        }
    }

    fn window(&mut self, fields: &mut Fields<'_>) -> Option<Window> {
        let from = fields.require(&mut self.reader, "from");
        let to = fields.require(&mut self.reader, "to");
        let (from_ms, to_ms) = (self.span("from", from)?, self.span("to", to)?);
        if from_ms >= to_ms {
            self.reader.error("window", fields.place(), "`to` must be later than `from`");
        }
        Some(Window { from_ms, to_ms })
    }

    fn notifications(&mut self, node: &Node) -> NotificationTest {
        let mut fields = self.reader.fields("the notifications", node);
        let alertnames = self.texts("alertnames", fields.take("alertnames"));
        let resends = self.flag("resends", fields.take("resends"), true);
        let payloads = self.items("exp_payloads", fields.take("exp_payloads"));
        let payloads = payloads.iter().filter_map(|node| self.payload(node)).collect();
        fields.finish(&mut self.reader);
        NotificationTest { place: node.place, alertnames, resends, payloads }
    }

    fn payload(&mut self, node: &Node) -> Option<ExpectedPayload> {
        let mut fields = self.reader.fields("a payload", node);
        let at = fields.require(&mut self.reader, "at");
        let at_ms = self.span("at", at);
        let alerts = self.items("alerts", fields.take("alerts"));
        let alerts = alerts.iter().filter_map(|node| self.notification(node)).collect();
        fields.finish(&mut self.reader);
        Some(ExpectedPayload { at_ms: at_ms?, alerts })
    }

    fn notification(&mut self, node: &Node) -> Option<ExpectedNotification> {
        let mut fields = self.reader.fields("a notification", node);
        let name = fields.require(&mut self.reader, "alertname");
        let name = self.text("alertname", name);
        let state = fields.take("state");
        let mut labels = self.labels("exp_labels", fields.take("exp_labels"));
        labels.extend(name.clone().map(|name| (ALERT_NAME.to_owned(), name)));
        let annotations = fields.take("exp_annotations");
        let annotations = annotations.map(|node| self.labels("exp_annotations", Some(node)));
        let starts_ms = self.span("starts_at", fields.take("starts_at"));
        let ends_ms = self.span("ends_at", fields.take("ends_at"));
        fields.finish(&mut self.reader);
        let resolved = match state.map_or(Some(State::Firing), |node| self.state("state", node))? {
            State::Firing => false,
            State::Resolved => true,
            other => {
                let place = state.unwrap_or(node).place;
                let message = format!("`state` of a notification is `firing` or `resolved`, not `{other}`");
                self.reader.error("state", place, message);
                return None;
            }
        };
        name.map(|_| ExpectedNotification { resolved, labels, annotations, starts_ms, ends_ms })
    }

    fn state(&mut self, what: &str, node: &Node) -> Option<State> {
        let text = self.text(what, Some(node))?;
        let found = State::ALL.into_iter().find(|state| state.name() == text);
        if found.is_none() {
            let names = State::ALL.map(State::name);
            let hint = match closest(&text, names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("states: {}", names.join(", ")),
            };
            self.reader.error_with_hint("state", node.place, format!("unknown state `{text}`"), hint);
        }
        found
    }

    /// Seconds since the epoch, possibly with decimals, or RFC 3339.
    fn start(&mut self, node: Option<&Node>) -> TimestampMs {
        let Some(node) = node else { return 0 };
        let Some(text) = self.text("start_timestamp", Some(node)) else { return 0 };
        let seconds = parse_float(&text).map(|seconds| (seconds * 1_000.0).round());
        let seconds = seconds.filter(|ms| ms.abs() < i64::MAX as f64).map(|ms| ms as TimestampMs);
        let time = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        seconds.or_else(time).unwrap_or_else(|| {
            let hint = "write seconds since 1970, or a time such as `2024-01-01T00:00:00Z`";
            let message = format!("`start_timestamp`: cannot parse `{text}` to a valid timestamp");
            self.reader.error_with_hint("bad-time", node.place, message, hint);
            0
        })
    }

    fn text(&mut self, what: &str, node: Option<&Node>) -> Option<String> {
        self.reader.text(what, node?).map(str::to_owned)
    }

    fn items<'n>(&mut self, what: &str, node: Option<&'n Node>) -> &'n [Node] {
        node.map_or(&[], |node| self.reader.items(what, node))
    }

    fn texts(&mut self, what: &str, node: Option<&Node>) -> Vec<String> {
        self.items(what, node).iter().filter_map(|node| self.text(what, Some(node))).collect()
    }

    fn flag(&mut self, what: &str, node: Option<&Node>, default: bool) -> bool {
        node.and_then(|node| self.reader.boolean(what, node)).unwrap_or(default)
    }

    /// A mapping of texts; a key without value has the empty one.
    fn labels(&mut self, what: &str, node: Option<&Node>) -> BTreeMap<String, String> {
        let Some(node) = node else { return BTreeMap::new() };
        let NodeKind::Mapping(entries) = &node.kind else {
            let found = node.kind.describe();
            let message = format!("`{what}` must be a mapping of names to texts, not {found}");
            self.reader.error("wrong-type", node.place, message);
            return BTreeMap::new();
        };
        let pairs = entries.iter().filter_map(|(name, _, value)| {
            let text = match value.kind {
                NodeKind::Null => Some(String::new()),
                _ => self.text(name, Some(value)),
            };
            Some((name.clone(), text?))
        });
        pairs.collect()
    }

    /// A duration in Prometheus' notation; may be 0.
    fn span(&mut self, what: &str, node: Option<&Node>) -> Option<i64> {
        let node = node?;
        let text = self.text(what, Some(node))?;
        match parse_duration_ms(&text) {
            Ok(ms) => Some(ms),
            Err(error) => {
                let hint = "write a duration such as `15s`, `5m` or `1h30m`";
                self.reader.error_with_hint("bad-duration", node.place, format!("`{what}`: {error}"), hint);
                None
            }
        }
    }

    /// A number as YAML or as Prometheus writes it.
    fn number(&mut self, what: &str, node: &Node) -> Option<f64> {
        let text = self.text(what, Some(node))?;
        let number = match text.trim_start_matches('+').to_ascii_lowercase().as_str() {
            ".inf" => Some(f64::INFINITY),
            "-.inf" => Some(f64::NEG_INFINITY),
            ".nan" => Some(f64::NAN),
            _ => parse_float(&text),
        };
        if number.is_none() {
            let message = format!("`{what}` must be a number, not `{text}`");
            self.reader.error("bad-number", node.place, message);
        }
        number
    }
}
