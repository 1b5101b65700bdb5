//! What templates can know about an alert beyond what Prometheus tells them.

use super::value::Value;
use crate::model::TimestampMs;

/// Where an alert stands. Source of the names, save `$status` and `$resolvedValue`: vmalert's templates.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'c> {
    /// `pending`, `firing` or `resolved`: `$status`.
    pub status: &'c str,
    /// The value with which the condition ended, NaN if it is not known or has not ended:
    /// `$resolvedValue`.
    pub resolved_value: f64,
    /// Since when its condition holds: `$activeAt`.
    pub active_at: TimestampMs,
    /// How long the condition must hold, in milliseconds: `$for`.
    pub hold_ms: i64,
    /// The rule's expression: `$expr`.
    pub expr: &'c str,
    /// What identifies the alert: `$alertID`.
    pub alert_id: u64,
    /// What identifies the rule's group: `$groupID`.
    pub group_id: u64,
    /// How often the group is evaluated, in milliseconds: `$interval`.
    pub interval_ms: i64,
}

impl Default for Facts<'_> {
    /// Those of an alert of which nothing is known yet.
    fn default() -> Self {
        Self {
            status: "firing",
            resolved_value: f64::NAN,
            active_at: 0,
            hold_ms: 0,
            expr: "",
            alert_id: 0,
            group_id: 0,
            interval_ms: 0,
        }
    }
}

/// How many facts there are.
pub(super) const COUNT: usize = 9;

/// Their variables, and the fields of the dot.
pub(super) const NAMES: [(&str, &str); COUNT] = [
    ("$status", "Status"),
    ("$resolvedValue", "ResolvedValue"),
    ("$activeAt", "ActiveAt"),
    ("$for", "For"),
    ("$expr", "Expr"),
    ("$alertID", "AlertID"),
    ("$groupID", "GroupID"),
    ("$interval", "Interval"),
    ("$type", "Type"),
];

/// The variable that says the same as a field of the dot.
pub(super) fn variable(field: &str) -> Option<&'static str> {
    NAMES.iter().find(|(_, name)| *name == field).map(|(variable, _)| *variable)
}

/// The variable of this name, if it is one of them.
pub(super) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(variable, _)| *variable == name).map(|(variable, _)| *variable)
}

/// The facts in the order of their names.
pub(super) fn values(facts: &Facts<'_>) -> [Value; COUNT] {
    let nanos = |ms: i64| ms.saturating_mul(1_000_000);
    [
        facts.status.into(),
        Value::Float(facts.resolved_value),
        Value::Time(nanos(facts.active_at)),
        Value::Duration(nanos(facts.hold_ms)),
        facts.expr.into(),
        facts.alert_id.to_string().into(),
        facts.group_id.to_string().into(),
        Value::Duration(nanos(facts.interval_ms)),
        "prometheus".into(),
    ]
}
