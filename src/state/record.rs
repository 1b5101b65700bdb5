//! How alert records are written. JSON: readable years later, and a field can be added without a new
//! schema. Unknown fields are ignored, absent ones are nothing.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Absence, AlertRecord, AlertState, HeartbeatRecord, Severity};
use crate::model::{Labels, TimestampMs};

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow, default)]
    annotations: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value's bits: JSON has no NaN and no infinity.
    value_bits: u64,
    state: State,
    active_at: TimestampMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fired_at: Option<TimestampMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_at: Option<TimestampMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_firing_since: Option<TimestampMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_at: Option<TimestampMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing_since: Option<TimestampMs>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    severity: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    severity_lower_since: Option<TimestampMs>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    former_severities: Vec<(Cow<'a, str>, TimestampMs)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Inactive,
    Pending,
    Firing,
}

pub(super) fn encode(alert: &AlertRecord) -> Vec<u8> {
    let wire = Wire {
        labels: pairs(&alert.labels),
        annotations: pairs(&alert.annotations),
        value_bits: alert.value.to_bits(),
        state: match alert.state {
            AlertState::Inactive => State::Inactive,
            AlertState::Pending => State::Pending,
            AlertState::Firing => State::Firing,
        },
        active_at: alert.active_at,
        fired_at: alert.fired_at,
        resolved_at: alert.resolved_at,
        keep_firing_since: alert.keep_firing_since,
        seen_at: alert.absence.map(|absence| absence.seen_at),
        missing_since: alert.absence.and_then(|absence| absence.missing_since),
        severity: alert.severity.as_ref().map(|severity| severity.current.as_str().into()),
        severity_lower_since: alert.severity.as_ref().and_then(|severity| severity.lower_since),
        former_severities: alert.severity.as_ref().map_or_else(Vec::new, |severity| {
            severity.former.iter().map(|(former, at)| (former.as_str().into(), *at)).collect()
        }),
    };
    serde_json::to_vec(&wire).expect("text and whole numbers can be written as JSON")
}

pub(super) fn decode(bytes: &[u8]) -> Result<AlertRecord, serde_json::Error> {
    let wire: Wire<'_> = serde_json::from_slice(bytes)?;
    Ok(AlertRecord {
        labels: Labels::from_pairs(wire.labels),
        annotations: Labels::from_pairs(wire.annotations),
        value: f64::from_bits(wire.value_bits),
        state: match wire.state {
            State::Inactive => AlertState::Inactive,
            State::Pending => AlertState::Pending,
            State::Firing => AlertState::Firing,
        },
        active_at: wire.active_at,
        fired_at: wire.fired_at,
        resolved_at: wire.resolved_at,
        keep_firing_since: wire.keep_firing_since,
        absence: wire.seen_at.map(|seen_at| Absence { seen_at, missing_since: wire.missing_since }),
        severity: wire.severity.map(|current| Severity {
            current: current.into_owned(),
            lower_since: wire.severity_lower_since,
            former: wire
                .former_severities
                .into_iter()
                .map(|(former, at)| (former.into_owned(), at))
                .collect(),
        }),
    })
}

/// A heartbeat; its name is its key.
#[derive(Serialize, Deserialize)]
struct WireHeartbeat {
    declared_at: TimestampMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_success: Option<TimestampMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_start: Option<TimestampMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_failure: Option<TimestampMs>,
}

pub(super) fn encode_heartbeat(record: &HeartbeatRecord) -> Vec<u8> {
    let &HeartbeatRecord { name: _, declared_at, last_success, last_start, last_failure } = record;
    let wire = WireHeartbeat { declared_at, last_success, last_start, last_failure };
    serde_json::to_vec(&wire).expect("whole numbers can be written as JSON")
}

pub(super) fn decode_heartbeat(name: &str, bytes: &[u8]) -> Result<HeartbeatRecord, serde_json::Error> {
    let WireHeartbeat { declared_at, last_success, last_start, last_failure } =
        serde_json::from_slice(bytes)?;
    Ok(HeartbeatRecord { name: name.to_owned(), declared_at, last_success, last_start, last_failure })
}

fn pairs(labels: &Labels) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    labels.iter().map(|(name, value)| (name.into(), value.into())).collect()
}
