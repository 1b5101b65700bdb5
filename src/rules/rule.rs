//! A rule of a running group: what it is, what it knows, and what one evaluation does to that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::active::ActiveAlerts;
use super::alerting::{AlertingRule, generator_url};
use super::config::Config;
use super::evidence::Questions;
use super::expand::{RuleFacts, Texts};
use super::recording::RecordingRule;
use super::snapshot::{AlertSnapshot, AlertingInfo, Health, RuleInfo, RuleSnapshot};
use crate::model::{ALERT_NAME, Labels, TimestampMs};
use crate::query::{PreparedQuery, QuerySource};
use crate::rulefmt::{self, RuleKind};
use crate::state::{AlertState, RuleChanges, RuleKey, RuleVersion};

/// What a rule is.
#[derive(Debug)]
pub(super) enum Definition {
    Recording(RecordingRule),
    Alerting(Box<AlertingRule>, Arc<Texts>, Questions),
}

/// The group's part in its rules.
pub(super) struct GroupSettings<'a> {
    pub(super) file: &'a str,
    pub(super) group: &'a str,
    /// What identifies the group in templates.
    pub(super) id: u64,
    pub(super) interval_ms: i64,
    pub(super) query_offset_ms: i64,
    pub(super) limit: usize,
}

/// A rule with its state.
pub(super) struct RunningRule {
    pub(super) definition: Arc<Definition>,
    /// Its expression, with what is kept from one evaluation to the next.
    pub(super) query: Arc<dyn PreparedQuery>,
    pub(super) info: Arc<RuleInfo>,
    pub(super) key: Arc<RuleKey>,
    /// What the ledger says of it.
    version: Arc<RuleVersion>,
    pub(super) active: ActiveAlerts,
    /// The series that the last successful evaluation wrote.
    pub(super) previous: BTreeSet<Labels>,
    pub(super) health: Health,
    pub(super) last_error: Option<String>,
    pub(super) evaluation_time: Duration,
    pub(super) last_evaluation: Option<TimestampMs>,
    /// Whether nothing is known from before: no state, and no evaluation yet.
    pub(super) is_new: bool,
}

impl RunningRule {
    /// A rule without state. `ordinal` tells it from others with the same name and labels.
    pub(super) fn new(
        rule: &rulefmt::Rule,
        ordinal: u32,
        group: &GroupSettings<'_>,
        config: &Config,
        source: &dyn QuerySource,
    ) -> Self {
        let query = rule.expr.to_string();
        let info = RuleInfo {
            name: rule.name().to_owned(),
            query: query.clone(),
            labels: rule.labels.clone(),
            alerting: match &rule.kind {
                RuleKind::Recording { .. } => None,
                RuleKind::Alerting { hold_ms, keep_firing_ms, annotations, .. } => Some(AlertingInfo {
                    hold_ms: *hold_ms,
                    keep_firing_ms: *keep_firing_ms,
                    annotations: annotations.clone(),
                }),
            },
        };
        let definition = match &rule.kind {
            RuleKind::Recording { record } => Definition::Recording(RecordingRule {
                name: record.clone(),
                expr: rule.expr.clone(),
                labels: rule.labels.clone(),
                query_offset_ms: group.query_offset_ms,
                limit: group.limit,
            }),
            RuleKind::Alerting { alert, hold_ms, keep_firing_ms, .. } => {
                let texts = Texts::new(
                    rule,
                    RuleFacts {
                        expr: query.clone(),
                        hold_ms: *hold_ms,
                        interval_ms: group.interval_ms,
                        group_id: group.id,
                    },
                );
                let questions = Questions::new(rule, &texts);
                let rule = AlertingRule {
                    name: alert.clone(),
                    expr: rule.expr.clone(),
                    hold_ms: *hold_ms,
                    keep_firing_ms: *keep_firing_ms,
                    interval_ms: group.interval_ms,
                    resend_delay_ms: config.resend_delay_ms,
                    query_offset_ms: group.query_offset_ms,
                    limit: group.limit,
                    error_hold_ms: config.error_hold_ms,
                    common_labels: common_labels(alert, &rule.labels),
                    generator_url: generator_url(&config.external_url, &query),
                    instructions: rule.instructions.clone(),
                };
                Definition::Alerting(Box::new(rule), Arc::new(texts), questions)
            }
        };
        let key = RuleKey {
            file: group.file.to_owned(),
            group: group.group.to_owned(),
            rule: rule.name().to_owned(),
            labels: format!("{:?}", rule.labels),
            ordinal,
        };
        Self {
            definition: Arc::new(definition),
            query: source.prepare(&rule.expr),
            info: Arc::new(info),
            key: Arc::new(key),
            version: Arc::new(version(rule, config)),
            active: ActiveAlerts::default(),
            previous: BTreeSet::new(),
            health: Health::default(),
            last_error: None,
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
            is_new: true,
        }
    }

    /// Goes on with alerts from before the start. Their series are those of the last evaluation, so
    /// that what is no longer active is marked stale.
    pub(super) fn restore(&mut self, active: ActiveAlerts) {
        if let Definition::Alerting(rule, ..) = &*self.definition {
            let alerts = active.iter().map(|alert| &alert.record);
            let alerts = alerts.filter(|alert| alert.state != AlertState::Inactive);
            self.previous = alerts.flat_map(|alert| rule.samples(alert, 0)).map(|s| s.labels).collect();
            self.active = active;
            self.is_new = false;
        }
    }

    /// Goes on with the state of the rule that this one replaces.
    pub(super) fn take_over(&mut self, old: Self) {
        self.previous = old.previous;
        self.active = old.active;
        self.is_new = old.is_new;
    }

    /// What is to be stored of its alerts.
    pub(super) fn unsaved(&self) -> Option<RuleChanges> {
        self.active.unsaved().map(|unsaved| RuleChanges {
            key: self.key.clone(),
            evaluated_at: unsaved.evaluated_at,
            alerts: unsaved.alerts,
            removed: unsaved.removed,
            transitions: unsaved.transitions,
            rule: self.version.clone(),
        })
    }

    pub(super) fn snapshot(&self) -> RuleSnapshot {
        let alerts = self.active.iter().filter(|alert| alert.is_active());
        RuleSnapshot {
            info: self.info.clone(),
            health: self.health,
            last_error: self.last_error.clone(),
            evaluation_time: self.evaluation_time,
            last_evaluation: self.last_evaluation,
            alerts: alerts
                .map(|alert| AlertSnapshot {
                    labels: alert.record.shown_labels(),
                    annotations: alert.marked_annotations(),
                    state: alert.record.state,
                    active_at: alert.record.active_at,
                    keep_firing_since: alert.record.keep_firing_since,
                    value: alert.record.value,
                })
                .collect(),
        }
    }
}

/// What the ledger says of a rule. Its version is a hash of everything that decides about alerts and their
/// texts.
fn version(rule: &rulefmt::Rule, config: &Config) -> RuleVersion {
    let expr = rule.expr.to_string();
    let text = format!("{expr}\n{:?}\n{:?}", rule.kind, rule.labels);
    RuleVersion {
        version: format!("{:016x}", xxhash_rust::xxh64::xxh64(text.as_bytes(), 0)),
        expr,
        place: rule.place,
        external_labels: config.external_labels.clone(),
    }
}

/// `alertname`, and the labels of a rule that are the same in all of its alerts.
fn common_labels(alert: &str, labels: &BTreeMap<String, String>) -> Labels {
    let plain = labels.iter().filter(|(_, text)| !text.contains("{{"));
    let name = (ALERT_NAME, alert);
    Labels::from_pairs(plain.map(|(name, text)| (name.as_str(), text.as_str())).chain([name]))
}
