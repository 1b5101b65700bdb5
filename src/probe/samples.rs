//! Collecting the samples of one probe.

use crate::model::{Labels, METRIC_NAME, Sample};

/// The samples that a probe has so far; without `job`, `instance` and time, which the scheduler adds.
#[derive(Debug)]
pub(super) struct SampleSet(Vec<Sample>);

/// Room for what most probes find.
impl Default for SampleSet {
    fn default() -> Self {
        Self(Vec::with_capacity(64))
    }
}

impl SampleSet {
    /// Adds a gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, value: f64) {
        self.labelled(name, &[], value);
    }

    /// Adds a gauge without labels that says yes or no.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.gauge(name, f64::from(u8::from(value)));
    }

    /// Adds a gauge with labels; those with an empty value are left out.
    pub(super) fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let pairs = [(METRIC_NAME, name)].into_iter().chain(labels.iter().copied());
        self.0.push(Sample::new(Labels::from_pairs(pairs), 0, value));
    }

    /// All samples, in the order in which they were added.
    pub(super) fn into_samples(self) -> Vec<Sample> {
        self.0
    }
}
