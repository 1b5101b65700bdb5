//! From an element of a result to an alert's labels and annotations.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::alerting::Candidate;
use super::config::Config;
use super::error::RuleError;
use crate::model::{ALERT_NAME, Labels, LabelsBuilder, METRIC_NAME, TimestampMs, format_float};
use crate::promql::{self, EvalError, Features, InstantSample, Output, Value};
use crate::query::QuerySource;
use crate::rulefmt::{Rule, RuleKind, is_instruction};
use crate::state::AlertRecord;
use crate::template::{Context, Facts, QueryFn, Template, TemplateError};

/// The labels and annotations that a rule gives its alerts.
#[derive(Debug)]
pub(super) struct Texts {
    alert: String,
    labels: Vec<(String, Text)>,
    annotations: Vec<(String, Text)>,
    rule: RuleFacts,
    may_query: bool,
    uses: Uses,
    /// The annotation that has the value with which the condition of an alert ended.
    resolved_value: Option<String>,
}

/// What templates can know about their rule.
#[derive(Debug)]
pub(super) struct RuleFacts {
    pub(super) expr: String,
    pub(super) hold_ms: i64,
    pub(super) interval_ms: i64,
    pub(super) group_id: u64,
}

/// What the texts of a rule use; found out once.
#[derive(Debug, Clone, Copy)]
struct Uses {
    standing: bool,
    end: bool,
    resolved_value: bool,
}

#[derive(Debug)]
enum Text {
    /// Nothing to expand.
    Plain(String),
    Template(Template),
    /// Rule files with such a template are refused when they are read.
    Broken(TemplateError),
}

/// An alert that ends.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) record: AlertRecord,
    /// The value with which its condition ended.
    pub(super) resolved_value: Option<f64>,
}

impl Texts {
    pub(super) fn new(rule: &Rule, facts: RuleFacts) -> Self {
        let alert = rule.name();
        let template_name = format!("__alert_{alert}");
        let parse = |(name, text): (&String, &String)| (name.clone(), Text::parse(&template_name, text));
        let annotations = match &rule.kind {
            RuleKind::Alerting { annotations, .. } => {
                annotations.iter().filter(|(name, _)| !is_instruction(name)).map(parse).collect()
            }
            RuleKind::Recording { .. } => Vec::new(),
        };
        let labels: Vec<(String, Text)> = rule.labels.iter().map(parse).collect();
        let resolved_value = rule.instructions.resolved_value.clone();
        let any =
            |uses: &dyn Fn(&Text) -> bool| labels.iter().chain(&annotations).any(|(_, text)| uses(text));
        let uses = Uses {
            standing: any(&|text| text.uses(&["$status", "$activeAt"])),
            end: resolved_value.is_some() || any(&Text::tells_end),
            resolved_value: resolved_value.is_some() || any(&|text| text.uses(&["$resolvedValue"])),
        };
        let may_query = any(&Text::queries);
        Self { alert: alert.to_owned(), labels, annotations, rule: facts, may_query, uses, resolved_value }
    }

    /// Whether expanding them may ask queries, and so may take long.
    pub(super) fn may_query(&self) -> bool {
        self.may_query
    }

    /// Whether it matters since when alerts are active.
    pub(super) fn tell_standing(&self) -> bool {
        self.uses.standing
    }

    /// Whether the news of an alert's end has other annotations than the alert had.
    pub(super) fn tell_end(&self) -> bool {
        self.uses.end
    }

    /// Whether the value matters with which a condition ends.
    pub(super) fn tell_resolved_value(&self) -> bool {
        self.uses.resolved_value
    }

    /// The alerts that a result stands for. A label that is empty is removed; a template that fails
    /// leaves its error as the text and fails nothing else. `active` has the alerts that there are already,
    /// with the instant since which each is active.
    pub(super) fn candidates(
        &self,
        result: &[InstantSample],
        active: &HashMap<Labels, TimestampMs>,
        at: TimestampMs,
        config: &Config,
        queries: &Queries,
    ) -> Result<Vec<Candidate>, RuleError> {
        let mut seen: HashSet<Labels> = HashSet::with_capacity(result.len());
        let mut candidates = Vec::with_capacity(result.len());
        for element in result {
            let mut context = Context {
                labels: &element.labels,
                external_labels: &config.external_labels,
                external_url: &config.external_url,
                value: element.value,
                at,
                facts: self.facts(),
                query: queries,
            };
            let mut labels = element.labels.builder();
            labels.remove(METRIC_NAME);
            for (name, text) in &self.labels {
                labels.set(name, &text.expand(&context));
            }
            let labels = labels.set(ALERT_NAME, &self.alert).build();
            if !seen.insert(labels.clone()) {
                return Err(RuleError::DuplicateAlert);
            }
            let active_at = active.get(&labels).copied().unwrap_or(at);
            let status = if at - active_at >= self.rule.hold_ms { "firing" } else { "pending" };
            context.facts = Facts { status, active_at, alert_id: labels.hash64(), ..context.facts };
            let mut annotations = LabelsBuilder::default();
            for (name, text) in &self.annotations {
                annotations.set(name, &text.expand(&context));
            }
            candidates.push(Candidate { labels, annotations: annotations.build(), value: element.value });
        }
        Ok(candidates)
    }

    /// The annotations with which the end of an alert is told: those that it had last, save those that say
    /// something about the end. `$value` stays the value that it had last.
    pub(super) fn farewell(
        &self,
        farewell: &Farewell,
        at: TimestampMs,
        config: &Config,
        queries: &Queries,
    ) -> Labels {
        let Farewell { record, resolved_value } = farewell;
        // What the rule's own labels have replaced is not known any more.
        let own = |name: &str| self.labels.iter().any(|(own, _)| own == name);
        let labels = record.labels.filtered(|name| name != ALERT_NAME && !own(name));
        let context = Context {
            labels: &labels,
            external_labels: &config.external_labels,
            external_url: &config.external_url,
            value: record.value,
            at,
            facts: Facts {
                status: "resolved",
                resolved_value: resolved_value.unwrap_or(f64::NAN),
                active_at: record.active_at,
                alert_id: record.labels.hash64(),
                ..self.facts()
            },
            query: queries,
        };
        let mut annotations = record.annotations.builder();
        for (name, text) in self.annotations.iter().filter(|(_, text)| text.tells_end()) {
            annotations.set(name, &text.expand(&context));
        }
        if let Some(name) = &self.resolved_value {
            annotations.set(name, &resolved_value.map_or_else(|| "unknown".to_owned(), format_float));
        }
        annotations.build()
    }

    /// What is known about any alert of the rule.
    fn facts(&self) -> Facts<'_> {
        let RuleFacts { expr, hold_ms, interval_ms, group_id } = &self.rule;
        Facts { expr, hold_ms: *hold_ms, interval_ms: *interval_ms, group_id: *group_id, ..Facts::default() }
    }
}

impl Text {
    fn parse(template_name: &str, text: &str) -> Self {
        if !text.contains("{{") {
            return Self::Plain(text.to_owned());
        }
        Template::parse(template_name, text).map_or_else(Self::Broken, Self::Template)
    }

    fn queries(&self) -> bool {
        match self {
            Self::Template(template) => template.references().functions.contains("query"),
            Self::Plain(_) | Self::Broken(_) => false,
        }
    }

    fn uses(&self, facts: &[&str]) -> bool {
        match self {
            Self::Template(template) => {
                let used = template.references().facts;
                facts.iter().any(|fact| used.contains(fact))
            }
            Self::Plain(_) | Self::Broken(_) => false,
        }
    }

    /// Whether it says something else when the alert ends.
    fn tells_end(&self) -> bool {
        self.uses(&["$status", "$resolvedValue"])
    }

    fn expand(&self, context: &Context<'_>) -> String {
        let failed = |error: &TemplateError| format!("<error expanding template: {error}>");
        match self {
            Self::Plain(text) => text.clone(),
            Self::Broken(error) => failed(error),
            Self::Template(template) => template.expand(context).unwrap_or_else(|error| {
                tracing::warn!(%error, labels = %context.labels, "Expanding an alert's template failed");
                failed(&error)
            }),
        }
    }
}

/// Asks the queries of templates, each once: the alerts of a rule often ask the same.
pub(super) struct Queries {
    source: Arc<dyn QuerySource>,
    features: Features,
    runtime: Handle,
    /// When all templates of a rule must have their answers.
    deadline: Instant,
    answers: Mutex<HashMap<String, Answer>>,
}

type Answer = Result<Vec<(Labels, f64)>, String>;

impl Queries {
    /// Must be called within the runtime, and asked where waiting is allowed.
    pub(super) fn new(source: Arc<dyn QuerySource>, timeout: Duration, features: Features) -> Self {
        let deadline = Instant::now() + timeout;
        Self { source, features, runtime: Handle::current(), deadline, answers: Mutex::default() }
    }

    fn ask(&self, query: &str, at: TimestampMs) -> Answer {
        let expr = promql::parse_with(query, self.features).map_err(|errors| {
            errors.first().map_or_else(String::new, ToString::to_string) // there is at least one
        })?;
        let answer = self.runtime.block_on(timeout_at(self.deadline, self.source.instant(&expr, at)));
        let vector = as_vector(answer.unwrap_or(Err(EvalError::Timeout("template expansion"))));
        let vector = vector.map_err(|error| error.to_string())?;
        Ok(vector.into_iter().map(|element| (element.labels, element.value)).collect())
    }
}

impl QueryFn for Queries {
    fn query(&self, expression: &str, at: TimestampMs) -> Answer {
        // Templates of a rule run one after the other: nobody waits for this lock.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(expression) {
            return answer.clone();
        }
        let answer = self.ask(expression, at);
        answers.insert(expression.to_owned(), answer.clone());
        answer
    }
}

/// The result of a rule's expression: a scalar counts as a vector of one element without labels.
pub(super) fn as_vector(answer: Result<Output, EvalError>) -> Result<Vec<InstantSample>, RuleError> {
    match answer?.value {
        Value::Vector(vector) => Ok(vector),
        Value::Scalar { at, value } => Ok(vec![InstantSample::float(Labels::empty(), at, value)]),
        Value::String { .. } | Value::Matrix(_) => Err(RuleError::ResultType),
    }
}
