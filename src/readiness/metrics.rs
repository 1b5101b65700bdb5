//! What the scheduler says of itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::component::Kind;

type ByKind = Family<[(&'static str, &'static str); 1], Counter>;
type ByKindAndResult = Family<[(&'static str, &'static str); 2], Counter>;

/// Counters of the probe scheduler, by kind of component.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    probes: ByKindAndResult,
    panics: ByKind,
    overruns: ByKind,
    slots_missed: ByKind,
    samples_refused: ByKind,
    series_dropped: ByKind,
}

/// How a probe ended. A closed set: it becomes a label value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Success,
    Failure,
    Unknown,
}

impl Ending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("valmis_probes", "Probes that have ended, by result", metrics.probes.clone());
        registry.register("valmis_probe_panics", "Probes that ended in a panic", metrics.panics.clone());
        registry.register(
            "valmis_probe_overruns",
            "Probes that were cut off because they did not return by their deadline",
            metrics.overruns.clone(),
        );
        registry.register(
            "valmis_probe_slots_missed",
            "Probes that did not start in their time because the one before still ran",
            metrics.slots_missed.clone(),
        );
        registry.register(
            "valmis_probe_samples_refused",
            "Samples of probes that the store refused",
            metrics.samples_refused.clone(),
        );
        registry.register(
            "valmis_probe_series_dropped",
            "Series of probes that were left out because a component told more than it may",
            metrics.series_dropped.clone(),
        );
        for kind in Kind::ALL {
            for ending in [Ending::Success, Ending::Failure, Ending::Unknown] {
                metrics.probes.get_or_create(&labels_of(kind, ending)).inc_by(0);
            }
            let families = [
                &metrics.panics,
                &metrics.overruns,
                &metrics.slots_missed,
                &metrics.samples_refused,
                &metrics.series_dropped,
            ];
            for family in families {
                family.get_or_create(&[label_of(kind)]).inc_by(0);
            }
        }
        metrics
    }

    pub(super) fn probe_ended(&self, kind: Kind, ending: Ending) {
        self.probes.get_or_create(&labels_of(kind, ending)).inc();
    }

    pub(super) fn panicked(&self, kind: Kind) {
        self.panics.get_or_create(&[label_of(kind)]).inc();
    }

    pub(super) fn overran(&self, kind: Kind) {
        self.overruns.get_or_create(&[label_of(kind)]).inc();
    }

    pub(super) fn missed(&self, kind: Kind, slots: u64) {
        self.slots_missed.get_or_create(&[label_of(kind)]).inc_by(slots);
    }

    pub(super) fn refused(&self, kind: Kind, samples: usize) {
        self.samples_refused.get_or_create(&[label_of(kind)]).inc_by(samples as u64);
    }

    pub(super) fn dropped(&self, kind: Kind, series: usize) {
        self.series_dropped.get_or_create(&[label_of(kind)]).inc_by(series as u64);
    }
}

fn label_of(kind: Kind) -> (&'static str, &'static str) {
    ("component", kind.as_str())
}

fn labels_of(kind: Kind, ending: Ending) -> [(&'static str, &'static str); 2] {
    [label_of(kind), ("result", ending.as_str())]
}
