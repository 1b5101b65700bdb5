//! How entries of the ledger are written: as JSON, for the reasons of the other records.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Evidence, Input, LedgerEntry, Phase, RuleKey, RuleVersion, Transition};
use crate::model::{Labels, LineColumn, TimestampMs};

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    at: TimestampMs,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    from: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow)]
    labels: Pairs<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    severity: Option<Cow<'a, str>>,
    /// The value's bits: JSON has no NaN and no infinity.
    value_bits: u64,
    active_at: TimestampMs,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Vec<WireEvidence<'a>>>,
    #[serde(borrow)]
    file: Cow<'a, str>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    line: usize,
    column: usize,
    #[serde(borrow)]
    expr: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    external_labels: Pairs<'a>,
}

type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

#[derive(Serialize, Deserialize)]
struct WireEvidence<'a> {
    #[serde(borrow)]
    selector: Cow<'a, str>,
    #[serde(borrow)]
    inputs: Vec<(Pairs<'a>, u64)>,
    #[serde(default)]
    more: bool,
}

pub(super) fn encode(entry: &LedgerEntry) -> Vec<u8> {
    let LedgerEntry { key, rule, transition } = entry;
    let evidence = transition.evidence.as_ref();
    let wire = Wire {
        at: transition.at,
        from: transition.from.map(|phase| phase.name().into()),
        to: transition.to.name().into(),
        labels: pairs(&transition.labels),
        severity: transition.severity.as_deref().map(Into::into),
        value_bits: transition.value.to_bits(),
        active_at: transition.active_at,
        error: transition.error.as_deref().map(Into::into),
        evidence: evidence.map(|evidence| evidence.iter().map(wire_evidence).collect()),
        file: key.file.as_str().into(),
        group: key.group.as_str().into(),
        rule: key.rule.as_str().into(),
        line: rule.place.line,
        column: rule.place.column,
        expr: rule.expr.as_str().into(),
        version: rule.version.as_str().into(),
        external_labels: pairs(&rule.external_labels),
    };
    serde_json::to_vec(&wire).expect("text and whole numbers can be written as JSON")
}

/// The entry; an error if it is none, or if a later version wrote a phase that this one does not know.
pub(super) fn decode(bytes: &[u8]) -> Result<LedgerEntry, serde_json::Error> {
    let wire: Wire<'_> = serde_json::from_slice(bytes)?;
    let phase = |name: &str| {
        let unknown = || serde::de::Error::custom(format!("unknown phase `{name}`"));
        Phase::from_name(name).ok_or_else(unknown)
    };
    let key = RuleKey {
        file: wire.file.into_owned(),
        group: wire.group.into_owned(),
        rule: wire.rule.into_owned(),
        labels: String::new(),
        ordinal: 0,
    };
    let rule = RuleVersion {
        expr: wire.expr.into_owned(),
        version: wire.version.into_owned(),
        place: LineColumn { line: wire.line, column: wire.column },
        external_labels: Labels::from_pairs(wire.external_labels),
    };
    let evidence = |evidence: Vec<WireEvidence<'_>>| evidence.into_iter().map(read_evidence).collect();
    let transition = Transition {
        at: wire.at,
        from: wire.from.map(|name| phase(&name)).transpose()?,
        to: phase(&wire.to)?,
        labels: Labels::from_pairs(wire.labels),
        severity: wire.severity.map(Cow::into_owned),
        value: f64::from_bits(wire.value_bits),
        active_at: wire.active_at,
        error: wire.error.map(Cow::into_owned),
        evidence: wire.evidence.map(evidence),
    };
    Ok(LedgerEntry { key: Arc::new(key), rule: Arc::new(rule), transition })
}

fn wire_evidence(evidence: &Evidence) -> WireEvidence<'_> {
    let inputs = evidence.inputs.iter().map(|input| (pairs(&input.labels), input.value.to_bits()));
    WireEvidence {
        selector: evidence.selector.as_str().into(),
        inputs: inputs.collect(),
        more: evidence.more,
    }
}

fn read_evidence(wire: WireEvidence<'_>) -> Evidence {
    let input = |(labels, bits): (Pairs<'_>, u64)| Input {
        labels: Labels::from_pairs(labels),
        value: f64::from_bits(bits),
    };
    Evidence {
        selector: wire.selector.into_owned(),
        inputs: wire.inputs.into_iter().map(input).collect(),
        more: wire.more,
    }
}

fn pairs(labels: &Labels) -> Pairs<'_> {
    labels.iter().map(|(name, value)| (name.into(), value.into())).collect()
}
