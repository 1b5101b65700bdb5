//! From an element of a result to an alert's labels and annotations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::alerting::Candidate;
use super::config::Config;
use super::error::RuleError;
use crate::model::{ALERT_NAME, Labels, LabelsBuilder, METRIC_NAME, TimestampMs};
use crate::promql::{self, EvalError, Features, InstantSample, Output, Value};
use crate::query::QuerySource;
use crate::rulefmt::is_instruction;
use crate::template::{Context, QueryFn, Template, TemplateError};

/// The labels and annotations that a rule gives its alerts.
#[derive(Debug)]
pub(super) struct Texts {
    alert: String,
    labels: Vec<(String, Text)>,
    annotations: Vec<(String, Text)>,
}

#[derive(Debug)]
enum Text {
    /// Nothing to expand.
    Plain(String),
    Template(Template),
    /// Rule files with such a template are refused when they are read.
    Broken(TemplateError),
}

impl Texts {
    pub(super) fn new(
        alert: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let template_name = format!("__alert_{alert}");
        let parse = |(name, text): (&String, &String)| (name.clone(), Text::parse(&template_name, text));
        let sent = annotations.iter().filter(|(name, _)| !is_instruction(name));
        Self {
            alert: alert.to_owned(),
            labels: labels.iter().map(parse).collect(),
            annotations: sent.map(parse).collect(),
        }
    }

    /// Whether expanding them may ask queries, and so may take long.
    pub(super) fn may_query(&self) -> bool {
        self.labels.iter().chain(&self.annotations).any(|(_, text)| match text {
            Text::Template(template) => template.references().functions.contains("query"),
            Text::Plain(_) | Text::Broken(_) => false,
        })
    }

    /// The alerts that a result stands for. A label that is empty is removed; a template that fails
    /// leaves its error as the text and fails nothing else.
    pub(super) fn candidates(
        &self,
        result: &[InstantSample],
        at: TimestampMs,
        config: &Config,
        queries: &Queries,
    ) -> Result<Vec<Candidate>, RuleError> {
        let mut seen: HashSet<Labels> = HashSet::with_capacity(result.len());
        let mut candidates = Vec::with_capacity(result.len());
        for element in result {
            let context = Context {
                labels: &element.labels,
                external_labels: &config.external_labels,
                external_url: &config.external_url,
                value: element.value,
                at,
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
            let mut annotations = LabelsBuilder::default();
            for (name, text) in &self.annotations {
                annotations.set(name, &text.expand(&context));
            }
            candidates.push(Candidate { labels, annotations: annotations.build(), value: element.value });
        }
        Ok(candidates)
    }
}

impl Text {
    fn parse(template_name: &str, text: &str) -> Self {
        if !text.contains("{{") {
            return Self::Plain(text.to_owned());
        }
        Template::parse(template_name, text).map_or_else(Self::Broken, Self::Template)
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
