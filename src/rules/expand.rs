//! From an element of a result to an alert's labels and annotations.

use std::collections::{BTreeMap, HashSet};

use super::alerting::Candidate;
use super::error::RuleError;
use crate::model::{ALERT_NAME, Labels, LabelsBuilder, METRIC_NAME};
use crate::promql::InstantSample;

/// The labels and annotations that a rule gives its alerts.
#[derive(Debug)]
pub(super) struct Texts {
    alert: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Texts {
    pub(super) fn new(
        alert: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        Self { alert: alert.to_owned(), labels: labels.clone(), annotations: annotations.clone() }
    }

    /// The alerts that a result stands for. A label that is empty is removed; a template that fails
    /// leaves its error as the text and fails nothing else.
    pub(super) fn candidates(
        &self,
        result: &[InstantSample],
        mut expand: impl FnMut(&str, &InstantSample) -> String,
    ) -> Result<Vec<Candidate>, RuleError> {
        let mut seen: HashSet<Labels> = HashSet::with_capacity(result.len());
        let mut candidates = Vec::with_capacity(result.len());
        for element in result {
            let mut labels = element.labels.builder();
            labels.remove(METRIC_NAME);
            for (name, text) in &self.labels {
                labels.set(name, &expand(text, element));
            }
            let labels = labels.set(ALERT_NAME, &self.alert).build();
            if !seen.insert(labels.clone()) {
                return Err(RuleError::DuplicateAlert);
            }
            let mut annotations = LabelsBuilder::default();
            for (name, text) in &self.annotations {
                annotations.set(name, &expand(text, element));
            }
            candidates.push(Candidate { labels, annotations: annotations.build(), value: element.value });
        }
        Ok(candidates)
    }
}
