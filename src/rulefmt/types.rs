//! What a rule file says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::instructions::Instructions;
use crate::model::LineColumn;
use crate::promql::Expr;
use crate::yaml::compose::Placement;

/// The rules of a file, or of one PrometheusRule object.
#[derive(Debug, Clone)]
pub struct RuleFile {
    /// The file as the user named it; for an object, `file#namespace/name`. Together with a group's
    /// name this identifies the group.
    pub name: String,
    /// The file as the user named it.
    pub path: String,
    /// The groups in order.
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated one after the other.
#[derive(Debug, Clone)]
pub struct RuleGroup {
    /// The name, unique in its file.
    pub name: String,
    /// How often it is evaluated, in milliseconds; none: the configured default.
    pub interval_ms: Option<i64>,
    /// How far in the past its queries look, in milliseconds; none: the configured default.
    pub query_offset_ms: Option<i64>,
    /// How many alerts or series a rule may produce; 0 for any number.
    pub limit: usize,
    /// Labels for all rules.
    pub labels: BTreeMap<String, String>,
    /// The rules in order.
    pub rules: Arc<[Rule]>,
    /// Where it begins in its file.
    pub place: LineColumn,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which kind of rule.
    pub kind: RuleKind,
    /// What it evaluates.
    pub expr: Arc<Expr>,
    /// Its labels, those of the group included. An empty value removes the label from the result.
    pub labels: BTreeMap<String, String>,
    /// What its annotations tell the evaluator to do.
    pub instructions: Instructions,
    /// Where it begins in its file.
    pub place: LineColumn,
    /// Where its parts stand.
    pub places: RulePlaces,
}

/// Where the parts of a rule stand in its file.
#[derive(Debug, Clone)]
pub struct RulePlaces {
    /// The name of the alert or the series.
    pub name: LineColumn,
    /// The expression.
    pub expr: Placement,
    /// The values of its own labels.
    pub labels: BTreeMap<String, Placement>,
    /// The values of its annotations.
    pub annotations: BTreeMap<String, Placement>,
}

/// The kinds of rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// Stores the result as a series.
    Recording {
        /// The series' name.
        record: String,
    },
    /// Makes alerts of the result.
    Alerting {
        /// The alerts' name.
        alert: String,
        /// How long the condition must hold, in milliseconds.
        hold_ms: i64,
        /// How long alerts go on firing after their condition ended, in milliseconds.
        keep_firing_ms: i64,
        /// Templates of texts for people, and instructions as they are written.
        annotations: BTreeMap<String, String>,
    },
}

impl Rule {
    /// The alert's or the series' name.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Recording { record } => record,
            RuleKind::Alerting { alert, .. } => alert,
        }
    }
}
