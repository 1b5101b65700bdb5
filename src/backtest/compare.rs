//! What one set of rules would have paged for and another would not.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::Spread;
use super::incident::{Incident, Incidents};
use crate::model::{Labels, TimestampMs};

/// How two sets of rules differ. Incidents of both are the same if they are of an alert of the same name,
/// have the same labels except for those that rules themselves set, and fire at the same time for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// How many incidents both have.
    pub in_both: usize,
    /// Those of the old rules that the new ones do not have, in order of time.
    pub only_old: Vec<Incident>,
    /// Those of the new rules that the old ones do not have, in order of time.
    pub only_new: Vec<Incident>,
    /// How much later the new rules page for those that both have.
    pub delay: Option<Delay>,
}

/// How much later one set of rules pages than the other; negative if it is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// How often it is later.
    pub later: usize,
    /// How often it is earlier.
    pub earlier: usize,
    /// By how much.
    pub spread: Spread,
}

/// Compares what two sets of rules have done since `since`; `set` are the labels that rules of either set
/// themselves.
pub(super) fn compare(
    old: &Incidents,
    new: &Incidents,
    since: TimestampMs,
    set: &BTreeSet<&str>,
) -> Comparison {
    let (old, new) = (identified(old, since, set), identified(new, since, set));
    let mut delays = Vec::new();
    let mut only_old = Vec::new();
    for (identity, incidents) in &old {
        let others = new.get(identity).map_or(&[][..], Vec::as_slice);
        for incident in incidents {
            match others.iter().find(|other| overlap(incident, other)) {
                Some(other) => delays.push(other.fired_at - incident.fired_at),
                None => only_old.push(Incident::clone(incident)),
            }
        }
    }
    let mut only_new = Vec::new();
    for (identity, incidents) in &new {
        let others = old.get(identity).map_or(&[][..], Vec::as_slice);
        let alone = incidents.iter().filter(|incident| !others.iter().any(|other| overlap(incident, other)));
        only_new.extend(alone.map(|incident| Incident::clone(incident)));
    }
    let by_time =
        |one: &Incident, other: &Incident| (one.fired_at, &one.labels).cmp(&(other.fired_at, &other.labels));
    only_old.sort_by(by_time);
    only_new.sort_by(by_time);
    let later = delays.iter().filter(|delay| **delay > 0).count();
    let earlier = delays.iter().filter(|delay| **delay < 0).count();
    let in_both = delays.len();
    let delay = Spread::of(delays).map(|spread| Delay { later, earlier, spread });
    Comparison { in_both, only_old, only_new, delay }
}

fn overlap(one: &Incident, other: &Incident) -> bool {
    let end = |incident: &Incident| incident.resolved_at.unwrap_or(TimestampMs::MAX);
    one.fired_at <= end(other) && other.fired_at <= end(one)
}

/// Incidents that fire in the time of interest, by what they are about.
fn identified<'i>(
    incidents: &'i Incidents,
    since: TimestampMs,
    set: &BTreeSet<&str>,
) -> BTreeMap<Labels, Vec<&'i Incident>> {
    let mut found: BTreeMap<Labels, Vec<&Incident>> = BTreeMap::new();
    for incident in &incidents.all {
        if incident.resolved_at.is_none_or(|end| end >= since) {
            let identity = incident.labels.filtered(|name| !set.contains(name));
            found.entry(identity).or_default().push(incident);
        }
    }
    found
}
